//! Which links a profile means.

use std::collections::BTreeSet;

use super::facts::{Facts, Link};
use super::glob;

/// Links that carry packets inside packets of another link.
const TUNNELS: &[&str] = &[
    "amt",
    "bareudp",
    "batadv",
    "erspan",
    "geneve",
    "gre",
    "gretap",
    "gtp",
    "ip6erspan",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "ipip",
    "l2tpeth",
    "ovpn",
    "pfcp",
    "ppp",
    "sit",
    "tun",
    "vti",
    "vti6",
    "vxlan",
    "wireguard",
    "xfrm",
];
/// What is stacked on one link, and is what that is.
const STACKED: &[&str] = &["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"];
const OVS: &[&str] = &["openvswitch"];

/// The uplinks: links that a selector names, else the devices of the default routes, with all that
/// they stand on (VLAN, bond, bridge, Open vSwitch) down to the device with a bus parent. Never a
/// pod's end, and no tunnel that is not named.
pub fn uplinks<'a>(facts: &'a Facts, selectors: &[String]) -> Vec<&'a Link> {
    if selectors.is_empty() {
        let routed = |l: &&Link| l.default_route && !tunnel(facts, l);
        return stack(facts, facts.links.iter().filter(routed));
    }
    let named = |l: &&Link| !l.loopback && selectors.iter().any(|s| matches(s, l));
    facts.links.iter().filter(named).collect()
}

/// That link and all that it stands on.
pub fn under<'a>(facts: &'a Facts, name: &str) -> Vec<&'a Link> {
    stack(facts, facts.links.iter().filter(|l| l.name == name))
}

/// Those links and all that they stand on, in the kernel's order.
fn stack<'a>(facts: &'a Facts, top: impl Iterator<Item = &'a Link>) -> Vec<&'a Link> {
    let mut chosen: BTreeSet<u32> = top.map(|l| l.index).collect();
    loop {
        let (upper, rest): (Vec<&Link>, Vec<&Link>) =
            facts.links.iter().filter(|l| !l.loopback).partition(|l| chosen.contains(&l.index));
        let below = |l: &&Link| upper.iter().any(|up| stands_on(facts, up, l)) && !tunnel(facts, l);
        let found: Vec<u32> = rest.into_iter().filter(below).map(|l| l.index).collect();
        if found.is_empty() {
            return upper;
        }
        chosen.extend(found);
    }
}

/// Its packets leave inside those of another link, which is an uplink only for its own sake.
pub fn tunnel(facts: &Facts, link: &Link) -> bool {
    let mut link = link;
    // The kernel stops at eight as well (MAX_NEST_DEV).
    for _ in 0..8 {
        if link.bus.is_some() || !link.is_a(STACKED) {
            break;
        }
        let Some(below) = link.parent.as_deref().and_then(|p| facts.link(p)) else { break };
        link = below;
    }
    link.bus.is_none() && link.is_a(TUNNELS)
}

/// A way to the wire: a device, or what such devices are put together to. Not what stands for a
/// pod's function on the switch of its NIC.
pub fn to_the_wire(link: &Link) -> bool {
    let device = link.bus.is_some() && !link.representor;
    device || link.is_a(&["bond", "vlan", "team"])
}

/// For a profile's `links`, where no uplink shows by itself.
pub fn candidates(facts: &Facts) -> Vec<&str> {
    let may = |l: &&Link| l.up && !l.loopback && to_the_wire(l) && !tunnel(facts, l);
    facts.links.iter().filter(may).map(|l| l.name.as_str()).collect()
}

/// What the profile should say where pods reach those of other nodes by a link that is no uplink.
pub fn pods_leave_elsewhere(facts: &Facts, selectors: &[String]) -> Option<String> {
    let up = uplinks(facts, selectors);
    let known = |l: &Link| up.iter().any(|u| u.index == l.index);
    let left = |l: &&Link| l.pod_routes > 0 && !known(l);
    let others: Vec<&Link> = facts.links.iter().filter(left).collect();
    if others.is_empty() {
        return None;
    }
    let told = |l: &&Link| format!("{} ({})", l.name, l.pod_routes);
    let routes = others.iter().map(told).collect::<Vec<_>>().join(" and ");
    let all = stack(facts, up.into_iter().chain(others));
    let names: Vec<&str> = all.iter().map(|l| l.name.as_str()).collect();
    Some(format!(
        "routes to pods of other nodes leave by {routes}, which is no uplink: links = {names:?} in the \
         profile takes it in"
    ))
}

/// Uplinks without a master, but for a VRF, which only chooses the table.
pub fn routed_uplinks<'a>(facts: &'a Facts, selectors: &[String]) -> Vec<&'a Link> {
    let routed = |l: &&Link| free(facts, l) && (l.default_route || !selectors.is_empty());
    uplinks(facts, selectors).into_iter().filter(routed).collect()
}

