//! Links, their MTU and sizes, over rtnetlink.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_core::{
    DefaultNla, ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    Parseable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, InfoBondPort, InfoKind, InfoPortData, LacpState,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, MiiStatus,
};
use netlink_packet_route::tc::TcMessage;
use netlink_sys::AsyncSocket;
use netlink_sys::protocols::NETLINK_ROUTE;
use rtnetlink::Handle;

use super::socket::{CAPPED, Conn, Message, c_string, nla, nlas, refused};
use crate::model::State;
use crate::model::facts::{BondPort, Link, Sizes, Xdp};

/// Of struct ifinfomsg, and of that what follows a message's head of four bytes.
const IFINFO: usize = 16;
const IFINFO_REST: usize = IFINFO - 4;
const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;
/// RTEXT_FILTER_SKIP_STATS.
const SKIP_STATS: u32 = 8;
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
        let (mut connection, handle, _) =
            rtnetlink::new_connection().context("open rtnetlink socket")?;
        // The kernel says in words what it refuses, and does not send the request back before them.
        let socket = connection.socket_mut().socket_mut();
        let words = socket.set_ext_ack(true).and_then(|()| socket.set_cap_ack(true));
        words.context("open rtnetlink socket")?;
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

    /// All links, in the kernel's order. As with routes (routes.rs) the connection would keep a whole dump in its
    /// parsed form, ten times what it is here.
    pub fn all(&self) -> Result<Vec<Link>> {
        let mut raw: Vec<Vec<u8>> = Vec::new();
        let take = |message: Message| raw.push([&message.head[..], &message.body].concat());
        let mut body = vec![0; IFINFO_REST];
        body.extend(nla(IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes()));
        let message = Message { message_type: nix::libc::RTM_GETLINK, head: [0; 4], body };
        // Links come and go meanwhile: what was there at its turn has to do.
        Conn::open(NETLINK_ROUTE)?.each(NLM_F_DUMP, message, "list links", take)?;
        let name = |bytes: &Vec<u8>| {
            let index = u32::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
            let name = nlas(bytes.get(IFINFO..)?).find(|(kind, _)| *kind == IFLA_IFNAME)?.1;
            Some((index, c_string(name)))
        };
        let names: BTreeMap<u32, String> = raw.iter().filter_map(name).collect();
        let link = |bytes: Vec<u8>| {
            let which = || format!("list links: {}", name(&bytes).unwrap_or_default().1);
            let message = LinkMessage::parse(&bytes[..]).with_context(which)?;
            Ok(parse(&message, |index| names.get(&index).cloned()))
        };
        raw.into_iter().map(link).collect()
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
                    return Err(refusal(&e));
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
}

fn number(state: &State) -> Result<u32> {
    let text = state.text().context("a number is needed")?;
    text.parse().with_context(|| format!("{text:?} is not a number"))
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

pub(crate) fn parse(message: &LinkMessage, name_of_index: impl Fn(u32) -> Option<String>) -> Link {
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
            LinkAttribute::AfSpecUnspec(families) => {
                link.rp_filter = rp_filter(families);
                link.mtu_v6 = mtu_v6(families);
            }
            LinkAttribute::PhysPortName(name) => link.representor = represents(name),
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

fn mtu_v6(families: &[AfSpecUnspec]) -> u32 {
    let inet6 = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => Some(attributes),
        _ => None,
    });
    let own = inet6.into_iter().flatten().find_map(|attribute| match attribute {
        AfSpecInet6::DevConf(conf) => u32::try_from(conf.mtu6).ok(),
        _ => None,
    });
    own.unwrap_or(0)
}

/// "pf0vf3", "c1pf0sf7", or "pf0" on the card itself; the port to the wire is "p0"
/// (networking/devlink/devlink-port.rst).
fn represents(port: &str) -> bool {
    let digit = |c: char| c.is_ascii_digit();
    let port = port.strip_prefix('c').map_or(port, |rest| rest.trim_start_matches(digit));
    port.strip_prefix("pf").is_some_and(|rest| rest.starts_with(digit))
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
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().wrapping_abs()),
        _ => None,
    }
}

/// An io::Error of the kernel's errno, under its own words, so that all errors of this module end alike.
pub(crate) fn plain(error: rtnetlink::Error) -> anyhow::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => refusal(&message),
        other => other.into(),
    }
}

fn refusal(message: &ErrorMessage) -> anyhow::Error {
    refused(message.raw_code(), message.header.get(CAPPED..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_stand_for_a_function_behind_the_switch() {
        for port in ["pf0vf3", "pf1sf88", "c1pf0vf2", "pf0"] {
            assert!(represents(port), "{port}");
        }
        for port in ["p0", "p0s1", "", "c0", "pfx", "1"] {
            assert!(!represents(port), "{port}");
        }
    }
}
