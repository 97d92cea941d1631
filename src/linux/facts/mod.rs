//! Gathers what a node is: one dump per netlink family, one pass per folder of /proc and /sys.

pub mod agents;
pub mod cilium;
pub(crate) mod cpus;
pub mod kernel;
pub(crate) mod links;
mod netfilter;
pub(crate) mod preflight;
#[cfg(test)]
mod roots;
pub(crate) mod routing;
pub mod settings;
mod told;
pub(crate) mod unix_http;
pub(crate) mod vectors;

pub use told::told;

use anyhow::Result;
use nix::fcntl::OFlag;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::ethtool::Ethtool;
use super::link::Links;
use super::root::Root;
use crate::model::Facts;
use crate::model::facts::{Fact, Kernel, Link, Module, Node};
use crate::model::places::PLACES;

/// `cilium` is the path of its agent's socket.
pub fn gather(root: &Root, links: &Links, ethtool: &Ethtool, cilium: &str) -> Result<Facts> {
    let kernel = kernel::gather(root);
    let routing = routing::gather(root, links);
    let netlink = links;
    let mut links = links::gather(root, netlink, ethtool)?;
    xdp_sockets(&kernel, &mut links);
    let netfilter = netfilter::gather(root);
    let mut agents = agents::gather(root, cilium, &links);
    netlink.count_pod_routes(&mut links, &agents.pod_networks())?;
    agents.kube_proxy_rules = netfilter::kube_proxy(&netfilter);
    if let Some(cilium) = &mut agents.cilium {
        cilium::no_conntrack(cilium, &netfilter);
    }
    Ok(Facts {
        node: node(root, &agents),
        cpus: cpus::gather(root),
        memory_kib: memory(root),
        settings: settings::gather(root, &links),
        tuned_profiles: settings::tuned_profiles(root, &links),
        preflight: preflight::gather(root, &links, &agents),
        netfilter,
        routing,
        bpf: super::bpf::probes::gather(root),
        unread: root.unread(),
        kernel,
        links,
        agents,
    })
}

/// They take what a program on the link hands them, so without one there is nothing to lose.
fn xdp_sockets(kernel: &Kernel, links: &mut [Link]) {
    if links.iter().all(|l| l.xdp.is_none()) {
        return;
    }
    let counts = match kernel.modules.get("xsk_diag").and_then(Fact::known) {
        Some(Module::Builtin | Module::Loaded) => {
            super::xdp_sockets::count().map_err(|e| format!("{e:#}"))
        }
        Some(Module::Absent) if kernel.config.get("XDP_SOCKETS").is_some_and(|v| v == "n") => {
            return;
        }
        _ => Err("the kernel's xsk_diag is not loaded".to_string()),
    };
    for link in links.iter_mut().filter(|l| l.xdp.is_some()) {
        link.xdp_sockets = match &counts {
            Ok(counts) => Fact::Known(counts.get(&link.index).copied().unwrap_or(0)),
            Err(why) => Fact::unknown(why.clone()),
        };
    }
}

fn node(root: &Root, agents: &crate::model::facts::Agents) -> Node {
    let netns = |of: &str| {
        std::fs::read_link(format!("/proc/{of}/ns/net")).ok().and_then(|link| {
            let text = link.to_string_lossy().into_owned();
            text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
        })
    };
    let name = root.line("proc/sys/kernel/hostname").unwrap_or_default();
    Node {
        kubernetes_name: kubernetes_name(root)
            .or_else(|| (agents.kubelet.installed).then(|| name.to_lowercase())),
        machine_type: root.line("sys/class/dmi/id/product_name").filter(|n| !n.is_empty()),
        boot_id: root.line("proc/sys/kernel/random/boot_id").unwrap_or_default(),
        netns: netns("thread-self").unwrap_or(0),
        // Only the first namespace has it; the inode number of the first one is nowhere promised.
        first_netns: root.exists("proc/sys/net/core/default_qdisc"),
        ipv6_forwarding: root.line("proc/sys/net/ipv6/conf/all/forwarding").as_deref() == Some("1"),
        root: nix::unistd::geteuid().is_root(),
        read_only: read_only(root),
        name,
    }
}

fn read_only(root: &Root) -> Vec<String> {
    let is = |place: &&&str| {
        let folder = root.openat(place, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0);
        let mount = folder.ok().and_then(|folder| fstatvfs(&folder).ok());
        mount.is_some_and(|mount| mount.flags().contains(FsFlags::ST_RDONLY))
    };
    PLACES.iter().filter(is).map(|place| place.to_string()).collect()
}

pub(crate) fn kubernetes_name(root: &Root) -> Option<String> {
    let flags = root.read("var/lib/kubelet/kubeadm-flags.env").ok()?;
    let (_, rest) = flags.split_once("--hostname-override=")?;
    rest.split([' ', '"', '\n']).next().filter(|n| !n.is_empty()).map(str::to_string)
}

pub(crate) fn memory(root: &Root) -> u64 {
    let text = root.read("proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    total.and_then(|t| t.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_what_meminfo_begins_with() {
        for (text, kib) in [
            ("MemTotal:       24689644 kB\nMemFree: 1 kB\n", 24_689_644),
            ("MemTotal:       1 kB\nMemFree: 18446744073709551615 kB\n", 1),
            ("MemTotal:       18446744073709551616 kB\n", 0),
            ("", 0),
        ] {
            let (_dir, root) = super::settings::tests::root(&[("proc/meminfo", text)]);
            assert_eq!(super::memory(&root), kib, "{text}");
        }
    }
}
