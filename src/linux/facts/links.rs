//! Links: what netlink says of all of them, and what sysfs says of those with a device behind them.

use anyhow::Result;

use crate::linux::bpf::{filters, sys};
use crate::linux::link::Links;
use crate::linux::root::{Root, is_absent};
use crate::linux::{ethtool, qdisc, rss};
use crate::model::State;
use crate::model::bpf::owner;
use crate::model::facts::{Attached, Fact, Link, Role, Vector};
use nix::libc;

pub fn gather(root: &Root, netlink: &Links) -> Result<Vec<Link>> {
    let mut links = netlink.all()?;
    let qdiscs = qdisc::dump(netlink)?;
    netlink.mark_routes(&mut links)?;
    let v6 = netlink.addresses_v6()?;
    ethtool::fill(&mut links)?;
    let all = root.line("proc/sys/net/ipv4/conf/all/rp_filter");
    let everywhere = all.and_then(|t| t.parse().ok()).unwrap_or(0);
    for link in &mut links {
        link.qdisc = Some(match qdiscs.get(&link.index).map(|q| qdisc::state(q, link.mtu)) {
            Some(State::Is(text)) => text,
            Some(other) => other.to_string(),
            None => "default noqueue".to_string(),
        });
        link.ipv6 = v6.contains(&link.index);
        link.driver.clone_from(&link.kind);
        link.rp_filter = link.rp_filter.max(everywhere);
        let clsact = qdiscs.get(&link.index).is_some_and(|q| qdisc::has_clsact(q));
        link.programs = programs(link.index, clsact);
        device(root, link);
    }
    Ok(links)
}

/// What is at tcx and at clsact besides our own.
fn programs(index: u32, clsact: bool) -> Fact<Vec<Attached>> {
    let mut found = Vec::new();
    let mut add = |hook: &str, name: String, behind: bool| {
        let owner = owner(&name).map(str::to_string);
        found.push(Attached { hook: hook.to_string(), name, owner, behind });
    };
    let own = |name: &str| name.starts_with("nettune_");
    for (hook, kind) in [("tcx ingress", sys::TCX_INGRESS), ("tcx egress", sys::TCX_EGRESS)] {
        let ids = match sys::query(index, kind) {
            Ok(ids) => ids,
            // Before 6.6; or nothing there.
            Err(e)
                if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT | libc::ENODEV)) =>
            {
                continue;
            }
            Err(e) => return Fact::unknown(format!("programs at {hook}: {e}")),
        };
        // In the order in which they run.
        let mut behind = false;
        for id in ids {
            match sys::program_info(id) {
                Ok(program) if own(&program.name) => behind = true,
                Ok(program) => add(hook, program.name, behind),
                Err(e) => return Fact::unknown(format!("name of program {id} at {hook}: {e}")),
            }
        }
    }
    if clsact {
        let ways =
            [("tc ingress", filters::ingress as fn(u32) -> _), ("tc egress", filters::egress)];
        for (hook, list) in ways {
            match list(index) {
                Ok(all) => {
                    for f in all.into_iter().filter(|f| !own(&f.name)) {
                        add(hook, if f.name.is_empty() { f.kind } else { f.name }, false);
                    }
                }
                Err(e) => return Fact::unknown(format!("{e:#}")),
            }
        }
    }
    Fact::Known(found)
}

pub(super) fn device(root: &Root, link: &mut Link) {
    // Only a link with a device of its own has this folder; a stacked or paired link has none.
    let folder = format!("sys/class/net/{}/device", link.name);
    let Ok(target) = root.readlink(&folder) else { return virtual_kind(root, link) };
    // /sys shows the links of the namespace it was mounted in.
    if root
        .line(&format!("sys/class/net/{}/ifindex", link.name))
        .is_some_and(|i| i != link.index.to_string())
    {
        link.vectors = Fact::unknown("/sys was mounted in another network namespace");
        return;
    }
    if let Ok(driver) = root.readlink(&format!("{folder}/driver")) {
        link.driver = driver.rsplit('/').next().map(str::to_string);
    }
    let place = root.readlink(&format!("sys/class/net/{}", link.name)).unwrap_or_default();
    link.bus = bus_path(&target, &place).or_else(|| link.bus.take());
    if link.driver.as_deref() == Some("virtio_net") {
        let bits = root.line(&format!("{folder}/features"));
        link.virtio = bits.filter(|b| b.len() <= 256 && b.chars().all(|c| matches!(c, '0' | '1')));
    }
    link.virtual_function = root.exists(&format!("{folder}/physfn"));
    // A virtio device hangs below the PCI function that has its vectors and its NUMA node.
    let places = [folder.clone(), format!("{folder}/..")];
    link.numa_node = places
        .iter()
        .find_map(|place| root.line(&format!("{place}/numa_node")))
        .and_then(|node| node.parse().ok());
    let vfs = root.line(&format!("{folder}/sriov_numvfs")).and_then(|n| n.parse().ok());
    link.virtual_functions = vfs.unwrap_or(0);
    link.rss = match rss::read(&link.name) {
        Ok(found) => Fact::Known(found),
        Err(e) => Fact::unknown(format!("{e:#}")),
    };
    link.ntuple_rules = rss::rules(&link.name);
    link.vectors = match places.iter().find_map(|p| root.list(&format!("{p}/msi_irqs")).ok()) {
        Some(irqs) => vectors(root, &irqs),
        None => Fact::Known(Vec::new()),
    };
}

