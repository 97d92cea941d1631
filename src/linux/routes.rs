//! Routes: what they say of links, and the metric `mtu` of IPv6
//! routes, which a change of a link's MTU overwrites.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use netlink_packet_core::NLM_F_REPLACE;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};
use rtnetlink::RouteMessageBuilder;

use super::link::{Links, plain};
use super::nexthops::{self, Hop, Nexthops, hops, ip, object};
use crate::engine::Wrote;
use crate::model::State;
use crate::model::facts::{Gateway, Link, LostRoute};
use crate::model::resource::route_once;
use crate::model::uplinks::to_the_wire;

/// The bit of RTAX_MTU in RTAX_LOCK.
const MTU_LOCKED: u32 = 1 << 2;
/// Of one link: there may be a route in each table, all with the same metrics.
const MOST_TOLD: usize = 8;

struct Route {
    message: RouteMessage,
    hops: Vec<Hop>,
}

/// The IPv6 routes by link and text, for many questions at once.
pub struct RoutesV6 {
    all: Vec<Route>,
    names: BTreeMap<(u32, String), usize>,
    places: BTreeMap<Place, usize>,
}

impl Links {
    fn routes(&self, v6: bool) -> Result<Vec<Route>> {
        let query = if v6 {
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build()
        } else {
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().build()
        };
        let request = self.handle().route().get(query).execute();
        let mut all: Vec<RouteMessage> =
            self.block_on(request.try_collect()).map_err(plain).context("list routes")?;
        // What the kernel remembers of a path (a smaller MTU on the way) is listed, and is no route.
        all.retain(|r| !r.header.flags.contains(RouteFlags::Cloned));
        // A route by an object may name nothing else (net.ipv4.nexthop_compat_mode = 0).
        let by_object = all.iter().any(|r| object(r).is_some());
        let nexthops = if by_object { nexthops::list()? } else { Nexthops::new() };
        let with_hops = |message| Route { hops: hops(&message, &nexthops), message };
        Ok(all.into_iter().map(with_hops).collect())
    }

