//! The engine on a node in memory: it fails and it dies at every write in turn, and always finds
//! the way back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

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
fn a_refused_or_bent_write_undoes_its_tweak_and_no_other() {
    for fault in [Fault::Refuse, Fault::Bend] {
        for at in 0..writes(&profile_a()) {
            let (dir, mut host) = (tempdir(), world());
            let before = host.states.clone();
            host.fault = Some((at, fault));
            let answer = apply(&mut host, dir.path(), &profile_a()).unwrap();
            host.fault = None;
            let failed: Vec<&str> = answer
                .rows
                .iter()
                .filter(|r| r.status == Status::Failed)
                .map(|r| r.name.as_str())
                .collect();
            // A write of collateral that is refused is no failure: it is recorded and goes back later.
            if !failed.is_empty() {
                assert_eq!(answer.exit, Exit::Part, "{fault:?} at {at}: {answer:#?}");
            }
            for row in &answer.rows {
                for (change, outcome) in &row.changes {
                    let shared = change.tweaks.iter().any(|t| !failed.contains(&t.as_str()));
                    // Keys are lost one by one.
                    let keys = row
                        .changes
                        .iter()
                        .all(|(c, _)| c.resource.to_string().starts_with("sysctl:"));
                    if failed.contains(&row.name.as_str())
                        && !shared
                        && !(keys && *outcome != Outcome::Failed)
                    {
                        assert_ne!(*outcome, Outcome::Written, "{fault:?} at {at}: {change:#?}");
                        assert_eq!(host.get(&change.resource), change.before, "{fault:?} at {at}");
                    }
                }
            }
            assert_eq!(verify(&host, dir.path()).exit, Exit::Fine, "{fault:?} at {at}");
            let answer = rollback(&mut host, dir.path()).unwrap();
            assert_eq!(answer.exit, Exit::Fine, "{fault:?} at {at}: {answer:#?}");
            assert_eq!(host.states, before, "{fault:?} at {at}");
        }
    }
}

#[test]
fn atomic_and_required_undo_the_whole_run() {
    for at in 0..writes(&profile_a()) {
        let (dir, mut host) = (tempdir(), world());
        let before = host.states.clone();
        host.fault = Some((at, Fault::Refuse));
        let profile = profile_a();
        let mut ask = ask(&profile);
        ask.atomic = true;
        let answer = apply_as(&mut host, dir.path(), &ask).unwrap();
        if answer.rows.iter().any(|r| r.status == Status::Failed) {
            assert_eq!(answer.exit, Exit::Failed, "at {at}");
            assert_eq!(host.states, before, "at {at}");
            assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing, "at {at}");
        }
    }
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    host.fault = Some((writes(&profile_a()) - 1, Fault::Refuse));
    let mut profile = profile_a();
    profile.last_mut().unwrap().required = true;
    assert_eq!(apply(&mut host, dir.path(), &profile).unwrap().exit, Exit::Failed);
    assert_eq!(host.states, before);
}

/// Runs `step` until it dies or ends.
#[test]
fn death_at_any_write_of_apply_is_undone_by_the_next_rollback() {
    for fault in DEATHS {
        for at in 0..writes(&profile_a()) {
            let (dir, mut host) = (tempdir(), world());
            let before = host.states.clone();
            host.fault = Some((at, fault));
            assert!(dies(&mut host, |h| drop(apply(h, dir.path(), &profile_a()))), "{at}");
            let answer = rollback(&mut host, dir.path()).unwrap();
            assert_eq!(answer.exit, Exit::Fine, "{fault:?} at {at}: {answer:#?}");
            assert_eq!(host.states, before, "{fault:?} at {at}");
        }
    }
}

#[test]
fn death_at_any_write_of_apply_is_finished_by_the_next_apply() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let whole = host.states;
    for fault in DEATHS {
        for at in 0..writes(&profile_a()) {
            let (dir, mut host) = (tempdir(), world());
            let before = host.states.clone();
            host.fault = Some((at, fault));
            dies(&mut host, |h| drop(apply(h, dir.path(), &profile_a())));
            let answer = apply(&mut host, dir.path(), &profile_a()).unwrap();
            assert_eq!(answer.exit, Exit::Fine, "{fault:?} at {at}: {answer:#?}");
            assert_eq!(host.states, whole, "{fault:?} at {at}");
            rollback(&mut host, dir.path()).unwrap();
            assert_eq!(host.states, before, "{fault:?} at {at}");
        }
    }
}

