//! Gathers what a node is: one dump per netlink family, one pass per folder of /proc and /sys.

pub mod agents;
pub mod cilium;
mod cilium_api;
mod cpus;
pub mod kernel;
mod links;
mod preflight;
#[cfg(test)]
mod roots;
mod routing;
pub mod settings;
mod unix_http;

use anyhow::Result;

use super::link::Links;
use super::nft;
use super::root::Root;
use super::socket::errno;
use crate::model::Facts;
use crate::model::facts::{Chain, Conntrack, Fact, Kernel, Link, Module, Netfilter, Node};

/// `cilium` is the path of its agent's socket.
pub fn gather(root: &Root, links: &Links, cilium: &str) -> Result<Facts> {
    let kernel = kernel::gather(root);
    let routing = routing::gather(root, links);
    let mut links = links::gather(root, links)?;
    xdp_sockets(&kernel, &mut links);
    let netfilter = netfilter(root);
    let mut agents = agents::gather(root, cilium, &links);
    agents.kube_proxy_rules = kube_proxy(&netfilter);
    if let Some(cilium) = &mut agents.cilium {
        cilium::no_conntrack(cilium, &netfilter);
    }
    Ok(Facts {
        node: node(root, &agents),
        cpus: cpus::gather(root),
        memory_kib: memory(root),
        settings: settings::gather(root, &links),
        tuned_profiles: settings::tuned_profiles(root),
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
        name,
    }
}

fn kubernetes_name(root: &Root) -> Option<String> {
    let flags = root.read("var/lib/kubelet/kubeadm-flags.env").ok()?;
    let (_, rest) = flags.split_once("--hostname-override=")?;
    rest.split([' ', '"', '\n']).next().filter(|n| !n.is_empty()).map(str::to_string)
}

fn memory(root: &Root) -> u64 {
    use procfs::FromRead;
    let text = root.bytes("proc/meminfo").unwrap_or_default();
    procfs::Meminfo::from_read(text.as_slice()).map_or(0, |m| m.mem_total / 1024)
}

fn netfilter(root: &Root) -> Netfilter {
    let number = |path: &str| root.line(path).and_then(|t| t.parse().ok());
    let conntrack = number("proc/sys/net/netfilter/nf_conntrack_count")
        .zip(number("proc/sys/net/netfilter/nf_conntrack_max"))
        .map(|(count, max)| Conntrack { count, max });
    Netfilter { chains: chains(root), legacy: legacy(root), conntrack }
}

/// By its chains: KUBE-SERVICES of the iptables modes, table kube-proxy of the nftables mode.
fn kube_proxy(netfilter: &Netfilter) -> Fact<bool> {
    match &netfilter.chains {
        Fact::Known(chains) => {
            let theirs = |c: &Chain| c.table == "kube-proxy" || c.chain == "KUBE-SERVICES";
            Fact::Known(chains.iter().any(theirs))
        }
        Fact::Unknown { unknown } => Fact::unknown(unknown.clone()),
    }
}

/// Chains with their rules; those that only jumps lead to stand with an empty hook.
fn chains(root: &Root) -> Fact<Vec<Chain>> {
    let all = match nft::list_rules_summary(root) {
        Ok(all) => all,
        Err(e) if errno(&e) == Some(nix::libc::EPERM) => {
            return Fact::unknown("nf_tables rules can be read by root only");
        }
        // No nf_tables in this kernel: no rules either.
        Err(e) if matches!(errno(&e), Some(nix::libc::EOPNOTSUPP | nix::libc::EPROTONOSUPPORT)) => {
            return Fact::Known(Vec::new());
        }
        Err(e) => return Fact::unknown(format!("{e:#}")),
    };
    let chain = |c: nft::Chain| {
        let base = c.base;
        Chain {
            family: c.family,
            table: c.table,
            chain: c.name,
            kind: base.as_ref().map(|b| b.kind.clone()).unwrap_or_default(),
            hook: base.as_ref().map(|b| b.hook.clone()).unwrap_or_default(),
            priority: base.as_ref().map_or(0, |b| b.priority),
            drops: base.as_ref().is_some_and(|b| !b.accept),
            rules: c.rules as u32,
            expressions: c.kinds.into_keys().collect(),
        }
    };
    Fact::Known(all.into_iter().filter(|c| !c.dormant).map(chain).collect())
}

/// Only what is registered already: asking for a legacy table's rules would register it.
fn legacy(root: &Root) -> Fact<Vec<String>> {
    let mut tables = Vec::new();
    for (family, path) in [
        ("ip", "proc/thread-self/net/ip_tables_names"),
        ("ip6", "proc/thread-self/net/ip6_tables_names"),
    ] {
        match root.read(path) {
            Ok(text) => tables.extend(text.lines().map(|t| format!("{family} {t}"))),
            Err(e) if super::root::is_absent(&e) => {}
            Err(e) => return Fact::unknown(format!("read {}: {e}", root.full(path))),
        }
    }
    Fact::Known(tables)
}
