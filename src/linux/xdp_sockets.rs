//! AF_XDP sockets by link, over sock_diag.

use std::collections::BTreeMap;

use anyhow::Result;
use netlink_packet_core::NLM_F_DUMP;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::socket::{Conn, Message, attrs};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_XDP: u8 = 44;
const SHOW_INFO: u32 = 1;
const INFO: u16 = 1;

/// Ask only where the kernel has xsk_diag already: the question would load it.
pub fn count() -> Result<BTreeMap<u32, u32>> {
    let conn = Conn::open(NETLINK_SOCK_DIAG)?;
    // Inode 0 and a cookie of ones: all of them.
    let body = [0, SHOW_INFO, u32::MAX, u32::MAX].iter().flat_map(|w| w.to_ne_bytes()).collect();
    let message = Message { message_type: SOCK_DIAG_BY_FAMILY, head: [AF_XDP, 0, 0, 0], body };
    let mut found = BTreeMap::new();
    for reply in conn.request(NLM_F_DUMP, message, "list AF_XDP sockets")? {
        // After the inode and the cookie.
        let attributes = attrs(reply.body.get(12..).unwrap_or_default());
        let index = attributes.get(&INFO).and_then(|info| info.get(..4)?.try_into().ok());
        if let Some(index) = index.map(u32::from_ne_bytes) {
            *found.entry(index).or_default() += 1;
        }
    }
    Ok(found)
}
