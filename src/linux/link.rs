//! Links, their MTU and sizes, and the routes that a change of MTU disturbs, over rtnetlink.

use std::cell::RefCell;
use std::future::Future;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecUnspec, InfoBondPort, InfoKind, InfoPortData, LacpState, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, LinkXdp, MiiStatus,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric};
use netlink_packet_route::tc::TcMessage;
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder};

use crate::model::State;
use crate::model::facts::{BondPort, Gateway, Link, Sizes, Xdp};

const IFLA_GSO_IPV4: u16 = 63;
const IFLA_GRO_IPV4: u16 = 64;

/// One rtnetlink socket, and the runtime that drives it and D-Bus.
pub struct Links {
    runtime: tokio::runtime::Runtime,
    handle: RefCell<Handle>,
}

impl Links {
    pub fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("start runtime")?;
        let _guard = runtime.enter();
        let (connection, handle, _) =
            rtnetlink::new_connection().context("open rtnetlink socket")?;
        runtime.spawn(connection);
        drop(_guard);
        Ok(Links { runtime, handle: RefCell::new(handle) })
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn handle(&self) -> Handle {
        self.handle.borrow().clone()
    }

    /// All links, in the kernel's order.
    pub fn all(&self) -> Result<Vec<Link>> {
        let request = self.handle().link().get().set_filter_mask(
            netlink_packet_route::AddressFamily::Unspec,
            vec![LinkExtentMask::SkipStats],
        );
        let messages: Vec<LinkMessage> =
            self.block_on(request.execute().try_collect()).context("list links")?;
        let names: std::collections::BTreeMap<u32, String> = messages
            .iter()
            .map(|m| (m.header.index, name_of(m).unwrap_or_default().to_string()))
            .collect();
        Ok(messages.iter().map(|m| parse(m, |index| names.get(&index).cloned())).collect())
    }

    /// One link by name; None when there is no such link.
    pub fn one(&self, name: &str) -> Result<Option<Link>> {
        let request = self.handle().link().get().match_name(name.to_string());
        match self.block_on(request.execute().try_next()) {
            Ok(message) => Ok(message.map(|m| parse(&m, |_| None))),
            Err(e) if errno_of(&e) == Some(nix::libc::ENODEV) => Ok(None),
            Err(e) => Err(plain(e)).with_context(|| format!("get link {name}")),
        }
    }

    pub fn index(&self, name: &str) -> Result<u32> {
        self.one(name)?.map(|l| l.index).with_context(|| format!("link {name} is gone"))
    }

    pub fn set_mtu(&self, name: &str, state: &State) -> Result<()> {
        let mtu = number(state)?;
        self.set(name, vec![LinkAttribute::Mtu(mtu)], &format!("set mtu of {name} to {mtu}"))
    }

    /// All sizes in one message, the v6 pair first: the kernel lets it overwrite the v4 pair.
    pub fn set_sizes(&self, name: &str, state: &State) -> Result<()> {
        let mut attributes = Vec::new();
        let mut add = |key: &str, make: fn(u32) -> LinkAttribute| -> Result<()> {
            if let Some(value) = state.field(key) {
                attributes.push(make(value.parse()?));
            }
            Ok(())
        };
        add("gso", LinkAttribute::GsoMaxSize)?;
        add("gro", LinkAttribute::GroMaxSize)?;
        add("gso_v4", LinkAttribute::GsoIpv4MaxSize)?;
        add("gro_v4", LinkAttribute::GroIpv4MaxSize)?;
        self.set(name, attributes, &format!("set sizes of {name} to {state}"))
    }

    fn set(&self, name: &str, attributes: Vec<LinkAttribute>, what: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(name)?;
        message.attributes = attributes;
        let request = self.handle().link().set(message);
        self.block_on(request.execute()).map_err(plain).with_context(|| what.to_string())
    }

