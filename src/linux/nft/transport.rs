//! Dumps and transactions of nf_tables. Numbers are those of linux/netfilter/nf_tables.h.

use std::io::{self, ErrorKind};

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::linux::root::Root;
use crate::linux::socket::{Attrs, Conn, Message, attrs, c_string, interrupted, io_error};

pub const UNSPEC: u8 = 0;
pub const INET: u8 = 1;
pub const IPV4: u8 = 2;
pub const ARP: u8 = 3;
pub const NETDEV: u8 = 5;
pub const IPV6: u8 = 10;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
pub const NEW_TABLE: u16 = SUBSYSTEM << 8;
pub const GET_TABLE: u16 = NEW_TABLE + 1;
pub const DELETE_TABLE: u16 = NEW_TABLE + 2;
pub const NEW_CHAIN: u16 = NEW_TABLE + 3;
pub const GET_CHAIN: u16 = NEW_TABLE + 4;
pub const NEW_RULE: u16 = NEW_TABLE + 6;
pub const GET_RULE: u16 = NEW_TABLE + 7;
pub const GET_SET: u16 = NEW_TABLE + 10;
const GET_GENERATION: u16 = NEW_TABLE + 16;
pub const GET_OBJECT: u16 = NEW_TABLE + 19;
pub const NEW_FLOWTABLE: u16 = NEW_TABLE + 22;
pub const GET_FLOWTABLE: u16 = NEW_TABLE + 23;
pub const DELETE_FLOWTABLE: u16 = NEW_TABLE + 24;
pub const ACCEPT: u32 = 1;
const EOPNOTSUPP: i32 = 95;
const READ_ATTEMPTS: usize = 8;

/// Whether nf_tables can be asked without loading it: the kernel loads the module for any request,
/// even a read.
pub fn loaded(root: &Root) -> bool {
    if root.exists("sys/module/nf_tables") || !root.exists("proc/modules") {
        return true;
    }
    let release = root.read("proc/sys/kernel/osrelease").unwrap_or_default();
    match root.long(&format!("lib/modules/{}/modules.builtin", release.trim())) {
        Ok(builtin) => builtin.lines().any(|line| line.ends_with("/nf_tables.ko")),
        Err(_) => {
            root.read("proc/kallsyms").is_ok_and(|symbols| symbols.contains(" nft_register_expr"))
        }
    }
}

pub fn family_name(family: u8) -> String {
    match family {
        INET => "inet",
        IPV4 => "ip",
        ARP => "arp",
        NETDEV => "netdev",
        7 => "bridge",
        IPV6 => "ip6",
        other => return format!("family {other}"),
    }
    .to_string()
}

pub fn number(attrs: &Attrs, kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes((*attrs.get(&kind)?).try_into().ok()?))
}

pub fn string(attrs: &Attrs, kind: u16) -> String {
    attrs.get(&kind).map(|value| c_string(value)).unwrap_or_default()
}

pub struct Nft(Conn);

impl Nft {
    pub fn open() -> Result<Self> {
        Conn::open(NETLINK_NETFILTER).map(Nft)
    }

    pub fn request(
        &self,
        message_type: u16,
        flags: u16,
        family: u8,
        body: Vec<u8>,
        what: &str,
    ) -> Result<Vec<Message>> {
        self.0.request(flags, Message { message_type, head: [family, 0, 0, 0], body }, what)
    }

    /// One transaction: all steps or none.
    pub fn commit(&self, steps: Vec<(String, u16, Vec<u8>)>) -> Result<()> {
        let edge = |message_type| {
            let [high, low] = SUBSYSTEM.to_be_bytes();
            Message { message_type, head: [UNSPEC, 0, high, low], body: Vec::new() }
        };
        let mut messages = vec![(0, edge(BATCH_BEGIN))];
        let mut names = vec!["begin nf_tables transaction".to_owned()];
        let last = steps.len();
        for (name, message_type, body) in steps {
            let append = if message_type == NEW_RULE { NLM_F_APPEND } else { 0 };
            // Older kernels ignore the wish for an acknowledgement on the end of the batch.
            let ack = if names.len() == last { NLM_F_ACK } else { 0 };
            let message = Message { message_type, head: [INET, 0, 0, 0], body };
            messages.push((NLM_F_CREATE | append | ack, message));
            names.push(name);
        }
        messages.push((0, edge(BATCH_END)));
        self.0.batch(messages, &names)
    }
}

/// Reads again until no transaction came between the requests.
pub fn consistent<T>(read: impl Fn(&Nft) -> Result<T>) -> Result<T> {
    let conn = Nft::open()?;
    let what = "read nf_tables generation";
    let generation = || match conn.request(GET_GENERATION, NLM_F_ACK, UNSPEC, vec![], what) {
        // The kernel has no nf_tables.
        Err(err) if io_error(&err).is_some_and(|e| e.kind() == ErrorKind::InvalidInput) => {
            Err(io::Error::from_raw_os_error(EOPNOTSUPP)).context(what)
        }
        reply => Ok(reply?.first().and_then(|message| number(&attrs(&message.body), 1))),
    };
    for _ in 0..READ_ATTEMPTS {
        let before = generation()?;
        match read(&conn) {
            Err(err) if interrupted(&err) => {}
            result if generation()? == before => return result,
            _ => {}
        }
    }
    bail!("read nf_tables: ruleset keeps changing")
}