/// The node's ends of pods' links, or the bridges that only pods are plugged into.
pub fn pod_links<'a>(facts: &'a Facts, selectors: &[String]) -> Vec<&'a Link> {
    let named = |l: &Link| selectors.iter().any(|s| matches(s, l));
    let chosen = |l: &Link| if selectors.is_empty() { pods(facts, l) } else { named(l) };
    let all = facts.links.iter().filter(|l| l.up && !l.loopback && free(facts, l) && chosen(l));
    all.filter(|l| selectors.is_empty() || !l.default_route).collect()
}

fn free(facts: &Facts, link: &Link) -> bool {
    let master = link.master.as_deref().map(|m| facts.link(m).and_then(|l| l.kind.as_deref()));
    master.is_none_or(|kind| kind == Some("vrf"))
}

fn pods(facts: &Facts, link: &Link) -> bool {
    let end = |l: &Link| l.other_netns && l.is_a(&["veth", "netkit"]);
    if link.default_route {
        return false;
    }
    if !link.is_a(&["bridge"]) {
        return end(link);
    }
    let mut ports =
        facts.links.iter().filter(|l| l.master.as_deref() == Some(&link.name)).peekable();
    ports.peek().is_some() && ports.all(end)
}

/// Whether `link` is what `up` stands on. A bridge stands on its ports with a bus parent (or on bonds
/// and VLANs), not on the pods' veths that are plugged into it. A bridge of Open vSwitch is a port of
/// its datapath, whose other ports have the datapath's own link for a master.
fn stands_on(facts: &Facts, up: &Link, link: &Link) -> bool {
    let switched = || {
        let master = || link.master.as_deref().and_then(|m| facts.link(m));
        up.is_a(OVS) && master().is_some_and(|m| m.is_a(OVS))
    };
    let port = link.master.as_deref() == Some(&up.name) || switched();
    (port && to_the_wire(link))
        || (!up.other_netns && up.parent.as_deref() == Some(&link.name) && !up.is_a(&["veth"]))
}

/// Name, glob with `*`, `driver:NAME`, `pci:ADDRESS` or `mac:ADDRESS`, the permanent one.
pub fn matches(selector: &str, link: &Link) -> bool {
    if let Some(driver) = selector.strip_prefix("driver:") {
        return link.driver.as_deref() == Some(driver);
    }
    if let Some(address) = selector.strip_prefix("pci:") {
        return link.bus.as_deref() == Some(&format!("pci/{address}"));
    }
    if let Some(mac) = selector.strip_prefix("mac:") {
        return link.permanent_mac.as_deref() == Some(mac);
    }
    glob(selector, &link.name)
}

/// Links that stand on this one and can have no larger MTU, the nearest first.
pub fn above<'a>(facts: &'a Facts, name: &str) -> Vec<&'a Link> {
    const STACKED: [&str; 5] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"];
    let mut found: Vec<&Link> = Vec::new();
    let mut below = vec![name];
    while let Some(lower) = below.pop() {
        let on = |l: &&Link| l.parent.as_deref() == Some(lower) && l.is_a(&STACKED);
        let fresh = |l: &&Link| found.iter().all(|known| known.index != l.index);
        let next: Vec<&Link> = facts.links.iter().filter(on).filter(fresh).collect();
        below.extend(next.iter().map(|l| l.name.as_str()));
        found.extend(next);
    }
    found
}