#[test]
fn death_at_any_write_of_rollback_and_again_of_its_recovery() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let made = host.writes;
    rollback(&mut host, dir.path()).unwrap();
    let back = host.writes - made;
    for fault in DEATHS {
        for at in 0..back {
            let (dir, mut host) = (tempdir(), world());
            let before = host.states.clone();
            apply(&mut host, dir.path(), &profile_a()).unwrap();
            host.fault = Some((host.writes + at, fault));
            assert!(dies(&mut host, |h| drop(rollback(h, dir.path()))), "{at}");
            // The recovery dies too, at its first write, in each way.
            host.fault = Some((host.writes, fault));
            dies(&mut host, |h| drop(rollback(h, dir.path())));
            let answer = rollback(&mut host, dir.path()).unwrap();
            assert_eq!(answer.exit, Exit::Fine, "{fault:?} at {at}: {answer:#?}");
            assert_eq!(host.states, before, "{fault:?} at {at}");
        }
    }
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
fn drift_is_reported_and_never_overwritten_unless_forced() {
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    host.set("sysctl:net.core.rmem_max", "999");
    let answer = verify(&host, dir.path());
    assert_eq!((answer.exit, status(&answer, "tcp")), (Exit::Drift, Status::Drifted));
    let answer = apply(&mut host, dir.path(), &profile_a()).unwrap();
    assert_eq!((answer.exit, status(&answer, "tcp")), (Exit::Drift, Status::Drifted));
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Drift);
    assert_eq!(host.get(&"sysctl:net.core.rmem_max".parse().unwrap()).text(), Some("999"));
    assert_eq!(
        rollback_as(&mut host, dir.path(), Scope::default(), true).unwrap().exit,
        Exit::Fine
    );
    assert_eq!(host.states, before);
}

#[test]
fn a_value_back_at_its_baseline_is_set_again() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    host.set("sysctl:net.core.rmem_max", "212992");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Drift);
    assert_eq!(apply(&mut host, dir.path(), &profile_a()).unwrap().exit, Exit::Fine);
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
}

#[test]
fn after_a_reboot_the_runtime_is_gone_and_nothing_is_put_back() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let mut booted = world();
    booted.facts.node.boot_id = "boot-2".into();
    booted.set("sysctl:net.core.somaxconn", "777");
    let fresh = booted.states.clone();
    assert_eq!(verify(&booted, dir.path()).exit, Exit::Nothing);
    assert_eq!(rollback(&mut booted, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(booted.states, fresh);
    // The value of this boot is the baseline now.
    apply(&mut booted, dir.path(), &profile_a()).unwrap();
    rollback(&mut booted, dir.path()).unwrap();
    assert_eq!(booted.states, fresh);
}

#[test]
fn what_lives_on_after_a_reboot_still_goes_back() {
    let unit = "unit:irqbalance.service/enabled";
    let (dir, mut host) = (tempdir(), world());
    host.set(unit, "enabled");
    let profile = [selected("irq", Some(Wants(vec![want(unit, Want::is("disabled"))])))];
    apply(&mut host, dir.path(), &profile).unwrap();
    host.facts.node.boot_id = "boot-2".into();
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    rollback(&mut host, dir.path()).unwrap();
    assert_eq!(host.get(&unit.parse().unwrap()).text(), Some("enabled"));
}

#[test]
fn another_network_namespace_is_refused() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    host.facts.node.netns = 1;
    let error = rollback(&mut host, dir.path()).err().unwrap();
    assert_eq!(error.downcast_ref::<Refusal>().unwrap().exit, Exit::Config);
}

/// Moves everything of link `from` to `to`, as a rename does.
fn rename(host: &mut Memory, to: &str) {
    let states = std::mem::take(&mut host.states);
    host.states = states
        .into_iter()
        .map(|(r, s)| (if r.link().is_some() { r.renamed(to) } else { r }, s))
        .collect();
    host.facts.links[0].name = to.into();
}

#[test]
fn a_renamed_link_is_the_same_link() {
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    rename(&mut host, "lan.0");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    // A run of anything after the rename must not take our values for baselines.
    let tcp = &profile_a()[3..4];
    apply(&mut host, dir.path(), tcp).unwrap();
    let answer = rollback(&mut host, dir.path()).unwrap();
    assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
    rename(&mut host, "eth0");
    assert_eq!(host.states, before);
}

