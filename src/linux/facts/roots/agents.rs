//! Who else runs: units as distributions ship them, services by their cgroup, pods by theirs.

use super::Tree;
use crate::linux::facts::agents::gather;
use crate::model::facts::{AgentConfig, Agents, Fact};

fn agents(tree: &Tree) -> Agents {
    gather(&tree.root(), "run/cilium/cilium.sock", &[])
}

fn unit(tree: &Tree, folder: &str, text: &str) {
    tree.file(&format!("{folder}/irqbalance.service"), text);
}

const SYSTEM: &str = "usr/lib/systemd/system";

fn told(config: &Option<AgentConfig>) -> Option<(&str, &str)> {
    config.as_ref().map(|c| (c.path.as_str(), c.variable.as_str()))
}

/// Debian 12 and newer.
#[test]
fn irqbalance_of_debian() {
    let tree = Tree::new();
    let text = "[Unit]\nConditionVirtualization=!container\nConditionCPUs=>1\n\n[Service]\n\
                EnvironmentFile=-/usr/lib/irqbalance/defaults.env\n\
                EnvironmentFile=-/etc/default/irqbalance\n\
                ExecStart=/usr/sbin/irqbalance --foreground $IRQBALANCE_ARGS\n\
                ReadOnlyPaths=/\n\n[Install]\nWantedBy=multi-user.target\n";
    unit(&tree, SYSTEM, text);
    tree.file("etc/default/irqbalance", "#IRQBALANCE_ARGS=\n");
    let config = agents(&tree).irqbalance_config;
    assert_eq!(told(&config), Some(("/etc/default/irqbalance", "IRQBALANCE_ARGS")));
    let state = config.and_then(|c| c.state).unwrap();
    assert!(state.starts_with("mode=0644 owner="), "{state}");
    assert!(state.ends_with("\n#IRQBALANCE_ARGS=\n"), "{state}");
}

/// Older Debian and Ubuntu have another variable.
#[test]
fn irqbalance_of_older_debian_without_its_file() {
    let tree = Tree::new();
    let text = "[Service]\nEnvironmentFile=/etc/default/irqbalance\n\
                ExecStart=/usr/sbin/irqbalance --foreground $OPTIONS\n";
    unit(&tree, SYSTEM, text);
    let config = agents(&tree).irqbalance_config;
    assert_eq!(told(&config), Some(("/etc/default/irqbalance", "OPTIONS")));
    assert_eq!(config.and_then(|c| c.state), None);
}

#[test]
fn irqbalance_of_red_hat() {
    let tree = Tree::new();
    let text = "[Service]\nEnvironmentFile=-/etc/sysconfig/irqbalance\n\
                ExecStart=/usr/sbin/irqbalance $IRQBALANCE_ARGS\nRuntimeDirectory=irqbalance/\n";
    unit(&tree, SYSTEM, text);
    tree.file("etc/sysconfig/irqbalance", "IRQBALANCE_ARGS=--policyscript=/x\n");
    let config = agents(&tree).irqbalance_config;
    assert_eq!(told(&config), Some(("/etc/sysconfig/irqbalance", "IRQBALANCE_ARGS")));
}

#[test]
fn a_units_own_copy_in_etc_wins_and_one_without_arguments_has_no_configuration() {
    let tree = Tree::new();
    let text = "[Service]\nEnvironmentFile=-/etc/sysconfig/irqbalance\n\
                ExecStart=/usr/sbin/irqbalance ${IRQBALANCE_ARGS}\n";
    unit(&tree, SYSTEM, text);
    let config = agents(&tree).irqbalance_config;
    assert_eq!(told(&config), Some(("/etc/sysconfig/irqbalance", "IRQBALANCE_ARGS")));
    unit(&tree, "etc/systemd/system", "[Service]\nExecStart=/usr/sbin/irqbalance --oneshot\n");
    assert_eq!(agents(&tree).irqbalance_config, None);
    // Not below /etc: the distribution's, not the administrator's.
    let vendor = "[Service]\nEnvironmentFile=-/usr/lib/irqbalance/defaults.env\n\
                  ExecStart=/usr/sbin/irqbalance $IRQBALANCE_ARGS\n";
    unit(&tree, "etc/systemd/system", vendor);
    assert_eq!(agents(&tree).irqbalance_config, None);
}

#[test]
fn a_service_is_found_by_its_cgroup_in_each_layout() {
    let layouts = ["sys/fs/cgroup", "sys/fs/cgroup/unified", "sys/fs/cgroup/systemd"];
    for layout in layouts {
        let tree = Tree::new();
        tree.folder("run/systemd/system");
        tree.file(&format!("{layout}/system.slice/irqbalance.service/cgroup.procs"), "811\n");
        tree.file(&format!("{layout}/system.slice/tuned.service/cgroup.procs"), "");
        let found = agents(&tree);
        assert_eq!(found.irqbalance.pid, Some(811), "{layout}");
        assert_eq!(found.tuned.pid, None, "{layout}: a service that has ended");
    }
}

#[test]
fn without_systemd_a_process_is_found_by_its_name() {
    let tree = Tree::new();
    tree.file("proc/812/comm", "irqbalance\n");
    tree.file("proc/sys/kernel/hostname", "n1\n");
    let found = agents(&tree);
    assert!(!found.systemd);
    assert_eq!((found.irqbalance.pid, found.irqbalance.installed), (Some(812), false));
}

#[test]
fn irqbalances_socket_counts_while_its_process_lives() {
    let tree = Tree::new();
    tree.file("run/irqbalance/irqbalance812.sock", "");
    assert!(!agents(&tree).irqbalance_socket);
    tree.file("proc/812/comm", "irqbalance\n");
    assert!(agents(&tree).irqbalance_socket);
}

#[test]
fn pods_of_each_class_and_cgroup_driver() {
    let systemd = Tree::new();
    let top = "sys/fs/cgroup/kubepods.slice";
    for name in [
        "kubepods-podaaaa_1.slice",
        "kubepods-burstable.slice/kubepods-burstable-podbbbb_1.slice",
        "kubepods-burstable.slice/kubepods-burstable-podbbbb_2.slice",
        "kubepods-besteffort.slice/kubepods-besteffort-podcccc_1.slice",
    ] {
        systemd.folder(&format!("{top}/{name}"));
        systemd.file(&format!("{top}/cgroup.procs"), "");
    }
    assert_eq!(agents(&systemd).pods, Fact::Known(4));
    let cgroupfs = Tree::new();
    for name in ["podaaaa-1", "burstable/podbbbb-1", "besteffort/podcccc-1", "besteffort/podc-2"] {
        cgroupfs.folder(&format!("sys/fs/cgroup/kubepods/{name}"));
    }
    assert_eq!(agents(&cgroupfs).pods, Fact::Known(4));
    assert_eq!(agents(&Tree::new()).pods, Fact::Known(0));
}

#[test]
fn a_kubelet_on_disk_makes_a_kubernetes_node() {
    for path in ["usr/bin/kubelet", "etc/systemd/system/k3s-agent.service"] {
        let tree = Tree::new();
        tree.file(path, "");
        let found = agents(&tree);
        assert!(found.kubelet.installed && found.kubelet.pid.is_none(), "{path}");
    }
}
