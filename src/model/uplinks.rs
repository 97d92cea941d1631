//! Which links a profile means.

use std::collections::BTreeSet;

use super::facts::{Facts, Link};

/// The uplinks: links that a selector names, else the devices of the default routes, with all that
/// they stand on (VLAN, bond, bridge) down to the device with a bus parent. Never a pod's end.
pub fn uplinks<'a>(facts: &'a Facts, selectors: &[String]) -> Vec<&'a Link> {
    let mut chosen: BTreeSet<u32> = facts
        .links
        .iter()
        .filter(|l| {
            if selectors.is_empty() {
                l.default_route
            } else {
                selectors.iter().any(|s| matches(s, l))
            }
        })
        .map(|l| l.index)
        .collect();
    if selectors.is_empty() {
        loop {
            let (upper, rest): (Vec<&Link>, Vec<&Link>) =
                facts.links.iter().partition(|l| chosen.contains(&l.index));
            let below = rest.into_iter().filter(|l| carries(l, &upper)).map(|l| l.index);
            let found = chosen.len();
            chosen.extend(below);
            if chosen.len() == found {
                break;
            }
        }
    }
    facts.links.iter().filter(|l| chosen.contains(&l.index) && !l.loopback).collect()
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

/// Whether `link` is what one of `upper` stands on. A bridge stands on its ports with a bus parent
/// (or on bonds and VLANs), not on the pods' veths that are plugged into it.
fn carries(link: &Link, upper: &[&Link]) -> bool {
    let port = link.bus.is_some() || link.is_a(&["bond", "vlan", "team"]);
    upper.iter().any(|up| {
        (port && link.master.as_deref() == Some(&up.name))
            || (!up.other_netns && up.parent.as_deref() == Some(&link.name) && !up.is_a(&["veth"]))
    })
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

/// `*` stands for any characters.
pub fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().map(|(i, _)| i).chain([rest.len()]).any(|i| glob(tail, &rest[i..]))
        }),
    }
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
        let below = facts.links.iter().filter(|l| {
            l.master.as_deref() == Some(name)
                || facts
                    .link(name)
                    .is_some_and(|up| !up.is_a(&["veth"]) && up.parent.as_deref() == Some(&l.name))
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

    #[test]
    fn globs() {
        assert!(
            glob("eth*", "eth0") && glob("*", "x") && glob("e*0", "eth0") && glob("eth0", "eth0")
        );
        assert!(!glob("eth*", "wlan0") && !glob("e*1", "eth0"));
    }
}
