//! Vectors that irqbalance moves as it likes until it is told.

use super::*;

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
            reasons.filter_map(nettune::report::reasons::fix).collect::<Vec<_>>().join("; ")
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
