//! The link that this login comes by: of the connection of the sshd that this process descends from. Its sockets are asked, as sudo
//! takes SSH_CONNECTION away.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process};

/// sshd does the work of a session in a program of its own since OpenSSH 9.8.
const DAEMONS: &[&str] = &["sshd", "sshd-session", "dropbear"];
const MOST_ANCESTORS: usize = 64;

/// None where no such daemon is above (a console, tmux, kubectl exec) or it cannot be told.
pub fn link() -> Option<String> {
    let own = Process::myself().ok()?;
    let sockets = sockets(&own)?;
    let entries = own.tcp().into_iter().chain(own.tcp6()).flatten();
    let ours = |e: &TcpNetEntry| e.state == TcpState::Established && sockets.contains(&e.inode);
    let local = entries.into_iter().find(ours)?.local_address.ip().to_canonical();
    let here = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
    };
    let mut all = getifaddrs().ok()?;
    let found = all.find(|one| one.address.and_then(here) == Some(local))?;
    // An address of an old alias is its link's.
    Some(found.interface_name.split(':').next().unwrap_or_default().to_string())
}

/// Of the nearest daemon above.
fn sockets(own: &Process) -> Option<BTreeSet<u64>> {
    let mut parent = own.stat().ok()?.ppid;
    for _ in 0..MOST_ANCESTORS {
        if parent <= 1 {
            return None;
        }
        let process = Process::new(parent).ok()?;
        let stat = process.stat().ok()?;
        if DAEMONS.contains(&stat.comm.as_str()) {
            let inode = |target| match target {
                FDTarget::Socket(inode) => Some(inode),
                _ => None,
            };
            let open = process.fd().ok()?.flatten();
            return Some(open.filter_map(|fd| inode(fd.target)).collect());
        }
        parent = stat.ppid;
    }
    None
}