#[test]
fn a_new_link_with_an_old_name_is_another_link() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let mut fresh = world();
    fresh.facts.links[0].index = 9;
    fresh.facts.links[0].permanent_mac = Some("02:00:00:00:00:02".into());
    for (resource, state) in &host.states {
        if resource.link().is_none() {
            fresh.states.insert(resource.clone(), state.clone());
        }
    }
    let eth0: Vec<_> = fresh
        .states
        .iter()
        .filter(|(r, _)| r.link().is_some())
        .map(|(r, s)| (r.clone(), s.clone()))
        .collect();
    let answer = rollback(&mut fresh, dir.path()).unwrap();
    assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
    assert!(answer.notes.iter().any(|n| n.contains("eth0 is gone")), "{:?}", answer.notes);
    for (resource, state) in eth0 {
        assert_eq!(fresh.get(&resource), state, "{resource}");
    }
    assert_eq!(verify(&fresh, dir.path()).exit, Exit::Nothing);
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

/// What irqbalance is to leave alone grows by the vectors of a link that comes later.
#[test]
fn a_link_on_its_own_joins_the_bans() {
    let irq = |vector: &str| {
        let moved = format!("irq:eth{}/{vector}", u32::from(vector == "40"));
        let wants = vec![
            want(&moved, Want::is("7")),
            want("irqbalance:bans", Want::Includes(vector.into())),
        ];
        [selected("irq", Some(Wants(wants)))]
    };
    let (dir, mut host) = (tempdir(), world());
    host.set("irq:eth1/40", "3");
    host.set("irqbalance:bans", "9");
    let before = host.states.clone();
    apply(&mut host, dir.path(), &irq("30")).unwrap();
    let later = irq("40");
    let mut asked = ask(&later);
    asked.scope = Scope { tweaks: None, links: Some(["eth1".to_string()].into()) };
    apply_as(&mut host, dir.path(), &asked).unwrap();
    let bans = host.get(&"irqbalance:bans".parse().unwrap());
    assert_eq!(bans.text(), Some("9 30 40"), "{:?}", host.states);
    assert_eq!(host.get(&"irq:eth0/30".parse().unwrap()).text(), Some("7"));
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    rollback(&mut host, dir.path()).unwrap();
    assert_eq!(host.states, before);
}

#[test]
fn a_path_that_does_not_carry_it_puts_the_mtu_back_at_once() {
    let toml: toml::Table = "mtu = 9000\nprobe = [\"10.0.0.2\"]\n".parse().unwrap();
    let lever = &nettune::tweaks::find("mtu").unwrap().lever;
    let profile = |enable| {
        [Selected { tweak: (lever.build)(toml.clone()).unwrap(), enable, ..selected("mtu", None) }]
    };
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    host.paths.insert("10.0.0.2".into(), 8900);
    let answer = apply(&mut host, dir.path(), &profile(true)).unwrap();
    assert_eq!((answer.exit, status(&answer, "mtu")), (Exit::Part, Status::Failed), "{answer:#?}");
    assert_eq!(host.states, before);
    host.paths.insert("10.0.0.2".into(), 9000);
    assert_eq!(apply(&mut host, dir.path(), &profile(true)).unwrap().exit, Exit::Fine);
    assert_eq!(host.get(&"mtu:eth0".parse().unwrap()).text(), Some("9000"));
}

/// An irqbalance that has not been told of the vector that a tweak wants.
fn balanced() -> (Memory, [Selected; 1]) {
    let mut host = world();
    host.facts.agents.irqbalance.pid = Some(7);
    host.set("irqbalance:bans", "");
    let wants = vec![
        want("irqbalance:bans", Want::Includes("31".into())),
        want("irq:eth0/31", Want::is("7")),
    ];
    (host, [selected("irq", Some(Wants(wants)))])
}

/// irqbalance may move a vector once more before it hears of the bans.
#[test]
fn a_vector_that_irqbalance_moved_since_the_plan_is_placed_all_the_same() {
    let vector: nettune::model::Resource = "irq:eth0/31".parse().unwrap();
    for running in [true, false] {
        let (dir, (mut host, selected)) = (tempdir(), balanced());
        host.facts.agents.irqbalance.pid = running.then_some(7);
        let before = host.states.clone();
        host.meanwhile = Some((0, vector.clone(), State::is("3")));
        let answer = apply(&mut host, dir.path(), &selected).unwrap();
        let (exit, now) = if running { (Exit::Fine, "7") } else { (Exit::Drift, "3") };
        assert_eq!((answer.exit, host.get(&vector)), (exit, State::is(now)), "{answer:#?}");
        if running {
            assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
            assert_eq!(host.states, before);
        }
    }
}

