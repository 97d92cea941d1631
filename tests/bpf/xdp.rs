//! The drop list and the forwarding of XDP, a packet for each branch.

use super::*;

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
