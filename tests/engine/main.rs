//! The engine on a node in memory: it fails and it dies at every write in turn, and always finds
//! the way back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod death;
mod interrupted;
mod irqbalance;
mod met;
mod moved;
#[path = "../support/mod.rs"]
mod support;
mod tuned;

use std::collections::BTreeSet;
use std::path::Path;

use nettune::engine::plan::Scope;
use nettune::engine::row::{Selected, Status};
use nettune::engine::{Exit, Host, Refusal};
use nettune::model::facts::Setting;
use nettune::model::{Impact, Outcome, State, Want};
use support::*;

fn status(answer: &nettune::engine::verbs::Answer, tweak: &str) -> Status {
    answer.rows.iter().find(|r| r.name == tweak).unwrap().status
}

fn only(tweaks: &[&str]) -> Scope {
    Scope { tweaks: Some(tweaks.iter().map(|t| t.to_string()).collect()), links: None }
}

/// How many writes an apply of `profile` makes.
fn writes(profile: &[Selected]) -> usize {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), profile).unwrap();
    host.writes
}

#[test]
fn apply_again_changes_nothing_and_rollback_is_exact() {
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    let answer = apply(&mut host, dir.path(), &profile_a()).unwrap();
    assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
    assert_eq!(host.get(&"irq:eth0/30".parse().unwrap()).text(), Some("2"));
    assert_eq!(host.get(&"sysctl:net.core.somaxconn".parse().unwrap()).text(), Some("16384"));
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    let (after, made) = (host.states.clone(), host.writes);
    let answer = apply(&mut host, dir.path(), &profile_a()).unwrap();
    assert_eq!((host.writes, &host.states), (made, &after));
    assert!(answer.rows.iter().all(|r| r.status == Status::Applied), "{answer:#?}");
    let answer = rollback(&mut host, dir.path()).unwrap();
    assert_eq!((answer.exit, &host.states), (Exit::Fine, &before), "{answer:#?}");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
}

#[test]
fn collateral_is_put_back_at_once_or_with_its_cause() {
    let (dir, mut host) = (tempdir(), world());
    let nic = &profile_a()[..2];
    apply(&mut host, dir.path(), nic).unwrap();
    let text = |host: &Memory, r: &str| host.get(&r.parse().unwrap()).text().map(str::to_string);
    // Set by hand, disturbed by the change of MTU and put back at once.
    assert_eq!(text(&host, "sysctl:net.ipv6.conf.eth0.mtu").as_deref(), Some("1400"));
    assert_eq!(
        text(&host, "route-mtu:eth0/2001:db8::/64 table 254 metric 1024").as_deref(),
        Some("1300")
    );
    assert_eq!(text(&host, "irq:eth0/32").as_deref(), Some("0-3"));
    assert_eq!(text(&host, "rss:eth0").as_deref(), Some("hash=1 key=6d5a table=default"));
    // Gone with its queue ...
    assert_eq!(text(&host, "sysfs:class/net/eth0/queues/tx-3/xps_cpus"), None);
    rollback(&mut host, dir.path()).unwrap();
    // ... and back with it, though the kernel brings it up as 0.
    assert_eq!(text(&host, "sysfs:class/net/eth0/queues/tx-3/xps_cpus").as_deref(), Some("8"));
}

#[test]
fn rings_and_an_mtu_leave_an_rss_table_set_by_hand() {
    let rss = "rss:eth0".parse().unwrap();
    let table = State::is("hash=1 key=6d5a table=0,0,0,1");
    let rings = want("ethtool:eth0/rings", Want::field("rx", Want::is("2048")));
    for tweak in [selected("nic", Some(Wants(vec![rings]))), profile_a().remove(1)] {
        let (dir, mut host) = (tempdir(), world());
        host.put(&rss, table.clone());
        let answer = apply(&mut host, dir.path(), &[tweak]).unwrap();
        assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
        assert_eq!(host.get(&rss), table);
        assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
        assert_eq!(host.get(&rss), table);
    }
}

#[test]
fn a_queue_that_came_with_a_change_leaves_nothing_behind() {
    let (dir, mut host) = (tempdir(), world());
    let channels = "ethtool:eth0/channels".parse().unwrap();
    let xps = "sysfs:class/net/eth0/queues/tx-1/xps_cpus".parse().unwrap();
    host.write(&channels, &State::is("combined=1")).unwrap();
    apply(&mut host, dir.path(), &profile_a()[..1]).unwrap();
    host.write(&xps, &State::is("c")).unwrap();
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    // By hand, and the new queue has what the driver likes.
    host.write(&channels, &State::is("combined=4")).unwrap();
    host.write(&xps, &State::is("2")).unwrap();
    let answer = rollback(&mut host, dir.path()).unwrap();
    assert_eq!((answer.exit, answer.notes.len()), (Exit::Fine, 0), "{answer:#?}");
    assert_eq!(host.get(&xps), State::is("2"));
}

