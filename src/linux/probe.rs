//! Whether the node can still be reached: the probes of a run that waits for its confirmation.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};

use super::path;
use super::root::Root;
use crate::engine::confirm::Passed;
use crate::model::reach::Reach;

const PATIENCE: Duration = Duration::from_secs(2);
/// An answer may be lost once.
const TRIES: u32 = 2;
/// What is found by itself is a handful: a default gateway or two, who is logged in, the API server.
const MOST_FOUND: usize = 8;

sockopt_impl!(IpMtu, GetOnly, libc::IPPROTO_IP, libc::IP_MTU, i32);
sockopt_impl!(Ipv6Mtu, GetOnly, libc::IPPROTO_IPV6, libc::IPV6_MTU, i32);

/// Default gateways, peers of SSH connections, and the API server of the kubelet's configuration.
pub fn find(root: &Root) -> Vec<Reach> {
    let mut found = gateways_v4(&root.read("proc/thread-self/net/route").unwrap_or_default());
    found.extend(gateways_v6(&root.read("proc/thread-self/net/ipv6_route").unwrap_or_default()));
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

/// `/proc/net/route`: the gateway is a word in network order, printed as a number.
fn gateways_v4(text: &str) -> Vec<Reach> {
    let gateway = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "00000000", gateway, _, _, _, _, "00000000", ..] = words[..] else { return None };
        let bytes = u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes();
        (bytes != [0; 4]).then(|| Reach::Icmp { host: IpAddr::V4(bytes.into()), link: None })
    };
    text.lines().filter_map(gateway).collect()
}

/// `/proc/net/ipv6_route`: destination, its length, source, its length, next hop, ..., link.
fn gateways_v6(text: &str) -> Vec<Reach> {
    let gateway = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [to, "00", _, _, hop, .., link] = words[..] else { return None };
        let zero = |hex: &str| hex.bytes().all(|b| b == b'0');
        let host = Ipv6Addr::from(u128::from_str_radix(hop, 16).ok()?);
        if !zero(to) || host.is_unspecified() {
            return None;
        }
        let link = host.is_unicast_link_local().then(|| link.to_string());
        Some(Reach::Icmp { host: host.into(), link })
    };
    text.lines().filter_map(gateway).collect()
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

    fn shown(reaches: Vec<Reach>) -> Vec<String> {
        reaches.iter().map(Reach::to_string).collect()
    }

    #[test]
    fn default_gateways() {
        let word = |a, b, c, d| format!("{:08X}", u32::from_ne_bytes([a, b, c, d]));
        let text = format!(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
             eth0\t00000000\t{}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t{}\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
             ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n",
            word(10, 77, 0, 1),
            word(10, 77, 0, 0)
        );
        assert_eq!(shown(gateways_v4(&text)), ["icmp:10.77.0.1"]);
        let zero = "0".repeat(32);
        let text = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n\
             fd770000000000000000000000000000 40 {zero} 00 {zero} 00000100 1 0 00000001 eth0\n"
        );
        assert_eq!(shown(gateways_v6(&text)), ["icmp:fe80::1%eth0"]);
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
