//! `check --deep`: a program that lets everything pass really goes to a link's driver and off again. It
//! hangs on a bpf_link that is pinned nowhere, so it goes with the process, however that ends.

use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use aya::programs::xdp::XdpMode;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::super::ethtool;
use super::super::link::Links;
use super::super::root::Root;
use super::super::socket::{Conn, Message, attributes, nla};
use super::{object, probes};
use crate::model::bpf::Deep;
use crate::model::facts::{Facts, Link};
use crate::model::state::fields;
use crate::model::{Group, State, xdp_limits};

const SET_LINK: u16 = 19;
const IFLA_XDP: u16 = 43;
const NESTED: u16 = 1 << 15;
const IF_NOEXIST: u32 = 1;
const DRIVER_MODE: u32 = 4;

pub fn ask(root: &Root, links: &Links, facts: &Facts, name: &str) -> Result<Deep> {
    let link = facts.link(name).with_context(|| format!("there is no link {name}"))?;
    let limits = link.driver.as_deref().and_then(xdp_limits::find);
    let mut deep = Deep {
        kernel: probes::deep(root),
        link: name.to_string(),
        driver: link.driver.clone(),
        native: None,
        said: refused(facts, link),
        mtu: link.mtu,
        max_mtu: link.max_mtu,
        max_mtu_with_program: None,
        channels: link.channels.clone(),
        channels_with_program: None,
        known: limits.map(|l| format!("{} {}, {}", l.driver, l.known, l.source)),
    };
    if deep.said.is_some() {
        return Ok(deep);
    }
    let frags = facts.bpf.frags.known() == Some(&true);
    let mut loaded = object::passing(if frags { "nettune_pass_" } else { "nettune_pass" })?;
    let program = loaded.xdp()?;
    match program.attach_to_if_index(link.index, XdpMode::Driver) {
        Ok(attached) => {
            let with = links.one(name)?;
            deep.native = with.as_ref().map(|l| l.xdp.as_ref().is_some_and(|x| x.mode == "native"));
            deep.max_mtu_with_program = with.map(|l| l.max_mtu);
            deep.channels_with_program =
                match ethtool::read(&ethtool::Ethtool::default(), link.index, Group::Channels) {
                    Ok(State::Is(text)) => Some(text).filter(|text| moved(link, text)),
                    _ => None,
                };
            program.detach(attached).with_context(|| format!("take the program off {name}"))?;
        }
        Err(_) => {
            // bpf_link has no words of the driver's; netlink has. What it refused once it refuses again.
            let fd = program.fd()?.as_fd().as_raw_fd();
            deep.native = Some(false);
            deep.said = match by_netlink(link.index, fd, IF_NOEXIST | DRIVER_MODE) {
                Err(e) => Some(format!("{e:#}")),
                Ok(()) => {
                    by_netlink(link.index, -1, DRIVER_MODE)?;
                    deep.native = Some(true);
                    Some("by netlink only: this kernel has no bpf_link for XDP".to_string())
                }
            };
        }
    }
    Ok(deep)
}

fn moved(link: &Link, channels: &str) -> bool {
    let before = State::is(link.channels.as_deref().unwrap_or_default());
    fields(channels).any(|(key, value)| before.field(key) != Some(value))
}

/// Why the link is better not asked.
fn refused(facts: &Facts, link: &Link) -> Option<String> {
    if let Some(xdp) = &link.xdp {
        return Some(format!("a program is attached already ({})", xdp.mode));
    }
    let bond = link.master.as_deref().and_then(|m| facts.link(m));
    if bond.is_some_and(|b| b.is_a(&["bond", "team"])) {
        return Some("it is a member of a bond, which a program on it keeps from XDP".to_string());
    }
    if facts.agents.cilium.is_some() {
        return Some("Cilium runs here and may have selected it".to_string());
    }
    None
}

fn by_netlink(index: u32, fd: i32, flags: u32) -> Result<()> {
    let xdp = attributes(&[(1, &fd.to_ne_bytes()), (3, &flags.to_ne_bytes())]);
    // The rest of struct ifinfomsg behind its family and type.
    let mut body = [index.to_ne_bytes(), [0; 4], [0; 4]].concat();
    body.extend(nla(IFLA_XDP | NESTED, &xdp));
    let message = Message { message_type: SET_LINK, head: [0; 4], body };
    let flags = netlink_packet_core::NLM_F_ACK;
    Conn::open(NETLINK_ROUTE)?.request(flags, message, "attach in native mode").map(drop)
}