    /// Sends one request and waits for its acknowledgement.
    pub fn send(&self, message: RouteNetlinkMessage, flags: u16, what: &str) -> Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut handle = self.handle();
        let mut replies =
            handle.request(request).map_err(plain).with_context(|| what.to_string())?;
        self.block_on(async {
            while let Some(reply) = replies.next().await {
                if let NetlinkPayload::Error(e) = reply.payload
                    && e.raw_code() != 0
                {
                    return Err(std::io::Error::from_raw_os_error(-e.raw_code()));
                }
            }
            Ok(())
        })
        .with_context(|| what.to_string())
    }

    pub fn qdiscs(&self) -> Result<Vec<TcMessage>> {
        let request = self.handle().qdisc().get();
        self.block_on(request.execute().try_collect()).map_err(plain).context("list qdiscs")
    }

    pub fn addresses_v6(&self) -> Result<Vec<u32>> {
        let request = self.handle().address().get().execute();
        let all: Vec<_> =
            self.block_on(request.try_collect()).map_err(plain).context("list addresses")?;
        let v6 = all
            .into_iter()
            .filter(|a| a.header.family == netlink_packet_route::AddressFamily::Inet6);
        Ok(v6.map(|a| a.header.index).collect())
    }

    pub fn addresses_v4(&self) -> Result<Vec<std::net::Ipv4Addr>> {
        use netlink_packet_route::address::AddressAttribute;
        let request = self.handle().address().get().execute();
        let all: Vec<_> = self.block_on(request.try_collect()).context("list addresses")?;
        let own = all.iter().flat_map(|a| &a.attributes).filter_map(|a| match a {
            AddressAttribute::Local(std::net::IpAddr::V4(own)) => Some(*own),
            _ => None,
        });
        Ok(own.collect())
    }

    /// Policy rules by what a packet alone does not tell: its mark, its sender's user, its tunnel.
    pub fn blind_rules(&self) -> Result<Vec<String>> {
        use netlink_packet_route::rule::RuleAttribute;
        let mut found = Vec::new();
        for (version, word) in [(IpVersion::V4, "ip rule"), (IpVersion::V6, "ip -6 rule")] {
            let request = self.handle().rule().get(version).execute();
            let rules: Vec<_> =
                self.block_on(request.try_collect()).map_err(plain).context("list rules")?;
            for rule in rules {
                let of =
                    |pick: fn(&RuleAttribute) -> Option<u32>| rule.attributes.iter().find_map(pick);
                let priority = of(|a| match a {
                    RuleAttribute::Priority(n) => Some(*n),
                    _ => None,
                });
                let by = rule.attributes.iter().find_map(|a| match a {
                    RuleAttribute::FwMark(_) => Some("fwmark"),
                    RuleAttribute::UidRange(_) => Some("uidrange"),
                    RuleAttribute::TunId(_) => Some("tun_id"),
                    _ => None,
                });
                found.extend(by.map(|by| format!("{word} {}: {by}", priority.unwrap_or(0))));
            }
        }
        Ok(found)
    }

    fn routes(&self, v6: bool) -> Result<Vec<RouteMessage>> {
        let query = if v6 {
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build()
        } else {
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().build()
        };
        let request = self.handle().route().get(query).execute();
        self.block_on(request.try_collect()).map_err(plain).context("list routes")
    }

    /// Marks default routes of every table, and v6 routes with a metric `mtu` of their own.
    pub fn mark_routes(&self, links: &mut [Link]) -> Result<()> {
        for v6 in [false, true] {
            for route in self.routes(v6)? {
                let indices = devices(&route);
                let default = route.header.destination_prefix_length == 0 && is_unicast(&route);
                for link in links.iter_mut().filter(|l| indices.contains(&l.index)) {
                    link.default_route |= default && !link.loopback;
                    let least = [link.route_mtu, mtu_of(&route)].into_iter().flatten().min();
                    link.route_mtu = least;
                    if default && !link.loopback {
                        link.gateways.extend(gateways(&route, link));
                        link.gateways.truncate(MOST_TOLD);
                    }
                    if link.small_routes.len() < MOST_TOLD {
                        link.small_routes.extend(small(&route));
                    }
                    if v6 && indices.len() == 1 && mtu_of(&route).is_some() && !learned(&route) {
                        link.mtu_routes.push(describe(&route));
                    }
                }
            }
        }
        Ok(())
    }

    fn find_route(&self, link: &str, route: &str) -> Result<Option<RouteMessage>> {
        let index = match self.one(link)? {
            Some(link) => link.index,
            None => return Ok(None),
        };
        let mut routes = self.routes(true)?.into_iter();
        Ok(routes.find(|r| devices(r) == [index] && describe(r) == route))
    }

    pub fn read_route_mtu(&self, link: &str, route: &str) -> Result<State> {
        let found = self.find_route(link, route)?;
        Ok(match found.as_ref().map(mtu_of) {
            Some(Some(mtu)) => State::Is(mtu.to_string()),
            Some(None) => State::is("none"),
            None => State::Absent,
        })
    }

    pub fn set_route_mtu(&self, link: &str, route: &str, state: &State) -> Result<()> {
        let mut message =
            self.find_route(link, route)?.with_context(|| format!("route {route} is gone"))?;
        let mtu = state.text().filter(|t| *t != "none").map(str::parse::<u32>).transpose()?;
        let mut metrics: Vec<RouteMetric> = Vec::new();
        for attribute in &message.attributes {
            if let RouteAttribute::Metrics(old) = attribute {
                metrics.extend(old.iter().filter(|m| !matches!(m, RouteMetric::Mtu(_))).cloned());
            }
        }
        metrics.extend(mtu.map(RouteMetric::Mtu));
        // CacheInfo is the kernel's answer, not something to ask for.
        message
            .attributes
            .retain(|a| !matches!(a, RouteAttribute::Metrics(_) | RouteAttribute::CacheInfo(_)));
        message.attributes.push(RouteAttribute::Metrics(metrics));
        let what = format!("set mtu of route {route} to {state}");
        self.send(RouteNetlinkMessage::NewRoute(message), NLM_F_REPLACE, &what)
    }
}

