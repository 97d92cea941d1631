//! What one route says, and whether what the kernel keeps of it can be put back.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};

use super::nexthops::{Hop, ip, object};
use crate::model::facts::{Gateway, Link};

/// The bit of RTAX_MTU in RTAX_LOCK.
const MTU_LOCKED: u32 = 1 << 2;
pub struct Route {
    pub message: RouteMessage,
    pub hops: Vec<Hop>,
}

/// Its next hops by that link, each once; one of link scope with the link's name.
pub fn gateways(route: &Route, link: &Link) -> Vec<Gateway> {
    let told = |via: IpAddr| match via {
        IpAddr::V6(a) if a.is_unicast_link_local() => format!("{a}%{}", link.name),
        _ => via.to_string(),
    };
    let hops = route.hops.iter().filter(|hop| hop.index == link.index);
    let mut found: Vec<String> = hops.filter_map(|hop| hop.via).map(told).collect();
    found.sort();
    found.dedup();
    found.retain(|gateway| link.gateways.iter().all(|known| known.address != *gateway));
    let mtu = mtu_of(&route.message);
    found.into_iter().map(|address| Gateway { address, mtu }).collect()
}

/// What its own metrics keep small, whatever the link takes.
pub fn small(route: &RouteMessage) -> Option<String> {
    let told: Vec<String> = metrics(route)
        .iter()
        .filter_map(|m| match m {
            RouteMetric::Mtu(n) => Some(format!("mtu {n}")),
            RouteMetric::Advmss(n) => Some(format!("advmss {n}")),
            _ => None,
        })
        .collect();
    let to = prefix(destination(route), "default");
    (!told.is_empty() && !learned(route)).then(|| format!("{to} {}", told.join(" ")))
}

pub fn is_unicast(route: &RouteMessage) -> bool {
    route.header.kind == RouteType::Unicast
}

/// By a router's advertisement: it has a lifetime and flags that a message of ours would take away,
/// and the next advertisement brings its MTU again.
pub fn learned(route: &RouteMessage) -> bool {
    match route.header.protocol {
        RouteProtocol::Ra => true,
        RouteProtocol::Kernel => expires(route),
        _ => false,
    }
}

pub fn expires(route: &RouteMessage) -> bool {
    let left = |a: &RouteAttribute| matches!(a, RouteAttribute::CacheInfo(c) if c.expires != 0);
    route.attributes.iter().any(left)
}

pub fn metrics(route: &RouteMessage) -> &[RouteMetric] {
    let found = route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Metrics(metrics) => Some(metrics.as_slice()),
        _ => None,
    });
    found.unwrap_or_default()
}

pub fn mtu_of(route: &RouteMessage) -> Option<u32> {
    metrics(route).iter().find_map(|m| match m {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// It has an `mtu` that follows its link's; the kernel leaves a locked one alone.
pub fn overwritten(route: &RouteMessage) -> bool {
    let locked = |m: &RouteMetric| matches!(m, RouteMetric::Lock(bits) if bits & MTU_LOCKED != 0);
    mtu_of(route).is_some() && !metrics(route).iter().any(locked) && !learned(route)
}

/// The kernel replaces the first route that it finds at this place, whichever link it is of.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    to: Option<(IpAddr, u8)>,
    from: Option<(IpAddr, u8)>,
    table: u32,
    metric: u32,
}

impl Place {
    pub fn of(route: &RouteMessage) -> Self {
        let mut place = Place {
            to: destination(route),
            from: None,
            table: u32::from(route.header.table),
            metric: 0,
        };
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Source(a) => {
                    place.from = ip(a).map(|a| (a, route.header.source_prefix_length));
                }
                RouteAttribute::Table(table) => place.table = *table,
                RouteAttribute::Priority(metric) => place.metric = *metric,
                _ => {}
            }
        }
        place
    }
}