/// How many links are stacked below this one: 0 for the device itself. Orders MTU changes.
pub fn depth(facts: &Facts, name: &str) -> u32 {
    fn walk(facts: &Facts, name: &str, left: u32) -> u32 {
        if left == 0 {
            return 0;
        }
        let up = facts.link(name);
        let below = facts.links.iter().filter(|l| {
            l.master.as_deref() == Some(name) || up.is_some_and(|up| stands_on(facts, up, l))
        });
        below.map(|l| 1 + walk(facts, &l.name, left - 1)).max().unwrap_or(0)
    }
    // The kernel stops at eight as well (MAX_NEST_DEV).
    walk(facts, name, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, index: u32) -> Link {
        Link { name: name.into(), index, ..Link::default() }
    }

    #[test]
    fn what_the_default_route_stands_on() {
        let mut bond = link("bond0", 4);
        bond.kind = Some("bond".into());
        let mut vlan = link("bond0.7", 5);
        vlan.kind = Some("vlan".into());
        vlan.parent = Some("bond0".into());
        vlan.default_route = true;
        let mut member = link("eth0", 2);
        member.bus = Some("pci/0000:01:00.0".into());
        member.master = Some("bond0".into());
        let mut pod = link("lxc1", 6);
        pod.kind = Some("veth".into());
        let facts = Facts { links: vec![member, bond, vlan, pod], ..Facts::default() };
        let names: Vec<&str> = uplinks(&facts, &[]).iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["eth0", "bond0", "bond0.7"]);
        assert_eq!(depth(&facts, "bond0.7"), 2);
        let names: Vec<&str> =
            uplinks(&facts, &["lxc*".into()]).iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["lxc1"]);
    }

    #[test]
    fn links_of_pods_and_the_links_that_routes_point_at() {
        let end = |name: &str, index, master: Option<&str>| Link {
            kind: Some("veth".into()),
            other_netns: true,
            up: true,
            master: master.map(str::to_string),
            ..link(name, index)
        };
        let bridge =
            |name: &str, index| Link { kind: Some("bridge".into()), up: true, ..link(name, index) };
        let mut up = link("eth0", 2);
        up.default_route = true;
        let mut uplink = end("eth1", 9, None);
        uplink.default_route = true;
        let facts = Facts {
            links: vec![
                up,
                end("veth1", 3, None),
                end("veth2", 4, Some("cni0")),
                bridge("cni0", 5),
                bridge("br0", 6),
                Link { master: Some("br0".into()), ..link("eth2", 7) },
                uplink,
            ],
            ..Facts::default()
        };
        let names = |l: Vec<&Link>| l.iter().map(|l| l.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(pod_links(&facts, &[])), ["veth1", "cni0"]);
        assert_eq!(names(pod_links(&facts, &["veth*".into()])), ["veth1"]);
        assert_eq!(names(routed_uplinks(&facts, &[])), ["eth0", "eth1"]);
    }

    fn of_kind(name: &str, index: u32, kind: &str) -> Link {
        Link { kind: Some(kind.into()), up: true, ..link(name, index) }
    }

    fn nic(name: &str, index: u32) -> Link {
        let bus = Some(format!("pci/0000:0{index}:00.0"));
        Link { bus, up: true, ..link(name, index) }
    }

    fn names(links: Vec<&Link>) -> Vec<&str> {
        links.into_iter().map(|l| l.name.as_str()).collect()
    }

    #[test]
    fn tunnels_are_no_uplinks_unless_named() {
        let routed = |link: Link| Link { default_route: true, ..link };
        let on = |parent: &str, link: Link| Link { parent: Some(parent.into()), ..link };
        let mut links = vec![routed(nic("eth0", 1)), nic("eth1", 2)];
        for (n, kind) in TUNNELS.iter().enumerate() {
            let name = format!("t{n}");
            links.push(on("eth1", routed(of_kind(&name, 100 + n as u32, kind))));
        }
        links.push(on("t3", routed(of_kind("t3.7", 50, "vlan"))));
        links.push(on("t3.7", routed(of_kind("mv0", 51, "macvlan"))));
        // A modem and its like have a device, whatever they call themselves.
        links.push(Link { bus: Some("device/1-1".into()), ..routed(of_kind("wwan0", 52, "ppp")) });
        let facts = Facts { links, ..Facts::default() };
        assert_eq!(names(uplinks(&facts, &[])), ["eth0", "wwan0"]);
        assert_eq!(names(routed_uplinks(&facts, &[])), ["eth0", "wwan0"]);
        assert_eq!(names(uplinks(&facts, &["t3.7".into(), "t1".into()])), ["t1", "t3.7"]);
        assert_eq!(candidates(&facts), ["eth0", "eth1", "wwan0"]);
    }

    #[test]
    fn a_bridge_of_open_vswitch_stands_on_the_devices_of_its_datapath() {
        let port = |link: Link| Link { master: Some("ovs-system".into()), ..link };
        let bridge = Link { default_route: true, ..of_kind("br-ex", 9, "openvswitch") };
        let member = Link { master: Some("bond0".into()), ..nic("eth2", 6) };
        let end = Link { other_netns: true, ..of_kind("pod1", 7, "veth") };
        let facts = Facts {
            links: vec![
                of_kind("ovs-system", 2, "openvswitch"),
                port(nic("eth0", 3)),
                nic("eth1", 4),
                port(of_kind("bond0", 5, "bond")),
                member,
                port(end),
                port(Link { representor: true, ..nic("eth0_1", 8) }),
                bridge,
                of_kind("br-int", 10, "openvswitch"),
                port(of_kind("genev_sys_6081", 11, "geneve")),
            ],
            ..Facts::default()
        };
        assert_eq!(names(uplinks(&facts, &[])), ["eth0", "bond0", "eth2", "br-ex"]);
        assert_eq!(names(routed_uplinks(&facts, &[])), ["br-ex"]);
        let order = ["eth0", "bond0", "br-ex"].map(|name| depth(&facts, name));
        assert_eq!(order, [0, 1, 2], "raised from below, lowered from above");
    }

    #[test]
    fn pods_that_leave_by_a_private_link() {
        let member = Link { master: Some("bond0".into()), ..nic("eth2", 3) };
        let mut facts = Facts {
            links: vec![
                Link { default_route: true, ..nic("eth0", 1) },
                Link { pod_routes: 12, ..of_kind("bond0", 2, "bond") },
                member,
            ],
            ..Facts::default()
        };
        let said = pods_leave_elsewhere(&facts, &[]).unwrap();
        let links = "routes to pods of other nodes leave by bond0 (12), which is no uplink: \
                     links = [\"eth0\", \"bond0\", \"eth2\"] in the profile takes it in";
        assert_eq!(said, links);
        assert!(pods_leave_elsewhere(&facts, &["eth0".into()]).is_some());
        assert_eq!(pods_leave_elsewhere(&facts, &["bond*".into()]), None);
        facts.links[1].pod_routes = 0;
        assert_eq!(pods_leave_elsewhere(&facts, &[]), None);
    }
}
