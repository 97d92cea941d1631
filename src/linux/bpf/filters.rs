//! Filters of clsact, over a plain socket: the crate reads only the first option of a filter it does
//! not know.

use std::io;

use anyhow::Result;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_ECHO};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::libc::{EINVAL, ENOENT};

use super::super::socket::{Conn, Message, attrs, c_string, errno, io_error};

const DELETE_QDISC: u16 = 37;
const GET_QDISC: u16 = 38;
const DELETE_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// ETH_P_ALL in the order of the network, as every filter of ours has it.
const ALL_PROTOCOLS: u32 = 0x0003_u16.to_be() as u32;
const CLSACT_INGRESS: u32 = 0xffff_fff2;
const CLSACT_EGRESS: u32 = 0xffff_fff3;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_CLASSID: u16 = 3;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// "bpf", "flower", ...
    pub kind: String,
    pub preference: u16,
    pub handle: u32,
    pub name: String,
    pub program: Option<u32>,
    pub class: Option<u32>,
}

pub fn ingress(index: u32) -> Result<Vec<Filter>> {
    list(index, CLSACT_INGRESS)
}

pub fn egress(index: u32) -> Result<Vec<Filter>> {
    list(index, CLSACT_EGRESS)
}

pub fn both(index: u32) -> Result<Vec<Filter>> {
    Ok([ingress(index)?, egress(index)?].concat())
}

/// struct tcmsg: link, handle, parent, and of a filter preference and protocol.
fn ask(message_type: u16, words: [u32; 4]) -> Message {
    let body = words.iter().flat_map(|n| n.to_ne_bytes()).collect();
    Message { message_type, head: [0; 4], body }
}

/// Asked of the one link: a dump would list the qdiscs of all.
pub fn has_clsact(index: u32) -> Result<bool> {
    let message = ask(GET_QDISC, [index, 0, CLSACT, 0]);
    // Without ECHO the kernel tells everybody but who asked.
    match Conn::open(NETLINK_ROUTE)?.request(NLM_F_ACK | NLM_F_ECHO, message, "get qdisc clsact") {
        Ok(found) => Ok(found.iter().any(|m| {
            let all = attrs(m.body.get(16..).unwrap_or_default());
            all.get(&TCA_KIND).is_some_and(|kind| c_string(kind) == "clsact")
        })),
        Err(e) if matches!(errno(&e), Some(ENOENT | EINVAL)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The one filter at ingress with this preference and handle, whatever else is there.
pub fn delete(index: u32, preference: u16, handle: u32) -> Result<()> {
    let info = u32::from(preference) << 16 | ALL_PROTOCOLS;
    let message = ask(DELETE_FILTER, [index, handle, CLSACT_INGRESS, info]);
    Conn::open(NETLINK_ROUTE)?.request(NLM_F_ACK, message, "delete filter").map(drop)
}

fn list(index: u32, parent: u32) -> Result<Vec<Filter>> {
    let message = ask(GET_FILTER, [index, 0, parent, 0]);
    match Conn::open(NETLINK_ROUTE)?.request(NLM_F_DUMP, message, "list filters") {
        Ok(all) => Ok(all.iter().filter_map(|m| parse(&m.body)).collect()),
        // No such qdisc: no filters.
        Err(e) if io_error(&e).is_some_and(|e| e.kind() == io::ErrorKind::InvalidInput) => {
            Ok(Vec::new())
        }
        Err(e) => Err(e),
    }
}

pub(crate) fn parse(body: &[u8]) -> Option<Filter> {
    let word = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
    // A chain's first answer is the preference itself, without a handle.
    if word(4)? == 0 {
        return None;
    }
    let all = attrs(body.get(16..)?);
    let options = attrs(all.get(&TCA_OPTIONS).copied().unwrap_or_default());
    let text = |bytes: Option<&&[u8]>| bytes.map(|b| c_string(b)).unwrap_or_default();
    let kind = text(all.get(&TCA_KIND));
    let bpf = kind == "bpf";
    let number = |kind: u16| {
        let bytes = options.get(&kind).filter(|_| bpf)?;
        (*bytes).try_into().ok().map(u32::from_ne_bytes)
    };
    Some(Filter {
        preference: (word(12)? >> 16) as u16,
        handle: word(4)?,
        name: if bpf { text(options.get(&TCA_BPF_NAME)) } else { String::new() },
        program: number(TCA_BPF_ID),
        class: number(TCA_BPF_CLASSID),
        kind,
    })
}

pub fn delete_clsact(index: u32) -> Result<()> {
    let message = ask(DELETE_QDISC, [index, CLSACT_HANDLE, CLSACT, 0]);
    Conn::open(NETLINK_ROUTE)?.request(NLM_F_ACK, message, "delete qdisc clsact").map(drop)
}
