//! What a file of ours brought back at a boot is ours again, with what was before nettune.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use nettune::engine::Exit;
use nettune::model::{State, Want};
use support::*;

const DROPIN: &str = "file:/etc/sysctl.d/zzz-nettune.conf";

fn kept() -> Vec<nettune::engine::row::Selected> {
    vec![
        selected("tcp", Some(Wants(vec![want("sysctl:net.core.somaxconn", Want::is("16384"))]))),
        selected("persist", Some(Wants(vec![want(DROPIN, Want::is("mode=0644 owner=0:0\nx\n"))]))),
    ]
}

/// Another boot: what the kernel holds is new, files stay, and the drop-in is read before nettune runs.
fn reboot(host: &mut Memory, number: u32, somaxconn: &str) {
    host.facts.node.boot_id = format!("boot-{number}");
    host.set("sysctl:net.core.somaxconn", somaxconn);
}

#[test]
fn a_rollback_after_a_reboot_puts_back_what_was_before_nettune() {
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    apply(&mut host, dir.path(), &kept()).unwrap();
    for number in 2..5 {
        reboot(&mut host, number, "16384");
        let answer = apply(&mut host, dir.path(), &kept()[..1]).unwrap();
        assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
        assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    }
    let answer = rollback(&mut host, dir.path()).unwrap();
    assert_eq!((answer.exit, &host.states), (Exit::Fine, &before), "{answer:#?}");
}

#[test]
fn also_when_nothing_ran_at_that_boot() {
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    apply(&mut host, dir.path(), &kept()).unwrap();
    reboot(&mut host, 2, "16384");
    rollback(&mut host, dir.path()).unwrap();
    assert_eq!(host.states, before);
}

#[test]
fn another_value_is_nobodys_and_without_the_file_it_is_void() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &kept()).unwrap();
    reboot(&mut host, 2, "4096");
    rollback(&mut host, dir.path()).unwrap();
    assert_eq!(host.get(&"sysctl:net.core.somaxconn".parse().unwrap()), State::is("4096"));
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &kept()[..1]).unwrap();
    reboot(&mut host, 2, "16384");
    rollback(&mut host, dir.path()).unwrap();
    assert_eq!(host.get(&"sysctl:net.core.somaxconn".parse().unwrap()), State::is("16384"));
}

/// Links that come up under our default_qdisc have the qdisc that was wanted, by default.
#[test]
fn a_qdisc_that_our_default_brought_back_goes_back_too() {
    let (dir, mut host) = (tempdir(), world());
    let profile = |qdisc: &str| {
        let wants = vec![
            want("sysctl:net.core.default_qdisc", Want::is("fq")),
            want("qdisc:eth0", Want::is(qdisc)),
        ];
        vec![selected("bandwidth-manager", Some(Wants(wants))), kept().remove(1)]
    };
    let before = host.states.clone();
    apply(&mut host, dir.path(), &profile("mq fq")).unwrap();
    for number in 2..4 {
        host.facts.node.boot_id = format!("boot-{number}");
        host.states.remove(&"qdisc:eth0".parse().unwrap());
        host.set("irq:eth0/30", "0");
        let early = [selected("irq", Some(Wants(vec![want("irq:eth0/30", Want::is("7"))])))];
        let mut asked = ask(&early);
        asked.scope.tweaks = Some(["irq".to_string()].into());
        apply_as(&mut host, dir.path(), &asked).unwrap();
        host.set("qdisc:eth0", "default mq fq");
        apply(&mut host, dir.path(), &profile("default mq fq")[..1]).unwrap();
        assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    }
    rollback(&mut host, dir.path()).unwrap();
    assert_eq!(host.states, before);
}

/// The power goes at each write of an apply that keeps the profile, over one that kept another value:
/// what the boot brings back goes back.
#[test]
fn also_when_the_power_went_before_the_end_of_the_run() {
    let somaxconn = "sysctl:net.core.somaxconn".parse().unwrap();
    let of = |value: &'static str| {
        let file = format!("mode=0644 owner=0:0\nnet.core.somaxconn = {value}\n");
        vec![
            selected("tcp", Some(Wants(vec![want("sysctl:net.core.somaxconn", Want::is(value))]))),
            selected("persist", Some(Wants(vec![want(DROPIN, Want::is(file))]))),
        ]
    };
    for kept in [false, true] {
        for (write, fault) in (0..3).flat_map(|n| [(n, Fault::DieBefore), (n, Fault::DieAfter)]) {
            let (dir, mut host) = (tempdir(), world());
            let before = host.states.clone();
            if kept {
                apply(&mut host, dir.path(), &of("8192")).unwrap();
            }
            host.fault = Some((host.writes + write, fault));
            dies(&mut host, |host| drop(apply(host, dir.path(), &of("16384"))));
            host.fault = None;
            let text = host.get(&DROPIN.parse().unwrap()).text().map(str::to_string);
            let brought = text.as_deref().and_then(|t| t.rsplit(" = ").next()).map(str::trim);
            let fresh = before[&somaxconn].text().unwrap().to_string();
            let brought = brought.unwrap_or(&fresh).to_string();
            reboot(&mut host, 2, &brought);
            let answer = rollback(&mut host, dir.path()).unwrap();
            assert_eq!(host.states, before, "{kept} {write} {fault:?}: {answer:#?}");
        }
    }
}