/// A vector of a link whose channels change goes back with them, but not where irqbalance moves it.
#[test]
fn a_vector_that_is_nobodys_is_irqbalances_to_move() {
    let vector: nettune::model::Resource = "irq:eth0/33".parse().unwrap();
    let wants = || vec![want("ethtool:eth0/channels", Want::is("combined=3"))];
    for running in [true, false] {
        let mut moved = false;
        for write in 0..8 {
            let (dir, mut host) = (tempdir(), world());
            host.facts.agents.irqbalance.pid = running.then_some(7);
            let tweaks = [selected("nic", Some(Wants(wants())))];
            assert_eq!(apply(&mut host, dir.path(), &tweaks).unwrap().exit, Exit::Fine);
            assert_eq!(host.get(&vector).text(), Some("0-3"));
            host.fault = Some((host.writes + write, Fault::Refuse));
            let exit = rollback(&mut host, dir.path()).unwrap().exit;
            if host.get(&"ethtool:eth0/channels".parse().unwrap()).field("combined") == Some("4")
                && host.get(&vector).text() != Some("0-3")
            {
                assert_eq!(exit, if running { Exit::Fine } else { Exit::NotPutBack });
                moved = true;
            }
        }
        assert!(moved);
    }
}

/// At each boot irqbalance begins anew, and has moved what was placed before the network by the time
/// that it is told. So it does when a package upgrade restarts it.
#[test]
fn what_an_irqbalance_moves_that_was_not_told_is_no_drift() {
    let vector: nettune::model::Resource = "irq:eth0/31".parse().unwrap();
    for knows in [false, true] {
        let (dir, (mut host, selected)) = (tempdir(), balanced());
        let before = host.states.clone();
        assert_eq!(apply(&mut host, dir.path(), &selected).unwrap().exit, Exit::Fine);
        host.put(&vector, State::is("3"));
        host.set("irqbalance:bans", if knows { "31" } else { "" });
        let fixes = |answer: &nettune::engine::verbs::Answer| {
            let reasons = answer.rows.iter().flat_map(|r| &r.reasons);
            reasons.filter_map(|r| r.fix.clone()).collect::<Vec<_>>().join("; ")
        };
        let answer = verify(&host, dir.path());
        assert_eq!(answer.exit, Exit::Drift);
        assert_eq!(fixes(&answer).contains("irqbalance was started since"), !knows, "{answer:#?}");
        if knows {
            assert_eq!(apply(&mut host, dir.path(), &selected).unwrap().exit, Exit::Drift);
            assert_eq!(host.get(&vector), State::is("3"));
            continue;
        }
        assert_eq!(apply(&mut host, dir.path(), &selected).unwrap().exit, Exit::Fine);
        assert_eq!(host.get(&vector), State::is("7"));
        host.put(&vector, State::is("3"));
        host.set("irqbalance:bans", "");
        assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
        assert_eq!(host.states, before);
    }
}

/// It hears of the bans between two scans, and may move at the first of them what was in place when
/// the plan was made: ours, of another run, or nobody's yet.
#[test]
fn what_was_in_place_is_set_after_the_bans_have_been_heard() {
    let vector: nettune::model::Resource = "irq:eth0/31".parse().unwrap();
    for held in [true, false] {
        for scoped in [true, false] {
            let (dir, (mut host, selected)) = (tempdir(), balanced());
            let before = host.states.clone();
            if held {
                apply(&mut host, dir.path(), &selected).unwrap();
                host.set("irqbalance:bans", "");
            } else {
                host.put(&vector, State::is("7"));
            }
            host.meanwhile = Some((host.writes, vector.clone(), State::is("3")));
            let mut ask = ask(&selected);
            // By the run of another link, whose vectors join the bans.
            ask.scope.links = (scoped && held).then(|| ["eth1".to_string()].into());
            let answer = apply_as(&mut host, dir.path(), &ask).unwrap();
            assert_eq!(
                (answer.exit, host.get(&vector)),
                (Exit::Fine, State::is("7")),
                "{answer:#?}"
            );
            assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
            assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
            if held {
                assert_eq!(host.states, before);
            }
        }
    }
}

#[test]
fn a_value_that_moved_since_the_plan_stops_its_tweak() {
    let (dir, mut host) = (tempdir(), world());
    let key = "sysctl:net.ipv4.tcp_rmem".parse().unwrap();
    // The last of tweak tcp's three keys is written by somebody else while ours begins.
    host.meanwhile = Some((0, key, nettune::model::State::is("1 2 3")));
    let answer = apply(&mut host, dir.path(), &profile_a()[3..4]).unwrap();
    assert_eq!(
        (answer.exit, status(&answer, "tcp")),
        (Exit::Drift, Status::Drifted),
        "{answer:#?}"
    );
    let text = |r: &str| host.get(&r.parse().unwrap()).text().map(str::to_string).unwrap();
    assert_eq!(text("sysctl:net.ipv4.tcp_rmem"), "1 2 3");
    // What was written before it is undone: the tweak is the unit.
    assert_eq!(text("sysctl:net.core.rmem_max"), "212992");
    assert_eq!(text("sysctl:net.core.somaxconn"), "4096");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
}

