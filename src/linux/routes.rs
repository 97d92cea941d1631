//! Routes: what they say of links, and the metric `mtu` of IPv6
//! routes, which a change of a link's MTU overwrites.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REPLACE, Parseable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteFlags, RouteMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::link::Links;
use super::nexthops::{self, Nexthops, hops, object};
use super::route::{
    Place, Route, beside, describe, destination, gateways, is_unicast, mtu_of, network,
    not_ours_to_write, overwritten, places, small, with_mtu,
};
use super::socket::{Conn, Message, nlas};
use crate::engine::Wrote;
use crate::model::State;
use crate::model::facts::{Link, LostRoute};
use crate::model::resource::route_once;
use crate::model::uplinks::to_the_wire;

const RTM_GETROUTE: u16 = 26;
const RTA_METRICS: u16 = 8;
/// What is left of rtmsg behind the four bytes that each family's header begins with.
const RTMSG_REST: usize = 8;

/// Which routes of a family are asked for.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    All,
    /// Those that say something of their links.
    Telling,
    /// To these networks, or parts of them.
    To(&'a [(IpAddr, u8)]),
}

/// Of one link: there may be a route in each table, all with the same metrics.
const MOST_TOLD: usize = 8;

/// The IPv6 routes by link and text, for many questions at once.
pub struct RoutesV6 {
    all: Vec<Route>,
    names: BTreeMap<(u32, String), usize>,
    places: BTreeMap<Place, usize>,
}

impl Links {
    /// Those of a family that are asked for. A node may have a hundred thousand, and rtnetlink's connection would
    /// keep all of them until the last has come: here the others are gone before the next one is read.
    fn routes(&self, v6: bool, wanted: Wanted) -> Result<Vec<Route>> {
        let ask = || {
            let family = if v6 { nix::libc::AF_INET6 } else { nix::libc::AF_INET } as u8;
            let message = Message {
                message_type: RTM_GETROUTE,
                head: [family, 0, 0, 0],
                body: vec![0; RTMSG_REST],
            };
            let mut all: Vec<RouteMessage> = Vec::new();
            let take = |message: Message| {
                if matches!(wanted, Wanted::Telling) && !tells(&message) {
                    return;
                }
                let bytes = [&message.head[..], &message.body].concat();
                let route = RouteMessage::parse(&bytes[..]);
                // What the kernel remembers of a path (a smaller MTU on the way) is listed, and is no route.
                let is = |r: &RouteMessage| !r.header.flags.contains(RouteFlags::Cloned);
                let to = |r: &RouteMessage| match wanted {
                    Wanted::To(networks) => to_networks(r, networks),
                    Wanted::All | Wanted::Telling => true,
                };
                all.extend(route.into_iter().filter(is).filter(to));
            };
            let whole =
                Conn::open(NETLINK_ROUTE)?.each(NLM_F_DUMP, message, "list routes", take)?;
            Ok::<_, anyhow::Error>((all, whole))
        };
        // On a router routes come and go all the time: what is read last has to do.
        let (mut all, mut whole) = ask()?;
        for _ in 0..2 {
            if !whole {
                (all, whole) = ask()?;
            }
        }
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
            let routes = self.routes(v6, Wanted::Telling)?;
            let own = |r: &Route| v6 && overwritten(&r.message);
            // Which other routes have the place of one is seen of all.
            let places = match routes.iter().any(own) {
                true => places(&self.routes(v6, Wanted::All)?),
                false => BTreeMap::new(),
            };
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
            count_pod_routes(&mut links, &self.routes(v6, Wanted::To(&networks))?, &networks);
        }
        Ok(())
    }

    pub fn routes_v6(&self) -> Result<RoutesV6> {
        Ok(RoutesV6::new(self.routes(true, Wanted::All)?))
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

/// What `mark` can learn from it: a default route, or one with metrics. Asked of the bytes, as most are neither.
fn tells(route: &Message) -> bool {
    let prefix_length = route.head[1];
    let attributes = route.body.get(RTMSG_REST..).unwrap_or_default();
    prefix_length == 0 || nlas(attributes).any(|(kind, _)| kind == RTA_METRICS)
}

fn to_networks(route: &RouteMessage, networks: &[(IpAddr, u8)]) -> bool {
    let to = destination(route).filter(|to| to.1 > 0);
    is_unicast(route) && to.is_some_and(|to| networks.iter().any(|known| beside(to, *known)))
}

fn count_pod_routes(
    links: &mut BTreeMap<u32, &mut Link>,
    routes: &[Route],
    networks: &[(IpAddr, u8)],
) {
    for route in routes.iter().filter(|r| to_networks(&r.message, networks)) {
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

#[cfg(test)]
pub(crate) mod tests {

    use netlink_packet_route::route::{
        RouteAddress, RouteAttribute, RouteCacheInfo, RouteMetric, RouteProtocol, RouteType,
    };

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
