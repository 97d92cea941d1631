//! Whether the node can still be reached: the probes of a run that waits for its confirmation.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};

use super::path;
use super::root::Root;
use crate::engine::confirm::Passed;
use crate::model::facts::Facts;
use crate::model::reach::Reach;

const PATIENCE: Duration = Duration::from_secs(2);
/// An answer may be lost once.
const TRIES: u32 = 2;
/// What is found by itself is a handful: a default gateway or two, who is logged in, the API server.
const MOST_FOUND: usize = 8;

sockopt_impl!(IpMtu, GetOnly, libc::IPPROTO_IP, libc::IP_MTU, i32);
sockopt_impl!(Ipv6Mtu, GetOnly, libc::IPPROTO_IPV6, libc::IPV6_MTU, i32);

/// Default gateways, peers of SSH connections, and the API server of the kubelet's configuration.
pub fn find(root: &Root, facts: &Facts) -> Vec<Reach> {
    let mut found: Vec<Reach> = gateways(facts).collect();
    for file in ["tcp", "tcp6"] {
        let text = root.read(&format!("proc/thread-self/net/{file}")).unwrap_or_default();
        found.extend(ssh_peers(&text));
    }
    let configs = [
        "etc/kubernetes/kubelet.conf",
        "var/lib/kubelet/kubeconfig",
        "var/lib/rancher/k3s/agent/kubelet.kubeconfig",
        "var/lib/rancher/rke2/agent/kubelet.kubeconfig",
    ];
    found.extend(configs.iter().find_map(|c| api_server(&root.read(c).ok()?)));
    let mut kept: Vec<Reach> = Vec::new();
    for reach in found {
        if !kept.contains(&reach) {
            kept.push(reach);
        }
    }
    kept.truncate(MOST_FOUND);
    kept
}

/// Those that answer now; all are asked at once.
pub fn passing(reaches: &[Reach]) -> Vec<Passed> {
    let ask = |reach: &Reach| {
        let full = matches!(reach, Reach::Icmp { .. }) && tries(reach, true, TRIES).is_ok();
        (full || tries(reach, false, TRIES).is_ok()).then(|| Passed { reach: reach.clone(), full })
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = reaches.iter().map(|r| scope.spawn(move || ask(r))).collect();
        all.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    })
}

/// Those that no longer answer, with the reason, though asked again and again for `patience`: a link
/// may take seconds to come back.
pub fn failing(probes: &[Passed], patience: Duration) -> Vec<String> {
    let deadline = Instant::now() + patience;
    let ask = |probe: &Passed| loop {
        let error = match tries(&probe.reach, probe.full, 1) {
            Ok(()) => return None,
            Err(e) => e,
        };
        if Instant::now() >= deadline {
            let size = if probe.full { " with packets as large as its path takes" } else { "" };
            return Some(format!(
                "{} answered{size} before and does not now: {error}",
                probe.reach
            ));
        }
        std::thread::sleep(Duration::from_millis(300));
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = probes.iter().map(|p| scope.spawn(move || ask(p))).collect();
        all.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    })
}

fn tries(reach: &Reach, full: bool, count: u32) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..count {
        match once(reach, full) {
            Ok(()) => return Ok(()),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn once(reach: &Reach, full: bool) -> Result<(), String> {
    let why = |e: Errno| match e {
        Errno::ETIMEDOUT | Errno::EAGAIN => "no answer".to_string(),
        Errno::EMSGSIZE => "a link on the way is smaller".to_string(),
        other => other.desc().to_string(),
    };
    match reach {
        Reach::Tcp(to) => match TcpStream::connect_timeout(to, PATIENCE) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::TimedOut => Err("no answer".into()),
            Err(e) => Err(e.to_string()),
        },
        Reach::Icmp { host, link } => {
            let to = path::scoped(*host, link.as_deref()).map_err(why)?;
            let size = if full { path_mtu(to).map_err(why)? } else { path::SMALL };
            path::ask(to, size, PATIENCE).map_err(why)
        }
    }
}

/// Payload of the largest echo that the path there takes, as far as the kernel knows.
fn path_mtu(to: SocketAddr) -> Result<usize, Errno> {
    let io = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
    let socket = path::routed(to).map_err(io)?;
    let (mtu, headers) = match to {
        SocketAddr::V4(_) => (getsockopt(&socket, IpMtu)?, 28),
        SocketAddr::V6(_) => (getsockopt(&socket, Ipv6Mtu)?, 48),
    };
    Ok((mtu.max(0) as usize).saturating_sub(headers))
}

fn gateways(facts: &Facts) -> impl Iterator<Item = Reach> {
    let uplinks = facts.links.iter().filter(|l| l.default_route);
    let all = uplinks.flat_map(|l| &l.gateways);
    all.filter_map(|gateway| format!("icmp:{}", gateway.address).parse().ok())
}

/// Remote ends of established connections to local port 22. Their own port is a client's: what can
/// be asked is whether the machine answers an echo, and many do not, which leaves them out.
fn ssh_peers(text: &str) -> Vec<Reach> {
    let peer = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, "01", ..] = words[..] else { return None };
        let (_, port) = local.rsplit_once(':')?;
        if u16::from_str_radix(port, 16).ok()? != 22 {
            return None;
        }
        let host = hex_address(remote.rsplit_once(':')?.0)?;
        (!host.is_loopback()).then_some(Reach::Icmp { host, link: None })
    };
    text.lines().filter_map(peer).filter(|r| !is_link_local(r)).collect()
}