#[test]
fn an_old_limit_below_the_live_count_is_not_put_back() {
    let key = "sysctl:net.netfilter.nf_conntrack_max";
    let (dir, mut host) = (tempdir(), world());
    host.set(key, "1000");
    let profile = [selected("tcp", Some(Wants(vec![want(key, Want::is("100000"))])))];
    apply(&mut host, dir.path(), &profile).unwrap();
    host.facts.netfilter.conntrack =
        Some(nettune::model::facts::Conntrack { count: 5000, max: 100000 });
    let answer = rollback(&mut host, dir.path()).unwrap();
    assert_eq!(answer.exit, Exit::NotPutBack, "{answer:#?}");
    assert_eq!(host.get(&key.parse().unwrap()).text(), Some("100000"));
    assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
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
fn what_cannot_be_read_does_not_keep_the_rest_of_its_tweak() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let blind: nettune::model::Resource = "sysctl:net.core.rmem_max".parse().unwrap();
    host.unreadable = Some(blind.clone());
    let answer = rollback(&mut host, dir.path()).unwrap();
    assert_eq!(answer.exit, Exit::NotPutBack, "{answer:#?}");
    assert!(
        answer.notes.iter().any(|n| n.contains("sysctl:net.core.rmem_max")),
        "{:?}",
        answer.notes
    );
    assert_eq!(host.get(&"sysctl:net.core.somaxconn".parse().unwrap()).text(), Some("4096"));
    host.unreadable = None;
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, world().states);
}

#[test]
fn what_was_made_and_cannot_be_read_since_stays_ours() {
    let mut seen = 0;
    for at in 0..writes(&profile_a()) {
        let (dir, mut host) = (tempdir(), world());
        let before = host.states.clone();
        host.fault = Some((at, Fault::GoAway));
        let answer = apply(&mut host, dir.path(), &profile_a()).unwrap();
        host.fault = None;
        let gone = host.unreadable.clone().unwrap();
        // Collateral that cannot be read fails nobody's tweak; the notes have it.
        let told = answer.notes.iter().any(|n| n.contains(&gone.to_string()));
        assert!(told, "{gone}: {:?}", answer.notes);
        if answer.rows.iter().all(|r| r.status != Status::Failed) {
            continue;
        }
        seen += 1;
        assert_eq!(answer.exit, Exit::NotPutBack, "{at}, {gone}: {answer:#?}");
        let again = rollback(&mut host, dir.path()).unwrap();
        assert_eq!(again.exit, Exit::NotPutBack, "{at}, {gone}: {again:#?}");
        host.unreadable = None;
        let mut answer = rollback(&mut host, dir.path()).unwrap();
        // Others were put back meanwhile, and a driver has reset with them what could not be seen.
        if answer.exit == Exit::Drift {
            assert!(answer.rows.iter().all(|r| r.name == "irq"), "{at}, {gone}: {answer:#?}");
            answer = rollback_as(&mut host, dir.path(), Scope::default(), true).unwrap();
        }
        assert_eq!(answer.exit, Exit::Fine, "{at}, {gone}: {answer:#?}");
        assert_eq!(host.states, before, "{at}, {gone}");
    }
    assert!(seen > 0);
}

#[test]
fn death_before_the_proof_puts_the_path_back() {
    let toml: toml::Table = "mtu = 9000\nprobe = [\"10.0.0.2\"]\n".parse().unwrap();
    let lever = &nettune::tweaks::find("mtu").unwrap().lever;
    let profile =
        [Selected { tweak: (lever.build)(toml).unwrap(), enable: true, ..selected("mtu", None) }];
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    host.fault = Some((0, Fault::DieAfter));
    assert!(dies(&mut host, |h| drop(apply(h, dir.path(), &profile))));
    // The peer does not answer: the MTU that was left raised must not pass for proved.
    let answer = apply(&mut host, dir.path(), &profile).unwrap();
    assert_eq!(answer.exit, Exit::Part, "{answer:#?}");
    assert_eq!(host.states, before);
}