fn number(state: &State) -> Result<u32> {
    let text = state.text().context("a number is needed")?;
    text.parse().with_context(|| format!("{text:?} is not a number"))
}

fn devices(route: &RouteMessage) -> Vec<u32> {
    let mut found = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => found.push(*index),
            RouteAttribute::MultiPath(hops) => found.extend(hops.iter().map(|h| h.interface_index)),
            _ => {}
        }
    }
    found
}

/// Of one link: there may be a route in each table, all with the same metrics.
const MOST_TOLD: usize = 8;

/// Its next hops by that link, each once; one of link scope with the link's name.
fn gateways(route: &RouteMessage, link: &Link) -> Vec<Gateway> {
    let of = |attributes: &[RouteAttribute]| {
        attributes.iter().find_map(|a| match a {
            RouteAttribute::Gateway(RouteAddress::Inet(a)) => Some(a.to_string()),
            RouteAttribute::Gateway(RouteAddress::Inet6(a)) if a.is_unicast_link_local() => {
                Some(format!("{a}%{}", link.name))
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(a)) => Some(a.to_string()),
            _ => None,
        })
    };
    let mut found: Vec<String> = Vec::new();
    let hops = route.attributes.iter().filter_map(|a| match a {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    let hops = hops.flatten().filter(|h| h.interface_index == link.index);
    found.extend(of(&route.attributes));
    found.extend(hops.filter_map(|h| of(&h.attributes)));
    found.sort();
    found.dedup();
    found.retain(|gateway| link.gateways.iter().all(|known| known.address != *gateway));
    found.into_iter().map(|address| Gateway { address, mtu: mtu_of(route) }).collect()
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
    let to = route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(RouteAddress::Inet(a)) => Some(a.to_string()),
        RouteAttribute::Destination(RouteAddress::Inet6(a)) => Some(a.to_string()),
        _ => None,
    });
    let length = route.header.destination_prefix_length;
    let to = to.map_or("default".to_string(), |to| format!("{to}/{length}"));
    (!told.is_empty() && !learned(route)).then(|| format!("{to} {}", told.join(" ")))
}

