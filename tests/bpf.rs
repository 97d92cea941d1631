//! The committed programs on this kernel: its verifier, and packets for every branch, by
//! BPF_PROG_TEST_RUN in a namespace with routes and neighbours of its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

#[path = "support/here.rs"]
mod here;
#[path = "support/packets.rs"]
mod packets;

use std::process::Command;

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use nettune::model::bpf::{REASONS, tag};
use packets::{Frame, ICMP, ICMPV6, POD, ROUTER, TCP, UDP};

const TO_PEER: u32 = 1;
const RP_STRICT: u32 = 2;
const RP_LOOSE: u32 = 4;
const UP_THE_STACK: u32 = u32::MAX;
const REDIRECT: u32 = 7;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {text}");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

fn in_namespace(test: impl FnOnce() + Send + 'static) {
    here::in_namespace(
        &[("sysfs", "/sys"), ("tmpfs", "/run")],
        || match aya::sys::is_map_supported(aya::maps::MapType::Array) {
            Ok(_) => test(),
            Err(e) => here::skip(&format!("the bpf call is refused here: {e}: {}", e.io_error)),
        },
    );
}

fn object(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/bpf/{name}.bpf.o", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn load(name: &str) -> Ebpf {
    EbpfLoader::new().btf(None).load(&object(name)).unwrap()
}

fn index(link: &str) -> u32 {
    sh(&format!("cat /sys/class/net/{link}/ifindex")).parse().unwrap()
}

