//! What a route lookup by BPF does not see: rules by mark, user or tunnel, IPsec policies, IPVS.

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::rule::RuleAttribute;
use netlink_sys::protocols::NETLINK_XFRM;
use rtnetlink::IpVersion;

use crate::linux::bpf;
use crate::linux::link::{Links, plain};
use crate::linux::root::{Root, is_absent};
use crate::linux::socket::{Conn, Message, errno};
use crate::model::facts::{Fact, Routing};

const GET_POLICY: u16 = 0x15;

pub fn gather(root: &Root, links: &Links) -> Routing {
    let addresses = bpf::locals(links).unwrap_or_default();
    Routing {
        rules: match blind_rules(links) {
            Ok(rules) => Fact::Known(rules),
            Err(e) => Fact::unknown(format!("{e:#}")),
        },
        xfrm_policies: xfrm(root),
        ipvs: ipvs(root),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        forwarding: root.line("proc/sys/net/ipv4/conf/all/forwarding").as_deref() == Some("1"),
    }
}

/// Policy rules by what a packet alone does not tell: its mark, its sender's user, its tunnel.
fn blind_rules(links: &Links) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (version, word) in [(IpVersion::V4, "ip rule"), (IpVersion::V6, "ip -6 rule")] {
        let request = links.handle().rule().get(version).execute();
        let rules: Vec<_> =
            links.block_on(request.try_collect()).map_err(plain).context("list rules")?;
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

/// Asking would load xfrm_user, so first whether anybody speaks that protocol: the kernel's own socket.
fn xfrm(root: &Root) -> Fact<u32> {
    let path = "proc/thread-self/net/netlink";
    let table = match root.read(path) {
        Ok(table) => table,
        Err(e) => return Fact::unknown(format!("read {}: {e}", root.full(path))),
    };
    let spoken = table
        .lines()
        .filter_map(|l| l.split_whitespace().nth(1))
        .any(|protocol| protocol == NETLINK_XFRM.to_string());
    if !spoken {
        // PF_KEY fills the same database.
        return if root.exists("proc/thread-self/net/pfkey") {
            Fact::unknown("IPsec policies may be there by PF_KEY, and xfrm_user is not loaded")
        } else {
            Fact::Known(0)
        };
    }
    let ask = || {
        let message = Message { message_type: GET_POLICY, head: [0; 4], body: Vec::new() };
        Conn::open(NETLINK_XFRM)?.request(NLM_F_DUMP, message, "list xfrm policies")
    };
    match ask() {
        Ok(policies) => Fact::Known(policies.len() as u32),
        Err(e) if errno(&e) == Some(nix::libc::EPERM) => {
            Fact::unknown("IPsec policies can be listed by root only")
        }
        Err(e) => Fact::unknown(format!("{e:#}")),
    }
}

/// One line a service, after a head of three; a real server's line begins with an arrow.
pub(crate) fn ipvs(root: &Root) -> Fact<u32> {
    let path = "proc/thread-self/net/ip_vs";
    match root.read(path) {
        Ok(text) => {
            let services = text.lines().skip(3).filter(|l| !l.trim_start().starts_with("->"));
            Fact::Known(services.count() as u32)
        }
        Err(e) if is_absent(&e) => Fact::Known(0),
        Err(e) => Fact::unknown(format!("read {}: {e}", root.full(path))),
    }
}