fn is_unicast(route: &RouteMessage) -> bool {
    route.header.kind == netlink_packet_route::route::RouteType::Unicast
}

/// By a router's advertisement: it has a lifetime and flags that a message of ours would take away,
/// and the next advertisement brings its MTU again.
fn learned(route: &RouteMessage) -> bool {
    route.header.protocol == netlink_packet_route::route::RouteProtocol::Ra
        || route.attributes.iter().any(|a| matches!(a, RouteAttribute::Expires(_)))
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

/// What tells one v6 route of a link from another: destination, table, metric, gateway.
fn describe(route: &RouteMessage) -> String {
    let mut to = "default".to_string();
    let (mut table, mut metric, mut via) = (u32::from(route.header.table), 0, String::new());
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet6(a)) => {
                to = format!("{a}/{}", route.header.destination_prefix_length);
            }
            RouteAttribute::Table(t) => table = *t,
            RouteAttribute::Priority(p) => metric = *p,
            RouteAttribute::Gateway(RouteAddress::Inet6(g)) => via = format!(" via {g}"),
            _ => {}
        }
    }
    format!("{to} table {table} metric {metric}{via}")
}

fn name_of(message: &LinkMessage) -> Option<&str> {
    message.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

pub fn sizes_state(sizes: &Sizes) -> State {
    let pairs = [
        ("gso", sizes.gso),
        ("gro", sizes.gro),
        ("gso_v4", sizes.gso_v4),
        ("gro_v4", sizes.gro_v4),
    ];
    let text: Vec<String> =
        pairs.iter().filter_map(|(k, v)| v.map(|v| format!("{k}={v}"))).collect();
    if text.is_empty() { State::Absent } else { State::Is(text.join(" ")) }
}

fn parse(message: &LinkMessage, name_of_index: impl Fn(u32) -> Option<String>) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        ..Link::default()
    };
    let mut parent_bus = None;
    let mut parent_device = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name.clone(),
            LinkAttribute::Address(mac) => link.mac = mac_text(mac),
            LinkAttribute::PermAddress(mac) => link.permanent_mac = mac_text(mac),
            LinkAttribute::Mtu(n) => link.mtu = *n,
            LinkAttribute::MinMtu(n) => link.min_mtu = *n,
            LinkAttribute::MaxMtu(n) => link.max_mtu = *n,
            LinkAttribute::NumRxQueues(n) => link.rx_queues = *n,
            LinkAttribute::NumTxQueues(n) => link.tx_queues = *n,
            LinkAttribute::GsoMaxSize(n) => link.sizes.gso = Some(*n),
            LinkAttribute::GroMaxSize(n) => link.sizes.gro = Some(*n),
            LinkAttribute::GsoIpv4MaxSize(n) => link.sizes.gso_v4 = Some(*n),
            LinkAttribute::GroIpv4MaxSize(n) => link.sizes.gro_v4 = Some(*n),
            LinkAttribute::TsoMaxSize(n) => link.sizes.tso_max = Some(*n),
            LinkAttribute::Controller(index) => link.master = name_of_index(*index),
            LinkAttribute::Link(index) if *index != link.index => {
                link.parent = name_of_index(*index)
            }
            LinkAttribute::LinkNetNsId(id) if *id >= 0 => link.other_netns = true,
            LinkAttribute::ParentDevName(name) => parent_device = Some(name.clone()),
            LinkAttribute::ParentDevBusName(name) => parent_bus = Some(name.clone()),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => link.kind = Some(kind_name(kind)),
                        LinkInfo::PortData(InfoPortData::BondPort(port)) => {
                            link.bond_port = Some(bond_port(port));
                        }
                        _ => {}
                    }
                }
            }
            LinkAttribute::AfSpecUnspec(families) => link.rp_filter = rp_filter(families),
            LinkAttribute::Xdp(xdp) => link.xdp = parse_xdp(xdp),
            LinkAttribute::Other(nla) => other(&mut link, nla),
            _ => {}
        }
    }
    // The other end is in this namespace only when the kernel says so by leaving its id out.
    if link.other_netns {
        link.parent = None;
    }
    if let (Some(bus), Some(device)) = (parent_bus, parent_device) {
        link.bus = Some(format!("{bus}/{device}"));
    }
    link
}