/// A kind that netlink does not tell: L2TP's Ethernet links say what they are by their type alone.
fn virtual_kind(root: &Root, link: &mut Link) {
    if link.kind.is_some() || !link.default_route {
        return;
    }
    let text = root.read(&format!("sys/class/net/{}/uevent", link.name)).unwrap_or_default();
    let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    if value("IFINDEX") == Some(&link.index.to_string()) {
        link.kind = value("DEVTYPE").filter(|kind| *kind == "l2tpeth").map(str::to_string);
    }
}

/// Of the device that a link's `device` names ("../../../0000:00:05.0"): its PCI address, for virtio
/// that of the function which it hangs below, as the link's own place among the devices has it.
fn bus_path(device: &str, place: &str) -> Option<String> {
    let is_pci = |part: &&str| {
        let shape = [4usize, 7, 10];
        part.len() == 12
            && shape.iter().zip([':', ':', '.']).all(|(at, c)| part[*at..].starts_with(c))
    };
    let name = device.rsplit('/').next().filter(|name| !name.is_empty())?;
    let above = || place.split('/').take_while(|part| *part != name).last();
    let function = Some(name).filter(is_pci);
    match function.or_else(|| above().filter(is_pci).filter(|_| name.starts_with("virtio"))) {
        Some(address) => Some(format!("pci/{address}")),
        None => Some(format!("device/{name}")),
    }
}

fn vectors(root: &Root, irqs: &[String]) -> Fact<Vec<Vector>> {
    let mut vectors = Vec::new();
    let Ok(all) = root.below("proc/irq") else { return Fact::unknown("/proc/irq cannot be read") };
    let kernel = root.below("sys/kernel/irq").ok();
    for irq in irqs.iter().filter_map(|n| n.parse::<u32>().ok()) {
        let affinity = match all.value(&format!("{irq}/smp_affinity_list")) {
            Ok(text) => text.trim().to_string(),
            // Requested by the device, used by nobody.
            Err(e) if is_absent(&e) => continue,
            Err(e) => return Fact::unknown(format!("read affinity of vector {irq}: {e}")),
        };
        let name = handler(&all, kernel.as_ref(), irq);
        let (role, queue) = role(&name);
        vectors.push(Vector { irq, name, role, queue, affinity });
    }
    vectors.sort_by_key(|v| v.irq);
    halves(&mut vectors);
    Fact::Known(vectors)
}

/// gve numbers its blocks in one row: those of the transmit queues, then as many for the receive
/// queues (gve_rx_idx_to_ntfy() of its gve.h).
fn halves(vectors: &mut [Vector]) {
    let block = |v: &Vector| v.queue.filter(|_| v.name.contains("ntfy"));
    let half = vectors.iter().filter_map(block).count() as u32 / 2;
    for vector in vectors {
        if let Some(number) = block(vector) {
            let rx = number.checked_sub(half);
            vector.role = if rx.is_some() { Role::Rx } else { Role::Tx };
            vector.queue = rx.or(Some(number));
        }
    }
}

/// The name that the driver gave its handler: one small file where the kernel has it, else the one
/// folder beside the files of /proc/irq/N. (/proc/interrupts has all, in 23 MB on a large machine.)
fn handler(all: &Root, kernel: Option<&Root>, irq: u32) -> String {
    if let Some(actions) = kernel.and_then(|k| k.line(&format!("{irq}/actions"))) {
        return actions.split(',').next().unwrap_or_default().to_string();
    }
    let names = all.list(&irq.to_string()).unwrap_or_default();
    names.into_iter().find(|n| !FILES.contains(&n.as_str())).unwrap_or_default()
}

const FILES: [&str; 7] = [
    "affinity_hint",
    "effective_affinity",
    "effective_affinity_list",
    "node",
    "smp_affinity",
    "smp_affinity_list",
    "spurious",
];