    /// Marks default routes of every table, and v6 routes with a metric `mtu` of their own.
    pub fn mark_routes(&self, links: &mut [Link]) -> Result<()> {
        let at: BTreeMap<u32, usize> =
            links.iter().enumerate().map(|(n, l)| (l.index, n)).collect();
        for v6 in [false, true] {
            let routes = self.routes(v6)?;
            let own = |r: &Route| v6 && overwritten(&r.message);
            let places = if routes.iter().any(own) { places(&routes) } else { BTreeMap::new() };
            for route in &routes {
                let devices: BTreeSet<u32> = route.hops.iter().map(|hop| hop.index).collect();
                for n in devices.iter().filter_map(|index| at.get(index)) {
                    mark(&mut links[*n], route);
                    if own(route) {
                        mark_mtu(&mut links[*n], route, &places);
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts, on links that no default route makes uplinks, the routes to pods of other nodes.
    pub fn count_pod_routes(&self, links: &mut [Link], networks: &[String]) -> Result<()> {
        let networks: Vec<(IpAddr, u8)> = networks.iter().filter_map(|n| network(n)).collect();
        let private = |l: &&mut Link| l.up && !l.default_route && to_the_wire(l);
        for v6 in [false, true] {
            let mut links: BTreeMap<u32, &mut Link> =
                links.iter_mut().filter(private).map(|l| (l.index, l)).collect();
            if links.is_empty() || networks.iter().all(|(a, _)| a.is_ipv6() != v6) {
                continue;
            }
            count_pod_routes(&mut links, &self.routes(v6)?, &networks);
        }
        Ok(())
    }

    pub fn routes_v6(&self) -> Result<RoutesV6> {
        Ok(RoutesV6::new(self.routes(true)?))
    }

    pub fn set_route_mtu(&self, link: &str, route: &str, state: &State) -> Result<Wrote> {
        let (index, routes) = (self.index(link)?, self.routes_v6()?);
        let found = routes.find(index, route).with_context(|| format!("route {route} is gone"))?;
        if let Some(why) = not_ours_to_write(found, &routes.places) {
            return Ok(Wrote::LeftToOthers(format!("route {route} of {link}: {why}")));
        }
        let mtu = state.text().filter(|t| *t != "none").map(str::parse::<u32>).transpose()?;
        let message = with_mtu(&found.message, mtu);
        let what = format!("set mtu of route {route} to {state}");
        self.send(RouteNetlinkMessage::NewRoute(message), NLM_F_REPLACE, &what)?;
        Ok(Wrote::Yes)
    }
}

impl RoutesV6 {
    fn new(all: Vec<Route>) -> Self {
        let mut names = BTreeMap::new();
        for (n, route) in all.iter().enumerate() {
            for hop in &route.hops {
                names.entry((hop.index, describe(route))).or_insert(n);
            }
        }
        RoutesV6 { places: places(&all), names, all }
    }

    fn find(&self, index: u32, text: &str) -> Option<&Route> {
        let exact = self.names.get(&(index, text.to_string())).map(|n| &self.all[*n]);
        let on = |r: &&Route| r.hops.iter().any(|hop| hop.index == index);
        let once = |r: &&Route| route_once(&describe(r)) == text;
        exact.or_else(|| self.all.iter().filter(on).find(once))
    }

    pub fn mtu(&self, index: u32, route: &str) -> State {
        match self.find(index, route).map(|r| mtu_of(&r.message)) {
            Some(Some(mtu)) => State::Is(mtu.to_string()),
            Some(None) => State::is("none"),
            None => State::Absent,
        }
    }
}

fn count_pod_routes(
    links: &mut BTreeMap<u32, &mut Link>,
    routes: &[Route],
    networks: &[(IpAddr, u8)],
) {
    for route in routes.iter().filter(|r| is_unicast(&r.message)) {
        let to = destination(&route.message).filter(|to| to.1 > 0);
        if to.is_none_or(|to| networks.iter().all(|known| !beside(to, *known))) {
            continue;
        }
        for hop in route.hops.iter().filter(|hop| hop.via.is_some()) {
            if let Some(link) = links.get_mut(&hop.index) {
                link.pod_routes += 1;
            }
        }
    }
}

fn mark(link: &mut Link, route: &Route) {
    let message = &route.message;
    let default = message.header.destination_prefix_length == 0 && is_unicast(message);
    link.route_mtu = [link.route_mtu, mtu_of(message)].into_iter().flatten().min();
    if default && !link.loopback {
        link.default_route = true;
        link.gateways.extend(gateways(route, link));
        link.gateways.truncate(MOST_TOLD);
    }
    if link.small_routes.len() < MOST_TOLD {
        link.small_routes.extend(small(message));
    }
}

fn mark_mtu(link: &mut Link, route: &Route, places: &BTreeMap<Place, usize>) {
    let message = &route.message;
    match (not_ours_to_write(route, places), mtu_of(message)) {
        (Some(why), Some(mtu)) => {
            let route = describe(route);
            link.lost_routes.push(LostRoute { route, mtu, why: why.to_string() });
        }
        _ => link.mtu_routes.push(describe(route)),
    }
}

/// Its next hops by that link, each once; one of link scope with the link's name.
fn gateways(route: &Route, link: &Link) -> Vec<Gateway> {
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
fn small(route: &RouteMessage) -> Option<String> {
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

fn is_unicast(route: &RouteMessage) -> bool {
    route.header.kind == RouteType::Unicast
}

/// By a router's advertisement: it has a lifetime and flags that a message of ours would take away,
/// and the next advertisement brings its MTU again.
fn learned(route: &RouteMessage) -> bool {
    match route.header.protocol {
        RouteProtocol::Ra => true,
        RouteProtocol::Kernel => expires(route),
        _ => false,
    }
}

fn expires(route: &RouteMessage) -> bool {
    let left = |a: &RouteAttribute| matches!(a, RouteAttribute::CacheInfo(c) if c.expires != 0);
    route.attributes.iter().any(left)
}

fn metrics(route: &RouteMessage) -> &[RouteMetric] {
    let found = route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Metrics(metrics) => Some(metrics.as_slice()),
        _ => None,
    });
    found.unwrap_or_default()
}

fn mtu_of(route: &RouteMessage) -> Option<u32> {
    metrics(route).iter().find_map(|m| match m {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// It has an `mtu` that follows its link's; the kernel leaves a locked one alone.
fn overwritten(route: &RouteMessage) -> bool {
    let locked = |m: &RouteMetric| matches!(m, RouteMetric::Lock(bits) if bits & MTU_LOCKED != 0);
    mtu_of(route).is_some() && !metrics(route).iter().any(locked) && !learned(route)
}

/// The kernel replaces the first route that it finds at this place, whichever link it is of.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    to: Option<(IpAddr, u8)>,
    from: Option<(IpAddr, u8)>,
    table: u32,
    metric: u32,
}

impl Place {
    fn of(route: &RouteMessage) -> Self {
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

fn places(routes: &[Route]) -> BTreeMap<Place, usize> {
    let mut counts = BTreeMap::new();
    for route in routes {
        *counts.entry(Place::of(&route.message)).or_insert(0) += 1;
    }
    counts
}

fn destination(route: &RouteMessage) -> Option<(IpAddr, u8)> {
    route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(a) => Some((ip(a)?, route.header.destination_prefix_length)),
        _ => None,
    })
}

fn prefix(network: Option<(IpAddr, u8)>, all: &str) -> String {
    network.map_or(all.to_string(), |(address, length)| format!("{address}/{length}"))
}

/// What tells one v6 route of a link from another: its place, its gateway, its nexthop object.
fn describe(route: &Route) -> String {
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
fn not_ours_to_write(route: &Route, places: &BTreeMap<Place, usize>) -> Option<&'static str> {
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

fn with_mtu(route: &RouteMessage, mtu: Option<u32>) -> RouteMessage {
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

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    Some((address.trim().parse().ok()?, length.trim().parse().ok()?))
}

/// Inside the pods' network, or the network of another node's pods where only this node's own is
/// known: of the same length, and beside it in the usual one of a cluster (a /16, a /48).
fn beside(to: (IpAddr, u8), known: (IpAddr, u8)) -> bool {
    let bits = |a: IpAddr| match a {
        IpAddr::V4(a) => u128::from(u32::from(a)) << 96,
        IpAddr::V6(a) => u128::from(a),
    };
    let usual = if known.0.is_ipv4() { 16 } else { 48 };
    let common = if to.1 == known.1 { known.1.min(usual) } else { known.1 };
    let shifted = |a: IpAddr| bits(a).checked_shr(128 - u32::from(common)).unwrap_or(0);
    to.0.is_ipv4() == known.0.is_ipv4() && to.1 >= known.1 && shifted(to.0) == shifted(known.0)
}

#[cfg(test)]
pub(crate) mod tests {
    use netlink_packet_route::route::{RouteAddress, RouteCacheInfo};

    use super::*;

    /// All that is ever made of an answer of the kernel, for links of any index.
    pub fn all_of(messages: Vec<RouteMessage>, nexthops: &Nexthops) -> usize {
        let with_hops = |message| Route { hops: hops(&message, nexthops), message };
        let routes: Vec<Route> = messages.into_iter().map(with_hops).collect();
        let places = places(&routes);
        let mut link = Link { index: 2, mtu: 1500, up: true, ..Link::default() };
        for route in &routes {
            mark(&mut link, route);
            mark_mtu(&mut link, route, &places);
            let _ = (not_ours_to_write(route, &places), with_mtu(&route.message, Some(1280)));
        }
        let networks: Vec<_> =
            ["10.77.0.0/16", "fd77::/48", "0.0.0.0/0"].iter().filter_map(|n| network(n)).collect();
        count_pod_routes(&mut BTreeMap::from([(2, &mut link)]), &routes, &networks);
        let all = RoutesV6::new(routes);
        let told = all.names.keys().map(|(index, text)| all.mtu(*index, text).to_string().len());
        told.sum()
    }

    fn route(attributes: Vec<RouteAttribute>) -> Route {
        let mut message = RouteMessage::default();
        message.header.destination_prefix_length = 64;
        message.header.source_prefix_length = 48;
        message.header.table = 254;
        let to = RouteAttribute::Destination(v6("fd99::"));
        message.attributes = [vec![to, RouteAttribute::Priority(1024)], attributes].concat();
        Route { hops: hops(&message, &Nexthops::new()), message }
    }

    fn v6(address: &str) -> RouteAddress {
        RouteAddress::Inet6(address.parse().unwrap())
    }

    fn plain_route(more: Vec<RouteAttribute>) -> Route {
        let by = vec![RouteAttribute::Oif(2), RouteAttribute::Gateway(v6("fd77::2"))];
        let metrics = vec![RouteMetric::Mtu(8000), RouteMetric::Advmss(7000)];
        route([by, vec![RouteAttribute::Metrics(metrics)], more].concat())
    }

    #[test]
    fn a_route_is_found_by_all_that_the_kernel_compares_and_by_its_old_name() {
        let from = |a: &str| plain_route(vec![RouteAttribute::Source(v6(a))]);
        let by_object = || plain_route(vec![RouteAttribute::NhId(5)]);
        let plain = "fd99::/64 table 254 metric 1024 via fd77::2";
        assert_eq!(describe(&plain_route(vec![])), plain);
        let told = "fd99::/64 from fd78::/48 table 254 metric 1024 via fd77::2";
        assert_eq!(describe(&from("fd78::")), told);
        assert_eq!(describe(&by_object()), format!("{plain} nhid 5"));
        let named = |all, text: &str| RoutesV6::new(all).find(2, text).map(describe);
        let both = || vec![from("fd78::"), plain_route(vec![]), from("fd79::")];
        assert_eq!(named(both(), plain).as_deref(), Some(plain));
        assert_eq!(named(both(), told).as_deref(), Some(told));
        assert_eq!(named(vec![by_object()], plain), Some(format!("{plain} nhid 5")));
        assert_eq!(named(vec![from("fd78::")], plain).as_deref(), Some(told));
        let other = plain.replace("1024", "5");
        assert_eq!(named(both(), &other), None);
        assert!(RoutesV6::new(both()).find(3, plain).is_none());
    }

    #[test]
    fn what_one_message_could_not_put_back() {
        let why = |all: &[Route]| not_ours_to_write(&all[0], &places(all));
        let lasts = |ticks: u32| {
            let mut bytes = [0; 32];
            bytes[8..12].copy_from_slice(&ticks.to_ne_bytes());
            RouteAttribute::CacheInfo(RouteCacheInfo::parse(&bytes).unwrap())
        };
        assert_eq!(why(&[plain_route(vec![lasts(0)])]), None);
        assert!(why(&[plain_route(vec![lasts(50_000)])]).is_some());
        assert!(why(&[plain_route(vec![RouteAttribute::Encap(vec![])])]).is_some());
        let twin = route(vec![RouteAttribute::Oif(3)]);
        assert!(why(&[plain_route(vec![]), twin]).is_some());
        let source = vec![RouteAttribute::Source(v6("fd78::"))];
        assert_eq!(why(&[plain_route(vec![]), plain_route(source)]), None);
        let many = || RouteAttribute::MultiPath(vec![Default::default(), Default::default()]);
        assert!(why(&[route(vec![many()])]).is_some());
        // All ways of an object have the route's one metric.
        assert_eq!(why(&[route(vec![many(), RouteAttribute::NhId(5)])]), None);
    }

    #[test]
    fn a_locked_mtu_and_a_routers_own_are_left_alone() {
        let with = |metrics: Vec<RouteMetric>, protocol| {
            let mut route = route(vec![RouteAttribute::Metrics(metrics)]);
            route.message.header.protocol = protocol;
            overwritten(&route.message)
        };
        let mtu = RouteMetric::Mtu(8000);
        assert!(with(vec![mtu.clone()], RouteProtocol::Static));
        assert!(with(vec![RouteMetric::Lock(1 << 8), mtu.clone()], RouteProtocol::Static));
        assert!(!with(vec![RouteMetric::Lock(4), mtu.clone()], RouteProtocol::Static));
        assert!(!with(vec![mtu], RouteProtocol::Ra));
        assert!(!with(vec![RouteMetric::Advmss(1400)], RouteProtocol::Static));
    }

    #[test]
    fn a_route_by_an_object_is_written_without_what_the_object_says() {
        let message = with_mtu(&plain_route(vec![RouteAttribute::NhId(5)]).message, Some(4000));
        let metrics = vec![RouteMetric::Advmss(7000), RouteMetric::Mtu(4000)];
        let want = [
            RouteAttribute::Destination(v6("fd99::")),
            RouteAttribute::Priority(1024),
            RouteAttribute::NhId(5),
            RouteAttribute::Metrics(metrics),
        ];
        assert_eq!(message.attributes, want);
        let message = with_mtu(&plain_route(vec![]).message, None);
        assert!(message.attributes.contains(&RouteAttribute::Gateway(v6("fd77::2"))));
        assert_eq!(mtu_of(&message), None);
    }

    #[test]
    fn networks_of_other_nodes_pods() {
        let is = |to: &str, known: &str| beside(network(to).unwrap(), network(known).unwrap());
        assert!(is("10.244.7.0/24", "10.244.0.0/16") && is("10.244.7.3/32", "10.244.0.0/16"));
        assert!(is("10.244.7.0/24", "10.244.1.0/24") && is("fd00:1:2:7::/64", "fd00:1:2:1::/64"));
        assert!(!is("10.245.7.0/24", "10.244.1.0/24") && !is("10.0.0.0/8", "10.244.0.0/16"));
        assert!(!is("10.244.7.0/26", "10.244.1.0/24") && !is("fd00:1:3::/64", "fd00:1:2::/64"));
        assert!(!is("fd00::/64", "10.244.0.0/16") && is("10.1.2.0/24", "0.0.0.0/0"));
        let mut link = Link::default();
        let direct = route(vec![RouteAttribute::Oif(2)]);
        let mut blackhole = plain_route(vec![]);
        blackhole.message.header.kind = RouteType::BlackHole;
        let mut routes = [plain_route(vec![]), plain_route(vec![]), direct, blackhole];
        for route in &mut routes[..3] {
            route.message.header.kind = RouteType::Unicast;
        }
        let known = [network("fd99::/48").unwrap()];
        count_pod_routes(&mut BTreeMap::from([(2, &mut link)]), &routes, &known);
        assert_eq!(link.pod_routes, 2, "those through a gateway");
    }
}
