//! What others do meanwhile, on a node in memory: pods leave, CPUs go offline, somebody goes beyond a
//! bound, a link above has an MTU of its own, a key is not taken as it was asked for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use nettune::engine::plan::Scope;
use nettune::engine::row::Status;
use nettune::engine::{Exit, Host};
use nettune::model::facts::Link;
use nettune::model::{Outcome, Resource, State, Want};
use support::*;

const SOMAXCONN: &str = "sysctl:net.core.somaxconn";
const RMEM: &str = "sysctl:net.ipv4.tcp_rmem";

fn keys() -> Vec<nettune::engine::row::Selected> {
    let all = ["net.core.somaxconn", "net.core.rmem_max", "net.core.wmem_max"];
    let one = |key: &&str| want(&format!("sysctl:{key}"), Want::is("7"));
    vec![selected("keys", Some(Wants(all.iter().map(one).collect())))]
}

#[test]
fn a_key_that_the_kernel_bends_loses_no_other() {
    for fault in [Fault::Bend] {
        for at in 0..3 {
            let (dir, mut host) = (tempdir(), world());
            for key in ["net.core.somaxconn", "net.core.rmem_max", "net.core.wmem_max"] {
                host.set(&format!("sysctl:{key}"), "3");
            }
            let before = host.states.clone();
            host.fault = Some((at, fault));
            let answer = apply(&mut host, dir.path(), &keys()).unwrap();
            host.fault = None;
            let of = |outcome| answer.rows[0].changes.iter().filter(|(_, o)| *o == outcome).count();
            assert_eq!((of(Outcome::Written), of(Outcome::Failed)), (2, 1), "{fault:?} at {at}");
            assert_eq!((answer.exit, answer.rows[0].status), (Exit::Part, Status::Failed));
            assert_eq!(host.states.values().filter(|s| **s == State::is("7")).count(), 2);
            assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
            assert_eq!(host.states, before, "{fault:?} at {at}");
        }
    }
}

#[test]
fn a_key_that_is_refused_is_tried_once_more_after_the_others() {
    let low = "sysctl:net.ipv4.ipfrag_low_thresh";
    let high = "sysctl:net.ipv4.ipfrag_high_thresh";
    let both = |l: &str, h: &str| {
        let wants = vec![want(low, Want::is(l)), want(high, Want::is(h))];
        [selected("keys", Some(Wants(wants)))]
    };
    // The kernel takes no low threshold over the high one; here the first write is refused, whichever.
    for at in 0..2 {
        let (dir, mut host) = (tempdir(), world());
        host.set(low, "3");
        host.set(high, "4");
        let before = host.states.clone();
        host.fault = Some((at, Fault::Refuse));
        let answer = apply(&mut host, dir.path(), &both("5", "6")).unwrap();
        assert_eq!((answer.exit, answer.rows[0].status), (Exit::Fine, Status::Applied));
        host.fault = Some((host.writes + at, Fault::Refuse));
        assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
        assert_eq!(host.states, before);
    }
}

#[test]
fn what_a_cause_disturbed_is_nobodys_once_it_is_back_by_hand() {
    let (dir, mut host) = (tempdir(), world());
    let xps = "sysfs:class/net/eth0/queues/tx-3/xps_cpus";
    let channels: Resource = "ethtool:eth0/channels".parse().unwrap();
    let old = host.get(&channels);
    let nic = || [profile_a().remove(0)];
    apply(&mut host, dir.path(), &nic()).unwrap();
    // By hand, or by undo.sh; then the operator steers by himself.
    host.write(&channels, &old).unwrap();
    host.set(xps, "2");
    let rings: Resource = "ethtool:eth0/rings".parse().unwrap();
    host.write(&rings, &State::is("rx=1024 tx=1024")).unwrap();
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.get(&xps.parse().unwrap()), State::is("2"));
    assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
    // A later run knows his value, and no other.
    apply(&mut host, dir.path(), &nic()).unwrap();
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.get(&xps.parse().unwrap()), State::is("2"));
    // And without a rollback in between.
    apply(&mut host, dir.path(), &nic()).unwrap();
    host.write(&channels, &old).unwrap();
    host.set(xps, "4");
    apply(&mut host, dir.path(), &nic()).unwrap();
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.get(&xps.parse().unwrap()), State::is("4"));
}