fn mac(link: &str) -> [u8; 6] {
    let text = sh(&format!("cat /sys/class/net/{link}/address"));
    let bytes: Vec<u8> = text.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// up0: uplink; pod0: a pod's host side; up1: an uplink that carries no program.
fn node() {
    sh("
        ip link set lo up
        ip netns add far
        for pair in up0:r0 up1:r1 pod0:eth0; do
            ip link add ${pair%:*} type veth peer name ${pair#*:} netns far
            ip link set ${pair%:*} up
            ip -n far link set ${pair#*:} up
        done
        sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.up0.rp_filter=0
        sysctl -qw net.ipv4.conf.pod0.rp_filter=0 net.ipv4.conf.up1.rp_filter=0
        ip addr add 10.77.0.2/24 dev up0
        ip addr add fd77::2/64 dev up0 nodad
        ip addr add 192.0.2.2/24 dev up1
        ip route add default via 10.77.0.1
        ip -6 route add default via fd77::1
        ip route add 10.99.0.0/16 via 10.77.0.1 mtu lock 600
        ip -6 route add fd99::/64 via fd77::1 mtu lock 1300
        ip route add blackhole 198.51.100.0/24
        ip route add unreachable 203.0.113.0/24
        ip route add 10.244.1.2 dev pod0
        ip -6 route add fd44::2 dev pod0
        for n in 10.77.0.1 fd77::1; do ip neigh add $n lladdr 02:00:00:00:00:01 dev up0; done
        for n in 10.244.1.2 fd44::2; do ip neigh add $n lladdr 02:00:00:00:01:02 dev pod0; done
        ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev up1
    ");
}

struct Program {
    bpf: Ebpf,
    name: &'static str,
    counters: PerCpuArray<MapData, [u64; 20]>,
}

impl Program {
    fn new(object: &str, name: &'static str, counters: &str) -> Self {
        Self::of(load(object), name, counters)
    }

    fn of(mut bpf: Ebpf, name: &'static str, counters: &str) -> Self {
        let map = bpf.take_map(counters).unwrap();
        match bpf.program_mut(name).unwrap() {
            aya::programs::Program::Xdp(xdp) => xdp.load().unwrap(),
            other => TryInto::<&mut SchedClassifier>::try_into(other).unwrap().load().unwrap(),
        }
        Program { bpf, name, counters: map.try_into().unwrap() }
    }

    fn cover(&mut self, map: &str, link: &str, flags: u32, mtu: u32) {
        let index = index(link);
        let mut value = [0u8; 20];
        value[..4].copy_from_slice(&index.to_ne_bytes());
        value[4..8].copy_from_slice(&flags.to_ne_bytes());
        value[8..12].copy_from_slice(&mtu.to_ne_bytes());
        value[12..18].copy_from_slice(&mac(link));
        self.slot(map, index, value);
        let mut links: HashMap<_, u32, [u8; 20]> =
            self.bpf.map_mut(map).unwrap().try_into().unwrap();
        links.insert(index, value, 0).unwrap();
    }

    fn slot(&mut self, map: &str, index: u32, value: [u8; 20]) {
        let slots = if map == "links" { "slots" } else { "xdp_slots" };
        let mut slots: Array<_, [u8; 20]> = self.bpf.map_mut(slots).unwrap().try_into().unwrap();
        slots.set(index % 16384, value, 0).unwrap();
    }

    fn uncover(&mut self, map: &str, link: &str) {
        self.slot(map, index(link), [0; 20]);
        let mut links: HashMap<_, u32, [u8; 20]> =
            self.bpf.map_mut(map).unwrap().try_into().unwrap();
        links.remove(&index(link)).unwrap();
    }

    /// The node's own address, in the table and as its bit.
    fn local(&mut self, table: &str, bits: &str, address: [u8; 4]) {
        let key = u32::from_ne_bytes(address);
        let mut locals: HashMap<_, u32, u8> = self.bpf.map_mut(table).unwrap().try_into().unwrap();
        locals.insert(key, 1, 0).unwrap();
        let mut words = [0u64; 128];
        let bit = (key.wrapping_mul(2654435761) >> 19) as usize;
        words[bit / 64] |= 1 << (bit % 64);
        let mut map: Array<_, [u64; 128]> = self.bpf.map_mut(bits).unwrap().try_into().unwrap();
        map.set(0, words, 0).unwrap();
    }

    fn counts(&self) -> [u64; 20] {
        let all = self.counters.get(&0, 0).unwrap();
        std::array::from_fn(|i| all.iter().map(|cpu| cpu[i]).sum())
    }

    /// Verdict, the packet afterwards, and the one counter that moved.
    fn run(&self, frame: &Frame, context: &[u8]) -> (u32, Vec<u8>, &'static str) {
        let before = self.counts();
        let mut out = vec![0; frame.0.len() + 512];
        let options = TestRunOptions {
            data_in: Some(&frame.0),
            data_out: Some(&mut out),
            ctx_in: Some(context),
            ..TestRunOptions::default()
        };
        let result = match self.bpf.program(self.name).unwrap() {
            aya::programs::Program::Xdp(xdp) => xdp.test_run(options).unwrap(),
            other => {
                let tc: &SchedClassifier = other.try_into().unwrap();
                tc.test_run(options).unwrap_or_else(|e| panic!("{e:?} with {:?}", frame.0))
            }
        };
        let after = self.counts();
        let moved: Vec<usize> = (0..20).filter(|i| after[*i] != before[*i]).collect();
        assert_eq!(moved.len(), 1, "{moved:?}");
        assert_eq!(after[moved[0]], before[moved[0]] + 1);
        out.truncate(result.data_size_out as usize);
        (result.return_value, out, REASONS[moved[0]])
    }
}

/// __sk_buff with the fields that a test run takes.
fn skb(link: &str, gso_size: u32, mark: u32) -> Vec<u8> {
    let mut bytes = vec![0; 184];
    let mut set = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    set(8, mark);
    set(36, index(link));
    set(40, index(link));
    set(176, gso_size);
    if gso_size > 0 {
        set(164, 2);
    }
    bytes
}

fn xdp_md(link: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[4..8].copy_from_slice(&(length as u32).to_ne_bytes());
    bytes[12..16].copy_from_slice(&index(link).to_ne_bytes());
    bytes
}

#[test]
fn tags_are_the_committed_ones() {
    in_namespace(|| {
        let mut text = String::new();
        for (object, programs) in [
            ("host_routing", &["nettune_route"][..]),
            ("xdp", &["nettune_filter", "nettune_filter_", "nettune_forward", "nettune_forwar_"]),
            ("xdp_pass", &["nettune_pass"]),
        ] {
            let mut bpf = load(object);
            for name in programs {
                let program = bpf.program_mut(name).unwrap();
                let tag = match program {
                    aya::programs::Program::Xdp(xdp) => {
                        xdp.load().unwrap();
                        xdp.info().unwrap().tag()
                    }
                    other => {
                        let tc: &mut SchedClassifier = other.try_into().unwrap();
                        tc.load().unwrap();
                        tc.info().unwrap().tag()
                    }
                };
                text += &format!("{name}\t{:016x}\n", tag.swap_bytes());
            }
        }
        let path = format!("{}/bpf/tags.tsv", env!("CARGO_MANIFEST_DIR"));
        if std::env::var("NETTUNE_UPDATE_TAGS").is_ok() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), text, "NETTUNE_UPDATE_TAGS=1 writes it");
        assert_eq!(tag("nettune_route").map(str::len), Some(16));
    });
}

fn host_routing() -> Program {
    node();
    let mut program = Program::new("host_routing", "nettune_route", "counters");
    program.cover("links", "up0", 0, 0);
    program.cover("links", "pod0", TO_PEER, 0);
    program.local("locals", "local_bits", [10, 77, 0, 2]);
    program
}

#[test]
fn host_routing_takes_what_is_only_forwarded() {
    in_namespace(|| {
        let program = host_routing();
        let (up, pod) = (mac("up0"), mac("pod0"));
        let incoming = [
            Frame::v4(up, "10.5.5.5", "10.244.1.2", TCP, 32),
            Frame::v4(up, "10.5.5.5", "10.244.1.2", UDP, 32),
            Frame::v4(up, "10.5.5.5", "10.244.1.2", ICMP, 32),
            Frame::v6(up, "fd55::5", "fd44::2", TCP, 32),
            Frame::v6(up, "fd55::5", "fd44::2", UDP, 32),
            Frame::v6(up, "fd55::5", "fd44::2", ICMPV6, 32),
        ];
        for frame in incoming {
            let (verdict, out, why) = program.run(&frame, &skb("up0", 0, 0));
            assert_eq!((verdict, why), (REDIRECT, "fast"));
            assert_eq!(
                (&out[..6], &out[6..12]),
                (&POD[..], &pod[..]),
                "for the pod, from its host side"
            );
            let hops = if frame.0[12] == 8 { 22 } else { 21 };
            assert_eq!(out[hops], 63);
            let mut expected = frame.clone().byte(hops, 63);
            if hops == 22 {
                expected = expected.sum();
            }
            assert_eq!(out[14..], expected.0[14..], "nothing else in it moved");
        }
        for frame in [
            Frame::v4(pod, "10.244.1.2", "10.5.5.5", TCP, 32),
            Frame::v6(pod, "fd44::2", "fd55::5", UDP, 32),
        ] {
            let (verdict, out, why) = program.run(&frame, &skb("pod0", 0, 0));
            assert_eq!((verdict, why), (REDIRECT, "fast"));
            assert_eq!(out[..12], frame.0[..12], "the kernel writes the addresses of the next hop");
        }
    });
}

#[test]
fn host_routing_leaves_the_unusual_to_the_stack() {
    in_namespace(|| {
        let program = host_routing();
        let (up, pod) = (mac("up0"), mac("pod0"));
        let to_pod = |protocol| Frame::v4(up, "10.5.5.5", "10.244.1.2", protocol, 32);
        let to_pod6 = |protocol| Frame::v6(up, "fd55::5", "fd44::2", protocol, 32);
        let out = |dest| Frame::v4(pod, "10.244.1.2", dest, TCP, 32);
        let out6 = |dest| Frame::v6(pod, "fd44::2", dest, TCP, 32);
        let from = |source| Frame::v4(pod, source, "10.5.5.5", TCP, 32);
        let from6 = |source| Frame::v6(pod, source, "fd55::5", TCP, 32);
        let hbh = [0, 1, 4, 0, 0, 0, 0];
        let cases = [
            ("ARP", "up0", to_pod(TCP).byte(13, 6), "not-ip"),
            ("802.1Q", "up0", to_pod(TCP).tagged(0x8100), "tagged"),
            ("802.1ad", "up0", to_pod(TCP).tagged(0x88a8), "tagged"),
            (
                "another's MAC",
                "up0",
                Frame::v4(ROUTER, "10.5.5.5", "10.244.1.2", TCP, 9),
                "not-for-us",
            ),
            (
                "Ethernet broadcast",
                "up0",
                Frame::v4([255; 6], "10.5.5.5", "10.244.1.2", UDP, 9),
                "not-for-us",
            ),
            (
                "Ethernet multicast",
                "up0",
                Frame::v6([0x33, 0x33, 0, 0, 0, 1], "fd55::5", "fd44::2", UDP, 9),
                "not-for-us",
            ),
            // A test run refuses frames without a whole IP header: tests/netns/host-routing.sh sends them.
            ("a TCP header cut short", "up0", to_pod(TCP).cut(40), "malformed"),
            ("longer than the frame", "up0", to_pod(TCP).cut(80), "malformed"),
            ("total length below the header", "up0", to_pod(TCP).ip(2, 0).ip4(3, 19), "malformed"),
            ("total length 0 and no GSO", "up0", to_pod(TCP).ip(2, 0).ip4(3, 0), "malformed"),
            ("no room for TCP", "up0", to_pod(TCP).ip(2, 0).ip4(3, 39), "malformed"),
            ("no room for UDP", "up0", to_pod(UDP).ip(2, 0).ip4(3, 27), "malformed"),
            ("version 5", "up0", to_pod(TCP).ip4(0, 0x55), "malformed"),
            ("header checksum", "up0", to_pod(TCP).ip(10, 0).ip(11, 0), "malformed"),
            ("header length 4", "up0", to_pod(TCP).ip(0, 0x44), "options"),
            ("an option", "up0", to_pod(TCP).option4(), "options"),
            ("first fragment", "up0", to_pod(UDP).ip4(6, 0x20), "fragment"),
            ("last fragment", "up0", to_pod(UDP).ip(6, 0).ip4(7, 9), "fragment"),
            ("SCTP", "up0", to_pod(132), "protocol"),
            ("GRE", "up0", to_pod(47), "protocol"),
            ("ICMPv6 in IPv4", "up0", to_pod(ICMPV6), "protocol"),
            ("TTL 1", "up0", to_pod(TCP).ip4(8, 1), "ttl"),
            ("TTL 0", "up0", to_pod(TCP).ip4(8, 0), "ttl"),
            ("to this network", "pod0", out("0.1.2.3"), "martian"),
            ("to loopback", "pod0", out("127.0.0.1"), "martian"),
            ("to multicast", "pod0", out("224.0.0.5"), "martian"),
            ("to broadcast", "pod0", out("255.255.255.255"), "martian"),
            ("from 0.0.0.0", "pod0", from("0.0.0.0"), "martian"),
            ("from loopback", "pod0", from("127.0.0.1"), "martian"),
            ("from multicast", "pod0", from("239.1.1.1"), "martian"),
            ("from the node's own address", "pod0", from("10.77.0.2"), "spoofed"),
            ("to the node", "pod0", out("10.77.0.2"), "local"),
            ("to the link's broadcast", "pod0", out("10.77.0.255"), "local"),
            ("a black hole", "pod0", out("198.51.100.1"), "no-route"),
            ("unreachable", "pod0", out("203.0.113.1"), "no-route"),
            ("unknown neighbour", "pod0", out("10.77.0.99"), "no-neighbour"),
            (
                "back where it came from",
                "up0",
                Frame::v4(up, "10.5.5.5", "10.6.6.6", TCP, 9),
                "same-link",
            ),
            ("out of a link without the program", "pod0", out("192.0.2.1"), "not-covered"),
            (
                "in from a link without the program",
                "up1",
                Frame::v4(mac("up1"), "192.0.2.9", "10.244.1.2", TCP, 9),
                "not-covered",
            ),
            (
                "over a route's MTU",
                "pod0",
                Frame::v4(pod, "10.244.1.2", "10.99.0.1", TCP, 700),
                "too-large",
            ),
            ("IPv6 TCP cut short", "up0", to_pod6(TCP).cut(60), "malformed"),
            ("IPv6 longer than the frame", "up0", to_pod6(TCP).ip(5, 60), "malformed"),
            ("IPv6 length 0 and no GSO", "up0", to_pod6(TCP).ip(5, 0), "malformed"),
            ("IPv6 version 4", "up0", to_pod6(TCP).ip(0, 0x40), "malformed"),
            ("hop-by-hop", "up0", to_pod6(TCP).chain6(0, hbh), "options"),
            ("routing header", "up0", to_pod6(TCP).chain6(43, hbh), "options"),
            ("destination options", "up0", to_pod6(TCP).chain6(60, hbh), "options"),
            ("IPv6 fragment", "up0", to_pod6(UDP).chain6(44, [0, 0, 1, 0, 0, 0, 1]), "fragment"),
            ("ESP", "up0", to_pod6(50), "protocol"),
            ("ICMP in IPv6", "up0", to_pod6(ICMP), "protocol"),
            ("neighbour solicitation", "up0", to_pod6(ICMPV6).byte(54, 135), "protocol"),
            ("redirect", "up0", to_pod6(ICMPV6).byte(54, 137), "protocol"),
            ("hop limit 1", "up0", to_pod6(TCP).ip(7, 1), "ttl"),
            ("from ::", "pod0", from6("::"), "martian"),
            ("from ::1", "pod0", from6("::1"), "martian"),
            ("from link-local", "pod0", from6("fe80::9"), "martian"),
            ("from site-local", "pod0", from6("fec0::9"), "martian"),
            ("from multicast, IPv6", "pod0", from6("ff02::9"), "martian"),
            ("to link-local", "pod0", out6("fe80::9"), "martian"),
            ("to multicast, IPv6", "pod0", out6("ff05::9"), "martian"),
            ("to the node, IPv6", "pod0", out6("fd77::2"), "local"),
            ("unknown neighbour, IPv6", "pod0", out6("fd77::99"), "no-neighbour"),
            (
                "over a route's MTU, IPv6",
                "pod0",
                Frame::v6(pod, "fd44::2", "fd99::1", UDP, 1400),
                "too-large",
            ),
            ("back, IPv6", "up0", Frame::v6(up, "fd55::5", "fd66::6", TCP, 9), "same-link"),
        ];
        for (what, link, frame, expected) in cases {
            let (verdict, out, why) = program.run(&frame, &skb(link, 0, 0));
            assert_eq!((why, verdict), (expected, UP_THE_STACK), "{what}");
            assert_eq!(out, frame.0, "{what}: untouched");
        }
        sh("sysctl -qw net.ipv4.conf.up0.forwarding=0");
        assert_eq!(program.run(&to_pod(TCP), &skb("up0", 0, 0)).2, "not-forwarding");
    });
}

#[test]
fn host_routing_of_packets_that_will_be_segmented() {
    in_namespace(|| {
        let mut program = host_routing();
        let (up, pod) = (mac("up0"), mac("pod0"));
        let why = |program: &Program, frame: &Frame, link: &str, gso| {
            program.run(frame, &skb(link, gso, 0)).2
        };
        // What counts is a segment, not the whole: 40 + 500 fits 600, 40 + 580 does not.
        let large = Frame::v4(pod, "10.244.1.2", "10.99.0.1", TCP, 2000);
        assert_eq!(why(&program, &large, "pod0", 500), "fast");
        assert_eq!(why(&program, &large, "pod0", 580), "too-large");
        assert_eq!(why(&program, &large, "pod0", 0), "too-large");
        // Room for the headers of a tunnel that cannot be seen: 28 + 110 + 450 fits, 480 does not.
        let large = Frame::v4(pod, "10.244.1.2", "10.99.0.1", UDP, 2000);
        assert_eq!(why(&program, &large, "pod0", 450), "fast");
        assert_eq!(why(&program, &large, "pod0", 480), "too-large");
        // BIG TCP: no length in the IPv4 header ...
        let big = Frame::v4(up, "10.5.5.5", "10.244.1.2", TCP, 2000).ip(2, 0).ip4(3, 0);
        assert_eq!(why(&program, &big, "up0", 1400), "fast");
        // ... and in IPv6 none either, with the jumbo option before 7.0 and without it since.
        let big = Frame::v6(up, "fd55::5", "fd44::2", TCP, 2000).ip(4, 0).ip(5, 0);
        assert_eq!(why(&program, &big, "up0", 1400), "fast");
        let jumbo = |option| {
            let frame = Frame::v6(up, "fd55::5", "fd44::2", TCP, 2000);
            frame.chain6(0, [0, option, 4, 0, 0, 8, 0]).ip(4, 0).ip(5, 0)
        };
        assert_eq!(why(&program, &jumbo(0xc2), "up0", 1400), "fast");
        assert_eq!(why(&program, &jumbo(0x05), "up0", 1400), "options");
        // Kernels before 5.12 leave the size to the program.
        program.cover("links", "pod0", TO_PEER, 100);
        let frame = Frame::v4(up, "10.5.5.5", "10.244.1.2", TCP, 32);
        assert_eq!(why(&program, &frame, "up0", 0), "fast");
        let frame = Frame::v4(up, "10.5.5.5", "10.244.1.2", TCP, 132);
        assert_eq!(why(&program, &frame, "up0", 0), "too-large");
    });
}

#[test]
fn host_routing_looks_back_where_rp_filter_is_in_force() {
    in_namespace(|| {
        let mut program = host_routing();
        let pod = mac("pod0");
        let true_one = Frame::v4(pod, "10.244.1.2", "10.5.5.5", TCP, 9);
        let spoofed = Frame::v4(pod, "10.5.5.6", "10.5.5.5", TCP, 9);
        let nowhere = Frame::v4(pod, "203.0.113.9", "10.5.5.5", TCP, 9);
        let own = Frame::v4(pod, "10.77.0.2", "10.5.5.5", TCP, 9);
        let why = |program: &Program, frame: &Frame| program.run(frame, &skb("pod0", 0, 0)).2;
        for (flags, expected) in [
            (0, ["fast", "fast", "fast", "spoofed"]),
            (RP_STRICT, ["fast", "spoofed", "spoofed", "spoofed"]),
            (RP_LOOSE, ["fast", "fast", "spoofed", "spoofed"]),
        ] {
            program.cover("links", "pod0", flags, 0);
            let found = [&true_one, &spoofed, &nowhere, &own].map(|f| why(&program, f));
            assert_eq!(found, expected, "{flags}");
        }
        program.uncover("links", "up0");
        assert_eq!(why(&program, &true_one), "not-covered");
        // In a slot that is another's and shared, the table knows it; in one that is not shared, nobody.
        program.cover("links", "up0", 0, 0);
        let mut theirs = [0u8; 20];
        theirs[..4].copy_from_slice(&(index("up0") + 16384).to_ne_bytes());
        program.slot("links", index("up0"), theirs);
        assert_eq!(why(&program, &true_one), "not-covered");
        theirs[4] = 8;
        program.slot("links", index("up0"), theirs);
        assert_eq!(why(&program, &true_one), "fast");
    });
}

fn filter(deny4: &[(u32, [u8; 4])], deny6: &[(u32, [u8; 16])], ports: &[(u8, u16)]) -> Program {
    use aya::maps::lpm_trie::{Key, LpmTrie};
    let (n4, n6, np) = (deny4.len() as u32, deny6.len() as u32, ports.len() as u32);
    let mut bpf = EbpfLoader::new()
        .btf(None)
        .override_global("denies4", &n4, true)
        .override_global("denies6", &n6, true)
        .override_global("denies_ports", &np, true)
        .map_max_entries("deny4", n4.max(1))
        .map_max_entries("deny6", n6.max(1))
        .map_max_entries("deny_ports", np.max(1))
        .load(&object("xdp"))
        .unwrap();
    let mut trie: LpmTrie<_, [u8; 4], u8> = bpf.map_mut("deny4").unwrap().try_into().unwrap();
    deny4.iter().for_each(|(l, a)| trie.insert(&Key::new(*l, *a), 1, 0).unwrap());
    let mut trie: LpmTrie<_, [u8; 16], u8> = bpf.map_mut("deny6").unwrap().try_into().unwrap();
    deny6.iter().for_each(|(l, a)| trie.insert(&Key::new(*l, *a), 1, 0).unwrap());
    let mut map: HashMap<_, u32, u8> = bpf.map_mut("deny_ports").unwrap().try_into().unwrap();
    ports.iter().for_each(|(p, n)| map.insert(u32::from(*p) << 16 | u32::from(*n), 1, 0).unwrap());
    Program::of(bpf, "nettune_filter", "xdp_counters")
}

#[test]
fn the_drop_list() {
    in_namespace(|| {
        node();
        let mut net6 = [0; 16];
        net6[..4].copy_from_slice(&[0xfd, 0x55, 0, 1]);
        let up = mac("up0");
        let program = filter(
            &[(8, [10, 0, 0, 0]), (32, [192, 0, 2, 7])],
            &[(32, net6)],
            &[(TCP, 23), (UDP, 53)],
        );
        let v4 = |source, protocol| Frame::v4(up, source, "10.244.1.2", protocol, 32);
        let v6 = |source, protocol| Frame::v6(up, source, "fd44::2", protocol, 32);
        let mut hidden = v6("fd66::5", TCP).port(23);
        let mut long = v6("fd66::5", TCP);
        for _ in 0..5 {
            hidden = hidden.chain6(60, [0, 1, 4, 0, 0, 0, 0]);
        }
        for _ in 0..7 {
            long = long.chain6(60, [0, 1, 4, 0, 0, 0, 0]);
        }
        let cases = [
            ("a network", v4("10.5.5.5", TCP), "dropped"),
            ("an address", v4("192.0.2.7", ICMP), "dropped"),
            ("its neighbour", v4("192.0.2.8", ICMP), "fast"),
            ("a port", v4("11.0.0.1", TCP).port(23), "dropped"),
            ("the port of another protocol", v4("11.0.0.1", UDP).port(23), "fast"),
            ("another port", v4("11.0.0.1", UDP).port(54), "fast"),
            ("behind an option", v4("11.0.0.1", TCP).port(23).option4(), "dropped"),
            ("a later fragment", v4("11.0.0.1", TCP).port(23).ip4(7, 9), "fast"),
            ("cut short", v4("11.0.0.1", TCP).port(23).cut(36), "fast"),
            ("behind a tag", v4("10.5.5.5", TCP).tagged(0x8100), "dropped"),
            ("behind two", v4("11.0.0.1", TCP).port(23).tagged(0x8100).tagged(0x88a8), "dropped"),
            ("a network, IPv6", v6("fd55:1::5", UDP), "dropped"),
            ("its neighbour, IPv6", v6("fd55:2::5", UDP), "fast"),
            ("a port, IPv6", v6("fd66::5", UDP).port(53), "dropped"),
            ("behind five headers", hidden, "dropped"),
            ("a chain made to hide", long, "dropped"),
            (
                "a later fragment, IPv6",
                v6("fd66::5", TCP).port(23).chain6(44, [0, 0, 8, 0, 0, 0, 1]),
                "fast",
            ),
            (
                "first fragment, IPv6",
                v6("fd66::5", TCP).port(23).chain6(44, [0, 0, 1, 0, 0, 0, 1]),
                "dropped",
            ),
            ("no IP header", v4("10.5.5.5", TCP).cut(20), "fast"),
            ("ARP", v4("10.5.5.5", TCP).byte(13, 6), "not-ip"),
        ];
        for (what, frame, expected) in cases {
            let (verdict, _, why) = program.run(&frame, &xdp_md("up0", frame.0.len()));
            assert_eq!(why, expected, "{what}");
            assert_eq!(verdict, if expected == "dropped" { XDP_DROP } else { XDP_PASS }, "{what}");
        }
        let nothing = filter(&[], &[], &[]);
        let frame = v4("10.5.5.5", TCP).port(23);
        assert_eq!(nothing.run(&frame, &xdp_md("up0", frame.0.len())).0, XDP_PASS);
    });
}

#[test]
fn forwarding_between_uplinks() {
    in_namespace(|| {
        node();
        let mut program = Program::new("xdp", "nettune_forward", "xdp_counters");
        let (up, up1) = (mac("up0"), mac("up1"));
        program.cover("xdp_links", "up0", 0, 0);
        program.cover("xdp_links", "up1", 0, 0);
        program.local("xdp_locals", "xdp_bits", [10, 77, 0, 2]);
        sh(
            "ip -6 addr add fd92::2/64 dev up1 nodad; ip neigh add fd92::1 lladdr 02:00:00:00:00:01 dev up1",
        );
        // The map of ways out is asked with the link's program in place; in a test run it is not.
        let mut ways: aya::maps::xdp::DevMapHash<_> =
            program.bpf.map_mut("xdp_out").unwrap().try_into().unwrap();
        ways.insert(index("up0"), index("up0"), None, 0).unwrap();
        ways.insert(index("up1"), index("up1"), None, 0).unwrap();
        let run = |frame: &Frame| program.run(frame, &xdp_md("up0", frame.0.len()));
        let v4 = |source, dest| Frame::v4(up, source, dest, TCP, 32);
        for frame in [v4("10.5.5.5", "192.0.2.1"), Frame::v6(up, "fd55::5", "fd92::1", UDP, 32)] {
            let (verdict, out, why) = run(&frame);
            assert_eq!((verdict, why), (XDP_REDIRECT, "fast"));
            assert_eq!((&out[..6], &out[6..12]), (&ROUTER[..], &up1[..]));
            assert_eq!(out[if frame.0[12] == 8 { 22 } else { 21 }], 63);
        }
        let passed = v4("10.5.5.5", "192.0.2.1");
        let six = |dest| Frame::v6(up, "fd55::5", dest, TCP, 32);
        for (what, frame, expected) in [
            ("ARP", passed.clone().byte(13, 6), "not-ip"),
            ("a tag", passed.clone().tagged(0x8100), "tagged"),
            ("another's MAC", Frame::v4(ROUTER, "10.5.5.5", "192.0.2.1", TCP, 9), "not-for-us"),
            ("cut short", passed.clone().cut(30), "malformed"),
            ("TCP cut short", passed.clone().cut(50), "malformed"),
            ("checksum", passed.clone().ip(10, 1).ip(11, 1), "malformed"),
            ("an option", passed.clone().option4(), "options"),
            ("a fragment", passed.clone().ip4(6, 0x20), "fragment"),
            ("SCTP", Frame::v4(up, "10.5.5.5", "192.0.2.1", 132, 9), "protocol"),
            ("TTL 1", passed.clone().ip4(8, 1), "ttl"),
            ("from loopback", v4("127.0.0.1", "192.0.2.1"), "martian"),
            ("from the node", v4("10.77.0.2", "192.0.2.1"), "spoofed"),
            ("to the node", v4("10.5.5.5", "10.77.0.2"), "local"),
            ("unreachable", v4("10.5.5.5", "203.0.113.1"), "no-route"),
            ("unknown neighbour", v4("10.5.5.5", "192.0.2.99"), "no-neighbour"),
            ("back", v4("10.5.5.5", "10.6.6.6"), "same-link"),
            ("to a pod", v4("10.5.5.5", "10.244.1.2"), "not-covered"),
            ("too large", Frame::v4(up, "10.5.5.5", "192.0.2.1", TCP, 1500), "too-large"),
            ("hop limit", six("fd92::1").ip(7, 1), "ttl"),
            ("hop-by-hop", six("fd92::1").chain6(0, [0, 1, 4, 0, 0, 0, 0]), "options"),
            ("IPv6 fragment", six("fd92::1").chain6(44, [0, 0, 1, 0, 0, 0, 1]), "fragment"),
            ("IPv6 longer than the frame", six("fd92::1").ip(5, 99), "malformed"),
            ("from link-local", Frame::v6(up, "fe80::5", "fd92::1", TCP, 9), "martian"),
            (
                "neighbour discovery",
                Frame::v6(up, "fd55::5", "fd92::1", ICMPV6, 9).byte(54, 136),
                "protocol",
            ),
            ("to a pod, IPv6", six("fd44::2"), "not-covered"),
        ] {
            let (verdict, out, why) = run(&frame);
            assert_eq!((why, verdict), (expected, XDP_PASS), "{what}");
            assert_eq!(out, frame.0, "{what}: untouched");
        }
        program.cover("xdp_links", "up0", RP_STRICT, 0);
        let spoofed = v4("10.244.1.2", "192.0.2.1");
        assert_eq!(program.run(&spoofed, &xdp_md("up0", spoofed.0.len())).2, "spoofed");
        let right = v4("10.5.5.5", "192.0.2.1");
        assert_eq!(program.run(&right, &xdp_md("up0", right.0.len())).2, "fast");
        program.uncover("xdp_links", "up0");
        assert_eq!(program.run(&right, &xdp_md("up0", right.0.len())).2, "not-covered");
    });
}

#[test]
fn every_program_is_taken_by_this_kernel() {
    in_namespace(|| {
        for name in ["host_routing", "xdp", "xdp_pass", "bare_tc", "bare_xdp"] {
            let mut bpf = load(name);
            for (program_name, program) in bpf.programs_mut() {
                let result = match program {
                    aya::programs::Program::Xdp(xdp) => xdp.load(),
                    other => TryInto::<&mut SchedClassifier>::try_into(other).unwrap().load(),
                };
                result.unwrap_or_else(|e| panic!("{name} {program_name}: {e}"));
            }
        }
    });
}

/// As kernels before 6.6 have it: this one has both.
#[test]
fn a_filter_of_clsact_stays_when_its_loader_has_gone() {
    in_namespace(|| {
        use nettune::engine::{Host, Observe};
        use nettune::linux::Linux;
        use nettune::model::State;
        node();
        sh("mount -t bpf bpf /sys/fs/bpf");
        let resource = "bpf:up0/ingress".parse().unwrap();
        let state = |rp: u32| {
            State::is(format!(
                "object=host_routing mode=full via=clsact to=link rp={rp} mtu=0 tag=x"
            ))
        };
        let read = || Linux::open("/".as_ref()).unwrap().read(&resource).unwrap();
        let write = |state: &State| {
            Linux::open("/".as_ref()).unwrap().write(&resource, state).unwrap();
        };
        let filters = || sh("tc filter show dev up0 ingress");
        assert_eq!(read(), State::Absent);
        let before = sh("tc -j qdisc; tc -j filter show dev up0 ingress");
        write(&state(0));
        assert_eq!(read(), state(0));
        assert!(
            filters().contains("pref 50000") && filters().contains("nettune_route"),
            "{}",
            filters()
        );
        write(&state(1));
        assert_eq!((read(), filters().matches("handle 0x6e74").count()), (state(1), 1));
        // What somebody detached is absent again, and its folder is tidied away.
        sh("tc filter del dev up0 ingress pref 50000");
        assert_eq!(read(), State::Absent);
        Linux::open("/".as_ref()).unwrap().tidy().unwrap();
        assert_eq!(sh("ls /sys/fs/bpf | grep nettune || true"), "");
        assert_eq!(sh("tc -j qdisc; tc -j filter show dev up0 ingress"), before);
        write(&state(0));
        write(&State::Absent);
        assert_eq!(sh("tc -j qdisc; tc -j filter show dev up0 ingress"), before);
        assert_eq!(sh("ls /sys/fs/bpf | grep nettune || true"), "");
        // Our notes are gone, with the maps or without them: the filter and its clsact are ours still.
        let left = || nettune::model::bpf::remains(&read());
        for (gone, words) in [
            ("maps", "program nettune_route without its maps, which are gone"),
            ("", "program nettune_route without the note of what it was told"),
        ] {
            for mended in [State::Absent, state(1)] {
                write(&state(0));
                sh(&format!("rm -r /sys/fs/bpf/nettune/{gone}"));
                assert_eq!(left().as_deref(), Some(words));
                write(&mended);
                assert_eq!(read(), mended);
                sh(&format!("rm -rf /sys/fs/bpf/nettune/{gone}"));
                write(&State::Absent);
                assert_eq!(sh("tc -j qdisc; tc -j filter show dev up0 ingress"), before);
                assert_eq!(sh("ls /sys/fs/bpf | grep nettune || true"), "");
            }
        }
        // A clsact that others use is left to them, ours or not.
        write(&state(0));
        let theirs = format!("{}/bpf/bare_tc.bpf.o", env!("CARGO_MANIFEST_DIR"));
        sh(&format!("tc filter add dev up0 egress bpf da obj {theirs} sec classifier"));
        write(&State::Absent);
        assert!(sh("tc qdisc show dev up0").contains("clsact"));
        assert!(sh("tc filter show dev up0 egress").contains("bare_tc"));
        let facts = Linux::open("/".as_ref()).unwrap().facts().unwrap();
        let programs = facts.link("up0").unwrap().programs.known().unwrap().clone();
        assert_eq!((programs.len(), programs[0].hook.as_str()), (1, "tc egress"), "{programs:?}");
    });
}

#[test]
fn pins_of_another_namespace_and_half_a_write() {
    in_namespace(|| {
        use nettune::engine::{Host, Observe};
        use nettune::linux::Linux;
        use nettune::model::State;
        node();
        sh("mount -t bpf bpf /sys/fs/bpf");
        let resource = "bpf:up0/xdp".parse().unwrap();
        let state = State::is(
            "object=xdp mode=filter program=nettune_filter attach=native config=x tag=y\ndeny tcp/23\n",
        );
        let mut host = Linux::open("/".as_ref()).unwrap();
        host.write(&resource, &state).unwrap();
        assert_eq!(host.read(&resource).unwrap(), state);
        // The note is of another program, as after a death between the two steps of a replacement.
        sh("rm /sys/fs/bpf/nettune/xdp-*/note");
        let half = host.read(&resource).unwrap();
        assert!(
            half.text().unwrap().starts_with("object=unfinished program=nettune_filter tag="),
            "{half}"
        );
        host.write(&resource, &state).unwrap();
        assert_eq!(host.read(&resource).unwrap(), state);
        // Folders for root alone.
        assert_eq!(sh("stat -c %a /sys/fs/bpf/nettune"), "700");
        // Another namespace with the same file system keeps its hands off.
        std::thread::spawn(move || {
            use nix::sched::CloneFlags;
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
            sh("ip link add up0 type veth peer name r0; ip link set up0 up; ip link set r0 up");
            let resource = "bpf:up0/xdp".parse().unwrap();
            let mut other = Linux::open("/".as_ref()).unwrap();
            let refused = other.write(
                &resource,
                &State::is("object=xdp mode=filter program=nettune_filter attach=native\n"),
            );
            let text = format!("{:#}", refused.unwrap_err());
            assert!(text.contains("another network namespace"), "{text}");
            other.tidy().unwrap();
        })
        .join()
        .unwrap();
        assert_eq!(host.read(&resource).unwrap(), state);
        host.write(&resource, &State::Absent).unwrap();
        assert_eq!(sh("ls /sys/fs/bpf | grep nettune || true"), "");
    });
}

/// `cargo test --test bpf -- --ignored --nocapture`: what a packet costs, by BPF_PROG_TEST_RUN.
#[test]
#[ignore = "a measurement, not a test"]
fn cost() {
    in_namespace(|| {
        let mut program = host_routing();
        let (up, pod) = (mac("up0"), mac("pod0"));
        let pod_link = index("pod0");
        let mut bare = EbpfLoader::new()
            .btf(None)
            .override_global("pod_link", &pod_link, true)
            .load(&object("bare_tc"))
            .unwrap();
        let bare: &mut SchedClassifier =
            bare.program_mut("bare_route").unwrap().try_into().unwrap();
        bare.load().unwrap();
        program.cover("links", "pod0", TO_PEER, 0);
        let ours: &SchedClassifier =
            program.bpf.program("nettune_route").unwrap().try_into().unwrap();
        let in4 = Frame::v4(up, "10.5.5.5", "10.244.1.2", TCP, 32).ip4(8, 255);
        let out4 = Frame::v4(pod, "10.244.1.2", "10.5.5.5", TCP, 32).ip4(8, 255);
        let in6 = Frame::v6(up, "fd55::5", "fd44::2", TCP, 32).ip(7, 255);
        let out6 = Frame::v6(pod, "fd44::2", "fd55::5", TCP, 32).ip(7, 255);
        let rows: Vec<(&str, &SchedClassifier, Frame, &str)> = vec![
            ("bare tc, IPv4 into a pod", bare, in4.clone(), "up0"),
            ("IPv4 into a pod", ours, in4.clone(), "up0"),
            ("bare tc, IPv4 out of a pod", bare, out4.clone(), "pod0"),
            ("IPv4 out of a pod", ours, out4.clone(), "pod0"),
            ("IPv6 into a pod", ours, in6, "up0"),
            ("IPv6 out of a pod", ours, out6, "pod0"),
            ("slow: ARP", ours, in4.clone().byte(13, 6), "up0"),
            ("slow: tagged", ours, in4.clone().tagged(0x8100), "up0"),
            (
                "slow: another's MAC",
                ours,
                Frame::v4(ROUTER, "10.5.5.5", "10.244.1.2", TCP, 9),
                "up0",
            ),
            ("slow: checksum", ours, in4.clone().ip(10, 0), "up0"),
            ("slow: options", ours, in4.clone().option4(), "up0"),
            ("slow: fragment", ours, in4.clone().ip4(6, 0x20), "up0"),
            ("slow: protocol", ours, Frame::v4(up, "10.5.5.5", "10.244.1.2", 132, 9), "up0"),
            ("slow: TTL", ours, in4.clone().ip4(8, 1), "up0"),
            ("slow: martian", ours, Frame::v4(up, "127.0.0.1", "10.244.1.2", TCP, 9), "up0"),
            ("slow: to the node", ours, Frame::v4(up, "10.5.5.5", "10.77.0.2", TCP, 9), "up0"),
            ("slow: no route", ours, Frame::v4(up, "10.5.5.5", "203.0.113.1", TCP, 9), "up0"),
            (
                "slow: unknown neighbour",
                ours,
                Frame::v4(pod, "10.244.1.2", "10.77.0.99", TCP, 9),
                "pod0",
            ),
            ("slow: too large", ours, Frame::v4(pod, "10.244.1.2", "10.99.0.1", TCP, 700), "pod0"),
            ("slow: not covered", ours, Frame::v4(pod, "10.244.1.2", "192.0.2.1", TCP, 9), "pod0"),
            ("slow: spoofed", ours, Frame::v4(pod, "10.77.0.2", "10.5.5.5", TCP, 9), "pod0"),
        ];
        // In turns, so that what else runs here meets all alike; a run ends before its TTL does.
        let mut times: Vec<Vec<u64>> = vec![Vec::new(); rows.len()];
        for _ in 0..400 {
            for (at, (_, tc, frame, link)) in rows.iter().enumerate() {
                let context = skb(link, 0, 0);
                let options = TestRunOptions {
                    data_in: Some(&frame.0),
                    ctx_in: Some(&context),
                    repeat: 250,
                    ..TestRunOptions::default()
                };
                times[at].push(tc.test_run(options).unwrap().duration.as_nanos() as u64);
            }
        }
        print_rows(rows.iter().map(|(what, ..)| *what), &times);
        print_above("into a pod", &times[0], &times[1]);
        print_above("out of a pod", &times[2], &times[3]);
    });
}

#[test]
#[ignore = "a measurement, not a test"]
fn cost_of_xdp() {
    in_namespace(|| {
        node();
        let up = mac("up0");
        // The next hop has the address of the way in, so that a frame may go round: it is written anew.
        let text: Vec<String> = up.iter().map(|b| format!("{b:02x}")).collect();
        sh(&format!("ip neigh replace 192.0.2.1 lladdr {} dev up1", text.join(":")));
        let mut forward = Program::new("xdp", "nettune_forward", "xdp_counters");
        forward.cover("xdp_links", "up0", 0, 0);
        forward.cover("xdp_links", "up1", 0, 0);
        let mut ways: aya::maps::xdp::DevMapHash<_> =
            forward.bpf.map_mut("xdp_out").unwrap().try_into().unwrap();
        ways.insert(index("up1"), index("up1"), None, 0).unwrap();
        let mut bare = load("bare_xdp");
        let bare: &mut Xdp = bare.program_mut("bare_forward").unwrap().try_into().unwrap();
        bare.load().unwrap();
        let list = filter(&[(8, [11, 0, 0, 0])], &[], &[(TCP, 23)]);
        let nothing = filter(&[(8, [11, 0, 0, 0])], &[], &[]);
        let ours: &Xdp = forward.bpf.program("nettune_forward").unwrap().try_into().unwrap();
        let filter4: &Xdp = list.bpf.program("nettune_filter").unwrap().try_into().unwrap();
        let networks: &Xdp = nothing.bpf.program("nettune_filter").unwrap().try_into().unwrap();
        let frame = Frame::v4(up, "10.5.5.5", "192.0.2.1", TCP, 32).ip4(8, 255);
        let rows: Vec<(&str, &Xdp, Frame)> = vec![
            ("bare XDP, IPv4", bare, frame.clone()),
            ("forward, IPv4", ours, frame.clone()),
            ("slow: to the node", ours, Frame::v4(up, "10.5.5.5", "10.77.0.2", TCP, 9)),
            ("slow: another's MAC", ours, Frame::v4(ROUTER, "10.5.5.5", "192.0.2.1", TCP, 9)),
            ("slow: options", ours, frame.clone().option4()),
            ("filter: passes networks and ports", filter4, frame.clone()),
            ("filter: passes networks", networks, frame.clone()),
            ("filter: drops a port", filter4, frame.clone().port(23)),
        ];
        let mut times: Vec<Vec<u64>> = vec![Vec::new(); rows.len()];
        for _ in 0..400 {
            for (at, (_, xdp, frame)) in rows.iter().enumerate() {
                let context = xdp_md("up0", frame.0.len());
                let options = TestRunOptions {
                    data_in: Some(&frame.0),
                    ctx_in: Some(&context),
                    repeat: 250,
                    ..TestRunOptions::default()
                };
                times[at].push(xdp.test_run(options).unwrap().duration.as_nanos() as u64);
            }
        }
        print_rows(rows.iter().map(|(what, ..)| *what), &times);
        print_above("forward", &times[0], &times[1]);
    });
}

/// Median and tenth: what else runs here only adds.
fn print_rows<'a>(what: impl Iterator<Item = &'a str>, times: &[Vec<u64>]) {
    eprintln!();
    for (what, times) in what.zip(times) {
        let mut times = times.clone();
        times.sort_unstable();
        eprintln!("| {what} | {} | {} |", times[times.len() / 2], times[times.len() / 10]);
    }
}

/// Of the differences within each round, in which both ran one after the other: whatever slows the machine
/// for longer than a round slows both.
fn print_above(what: &str, bare: &[u64], ours: &[u64]) {
    let mut above: Vec<i64> = bare.iter().zip(ours).map(|(b, o)| *o as i64 - *b as i64).collect();
    above.sort_unstable();
    let at = |part: usize| above[above.len() * part / 4];
    eprintln!("above the bare program, {what}: {} ns ({} to {})", at(2), at(1), at(3));
}