#[test]
fn an_atomic_switch_that_fails_goes_back_to_the_profile_before() {
    for at in 0..40 {
        let (dir, mut host) = (tempdir(), world());
        apply(&mut host, dir.path(), &profile_a()).unwrap();
        let a = host.states.clone();
        let profile = profile_b();
        let mut asked = ask(&profile);
        asked.atomic = true;
        host.fault = Some((host.writes + at, Fault::Refuse));
        let answer = apply_as(&mut host, dir.path(), &asked).unwrap();
        let fired = host.fault.is_some_and(|(n, _)| n < host.writes);
        host.fault = None;
        if fired && answer.exit == Exit::Failed {
            assert_eq!(host.states, a, "at {at}: {answer:#?}");
            assert_eq!(verify(&host, dir.path()).exit, Exit::Fine, "at {at}");
        }
        rollback(&mut host, dir.path()).unwrap();
        assert_eq!(host.states, world().states, "at {at}");
    }
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

/// A node whose TuneD runs `a` and knows `b`, which set the same and something more.
fn with_tuned() -> Memory {
    let mut host = world();
    let of = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(r, s)| (r.parse().unwrap(), State::is(*s))).collect()
    };
    let (max, thp) = ("sysctl:net.core.somaxconn", "sysfs:kernel/mm/transparent_hugepage/enabled");
    host.set(thp, "never");
    host.tuned_profiles.insert("a".into(), of(&[(max, "300")]));
    host.tuned_profiles.insert("b".into(), of(&[(max, "500"), (thp, "always")]));
    for (name, values) in &host.tuned_profiles {
        let sets = |(r, s): (&nettune::model::Resource, &State)| Setting {
            agent: "TuneD".into(),
            resource: r.to_string(),
            value: Some(s.to_string()),
            ..Setting::default()
        };
        host.facts.tuned_profiles.insert(name.clone(), values.iter().map(sets).collect());
    }
    host.set("tuned:profile", "profile=none mode=auto");
    host.set("file:/etc/tuned/bootcmdline", "mode=0644 owner=0:0\nold\n");
    let (tuned, a) = ("tuned:profile".parse().unwrap(), State::is("profile=a mode=manual"));
    host.write(&tuned, &a).unwrap();
    host.writes = 0;
    host
}

fn tuned() -> Selected {
    let wants = Wants(vec![want("tuned:profile", Want::is("profile=b mode=manual"))]);
    selected("tuned", Some(wants))
}

/// Whoever applies last, and whatever is taken back first: all is as it was, and nothing of ours is
/// kept by TuneD for the machine's own.
#[test]
fn tuned_and_values_of_ours_come_and_go_in_any_order() {
    let tcp = || {
        let wants = vec![
            want("sysctl:net.core.somaxconn", Want::AtLeast("9000".into())),
            want("sysfs:kernel/mm/transparent_hugepage/enabled", Want::is("madvise")),
            want(
                "file:/etc/sysctl.d/zzz-nettune.conf",
                Want::is("mode=0644 owner=0:0\nnet.core.somaxconn = 9000\n"),
            ),
        ];
        selected("tcp", Some(Wants(wants)))
    };
    let no = |name| selected(name, None);
    let before = with_tuned();
    let ours = |host: &Memory, text: &str| {
        assert_eq!(host.get(&"sysctl:net.core.somaxconn".parse().unwrap()), State::is(text));
    };
    type Profiles = Vec<Vec<Selected>>;
    let ways: Vec<Profiles> = vec![
        vec![vec![tuned(), tcp()]],
        vec![vec![tcp()], vec![tuned(), tcp()]],
        vec![vec![tuned()], vec![tuned(), tcp()]],
        vec![vec![tuned(), tcp()], vec![no("tuned"), tcp()]],
        vec![vec![tuned(), tcp()], vec![tuned(), no("tcp")], vec![tuned(), tcp()]],
        vec![vec![tcp()], vec![tuned(), tcp()], vec![no("tuned"), tcp()], vec![tuned(), tcp()]],
    ];
    for (n, way) in ways.into_iter().enumerate() {
        for taken in [&["tuned", "tcp"][..], &["tcp", "tuned"], &[]] {
            let (dir, mut host) = (tempdir(), with_tuned());
            for profile in &way {
                let answer = apply(&mut host, dir.path(), profile).unwrap();
                assert_eq!(answer.exit, Exit::Fine, "way {n}: {answer:#?}");
                assert_eq!(verify(&host, dir.path()).exit, Exit::Fine, "way {n}");
                let has_tcp = profile.iter().any(|s| s.name == "tcp" && s.enable);
                ours(&host, if has_tcp { "9000" } else { "500" });
            }
            for tweak in taken {
                let answer = rollback_as(&mut host, dir.path(), only(&[tweak]), false).unwrap();
                assert_eq!(answer.exit, Exit::Fine, "way {n}, {tweak}: {answer:#?}");
                assert!(matches!(verify(&host, dir.path()).exit, Exit::Fine | Exit::Nothing));
            }
            rollback(&mut host, dir.path()).unwrap();
            assert_eq!(host.states, before.states, "way {n}, then {taken:?}");
            assert_eq!(host.tuned_found, before.tuned_found, "way {n}, then {taken:?}");
        }
    }
}