#[test]
fn a_bound_that_others_went_beyond_holds_and_is_left_to_them() {
    let bound = |n: &str| Want::AtLeast(n.into());
    let profile = || {
        let wants = vec![want(SOMAXCONN, bound("4096")), want(RMEM, bound("4 5 6"))];
        vec![selected("keys", Some(Wants(wants)))]
    };
    let (dir, mut host) = (tempdir(), world());
    host.set(SOMAXCONN, "128");
    host.set(RMEM, "1 2 3");
    let before = host.states.clone();
    apply(&mut host, dir.path(), &profile()).unwrap();
    host.set(RMEM, "4 5 99");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    let again = apply(&mut host, dir.path(), &profile()).unwrap();
    assert_eq!((again.exit, again.rows[0].status), (Exit::Fine, Status::Applied));
    assert_eq!(host.get(&RMEM.parse().unwrap()), State::is("4 5 99"));
    // Below it in one number is drift as ever.
    host.set(RMEM, "3 5 99");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Drift);
    host.set(RMEM, "4 5 99");
    let left = rollback(&mut host, dir.path()).unwrap();
    assert_eq!(left.exit, Exit::NotPutBack, "{left:#?}");
    assert!(
        left.notes.iter().any(|n| n.contains("tcp_rmem") && n.contains("--force")),
        "{left:#?}"
    );
    assert_eq!(host.get(&RMEM.parse().unwrap()), State::is("4 5 99"));
    assert_eq!(host.get(&SOMAXCONN.parse().unwrap()), State::is("128"));
    let forced = rollback_as(&mut host, dir.path(), Scope::default(), true).unwrap();
    assert_eq!((forced.exit, &host.states), (Exit::Fine, &before), "{forced:#?}");
}

#[test]
fn a_cpu_that_went_offline_is_nobodys_drift() {
    let governor = "sysfs:devices/system/cpu/cpufreq/policy3/scaling_governor";
    let wants = vec![want(governor, Want::is("performance")), want("irq:eth0/30", Want::is("3"))];
    let profile = [selected("cpu", Some(Wants(wants)))];
    let (dir, mut host) = (tempdir(), world());
    host.facts.cpus.online = "0-3".into();
    host.set(governor, "powersave");
    host.set("irq:eth0/30", "0-3");
    let before = host.states.clone();
    apply(&mut host, dir.path(), &profile).unwrap();
    let policy: Resource = governor.parse().unwrap();
    host.facts.cpus.online = "0-2".into();
    host.put(&policy, State::Absent);
    host.set("irq:eth0/30", "0-2");
    let verified = verify(&host, dir.path());
    assert_eq!(verified.exit, Exit::Fine, "{verified:#?}");
    assert!(
        verified.notes.iter().any(|n| n.contains("CPU 3 is offline: 2 values")),
        "{verified:#?}"
    );
    // What went with it is kept in mind until it is back: the kernel remembers the governor as well.
    let back = rollback(&mut host, dir.path()).unwrap();
    assert_eq!(back.exit, Exit::NotPutBack, "{back:#?}");
    assert!(back.notes.iter().any(|n| n.contains("CPU 3 is offline")), "{back:#?}");
    assert_eq!(host.get(&"irq:eth0/30".parse().unwrap()), State::is("0-3"));
    host.facts.cpus.online = "0-3".into();
    host.put(&policy, State::is("performance"));
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, before);
    // And where it is back before the rollback, the vector is where the kernel pushed it.
    apply(&mut host, dir.path(), &profile).unwrap();
    host.set("irq:eth0/30", "0-2");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, before);
    // Anywhere else, somebody has put it.
    apply(&mut host, dir.path(), &profile).unwrap();
    host.set("irq:eth0/30", "1");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Drift);
    // A queue whose CPU is away is spread anew by its driver.
    let (dir, mut host) = (tempdir(), world());
    host.facts.cpus.online = "0-3".into();
    let before = host.states.clone();
    let xps = "sysfs:class/net/eth0/queues/tx-0/xps_cpus";
    let steered = selected("xps", Some(Wants(vec![want(xps, Want::is("8"))])));
    apply(&mut host, dir.path(), &[steered]).unwrap();
    host.facts.cpus.online = "0-2".into();
    host.set(xps, "2");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, before);
}