/// As the words of `ip -6 route`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", prefix(self.to, "default"))?;
        if self.from.is_some() {
            write!(f, " from {}", prefix(self.from, ""))?;
        }
        write!(f, " table {} metric {}", self.table, self.metric)
    }
}

pub fn places(routes: &[Route]) -> BTreeMap<Place, usize> {
    let mut counts = BTreeMap::new();
    for route in routes {
        *counts.entry(Place::of(&route.message)).or_insert(0) += 1;
    }
    counts
}

pub fn destination(route: &RouteMessage) -> Option<(IpAddr, u8)> {
    route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(a) => Some((ip(a)?, route.header.destination_prefix_length)),
        _ => None,
    })
}

pub fn prefix(network: Option<(IpAddr, u8)>, all: &str) -> String {
    network.map_or(all.to_string(), |(address, length)| format!("{address}/{length}"))
}

/// What tells one v6 route of a link from another: its place, its gateway, its nexthop object.
pub fn describe(route: &Route) -> String {
    let mut text = Place::of(&route.message).to_string();
    if let [Hop { via: Some(gateway), .. }] = route.hops[..] {
        text.push_str(&format!(" via {gateway}"));
    }
    match object(&route.message) {
        Some(id) => format!("{text} nhid {id}"),
        None => text,
    }
}

/// Why one message could not put its `mtu` back and leave all else as it is.
pub fn not_ours_to_write(route: &Route, places: &BTreeMap<Place, usize>) -> Option<&'static str> {
    let message = &route.message;
    let has = |what: fn(&RouteAttribute) -> bool| message.attributes.iter().any(what);
    if object(message).is_none() && has(|a| matches!(a, RouteAttribute::MultiPath(_))) {
        // Each next hop is a route with metrics of its own, of which a list shows the first one's.
        Some("it has several next hops, each with an mtu that no list shows")
    } else if expires(message) {
        Some("it expires, and would no more")
    } else if has(|a| matches!(a, RouteAttribute::Encap(_))) {
        Some("it encapsulates what it takes")
    } else if places.get(&Place::of(message)).is_some_and(|count| *count > 1) {
        Some("another route has the same destination and metric, and might be replaced for it")
    } else {
        None
    }
}

pub fn with_mtu(route: &RouteMessage, mtu: Option<u32>) -> RouteMessage {
    let mut message = route.clone();
    let old = metrics(route).iter().filter(|m| !matches!(m, RouteMetric::Mtu(_))).cloned();
    let metrics: Vec<RouteMetric> = old.chain(mtu.map(RouteMetric::Mtu)).collect();
    let by_object = object(route).is_some();
    message.attributes.retain(|a| match a {
        // The kernel's answer, not something to ask for.
        RouteAttribute::Metrics(_) | RouteAttribute::CacheInfo(_) => false,
        // What the object says; the kernel refuses a route that says both.
        RouteAttribute::Gateway(_) | RouteAttribute::Oif(_) | RouteAttribute::MultiPath(_) => {
            !by_object
        }
        _ => true,
    });
    message.attributes.push(RouteAttribute::Metrics(metrics));
    message
}

pub fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    Some((address.trim().parse().ok()?, length.trim().parse().ok()?))
}

/// Inside the pods' network, or the network of another node's pods where only this node's own is
/// known: of the same length, and beside it in the usual one of a cluster (a /16, a /48).
pub fn beside(to: (IpAddr, u8), known: (IpAddr, u8)) -> bool {
    let bits = |a: IpAddr| match a {
        IpAddr::V4(a) => u128::from(u32::from(a)) << 96,
        IpAddr::V6(a) => u128::from(a),
    };
    let usual = if known.0.is_ipv4() { 16 } else { 48 };
    let common = if to.1 == known.1 { known.1.min(usual) } else { known.1 };
    let shifted = |a: IpAddr| bits(a).checked_shr(128 - u32::from(common)).unwrap_or(0);
    to.0.is_ipv4() == known.0.is_ipv4() && to.1 >= known.1 && shifted(to.0) == shifted(known.0)
}
