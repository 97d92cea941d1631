//! The committed programs on this kernel: its verifier, and packets for every branch, by
//! BPF_PROG_TEST_RUN in a namespace with routes and neighbours of its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

#[path = "../support/here.rs"]
mod here;
#[path = "../support/packets.rs"]
mod packets;
mod program;
mod routing;
mod xdp;

use program::*;

use aya::programs::SchedClassifier;
use nettune::model::bpf::tag;
use packets::{Frame, ICMP, ICMPV6, POD, ROUTER, TCP, UDP};

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
                "object=host_routing mode=full via=clsact to=link rp={rp} mtu=0 locals=x tag=x"
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