/// It would need its link, which the file does not name.
fn is_link_local(reach: &Reach) -> bool {
    matches!(reach, Reach::Icmp { host: IpAddr::V6(v6), .. } if v6.is_unicast_link_local())
}

/// Words of 32 bits in network order, each printed as a number.
fn hex_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at * 8)?);
            }
            let v6 = Ipv6Addr::from(bytes);
            Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4))
        }
        _ => None,
    }
}

/// `server: https://10.0.0.1:6443`. A name is left out: looking it up takes the network under test.
fn api_server(kubeconfig: &str) -> Option<Reach> {
    let url = kubeconfig.lines().find_map(|l| l.trim().strip_prefix("server:"))?;
    let rest = url.trim().trim_matches(['"', '\'']).strip_prefix("https://")?;
    let host = rest.split('/').next()?;
    let with_port = |text: &str| text.parse::<SocketAddr>().ok();
    with_port(host).or_else(|| with_port(&format!("{host}:443"))).map(Reach::Tcp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::facts::{Gateway, Link};

    fn shown(reaches: Vec<Reach>) -> Vec<String> {
        reaches.iter().map(Reach::to_string).collect()
    }

    #[test]
    fn default_gateways() {
        let uplink = |name: &str, default_route, addresses: &[&str]| Link {
            name: name.into(),
            default_route,
            gateways: addresses
                .iter()
                .map(|a| Gateway { address: a.to_string(), mtu: None })
                .collect(),
            ..Link::default()
        };
        // An IPv4 route by an IPv6 gateway is no other kind of gateway.
        let links = vec![
            uplink("eth0", true, &["10.77.0.1", "fe80::1%eth0"]),
            uplink("eth1", false, &["10.78.0.1"]),
            uplink("ppp0", true, &[]),
        ];
        let facts = Facts { links, ..Facts::default() };
        assert_eq!(shown(gateways(&facts).collect()), ["icmp:10.77.0.1", "icmp:fe80::1%eth0"]);
    }

    #[test]
    fn who_is_logged_in() {
        let word = |a, b, c, d| format!("{:08X}", u32::from_ne_bytes([a, b, c, d]));
        let v4 = word(192, 0, 2, 7);
        let mapped =
            format!("{}{}{}{v4}", word(0, 0, 0, 0), word(0, 0, 0, 0), word(0, 0, 255, 255));
        let text = format!(
            "  sl  local_address rem_address   st\n\
             0: {v4}:0016 {v4}:C001 01 0\n\
             1: {v4}:0016 {v4}:C002 0A 0\n\
             2: {v4}:0050 {v4}:C003 01 0\n\
             3: {mapped}:0016 {mapped}:C004 01 0\n"
        );
        assert_eq!(shown(ssh_peers(&text)), ["icmp:192.0.2.7", "icmp:192.0.2.7"]);
    }

    #[test]
    fn the_api_server() {
        let of = |server: &str| {
            api_server(&format!("clusters:\n- cluster:\n    server: {server}\n"))
                .map(|r| r.to_string())
        };
        assert_eq!(of("https://10.0.0.1:6443").as_deref(), Some("tcp:10.0.0.1:6443"));
        assert_eq!(of("\"https://10.0.0.1/\"").as_deref(), Some("tcp:10.0.0.1:443"));
        assert_eq!(of("https://[fd00::1]:6443").as_deref(), Some("tcp:[fd00::1]:6443"));
        assert_eq!(of("https://api.example.org"), None);
    }
}
