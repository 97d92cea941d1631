//! Links: what netlink says of all of them, and what sysfs says of those with a device behind them.

use std::collections::BTreeSet;

use anyhow::Result;

use super::vectors;
use crate::linux::bpf::{filters, sys};
use crate::linux::ethtool::{self, Ethtool};
use crate::linux::link::Links;
use crate::linux::root::Root;
use crate::linux::{qdisc, rss};
use crate::model::State;
use crate::model::bpf::owner;
use crate::model::facts::{Attached, Fact, Link};
use crate::model::typed::attached::Via;
use nix::libc;

pub fn gather(root: &Root, netlink: &Links, ethtool: &Ethtool) -> Result<Vec<Link>> {
    let mut links = netlink.all()?;
    let qdiscs = qdisc::dump(netlink)?;
    netlink.mark_routes(&mut links)?;
    let v6: BTreeSet<u32> = netlink.addresses_v6()?.into_iter().collect();
    ethtool::fill(ethtool, &mut links)?;
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
        link.programs = programs(link.index, clsact, &mut link.own_ingress);
        device(root, link);
    }
    Ok(links)
}

/// What is at tcx and at clsact besides our own, and which way ours went.
fn programs(index: u32, clsact: bool, via: &mut Option<Via>) -> Fact<Vec<Attached>> {
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
                Ok(program) if own(&program.name) => {
                    behind = true;
                    if kind == sys::TCX_INGRESS {
                        *via = Some(Via::Tcx);
                    }
                }
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
                    for f in all {
                        if own(&f.name) {
                            if hook == "tc ingress" {
                                via.get_or_insert(Via::Clsact);
                            }
                            continue;
                        }
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
        Some(irqs) => vectors::gather(root, link, &irqs),
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
pub(crate) fn bus_path(device: &str, place: &str) -> Option<String> {
    let is_pci = |part: &&str| {
        let shape = [(4, b':'), (7, b':'), (10, b'.')];
        part.len() == 12 && shape.iter().all(|(at, c)| part.as_bytes()[*at] == *c)
    };
    let name = device.rsplit('/').next().filter(|name| !name.is_empty())?;
    let above = || place.split('/').take_while(|part| *part != name).last();
    let function = Some(name).filter(is_pci);
    match function.or_else(|| above().filter(is_pci).filter(|_| name.starts_with("virtio"))) {
        Some(address) => Some(format!("pci/{address}")),
        None => Some(format!("device/{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        // Twelve bytes, of which the fifth begins no character.
        assert_eq!(of("../../../aaaéaaaaaaaa", ""), "device/aaaéaaaaaaaa");
    }
}