/// From the name that the driver gave its vector.
fn role(name: &str) -> (Role, Option<u32>) {
    if name.is_empty() {
        return (Role::Unused, None);
    }
    let lower = name.to_ascii_lowercase();
    // "comp3@pci:0000:01:00.0" of mlx5: the number after the word, not the address.
    let lower = lower.split('@').next().unwrap_or(&lower);
    // Of i40e and ice, for flow director: named like a queue's, and no queue of the link.
    if ["fdir-txrx", "ctrl-txrx"].iter().any(|own| lower.contains(own)) {
        return (Role::Management, None);
    }
    let number = lower
        .rsplit(|c: char| !c.is_ascii_digit())
        .find(|part| !part.is_empty())
        .and_then(|n| n.parse().ok());
    // In this order: "TxRx" before "rx", and virtio's "input" and "output" by themselves.
    let words = [
        ("txrx", Role::Both),
        ("tx-rx", Role::Both),
        ("rxtx", Role::Both),
        ("comp", Role::Both),
        ("mlx5_combined", Role::Both),
        ("fp-", Role::Both),
        ("ntfy", Role::Both),
        ("mana_q", Role::Both),
        ("input", Role::Rx),
        ("output", Role::Tx),
        ("rx", Role::Rx),
        ("tx", Role::Tx),
    ];
    match words.iter().find(|(word, _)| lower.contains(word)) {
        Some((_, role)) if number.is_some() => (*role, number),
        _ => (Role::Management, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_drivers_give_their_vectors() {
        for (name, want) in [
            ("virtio0-input.3", (Role::Rx, Some(3))),
            ("virtio0-output.0", (Role::Tx, Some(0))),
            ("virtio0-config", (Role::Management, None)),
            ("mlx5_comp7@pci:0000:01:00.0", (Role::Both, Some(7))),
            ("mlx5_async0@pci:0000:01:00.0", (Role::Management, None)),
            ("i40e-eth0-TxRx-12", (Role::Both, Some(12))),
            ("ice-ens1f0-TxRx-0", (Role::Both, Some(0))),
            ("eth0-Tx-Rx-1", (Role::Both, Some(1))),
            ("ena-mgmnt@pci:0000:00:05.0", (Role::Management, None)),
            ("eth0-rxtx-2", (Role::Both, Some(2))),
            ("", (Role::Unused, None)),
        ] {
            assert_eq!(role(name), want, "{name}");
        }
    }

    /// From /proc/interrupts of machines in the field, as their owners published them.
    #[test]
    fn names_as_machines_have_them() {
        for (name, want) in [
            // A ConnectX function on Hyper-V.
            ("mlx5_cmd_eq@pci:8b76:00:02.0", (Role::Management, None)),
            ("mlx5_async_eq@pci:8b76:00:02.0", (Role::Management, None)),
            ("mlx5_comp2@pci:8b76:00:02.0", (Role::Both, Some(2))),
            // Azure: netdev, "Add per-cpu stats for MANA device", 13 March 2024.
            ("mana_hwc@pci:7870:00:00.0", (Role::Management, None)),
            ("mana_q1@pci:7870:00:00.0", (Role::Both, Some(1))),
            // An i40e that runs XDP.
            ("i40e-i40e1-TxRx-3", (Role::Both, Some(3))),
            ("i40e-0000:04:00.0:fdir-TxRx-0", (Role::Management, None)),
            // Amazon.
            ("ena-mgmnt@pci:0000:00:05.0", (Role::Management, None)),
            ("eth0-Tx-Rx-3", (Role::Both, Some(3))),
            ("ens34-mgmnt-intr-pci:0000:00:05.0", (Role::Management, None)),
            // Google: test data of its guest agent.
            ("gve-ntfy-blk1@pci:0000:00:08.0", (Role::Both, Some(1))),
            ("gve-mgmnt@pci:0000:00:08.0", (Role::Management, None)),
            ("eth%d-ntfy-block.1", (Role::Both, Some(1))),
            ("eth0-fdir-TxRx-0", (Role::Management, None)),
            // An E810, and a bnxt_en.
            ("ice-enp59s0f1-TxRx-32", (Role::Both, Some(32))),
            ("ice-0000:17:00.0:misc", (Role::Management, None)),
            ("eno16695np0-TxRx-1", (Role::Both, Some(1))),
            // VMware.
            ("ens34-rxtx-1", (Role::Both, Some(1))),
            ("ens34-event-2", (Role::Management, None)),
        ] {
            assert_eq!(role(name), want, "{name}");
        }
    }

    #[test]
    fn the_bus_path_of_a_virtio_device_is_its_pci_function() {
        let of = |device: &str, place: &str| bus_path(device, place).unwrap();
        let pci = "../../devices/pci0000:00/0000:00:05.0";
        assert_eq!(of("../../../0000:00:05.0", &format!("{pci}/net/eth0")), "pci/0000:00:05.0");
        let place = format!("{pci}/virtio2/net/eth0");
        assert_eq!(of("../../../virtio2", &place), "pci/0000:00:05.0");
        let place = "../../devices/platform/a0003e00.virtio_mmio/virtio2/net/eth0";
        assert_eq!(of("../../../virtio2", place), "device/virtio2");
        // Two of them may hang below one controller.
        let place = format!("{pci}/usb1/1-1/1-1:1.0/net/eth0");
        assert_eq!(of("../../../1-1:1.0", &place), "device/1-1:1.0");
    }
}
