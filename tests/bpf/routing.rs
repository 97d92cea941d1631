//! Host routing, a packet for each of its branches.

use super::*;

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