#[test]
fn a_switch_of_profiles_goes_straight_there() {
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let answer = apply(&mut host, dir.path(), &profile_b()).unwrap();
    assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
    let text = |r: &str| host.get(&r.parse().unwrap()).text().map(str::to_string).unwrap();
    assert_eq!(text("mtu:eth0"), "8000");
    // At least 2048: the node's own 4096 was enough, so it is the baseline again.
    assert_eq!(text("sysctl:net.core.somaxconn"), "4096");
    assert_eq!(text("sysctl:net.core.rmem_max"), "4194304");
    assert_eq!(text("ethtool:eth0/channels"), "rx=0 tx=0 other=0 combined=4");
    assert_eq!(text("nft:nettune-notrack"), "chain b\n");
    rollback(&mut host, dir.path()).unwrap();
    assert_eq!(host.states, before);
}

#[test]
fn tweaks_roll_back_one_by_one_in_any_order() {
    let names = ["nic", "mtu", "irq", "tcp", "fq", "notrack"];
    for first in names {
        for second in names.iter().filter(|n| **n != first) {
            let (dir, mut host) = (tempdir(), world());
            let before = host.states.clone();
            apply(&mut host, dir.path(), &profile_a()).unwrap();
            let mut order = vec![first, second];
            order.extend(names.iter().filter(|n| **n != first && *n != second));
            for name in order {
                let answer = rollback_as(&mut host, dir.path(), only(&[name]), false).unwrap();
                assert_eq!(answer.exit, Exit::Fine, "{first} {second} {name}: {answer:#?}");
                let rest = verify(&host, dir.path());
                assert!(matches!(rest.exit, Exit::Fine | Exit::Nothing), "{rest:#?}");
            }
            assert_eq!(host.states, before, "{first} {second}");
        }
    }
}

#[test]
fn what_two_tweaks_share_goes_back_to_what_the_other_needs() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let somaxconn = "sysctl:net.core.somaxconn".parse().unwrap();
    rollback_as(&mut host, dir.path(), only(&["tcp"]), false).unwrap();
    assert_eq!(host.get(&somaxconn).text(), Some("8192"));
    rollback_as(&mut host, dir.path(), only(&["fq"]), false).unwrap();
    assert_eq!(host.get(&somaxconn).text(), Some("4096"));
}

#[test]
fn two_wants_that_exclude_each_other_are_a_bad_profile_and_name_both() {
    let (dir, mut host) = (tempdir(), world());
    let key = "sysctl:net.core.rmem_max";
    let profile = [
        selected("tcp", Some(Wants(vec![want(key, Want::is("1"))]))),
        selected("fq", Some(Wants(vec![want(key, Want::is("2"))]))),
    ];
    let error = apply(&mut host, dir.path(), &profile).err().unwrap();
    assert_eq!(error.downcast_ref::<Refusal>().unwrap().exit, Exit::Config);
    let text = format!("{error:#}");
    assert!(text.contains("tcp") && text.contains("fq") && text.contains("rmem_max"), "{text}");
}

#[test]
fn a_held_impact_holds_its_tweak_and_no_other() {
    let (dir, mut host) = (tempdir(), world());
    let mtu = vec![("mtu:eth0".parse().unwrap(), Want::is("9000"), Impact::Path)];
    let mut profile = profile_a();
    profile[1] = selected("mtu", Some(Wants(mtu)));
    let mut asked = ask(&profile);
    asked.accept = BTreeSet::from([Impact::None]);
    let answer = apply_as(&mut host, dir.path(), &asked).unwrap();
    assert_eq!((answer.exit, status(&answer, "mtu")), (Exit::Fine, Status::Held));
    assert_eq!(host.get(&"mtu:eth0".parse().unwrap()).text(), Some("1500"));
    assert_eq!(status(&answer, "tcp"), Status::Applied);
    asked.strict = true;
    assert_eq!(apply_as(&mut host, dir.path(), &asked).unwrap().exit, Exit::Blocked);
}

#[test]
fn only_and_link_leave_the_rest_as_it_is() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let profile = profile_b();
    let mut asked = ask(&profile);
    asked.scope = only(&["mtu"]);
    apply_as(&mut host, dir.path(), &asked).unwrap();
    let text =
        |host: &Memory, r: &str| host.get(&r.parse().unwrap()).text().map(str::to_string).unwrap();
    assert_eq!(text(&host, "mtu:eth0"), "8000");
    assert_eq!(text(&host, "sysctl:net.core.somaxconn"), "16384");
    asked.scope = Scope { tweaks: None, links: Some(["eth1".to_string()].into()) };
    let made = host.writes;
    apply_as(&mut host, dir.path(), &asked).unwrap();
    assert_eq!(host.writes, made);
}

