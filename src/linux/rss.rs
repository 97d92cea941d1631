//! How a device spreads received packets over its queues (RSS), and the rules that pick a queue
//! (ntuple). By ioctl: the netlink form reads since 6.2 only, and writes since 6.17.
#![allow(unsafe_code, reason = "SIOCETHTOOL takes a pointer to memory of its own layout")]

use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::model::facts::{Fact, Rss};
use crate::model::{State, hex, typed};

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GRXRINGS: u32 = 0x2d;
const GRXCLSRLCNT: u32 = 0x2e;
const GRSSH: u32 = 0x46;
const SRSSH: u32 = 0x47;
/// struct ethtool_rxfh up to its table: cmd, context, table size, key size, hash and padding.
const HEAD: usize = 6;
const NO_CHANGE: u32 = u32::MAX;
/// More than any device has: a driver that says otherwise is not believed.
const MOST: u32 = 1 << 16;
/// struct ethtool_rxnfc in words, and where its count of rules is.
const RXNFC: usize = 48;
const RULE_COUNT: usize = 46;

/// `words` is the command's structure, of which the kernel uses as much as the command says.
fn ethtool(link: &str, words: &mut [u32]) -> Result<(), Errno> {
    let socket: OwnedFd =
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: ifreq is plain data for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if link.len() >= request.ifr_name.len() {
        return Err(Errno::ENODEV);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(link.bytes()) {
        // Signed on x86, unsigned on arm.
        *to = from as std::ffi::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: the name ends in a zero, and `words` outlives the call and is as long as its own
    // header says (callers size it by what the kernel answered).
    let code = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    Errno::result(code).map(drop)
}

/// None where the device has no RSS.
pub fn read(link: &str) -> Result<Option<Rss>> {
    let none = |e: &Errno| matches!(e, Errno::EOPNOTSUPP | Errno::ENODEV);
    let (table, key) = match sizes(link) {
        Err(e) if none(&e) => return Ok(None),
        other => other.with_context(|| format!("get RSS of {link}"))?,
    };
    ensure!(table <= MOST && key <= MOST, "get RSS of {link}: a table of {table} entries");
    if table == 0 && key == 0 {
        return Ok(None);
    }
    let mut all = vec![0; HEAD + table as usize + (key as usize).div_ceil(size_of::<u32>())];
    (all[0], all[2], all[3]) = (GRSSH, table, key);
    ethtool(link, &mut all).with_context(|| format!("get RSS of {link}"))?;
    let bytes: Vec<u8> =
        all[HEAD + table as usize..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    Ok(Some(Rss {
        table: text(&all[HEAD..HEAD + table as usize], rings(link)),
        key: hex(&bytes[..key as usize]),
        hash: all[4].to_ne_bytes()[0],
    }))
}

/// Entries of the table, bytes of the key.
fn sizes(link: &str) -> Result<(u32, u32), Errno> {
    let mut head = vec![0; HEAD];
    head[0] = GRSSH;
    ethtool(link, &mut head)?;
    Ok((head[2], head[3]))
}

/// Receive queues in use, of a driver that says.
fn rings(link: &str) -> Option<u32> {
    let mut words = vec![0; RXNFC];
    words[0] = GRXRINGS;
    ethtool(link, &mut words).ok()?;
    // The low half of a number of 64 bits.
    Some(if cfg!(target_endian = "big") { words[3] } else { words[2] })
}

/// A word for a table that nobody set: so it stays the same state when there are more queues, or fewer.
fn text(table: &[u32], rings: Option<u32>) -> String {
    let queues = rings.unwrap_or_else(|| table.iter().max().map_or(0, |most| most + 1)).max(1);
    let entries = table.len() as u32;
    if (0..entries).map(|at| at % queues).eq(table.iter().copied()) {
        return Rss::DEFAULT.to_string();
    }
    if runs(entries, queues).eq(table.iter().copied()) {
        return Rss::RUNS.to_string();
    }
    table.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn runs(entries: u32, queues: u32) -> impl Iterator<Item = u32> {
    // A product of two numbers that a driver said.
    (0..entries).map(move |at| (u64::from(at) * u64::from(queues) / u64::from(entries)) as u32)
}

pub fn state(rss: Option<&Rss>) -> State {
    rss.map_or(State::Absent, |r| State::Is(r.to_string()))
}

/// Sends only what differs: a table that was set once counts as the user's, and a driver then
/// refuses to have fewer channels than it names.
pub fn write(link: &str, wanted: &State) -> Result<()> {
    let wanted: Rss = typed::of(wanted).with_context(|| format!("{wanted} is no RSS of {link}"))?;
    let now = read(link)?;
    let differs = |of: fn(&Rss) -> &str| now.as_ref().map(of) != Some(of(&wanted));
    let mut message = vec![SRSSH, 0, NO_CHANGE, 0, 0, 0];
    if differs(|rss| &rss.table) {
        // An empty table brings the kernel's own back.
        let entries = match wanted.table.as_str() {
            Rss::DEFAULT => Vec::new(),
            Rss::RUNS => {
                runs(sizes(link)?.0, rings(link).context("how many queues are in use")?).collect()
            }
            table => table.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>()?,
        };
        message[2] = u32::try_from(entries.len())?;
        message.extend(entries);
    }
    if differs(|rss| &rss.key) {
        let bytes = bytes(&wanted.key)?;
        message[3] = u32::try_from(bytes.len())?;
        let words = bytes.chunks(size_of::<u32>()).map(|chunk| {
            let mut word = [0; size_of::<u32>()];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_ne_bytes(word)
        });
        message.extend(words);
    }
    if now.as_ref().map(|rss| rss.hash) != Some(wanted.hash) {
        message[4] = u32::from_ne_bytes([wanted.hash, 0, 0, 0]);
    }
    ethtool(link, &mut message).with_context(|| format!("set RSS of {link}"))
}

pub(crate) fn bytes(hex: &str) -> Result<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        bail!("{hex:?} is no RSS key");
    }
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).context("an RSS key is hexadecimal"))
        .collect()
}

/// Rules that send packets to a queue of their choice.
pub fn rules(link: &str) -> Fact<u32> {
    let mut words = vec![0; RXNFC];
    words[0] = GRXCLSRLCNT;
    match ethtool(link, &mut words) {
        Ok(()) => Fact::Known(words[RULE_COUNT]),
        Err(Errno::EOPNOTSUPP | Errno::ENODEV | Errno::EINVAL) => Fact::Known(0),
        Err(e) => Fact::unknown(format!("count ntuple rules of {link}: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_table_is_told_from_one_set_by_hand() {
        assert_eq!(text(&[0, 1, 2, 3, 0, 1, 2, 3, 0], Some(4)), "default");
        assert_eq!(text(&[0, 1, 0, 1], Some(4)), "0,1,0,1");
        assert_eq!(text(&[0, 1, 0, 1], None), "default");
        assert_eq!(text(&[0, 0, 1, 1], Some(2)), "runs");
        assert_eq!(text(&[0, 0, 0, 1, 1, 1, 2, 2], Some(3)), "runs");
        assert_eq!(text(&[0, 0, 1, 1], Some(3)), "0,0,1,1");
        assert_eq!(text(&[1, 1], None), "1,1");
    }

    #[test]
    fn keys_as_bytes() {
        assert_eq!(bytes("6d5a").unwrap(), [0x6d, 0x5a]);
        assert!(bytes("6d5").is_err() && bytes("zz").is_err() && bytes("é").is_err());
    }
}
