//! The ways that a route's packets take: its own next hops, or those of the nexthop object that it
//! names, which a list of routes leaves out where net.ipv4.nexthop_compat_mode is 0.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteVia};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::socket::{Conn, Message, attrs, interrupted};

/// linux/rtnetlink.h and linux/nexthop.h, which the crate does not have.
const RTM_GETNEXTHOP: u16 = 106;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
/// One way that a route's packets take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    pub index: u32,
    pub via: Option<IpAddr>,
}

/// By id: the ways of an object, those of a group's members together.
pub type Nexthops = BTreeMap<u32, Vec<Hop>>;

/// All objects. The list may change while it is read, on a router whenever a neighbour comes or goes.
pub fn list() -> Result<Nexthops> {
    let ask = || {
        let message = Message { message_type: RTM_GETNEXTHOP, head: [0; 4], body: vec![0; 4] };
        Conn::open(NETLINK_ROUTE)?.request(NLM_F_DUMP, message, "list nexthops")
    };
    let mut answer = ask();
    for _ in 0..4 {
        if answer.as_ref().is_err_and(interrupted) {
            answer = ask();
        }
    }
    Ok(parse_nexthops(&answer?))
}

pub(crate) fn parse_nexthops(messages: &[Message]) -> Nexthops {
    let number = |bytes: &[u8]| bytes.first_chunk().map(|b| u32::from_ne_bytes(*b));
    let (mut all, mut groups) = (Nexthops::new(), BTreeMap::new());
    for message in messages {
        // What is left of nhmsg: its flags.
        let found = attrs(message.body.get(4..).unwrap_or_default());
        let of = |kind| found.get(&kind).copied();
        let Some(id) = of(NHA_ID).and_then(number) else { continue };
        if let Some(group) = of(NHA_GROUP) {
            let members: Vec<u32> = group.chunks(8).filter_map(number).collect();
            groups.insert(id, members);
        } else if let Some(index) = of(NHA_OIF).and_then(number) {
            all.insert(id, vec![Hop { index, via: of(NHA_GATEWAY).and_then(address) }]);
        }
    }
    let members = |ids: &Vec<u32>| {
        ids.iter().filter_map(|id| all.get(id)).flatten().cloned().collect::<Vec<Hop>>()
    };
    let groups: Nexthops = groups.iter().map(|(id, ids)| (*id, members(ids))).collect();
    all.extend(groups);
    all
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(*bytes.first_chunk::<4>()?)),
        16 => Some(IpAddr::from(*bytes.first_chunk::<16>()?)),
        _ => None,
    }
}

pub fn object(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|a| match a {
        RouteAttribute::NhId(id) => Some(*id),
        _ => None,
    })
}

pub fn hops(route: &RouteMessage, nexthops: &Nexthops) -> Vec<Hop> {
    if let Some(hops) = object(route).and_then(|id| nexthops.get(&id)) {
        return hops.clone();
    }
    let mut found = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => {
                found.push(Hop { index: *index, via: via(&route.attributes) });
            }
            RouteAttribute::MultiPath(hops) => found.extend(
                hops.iter().map(|h| Hop { index: h.interface_index, via: via(&h.attributes) }),
            ),
            _ => {}
        }
    }
    found
}

/// An IPv4 route may have an IPv6 gateway (RFC 5549), in an attribute of its own.
fn via(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|a| match a {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(a)) => Some((*a).into()),
        RouteAttribute::Via(RouteVia::Inet6(a)) => Some((*a).into()),
        _ => None,
    })
}

pub fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some((*a).into()),
        RouteAddress::Inet6(a) => Some((*a).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