/// TuneD starts anew while a value of ours is there and takes it for the machine's own.
#[test]
fn what_tuned_took_for_the_machines_own_is_put_back_too() {
    let max: nettune::model::Resource = "sysctl:net.core.somaxconn".parse().unwrap();
    let tcp =
        || selected("tcp", Some(Wants(vec![want("sysctl:net.core.somaxconn", Want::is("9000"))])));
    for taken in [&["tuned", "tcp"][..], &["tcp", "tuned"], &["tuned"], &[]] {
        let (dir, mut host) = (tempdir(), with_tuned());
        let before = host.states.clone();
        apply(&mut host, dir.path(), &[tuned(), tcp()]).unwrap();
        host.tuned_found.insert(max.clone(), host.get(&max));
        for tweak in taken {
            let answer = rollback_as(&mut host, dir.path(), only(&[tweak]), false).unwrap();
            assert_eq!(answer.exit, Exit::Fine, "{tweak}: {answer:#?}");
            assert!(matches!(verify(&host, dir.path()).exit, Exit::Fine | Exit::Nothing));
        }
        rollback(&mut host, dir.path()).unwrap();
        assert_eq!(host.states, before, "{taken:?}");
    }
}

/// undo.sh or somebody has TuneD leave our profile: TuneD puts the machine's own value where ours was, and
/// neither that profile's value nor ours is to be written again, also not by force.
#[test]
fn what_tuned_took_along_is_nobodys_to_undo() {
    let max: nettune::model::Resource = "sysctl:net.core.somaxconn".parse().unwrap();
    let tuned_is: nettune::model::Resource = "tuned:profile".parse().unwrap();
    let tcp =
        || selected("tcp", Some(Wants(vec![want("sysctl:net.core.somaxconn", Want::is("9000"))])));
    let (before, elsewhere) = (with_tuned().states, State::is("profile=none mode=manual"));
    for (to, force) in [(&before[&tuned_is], false), (&before[&tuned_is], true), (&elsewhere, true)]
    {
        let (dir, mut host) = (tempdir(), with_tuned());
        apply(&mut host, dir.path(), &[tuned(), tcp()]).unwrap();
        assert_eq!(host.get(&max), State::is("9000"));
        host.write(&tuned_is, to).unwrap();
        let answer = rollback_as(&mut host, dir.path(), Scope::default(), force).unwrap();
        assert_eq!(answer.exit, Exit::Fine, "{to}: {answer:#?}");
        assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
        assert_eq!(host.get(&max), before[&max], "{to}");
        assert_eq!(host.get(&tuned_is), before[&tuned_is], "{to}");

        // And an apply in between takes what is there for what is there.
        let (dir, mut host) = (tempdir(), with_tuned());
        apply(&mut host, dir.path(), &[tuned(), tcp()]).unwrap();
        host.write(&tuned_is, &before[&tuned_is]).unwrap();
        let answer = apply(&mut host, dir.path(), &[tuned(), tcp()]).unwrap();
        assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
        assert_eq!(host.get(&max), State::is("9000"));
        rollback(&mut host, dir.path()).unwrap();
        assert_eq!(host.get(&max), before[&max]);
    }
}

/// A run that is undone as a whole takes its switch back with what it had set after it.
#[test]
fn an_undone_run_leaves_what_an_earlier_one_set_around_tuned() {
    let tcp = |n: &str| {
        let wants = vec![want("sysctl:net.core.somaxconn", Want::is(n))];
        selected("tcp", Some(Wants(wants)))
    };
    let more = || {
        let wants = vec![
            want("sysctl:net.core.rmem_max", Want::is("1")),
            want("irq:eth0/30", Want::is("7")),
        ];
        selected("more", Some(Wants(wants)))
    };
    let mut undone = 0;
    // Not the write that sets again what stood aside: refused, that value is lost, and said to be.
    for at in [0, 1, 3, 4, 5, 6] {
        let (dir, mut host) = (tempdir(), with_tuned());
        let before = host.states.clone();
        apply(&mut host, dir.path(), &[tcp("7000")]).unwrap();
        let (states, found) = (host.states.clone(), host.tuned_found.clone());
        host.fault = Some((host.writes + at, Fault::Refuse));
        let tweaks = [tuned(), tcp("8000"), more()];
        let mut asked = ask(&tweaks);
        asked.atomic = true;
        let answer = apply_as(&mut host, dir.path(), &asked).unwrap();
        if answer.exit == Exit::Failed {
            undone += 1;
            assert_eq!(host.states, states, "at {at}: {answer:#?}");
            assert_eq!(host.tuned_found, found, "at {at}");
            assert_eq!(verify(&host, dir.path()).exit, Exit::Fine, "at {at}");
        }
        host.fault = None;
        rollback(&mut host, dir.path()).unwrap();
        assert_eq!(host.states, before, "at {at}");
    }
    // A key that is refused once is tried once more, and taken.
    assert!(undone >= 2, "{undone}");
}

