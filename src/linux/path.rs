//! Proof that a path carries packets of a size: an ICMP echo that must not be fragmented.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::{libc, setsockopt_impl, sockopt_impl};

use crate::stop;

/// A change of MTU resets many NICs for some seconds: as often, and as long, as that may take.
const PATIENCE: Duration = Duration::from_secs(1);
const TRIES: u16 = 6;
/// Bytes of an ordinary echo.
pub const SMALL: usize = 56;
static SEQUENCE: AtomicU16 = AtomicU16::new(1);
const ECHO_V4: u8 = 8;
const ECHO_V6: u8 = 128;
/// linux/in.h: set DF and do not let what the kernel remembers of the path decide.
const PMTUDISC_PROBE: i32 = 3;

sockopt_impl!(IpMtuDiscover, SetOnly, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, i32);
sockopt_impl!(Ipv6MtuDiscover, SetOnly, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, i32);

/// An echo of `mtu` bytes, IP header included, reaches `peer` and comes back.
pub fn prove(peer: &str, mtu: u32) -> Result<()> {
    let to = address(peer)?;
    if is_own(to) {
        bail!("{peer} is this node itself, which proves nothing; name a peer across the fabric");
    }
    let headers = if to.is_ipv4() { 28 } else { 48 };
    let Some(payload) = (mtu as usize).checked_sub(headers) else { bail!("{mtu} is too small") };
    let mut last = Errno::ETIMEDOUT;
    for _ in 0..TRIES {
        if stop::asked() {
            bail!("interrupted before {peer} answered packets of {mtu} bytes");
        }
        let begin = Instant::now();
        // Never used twice: a late answer of one peer must not speak for another.
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        match echo(to, payload, sequence, PATIENCE) {
            Ok(()) => return Ok(()),
            // The link itself says that it is too large: waiting does not help.
            Err(Errno::EMSGSIZE) => {
                last = Errno::EMSGSIZE;
                break;
            }
            Err(e) => {
                last = e;
                let early = PATIENCE.saturating_sub(begin.elapsed());
                std::thread::sleep(if e == Errno::EAGAIN { Duration::ZERO } else { early });
            }
        }
    }
    let why = match last {
        Errno::EMSGSIZE => "a link on the way is smaller".to_string(),
        Errno::ETIMEDOUT | Errno::EAGAIN => "no answer".to_string(),
        other => other.desc().to_string(),
    };
    bail!("{peer} does not get packets of {mtu} bytes: {why}; lower mtu or mend the path")
}

/// Whether an ordinary echo comes back; one may be lost.
pub fn answers(peer: &str) -> bool {
    let small = |to| (0..2).any(|_| ask(to, SMALL, PATIENCE).is_ok());
    address(peer).is_ok_and(|to| !is_own(to) && small(to))
}

/// "10.0.0.1", "fd00::1", "fe80::1%eth0".
fn address(peer: &str) -> Result<SocketAddr> {
    let wrong = || format!("peer {peer:?} is not an IP address");
    let (host, link) = peer.split_once('%').map_or((peer, None), |(h, l)| (h, Some(l)));
    let host: IpAddr = host.parse().with_context(wrong)?;
    scoped(host, link).with_context(wrong)
}

/// An address of link scope means one only together with its link.
pub fn scoped(host: IpAddr, link: Option<&str>) -> Result<SocketAddr, Errno> {
    match (host, link) {
        (IpAddr::V6(host), Some(link)) => {
            let index = nix::net::if_::if_nametoindex(link)?;
            Ok(SocketAddrV6::new(host, 0, 0, index).into())
        }
        _ => Ok(SocketAddr::new(host, 0)),
    }
}

/// A socket that knows the way there. Nothing is sent: connecting a datagram socket only asks the
/// routes.
pub fn routed(peer: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    let mut there = peer;
    there.set_port(9);
    socket.connect(there)?;
    Ok(socket)
}

/// What we would send to it comes from itself.
fn is_own(peer: SocketAddr) -> bool {
    routed(peer).and_then(|socket| socket.local_addr()).is_ok_and(|own| own.ip() == peer.ip())
}

/// One echo of `payload` bytes to `peer` and back.
pub fn ask(peer: SocketAddr, payload: usize, patience: Duration) -> Result<(), Errno> {
    echo(peer, payload, SEQUENCE.fetch_add(1, Ordering::Relaxed), patience)
}

fn echo(peer: SocketAddr, payload: usize, sequence: u16, patience: Duration) -> Result<(), Errno> {
    let (to, peer) = (SockaddrStorage::from(peer), peer.ip());
    let (family, protocol) = match peer {
        IpAddr::V4(_) => (AddressFamily::Inet, libc::IPPROTO_ICMP),
        IpAddr::V6(_) => (AddressFamily::Inet6, libc::IPPROTO_ICMPV6),
    };
    let protocol = match protocol {
        libc::IPPROTO_ICMP => nix::sys::socket::SockProtocol::Icmp,
        _ => nix::sys::socket::SockProtocol::IcmpV6,
    };
    let fd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    match peer {
        IpAddr::V4(_) => setsockopt(&fd, IpMtuDiscover, &PMTUDISC_PROBE)?,
        IpAddr::V6(_) => setsockopt(&fd, Ipv6MtuDiscover, &PMTUDISC_PROBE)?,
    }
    let timeout = TimeVal::milliseconds(patience.as_millis() as i64);
    setsockopt(&fd, sockopt::ReceiveTimeout, &timeout)?;
    let id = (std::process::id() & 0xffff) as u16;
    let packet = request(peer, payload, id, sequence);
    sendto(fd.as_raw_fd(), &packet, &to, MsgFlags::empty())?;
    let deadline = Instant::now() + patience;
    let mut buffer = vec![0; payload + 256];
    while Instant::now() < deadline {
        let length = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        // A raw v4 socket hands over the IP header as well.
        let skip = if peer.is_ipv4() { usize::from(buffer[0] & 15) * 4 } else { 0 };
        let reply = buffer.get(skip..length).unwrap_or_default();
        let kind = if peer.is_ipv4() { 0 } else { 129 };
        let ours = [id.to_be_bytes(), sequence.to_be_bytes()].concat();
        if reply.first() == Some(&kind)
            && reply.get(4..8) == Some(&ours[..])
            && reply.len() == payload + 8
        {
            return Ok(());
        }
    }
    Err(Errno::ETIMEDOUT)
}

fn request(peer: IpAddr, payload: usize, id: u16, sequence: u16) -> Vec<u8> {
    let kind = if peer.is_ipv4() { ECHO_V4 } else { ECHO_V6 };
    let mut packet = vec![kind, 0, 0, 0];
    packet.extend(id.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend((0..payload).map(|i| i as u8));
    // The kernel fills in the checksum of ICMPv6, not of ICMP.
    if peer.is_ipv4() {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_sums_to_zero() {
        let packet = request(IpAddr::from([127, 0, 0, 1]), 33, 7, 1);
        assert_eq!(checksum(&packet), 0);
    }
}
