//! The rules that iptables-legacy made, by the getsockopt of linux/netfilter_ipv4/ip_tables.h and its
//! IPv6 twin, as rows of the same kind as those of nf_tables. Ask for a table that is registered
//! alone: the kernel registers any other that it is asked for.
#![allow(unsafe_code, reason = "these options have no safe wrapper; one function here needs it")]

pub(crate) mod blob;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::model::facts::Chain;

// The entries of a 32-bit program are laid out otherwise, and the kernel translates them.
const _: () = assert!(usize::BITS == 64, "the layouts here are those of 64-bit programs");

const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
pub(crate) const INFO_LEN: usize = 84;
const NAME_LEN: usize = 32;
/// struct ipt_get_entries: name, size, and padding up to the first entry.
const HEAD_LEN: usize = 40;
/// A hundred thousand services of kube-proxy make less.
const MOST_BYTES: u32 = 512 << 20;
const ATTEMPTS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }
}

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
        let size = blob::word(&before, INFO_LEN - 4).unwrap_or(0);
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

/// Of an extension: "xt match conntrack". The target that makes packets untracked has a name of its
/// own, since the other uses of CT are about connections.
pub fn kind(what: &str, name: &str, (_, data): (u32, &[u8])) -> String {
    const CT_NOTRACK: u16 = 1;
    let flags = data.first_chunk::<2>().map_or(0, |b| u16::from_ne_bytes(*b));
    match (what, name) {
        ("target", "CT") if flags & CT_NOTRACK != 0 => "xt target NOTRACK".to_string(),
        _ => format!("xt {what} {name}"),
    }
}

/// [`kind`], with the connection states that it asks for.
pub fn label(what: &str, name: &str, extension: (u32, &[u8])) -> String {
    let kind = kind(what, name, extension);
    let (revision, data) = extension;
    let half =
        |at: usize| Some(u32::from(u16::from_ne_bytes(data.get(at..at + 2)?.try_into().ok()?)));
    const CT_STATE: u32 = 1;
    /// Given as `-m state`.
    const CT_STATE_BY_ALIAS: u32 = CT_STATE | 1 << 13;
    // struct xt_conntrack_mtinfo3, that of revision 2 alike up to there.
    let states = match (what, name, revision) {
        ("match", "conntrack", 2 | 3) => match (half(146), half(148), half(150)) {
            (Some(CT_STATE | CT_STATE_BY_ALIAS), Some(0), Some(states)) => Some((states, 256)),
            _ => None,
        },
        ("match", "state", _) => blob::word(data, 0).map(|states| (states, 64)),
        _ => None,
    };
    states.map_or(kind.clone(), |(states, untracked)| with_states(&kind, states, untracked))
}

/// `untracked` is the bit of that state, which the interfaces number differently.
pub fn with_states(label: &str, states: u32, untracked: u32) -> String {
    let names =
        [(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (untracked, "untracked")];
    let told: u32 = names.iter().map(|(bit, _)| bit).sum();
    if states == 0 || states & !told != 0 {
        return label.to_string();
    }
    let words = names.iter().filter(|(bit, _)| states & bit != 0).map(|(_, name)| *name);
    format!("{label} {}", words.collect::<Vec<_>>().join(","))
}

/// The network of an address and a mask, and whether it is told whole: of a mask with gaps the
/// leading ones are a larger network.
pub fn network(address: &[u8], mask: &[u8]) -> Option<(String, bool)> {
    let ones: u32 = mask.iter().map(|b| b.count_ones()).sum();
    let mut length = 0;
    for byte in mask {
        length += byte.leading_ones();
        if *byte != 0xff {
            break;
        }
    }
    let kept: Vec<u8> = (0..address.len() as u32)
        .map(|i| address[i as usize] & !(0xff_u16 >> length.saturating_sub(i * 8).min(8)) as u8)
        .collect();
    let address = match kept.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(kept).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(kept).ok()?),
    };
    (length > 0).then(|| (format!("{address}/{length}"), length == ones))
}