/// The link's own, as net.ipv4.conf.LINK.rp_filter has it.
fn rp_filter(families: &[AfSpecUnspec]) -> u32 {
    let inet = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet(attributes) => Some(attributes),
        _ => None,
    });
    let own = inet.into_iter().flatten().find_map(|attribute| match attribute {
        AfSpecInet::DevConf(conf) => u32::try_from(conf.rp_filter).ok(),
        _ => None,
    });
    own.unwrap_or(0)
}

fn bond_port(attributes: &[InfoBondPort]) -> BondPort {
    let both = LacpState::COLLECTING | LacpState::DISTRIBUTING;
    let mut port = BondPort { carries: true, lacp: false };
    for attribute in attributes {
        match attribute {
            InfoBondPort::MiiStatus(status) => port.carries &= *status == MiiStatus::Up,
            InfoBondPort::AdActorOperPortState(state)
            | InfoBondPort::AdPartnerOperPortState(state) => {
                port.lacp = true;
                port.carries &= state.contains(both);
            }
            _ => {}
        }
    }
    port
}

/// Attributes that this version of the crate does not know by name.
fn other(link: &mut Link, nla: &DefaultNla) {
    use netlink_packet_core::Nla;
    let mut value = vec![0; nla.value_len()];
    nla.emit_value(&mut value);
    let number = || value.clone().try_into().ok().map(u32::from_ne_bytes);
    match nla.kind() {
        IFLA_GSO_IPV4 => link.sizes.gso_v4 = number(),
        IFLA_GRO_IPV4 => link.sizes.gro_v4 = number(),
        _ => {}
    }
}

fn kind_name(kind: &InfoKind) -> String {
    kind.to_string()
}

fn mac_text(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() || bytes.iter().all(|b| *b == 0) {
        return None;
    }
    Some(bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":"))
}

fn parse_xdp(attributes: &[LinkXdp]) -> Option<Xdp> {
    use netlink_packet_route::link::XdpAttached;
    let mut xdp = Xdp::default();
    for attribute in attributes {
        match attribute {
            LinkXdp::Attached(XdpAttached::None) => return None,
            LinkXdp::Attached(mode) => xdp.mode = format!("{mode:?}").to_lowercase(),
            LinkXdp::ProgId(id) => xdp.program = Some(*id),
            _ => {}
        }
    }
    // The kernel's words: driver mode is what everybody calls native, skb mode generic.
    xdp.mode = match xdp.mode.as_str() {
        "driver" => "native".to_string(),
        "socketbuffer" | "skb" => "generic".to_string(),
        "hardware" => "offload".to_string(),
        "" => return None,
        other => other.to_string(),
    };
    Some(xdp)
}

fn errno_of(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}

/// An io::Error of the kernel's errno, so that all errors of this module end alike.
fn plain(error: rtnetlink::Error) -> anyhow::Error {
    match errno_of(&error) {
        Some(errno) => std::io::Error::from_raw_os_error(errno).into(),
        None => error.into(),
    }
}