#[test]
fn a_second_writer_is_told_who_holds_the_lock() {
    let dir = tempdir();
    let take = || nettune::engine::store::Lock::take(dir.path(), Default::default());
    let _held = take().unwrap();
    let error = take();
    let error = error.err().unwrap();
    assert_eq!(error.downcast_ref::<Refusal>().unwrap().exit, Exit::Busy);
    assert!(format!("{error}").contains(&std::process::id().to_string()), "{error}");
}

#[test]
fn a_run_costs_a_record_before_and_after_each_stage() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let text = std::fs::read_to_string(dir.path().join("journal.jsonl")).unwrap();
    // And one that is empty, the first time.
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(dir.path().join("undo.sh").exists());
}

#[test]
fn a_journal_that_has_grown_is_compacted_and_still_undoes() {
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    let journal = dir.path().join("journal.jsonl");
    let size = |p: &Path| std::fs::metadata(p).unwrap().len();
    let mut largest = 0;
    for round in 0..600 {
        let profile = if round % 2 == 0 { profile_a() } else { profile_b() };
        apply(&mut host, dir.path(), &profile).unwrap();
        largest = largest.max(size(&journal));
        if largest > 1 << 20 && size(&journal) < largest / 2 {
            break;
        }
    }
    assert!(size(&journal) < largest / 2, "never compacted: {largest}");
    rollback(&mut host, dir.path()).unwrap();
    assert_eq!(host.states, before);
}

#[test]
fn what_belongs_to_a_change_goes_back_with_it_and_not_before() {
    let (dir, mut host) = (tempdir(), world());
    host.set("tuned:profile", "profile=virtual-guest mode=auto");
    host.set("file:/etc/tuned/bootcmdline", "mode=0644 owner=0:0\nold\n");
    let before = host.states.clone();
    let wants = Wants(vec![want("tuned:profile", Want::is("profile=x mode=manual"))]);
    apply(&mut host, dir.path(), &[selected("tuned", Some(wants))]).unwrap();
    let file = "file:/etc/tuned/bootcmdline".parse().unwrap();
    assert!(host.get(&file).text().unwrap().contains("profile=x"), "{:?}", host.get(&file));
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, before);
}

#[test]
fn a_key_that_the_driver_refuses_loses_no_other() {
    let rings: nettune::model::Resource = "ethtool:eth0/rings".parse().unwrap();
    let large = |n: &str| {
        let both = ["rx", "tx"].map(|k| (k.to_string(), Want::AtLeast(n.into())));
        let wants = vec![
            (rings.clone(), Want::Fields(both.into()), Impact::None),
            want("sysctl:net.core.somaxconn", Want::is("9")),
        ];
        [selected("nic", Some(Wants(wants)))]
    };
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    host.refuses.insert(rings.clone(), vec!["tx".into()]);
    let answer = apply(&mut host, dir.path(), &large("4096")).unwrap();
    assert_eq!((answer.exit, status(&answer, "nic")), (Exit::Fine, Status::Applied));
    assert!(answer.rows[0].reasons.iter().any(|r| r.code() == "refused"), "{answer:#?}");
    assert_eq!(host.get(&rings).text(), Some("rx=4096 tx=1024"));
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    // It is not tried again before the next boot, and said each time ...
    let made = host.writes;
    let answer = apply(&mut host, dir.path(), &large("4096")).unwrap();
    assert_eq!((host.writes, status(&answer, "nic")), (made, Status::Applied));
    assert!(answer.rows[0].reasons.iter().any(|r| r.code() == "refused"), "{answer:#?}");
    // ... but another size is.
    apply(&mut host, dir.path(), &large("8192")).unwrap();
    assert_eq!(host.get(&rings).text(), Some("rx=8192 tx=1024"));
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, before);
}

#[test]
fn a_tweak_of_which_the_kernel_takes_nothing_is_unsupported() {
    let irq: nettune::model::Resource = "irq:eth0/30".parse().unwrap();
    let tweaks = [selected("irq", Some(Wants(vec![(irq.clone(), Want::is("5"), Impact::None)])))];
    let (dir, mut host) = (tempdir(), world());
    host.refuses.insert(irq, vec![String::new()]);
    for _ in 0..2 {
        let answer = apply(&mut host, dir.path(), &tweaks).unwrap();
        assert_eq!((answer.exit, status(&answer, "irq")), (Exit::Fine, Status::Unsupported));
        assert_eq!((host.writes, &host.states), (1, &world().states));
    }
    // What was ours stays ours when the kernel refuses a new value, and goes back when it can.
    let (dir, mut host) = (tempdir(), world());
    let to =
        |n: &str| [selected("nic", Some(Wants(vec![want("ethtool:eth0/rings", Want::is(n))])))];
    apply(&mut host, dir.path(), &to("rx=2048 tx=1024")).unwrap();
    host.refuses.insert("ethtool:eth0/rings".parse().unwrap(), vec!["rx".into()]);
    apply(&mut host, dir.path(), &to("rx=4096 tx=1024")).unwrap();
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::NotPutBack);
    host.refuses.clear();
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, world().states);
}