/// The same with a death at every write of every step.
#[test]
fn dying_while_tuned_switches_leaves_a_way_back() {
    let tcp = || {
        let wants = vec![want("sysctl:net.core.somaxconn", Want::AtLeast("9000".into()))];
        selected("tcp", Some(Wants(wants)))
    };
    let before = with_tuned();
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for at in 0..12 {
            let (dir, mut host) = (tempdir(), with_tuned());
            apply(&mut host, dir.path(), &[tcp()]).unwrap();
            host.fault = Some((host.writes + at, fault));
            let died = dies(&mut host, |host| {
                drop(apply(host, dir.path(), &[tuned(), tcp()]));
                drop(apply(host, dir.path(), &[selected("tuned", None), tcp()]));
            });
            assert!(died || at >= 6, "only {at} writes");
            rollback(&mut host, dir.path()).unwrap();
            rollback(&mut host, dir.path()).ok();
            assert_eq!(host.states, before.states, "{fault:?} at {at}");
            assert_eq!(host.tuned_found, before.tuned_found, "{fault:?} at {at}");
        }
    }
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
    assert!(answer.rows[0].reasons.iter().any(|r| r.code == "refused"), "{answer:#?}");
    assert_eq!(host.get(&rings).text(), Some("rx=4096 tx=1024"));
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    // It is not tried again before the next boot, and said each time ...
    let made = host.writes;
    let answer = apply(&mut host, dir.path(), &large("4096")).unwrap();
    assert_eq!((host.writes, status(&answer, "nic")), (made, Status::Applied));
    assert!(answer.rows[0].reasons.iter().any(|r| r.code == "refused"), "{answer:#?}");
    // ... but another size is.
    apply(&mut host, dir.path(), &large("8192")).unwrap();
    assert_eq!(host.get(&rings).text(), Some("rx=8192 tx=1024"));
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, before);
}

#[test]
fn a_run_undone_as_a_whole_takes_back_what_was_taken_in_part() {
    let rings: nettune::model::Resource = "ethtool:eth0/rings".parse().unwrap();
    let both = ["rx", "tx"].map(|k| (k.to_string(), Want::is("4096")));
    let tweaks = [
        selected(
            "nic",
            Some(Wants(vec![(rings.clone(), Want::Fields(both.into()), Impact::None)])),
        ),
        selected("tcp", Some(Wants(vec![want("sysctl:net.core.somaxconn", Want::is("9"))]))),
    ];
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    host.refuses.insert(rings, vec!["rx".into()]);
    // The first writes are the rings, and the RSS table that they have disturbed.
    host.fault = Some((2, Fault::Bend));
    let mut asked = ask(&tweaks);
    asked.atomic = true;
    let answer = apply_as(&mut host, dir.path(), &asked).unwrap();
    assert_eq!((answer.exit, &host.states), (Exit::Failed, &before), "{answer:#?}");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
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

#[test]
fn a_half_write_behind_a_change_of_claims_alone_is_found() {
    let some = |names: &[&str]| {
        let mut profile = profile_a();
        profile.iter_mut().for_each(|t| t.enable &= names.contains(&t.name));
        profile
    };
    for at in 0..12 {
        let (dir, mut host) = (tempdir(), world());
        apply(&mut host, dir.path(), &some(&["mtu", "irq", "tcp"])).unwrap();
        // fq joins tcp in what it holds already, and the table comes after that.
        let next = some(&["irq", "tcp", "fq", "notrack"]);
        host.fault = Some((host.writes + at, Fault::DieHalf));
        let died = dies(&mut host, |h| drop(apply(h, dir.path(), &next)));
        rollback(&mut host, dir.path()).unwrap();
        assert_eq!(host.states, world().states, "at {at}, died {died}");
    }
}
