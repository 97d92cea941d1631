//! What others will set on this node, read from their own files.

pub(crate) mod agents;
mod command;
mod folders;
pub(crate) mod ifcfg;
pub(crate) mod ifupdown;
mod match_section;
pub(crate) mod netplan;
pub(crate) mod network_manager;
pub(crate) mod networkd;
mod networkd_keys;
pub(crate) mod nftables;
pub(crate) mod others;
mod spread;
pub(crate) mod sysctl;
mod text;
mod tuned;
mod tuned_profile;

use crate::linux::root::Root;
use crate::model::facts::Link;
use crate::model::facts::Setting;

pub use tuned::{profiles as tuned_profiles, resources as tuned_resources};

pub fn gather(root: &Root, links: &[Link]) -> Vec<Setting> {
    let links = folders::sorted(links);
    let (networkd, network_manager) = netplan::gather(root);
    let mut all = sysctl::gather(root);
    all.extend(networkd::gather(root, &links, &networkd));
    all.extend(network_manager::gather(root, &links, &network_manager));
    all.extend(ifupdown::gather(root, &links));
    all.extend(ifcfg::gather(root, &links));
    all.extend(nftables::gather(root));
    all.extend(agents::gather(root));
    all.extend(others::gather(root));
    once(all)
}

/// netplan's line is carried out by udev and by networkd: the last one is told.
fn once(mut all: Vec<Setting>) -> Vec<Setting> {
    let place = |s: &Setting| (s.file.clone(), s.line, s.resource.clone(), s.key.clone());
    let mut seen = std::collections::BTreeSet::new();
    all.reverse();
    all.retain(|s| !s.file.ends_with(".yaml") || seen.insert(place(s)));
    all.reverse();
    all
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    pub fn told(settings: &[Setting]) -> Vec<String> {
        let one = |s: &Setting| {
            let key = s.key.as_ref().map(|k| format!(" {k}")).unwrap_or_default();
            let value = s.value.as_deref().unwrap_or("?");
            format!("{}:{} {}{key} = {value}", s.file, s.line, s.resource)
        };
        settings.iter().map(one).collect()
    }

    #[test]
    fn of_sysctls_the_last_line_by_file_name_wins_and_a_name_hides_another() {
        let (_dir, root) = root(&[
            ("etc/sysctl.d/60-a.conf", "net.core.somaxconn = 128\n"),
            ("etc/sysctl.d/99-b.conf", "# no\n-net/core/somaxconn=  256\nkernel.panic=1\n"),
            ("usr/lib/sysctl.d/99-z.conf", "net.ipv4.tcp_rmem = 4096  87380 6291456\n"),
            ("usr/lib/sysctl.d/99-b.conf", "net.core.somaxconn = 512\n"),
            (
                "usr/lib/sysctl.d/50-default.conf",
                "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n",
            ),
        ]);
        assert_eq!(
            told(&gather(&root, &[])),
            [
                "/usr/lib/sysctl.d/50-default.conf:1 sysctl:net.ipv4.conf.*.rp_filter = 2",
                "/etc/sysctl.d/99-b.conf:2 sysctl:net.core.somaxconn = 256",
                "/etc/sysctl.d/99-b.conf:3 sysctl:kernel.panic = 1",
                "/usr/lib/sysctl.d/99-z.conf:1 sysctl:net.ipv4.tcp_rmem = 4096 87380 6291456",
            ]
        );
    }

    #[test]
    fn the_first_link_file_that_matches_counts_and_network_files_by_name() {
        let link = Link {
            name: "eth0".into(),
            driver: Some("ena".into()),
            permanent_mac: Some("02:00:00:00:00:01".into()),
            bus: Some("pci/0000:00:05.0".into()),
            ..Link::default()
        };
        let (_dir, root) = root(&[
            (
                "etc/systemd/network/10-x.link",
                "[Match]\nOriginalName=eth*\n[Link]\nMTUBytes=9001\nRxBufferSize=1024\nCombinedChannels=4\nLargeReceiveOffload=no\n",
            ),
            (
                "usr/lib/systemd/network/99-default.link",
                "[Match]\nOriginalName=*\n[Link]\nMTUBytes=1400\n",
            ),
            (
                "etc/systemd/network/20-y.network",
                "[Match]\nName=eth0\n[Link]\nMTUBytes=1500\n[FairQueueing]\nParent=root\n",
            ),
            ("etc/systemd/network/21-z.network", "[Match]\nName=lan*\n[Link]\nMTUBytes=1280\n"),
        ]);
        assert_eq!(
            told(&gather(&root, &[link])),
            [
                "/etc/systemd/network/10-x.link:4 mtu:eth0 = 9001",
                "/etc/systemd/network/10-x.link:5 ethtool:eth0/rings rx = 1024",
                "/etc/systemd/network/10-x.link:6 ethtool:eth0/channels combined = 4",
                "/etc/systemd/network/10-x.link:7 ethtool:eth0/features rx-lro = off",
                "/etc/systemd/network/20-y.network:4 mtu:eth0 = 1500",
                "/etc/systemd/network/20-y.network:6 qdisc:eth0 = ?",
            ]
        );
    }

    #[test]
    fn connections_of_network_manager() {
        let link = Link { name: "ens1".into(), ..Link::default() };
        let (_dir, root) = root(&[(
            "etc/NetworkManager/system-connections/a.nmconnection",
            "[connection]\ninterface-name=ens1\n[ethernet]\nmtu=9000\n[ethtool]\nring-rx=512\nfeature-tso=false\ncoalesce-rx-usecs=8\nchannels-combined=2\n[tc]\nqdisc.root=fq_codel\n",
        )]);
        assert_eq!(
            told(&gather(&root, &[link])),
            [
                "/etc/NetworkManager/system-connections/a.nmconnection:4 mtu:ens1 = 9000",
                "/etc/NetworkManager/system-connections/a.nmconnection:6 ethtool:ens1/rings rx = 512",
                "/etc/NetworkManager/system-connections/a.nmconnection:7 ethtool:ens1/features tx-tcp-segmentation = off",
                "/etc/NetworkManager/system-connections/a.nmconnection:8 ethtool:ens1/coalesce rx-usecs = 8",
                "/etc/NetworkManager/system-connections/a.nmconnection:9 ethtool:ens1/channels combined = 2",
                "/etc/NetworkManager/system-connections/a.nmconnection:11 qdisc:ens1 = ?",
            ]
        );
    }

    #[test]
    fn a_tuned_profile_with_what_it_includes() {
        let (_dir, root) = root(&[
            (
                "usr/lib/tuned/base/tuned.conf",
                "[main]\nsummary=x\n[sysctl]\nnet.core.somaxconn=>2048\nvm.swappiness=10\n[cpu]\ngovernor=performance\n",
            ),
            (
                "etc/tuned/mine/tuned.conf",
                "[main]\ninclude=base\n[sysctl]\nvm.swappiness=1\n[vm]\ntransparent_hugepages=never\n",
            ),
            ("etc/tuned/active_profile", "mine\n"),
        ]);
        std::fs::create_dir_all(root.full("sys/devices/system/cpu/cpufreq/policy4")).unwrap();
        let names =
            tuned_resources(&root, "mine").iter().map(ToString::to_string).collect::<Vec<_>>();
        let governor = "sysfs:devices/system/cpu/cpufreq/policy4/scaling_governor".to_string();
        assert!(names.contains(&governor) && !names.iter().any(|n| n.contains('*')), "{names:?}");
        let profiles = tuned_profiles(&root, &[]);
        assert_eq!(
            told(&profiles["mine"]),
            [
                "/usr/lib/tuned/base/tuned.conf:4 sysctl:net.core.somaxconn = >2048",
                "/etc/tuned/mine/tuned.conf:4 sysctl:vm.swappiness = 1",
                "/usr/lib/tuned/base/tuned.conf:7 sysfs:devices/system/cpu/cpufreq/*/scaling_governor = performance",
                "/etc/tuned/mine/tuned.conf:6 sysfs:kernel/mm/transparent_hugepage/enabled = never",
            ]
        );
    }

    #[test]
    fn scripts_and_agents_that_choose_by_themselves() {
        let (_dir, root) = root(&[
            ("usr/bin/google_set_multiqueue", "#!/bin/sh\n"),
            (
                "var/lib/kubelet/config.yaml",
                "kind: KubeletConfiguration\ncpuManagerPolicy: static\n",
            ),
            ("etc/crio/crio.conf.d/10.conf", "[crio.runtime]\n"),
            (
                "etc/cni/net.d/10-aws.conflist",
                "{\n \"plugins\": [{\"type\": \"aws-cni\",\n \"mtu\": \"9001\"}]}\n",
            ),
        ]);
        let told = told(&gather(&root, &[]));
        for expected in [
            "/usr/bin/google_set_multiqueue:0 irq:*/* = ?",
            "/usr/bin/google_set_multiqueue:0 sysfs:class/net/*/queues/tx-*/xps_cpus = ?",
            "/var/lib/kubelet/config.yaml:2 irq:*/* = ?",
            "/etc/crio:0 irq:default = ?",
            "/etc/cni/net.d/10-aws.conflist:3 mtu:* = 9001",
        ] {
            assert!(told.iter().any(|t| t == expected), "{expected}: {told:#?}");
        }
    }
}
