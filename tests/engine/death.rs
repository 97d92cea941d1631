//! It fails and it dies at every write in turn, and always finds the way back.

use super::*;

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
