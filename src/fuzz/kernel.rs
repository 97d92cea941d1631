//! Runs of what is bytes: answers of the kernel and of Cilium's agent, tables of iptables, programs.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;

use crate::linux::bpf::filters;
use crate::linux::facts::unix_http::{Deadline, answer};
use crate::linux::socket::{self, Message, attrs};
use crate::linux::{ethtool, legacy, link, nexthops, nft, qdisc, routes};
use crate::model::group::GROUPS;

/// What rtnetlink makes of a datagram, up to its first message that is none.
fn route_messages(bytes: &[u8]) -> Vec<RouteNetlinkMessage> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
        let length = (message.header.length as usize).next_multiple_of(4);
        rest = rest.get(length.max(16)..).unwrap_or_default();
        if let NetlinkPayload::InnerMessage(message) = message.payload {
            found.push(message);
        }
    }
    found
}

/// What our own socket makes of it; an error among them ends it.
fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    for message in socket::messages(bytes).unwrap_or_default() {
        let refused = socket::check(&message).map_err(|e| format!("{e:#}")).is_err();
        if let (false, NetlinkPayload::InnerMessage(message)) = (refused, message.payload) {
            found.push(message);
        }
    }
    assert!(found.iter().map(|m| m.body.len()).sum::<usize>() <= bytes.len());
    found
}

pub fn netlink_links(bytes: &[u8]) {
    for message in route_messages(bytes) {
        if let RouteNetlinkMessage::NewLink(message) = message {
            let link = link::parse(&message, |index| Some(index.to_string()));
            let _ = link::sizes_state(&link.sizes);
        }
    }
}

pub fn netlink_qdiscs(bytes: &[u8]) {
    let mut all = Vec::new();
    for message in route_messages(bytes) {
        if let RouteNetlinkMessage::NewQueueDiscipline(message) = message {
            all.push(qdisc::parse(&message));
        }
    }
    for mtu in [0, 1500, u32::MAX] {
        let _ = (qdisc::state(&all, mtu), qdisc::has_clsact(&all));
    }
}

pub fn netlink_routes(bytes: &[u8]) {
    let nexthops = nexthops::parse_nexthops(&messages(bytes));
    let routes = route_messages(bytes).into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewRoute(route) => Some(route),
        _ => None,
    });
    routes::tests::all_of(routes.collect(), &nexthops);
}

pub fn netlink_nexthops(bytes: &[u8]) {
    let all = nexthops::parse_nexthops(&messages(bytes));
    assert!(all.values().map(Vec::len).sum::<usize>() <= bytes.len() * bytes.len());
}

pub fn netlink_filters(bytes: &[u8]) {
    for message in messages(bytes) {
        let _ = filters::parse(&message.body);
    }
}

pub fn netlink_ethtool(bytes: &[u8]) {
    for message in messages(bytes) {
        let body = ethtool::plain(&message.body);
        for group in GROUPS.iter().map(|row| row.group) {
            let Some(numbers) = ethtool::numbers(group) else { continue };
            let once = ethtool::values(group, numbers, &body);
            assert_eq!(group.canonical(&once), once);
        }
        let names = ethtool::names_of(&message.body);
        for set in body.values() {
            assert!(ethtool::bits(set, &names).len() <= names.len());
        }
    }
}

/// Tables, chains and rules of one dump, by their types.
pub fn netlink_nft(bytes: &[u8]) {
    let (mut tables, mut chains, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    for message in messages(bytes) {
        let body = attrs(&message.body);
        match message.message_type & 0xff {
            0 => tables.push(message),
            3 => {
                let _ = nft::table::chain_text(body);
                chains.push(message);
            }
            6 => {
                let _ = nft::table::rule_text(&body);
                rules.push(message);
            }
            _ => drop(nft::flow::text(&body)),
        }
    }
    if let Ok(found) = nft::summary::summary(&tables, &chains, &rules) {
        assert!(found.len() <= chains.len());
        assert!(found.iter().map(|c| c.rules as usize).sum::<usize>() <= rules.len());
    }
}

/// The kernel's answer is as long as its head says: it is made so, or all would end there.
fn legacy_table(family: legacy::blob::Family, table: &str, bytes: &[u8]) {
    let Some((info, entries)) = bytes.split_at_checked(legacy::blob::INFO_LEN) else { return };
    let _ = legacy::blob::parse(family, table, info, entries);
    let mut info = info.to_vec();
    info[legacy::blob::INFO_LEN - 4..].copy_from_slice(&(entries.len() as u32).to_ne_bytes());
    if let Ok(chains) = legacy::blob::parse(family, table, &info, entries) {
        let rules: usize = chains.iter().map(|c| c.rules as usize).sum();
        assert!(rules <= 6 * entries.len() / 112, "{rules} rules in {} bytes", entries.len());
    }
}

pub fn legacy_v4(bytes: &[u8]) {
    legacy_table(legacy::blob::Family::V4, "filter", bytes);
}

pub fn legacy_v6(bytes: &[u8]) {
    legacy_table(legacy::blob::Family::V6, "nat", bytes);
}

/// Loading ends at the first system call: the run is in a user namespace, which has no right to one.
/// The crate's own parser panics and wraps over offsets that lead out of an object (docs/testing.md tells where).
pub fn bpf_object(bytes: &[u8]) {
    let load = || {
        let mut loader = aya::EbpfLoader::new();
        loader.btf(None).load(bytes).map(|bpf| bpf.programs().count()).ok()
    };
    let _ = std::panic::catch_unwind(load);
}

pub fn cilium_http(bytes: &[u8]) {
    // What a socket takes without a reader.
    let bytes = &bytes[..bytes.len().min(64 << 10)];
    let (mut agent, mut here) = UnixStream::pair().unwrap();
    agent.write_all(bytes).unwrap();
    agent.shutdown(Shutdown::Write).unwrap();
    if let Ok(body) = answer(&mut here, &Deadline::after(Duration::from_secs(60))) {
        assert!(body.len() < bytes.len());
    }
}
