//! The rules that iptables-legacy made, by the getsockopt of linux/netfilter_ipv4/ip_tables.h and its
//! IPv6 twin, as rows of the same kind as those of nf_tables. Ask for a table that is registered
//! alone: the kernel registers any other that it is asked for.
#![allow(unsafe_code, reason = "these options have no safe wrapper; one function here needs it")]

pub(crate) mod blob;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use self::blob::{Family, INFO_LEN};
use super::xt::word;
use crate::model::facts::Chain;

// The entries of a 32-bit program are laid out otherwise, and the kernel translates them.
const _: () = assert!(usize::BITS == 64, "the layouts here are those of 64-bit programs");

const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
const NAME_LEN: usize = 32;
/// struct ipt_get_entries: name, size, and padding up to the first entry.
const HEAD_LEN: usize = 40;
/// A hundred thousand services of kube-proxy make less.
const MOST_BYTES: u32 = 512 << 20;
const ATTEMPTS: usize = 8;

/// All chains of a table that is registered.
pub fn read(family: Family, table: &str) -> Result<Vec<Chain>> {
    let what = || format!("read legacy table {} {table}", family.name());
    ensure!(!table.is_empty() && table.len() < NAME_LEN, "{}: no such name", what());
    let (domain, level) = match family {
        Family::V4 => (AddressFamily::Inet, libc::SOL_IP),
        Family::V6 => (AddressFamily::Inet6, libc::SOL_IPV6),
    };
    let socket = socket(domain, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(io::Error::from)
        .with_context(what)?;
    let info = || {
        let mut info = named(table, INFO_LEN);
        get(&socket, level, GET_INFO, &mut info).with_context(what).map(|()| info)
    };
    for _ in 0..ATTEMPTS {
        let before = info()?;
        let size = word(&before, INFO_LEN - 4).unwrap_or(0);
        ensure!(size <= MOST_BYTES, "{}: {size} bytes of entries", what());
        let mut entries = named(table, HEAD_LEN + size as usize);
        entries[NAME_LEN..NAME_LEN + 4].copy_from_slice(&size.to_ne_bytes());
        match get(&socket, level, GET_ENTRIES, &mut entries) {
            // Somebody has put another one in its place since.
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => continue,
            result => result.with_context(what)?,
        }
        if info()? == before {
            return blob::parse(family, table, &before, &entries[HEAD_LEN..]).with_context(what);
        }
    }
    bail!("{}: it keeps changing", what())
}

fn named(table: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[..table.len()].copy_from_slice(table.as_bytes());
    bytes
}

fn get(socket: &OwnedFd, level: i32, option: i32, bytes: &mut [u8]) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(bytes.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes, which is this slice's.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, bytes.as_mut_ptr().cast(), &mut length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
