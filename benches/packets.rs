//! `sudo -E cargo bench --bench packets`: what a packet costs, by BPF_PROG_TEST_RUN, all in turn.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a measurement that cannot go on has failed"
)]

#[path = "../tests/support/here.rs"]
mod here;
#[path = "../tests/support/packets.rs"]
mod packets;
#[path = "../tests/bpf/program.rs"]
mod program;

use aya::EbpfLoader;
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use packets::{Frame, ROUTER, TCP};
use program::*;

fn main() {
    cost();
    cost_of_xdp();
}

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
