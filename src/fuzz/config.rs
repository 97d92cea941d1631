//! Runs of what others configure.

use std::collections::BTreeSet;

use super::files::{links, with};
use crate::linux::facts::settings::{
    agents as tuners, ifcfg as scripts, ifupdown as interfaces, netplan as yaml,
    network_manager as keyfiles, networkd as units, nftables, others, sysctl, tuned_profiles,
};
use crate::linux::facts::{agents, cilium, cpus, kubernetes_name, preflight};
use crate::linux::probe;
use crate::linux::root::Root;
use crate::model::facts::Setting;
use crate::model::facts::{Facts, Link};

type Fixed<'a> = &'a [(&'a str, &'a str)];

/// What is read of these files, for the links of a node.
fn told(
    paths: &[&str],
    fixed: Fixed,
    bytes: &[u8],
    read: impl Fn(&Root, &[&Link]) -> Vec<Setting>,
) {
    with(paths, fixed, bytes, |_, root| {
        let links = links();
        let all = read(&root, &links.iter().collect::<Vec<_>>());
        let length: usize = all.iter().map(|s| s.file.len() + s.resource.len()).sum();
        assert!(length < 64 << 20, "{} settings of {length} bytes", all.len());
    });
}

pub fn sysctl_d(bytes: &[u8]) {
    let paths = ["etc/sysctl.d/50-a.conf", "etc/sysctl.conf", "etc/ufw/sysctl.conf"];
    told(&paths, &[], bytes, |root, _| {
        let keys = BTreeSet::from(["net/core/somaxconn".to_string()]);
        crate::persist::dropin_name(&keys, &crate::linux::sysctl_files(root));
        sysctl::gather(root)
    });
}

pub fn networkd(bytes: &[u8]) {
    let at = |name: &str| format!("etc/systemd/network/50-a.{name}");
    let (link, device, network) = (at("link"), at("netdev"), at("network"));
    let paths = [&link, &device, &network, &at("network.d/x.conf"), "etc/systemd/networkd.conf"];
    told(&paths, &[], bytes, |root, links| {
        let mut agents = crate::model::facts::Agents::default();
        agents.networkd.installed = true;
        let _ = preflight::gather(root, &[], &agents);
        units::gather(root, links, &Default::default())
    });
}

pub fn netplan(bytes: &[u8]) {
    told(&["etc/netplan/50-a.yaml"], &[], bytes, |root, links| {
        let (networkd, network_manager) = yaml::gather(root);
        let mut all = units::gather(root, links, &networkd);
        all.extend(keyfiles::gather(root, links, &network_manager));
        all
    });
}

pub fn ifupdown(bytes: &[u8]) {
    let paths = ["etc/network/interfaces", "etc/network/interfaces.d/x"];
    told(&paths, &[], bytes, interfaces::gather);
}

pub fn ifcfg(bytes: &[u8]) {
    let paths = ["etc/sysconfig/network-scripts/ifcfg-eth0", "etc/sysconfig/network/ifcfg-eth1"];
    told(&paths, &[], bytes, scripts::gather);
}

pub fn network_manager(bytes: &[u8]) {
    let paths = [
        "etc/NetworkManager/NetworkManager.conf",
        "etc/NetworkManager/conf.d/x.conf",
        "etc/NetworkManager/system-connections/a.nmconnection",
    ];
    told(&paths, &[], bytes, |root, links| keyfiles::gather(root, links, &Default::default()));
}

pub fn tuned(bytes: &[u8]) {
    let fixed =
        [("etc/tuned/active_profile", "x\n"), ("usr/lib/tuned/other/tuned.conf", "[main]\n")];
    let paths = ["usr/lib/tuned/x/tuned.conf", "etc/tuned/x-variables.conf"];
    told(&paths, &fixed, bytes, |root, links| {
        let links: Vec<Link> = links.iter().map(|l| (*l).clone()).collect();
        tuned_profiles(root, &links).into_values().flatten().collect()
    });
}

pub fn nftables_conf(bytes: &[u8]) {
    let paths = ["etc/nftables.conf", "etc/nftables.d/a.nft"];
    told(&paths, &[], bytes, |root, _| nftables::gather(root));
}

pub fn kubelet(bytes: &[u8]) {
    let paths = [
        "var/lib/kubelet/config.yaml",
        "var/lib/kubelet/cpu_manager_state",
        "var/lib/kubelet/kubeadm-flags.env",
        "etc/kubernetes/kubelet.conf",
    ];
    told(&paths, &[], bytes, |root, _| {
        let _ = (cpus::gather(root), kubernetes_name(root), probe::find(root, &Facts::default()));
        others::gather(root)
    });
}

pub fn cni(bytes: &[u8]) {
    told(&["etc/cni/net.d/10-aws.conflist"], &[], bytes, |root, _| {
        let _ = preflight::gather(root, &[], &agents::of_image(root));
        others::gather(root)
    });
}

pub fn agents(bytes: &[u8]) {
    let paths = [
        "etc/sysconfig/saptune",
        "usr/share/saptune/notes/1",
        "etc/saptune/override/1",
        "etc/firewalld/firewalld.conf",
        "usr/lib/systemd/system/irqbalance.service",
        "etc/default/irqbalance",
        "etc/crio/crio.conf.d/00-default",
    ];
    let fixed = [("usr/lib/systemd/system/saptune.service", "")];
    told(&paths, &fixed, bytes, |root, _| {
        let _ = agents::gather(root, cilium::SOCKET, &[]);
        let mut all = tuners::gather(root);
        all.extend(others::gather(root));
        all
    });
}