#[test]
fn a_pod_that_leaves_at_any_write_is_released() {
    let links = ["lxc1", "lxc2", "lxc3"];
    let sizes = |link: &&str| want(&format!("sizes:{link}"), Want::is("gso=9 gro=9"));
    let all = || selected("pods", Some(Wants(links.iter().map(sizes).collect())));
    for gone in links {
        for at in 0..3 {
            let (dir, mut host) = (tempdir(), world());
            for (index, link) in (10..).zip(links) {
                host.set(&format!("sizes:{link}"), "gso=1 gro=1");
                let fact = Link { name: link.into(), index, ..Link::default() };
                host.facts.links.push(fact);
            }
            let mut before = host.states.clone();
            host.leaves = Some((at, gone.to_string()));
            let answer = apply(&mut host, dir.path(), &[all()]).unwrap();
            assert_eq!(answer.exit, Exit::Fine, "{gone} at {at}: {answer:#?}");
            assert_eq!(answer.rows[0].status, Status::Applied);
            assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
            assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
            before.retain(|r, _| r.link() != Some(gone));
            assert_eq!(host.states, before, "{gone} at {at}");
        }
    }
}

#[test]
fn an_irqbalance_that_forgets_between_plan_and_write_is_told_again() {
    let bans: Resource = "irqbalance:bans".parse().unwrap();
    // The key is written first: that is the moment in which it is restarted.
    let tell = |list: &str, key: &str| {
        let wants = vec![want(SOMAXCONN, Want::is(key)), want("irqbalance:bans", Want::is(list))];
        [selected("irq", Some(Wants(wants)))]
    };
    let (dir, mut host) = (tempdir(), world());
    host.set("irqbalance:bans", "");
    host.set(SOMAXCONN, "4");
    let before = host.states.clone();
    apply(&mut host, dir.path(), &tell("34 35", "5")).unwrap();
    host.meanwhile = Some((host.writes, bans.clone(), State::is("")));
    let answer = apply(&mut host, dir.path(), &tell("34 35 36", "6")).unwrap();
    assert_eq!((answer.exit, host.get(&bans)), (Exit::Fine, State::is("34 35 36")), "{answer:#?}");
    // What somebody else told it is another matter.
    host.meanwhile = Some((host.writes, bans.clone(), State::is("40")));
    let answer = apply(&mut host, dir.path(), &tell("34 35", "7")).unwrap();
    assert_eq!((answer.exit, host.get(&bans)), (Exit::Drift, State::is("40")));
    host.set("irqbalance:bans", "34 35 36");
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, before);
}

#[test]
fn links_above_a_lowered_one_come_back_with_it() {
    let (dir, mut host) = (tempdir(), world());
    host.set("mtu:eth0", "9000");
    host.facts.links[0].mtu = 9000;
    for (name, index, parent, mtu) in [("mv0", 7, "eth0", 8900), ("mv1", 8, "mv0", 8800)] {
        host.set(&format!("mtu:{name}"), &mtu.to_string());
        host.facts.links.push(stacked(name, index, parent, mtu));
    }
    let before = host.states.clone();
    let to = |mtu: &str| [selected("mtu", Some(Wants(vec![want("mtu:eth0", Want::is(mtu))])))];
    for sizes in [vec!["4000"], vec!["5000", "3000"], vec!["3000", "8850"]] {
        for size in &sizes {
            assert_eq!(apply(&mut host, dir.path(), &to(size)).unwrap().exit, Exit::Fine);
        }
        let back = rollback(&mut host, dir.path()).unwrap();
        assert_eq!((back.exit, &host.states), (Exit::Fine, &before), "{sizes:?} {back:#?}");
    }
    // Raised by us, and one above was given more of it since.
    let back = |host: &mut Memory| rollback(host, dir.path()).unwrap();
    apply(&mut host, dir.path(), &to("9500")).unwrap();
    host.set("mtu:mv0", "9400");
    host.facts.links.iter_mut().filter(|l| l.name == "mv0").for_each(|l| l.mtu = 9400);
    let kept = back(&mut host);
    assert_eq!(kept.exit, Exit::NotPutBack, "{kept:#?}");
    assert_eq!(host.get(&"mtu:eth0".parse().unwrap()), State::is("9500"));
}
