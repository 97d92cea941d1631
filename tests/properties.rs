//! Whatever happens in whatever order, a forced rollback ends at the baseline.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use nettune::engine::Observe;
use nettune::engine::evaluate::Selected;
use nettune::engine::plan::Scope;
use nettune::engine::store::Store;
use proptest::prelude::*;
use support::*;

#[derive(Debug, Clone)]
enum Step {
    /// Apply profile a or b with the tweaks of a mask.
    Apply { b: bool, mask: u8 },
    /// Roll back the tweaks of a mask.
    Rollback { mask: u8 },
    /// Somebody else writes an owned resource.
    Drift { which: usize },
    /// The next step dies at its n-th write.
    Die { at: usize, how: u8 },
    /// The next step is refused its n-th write.
    Refuse { at: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), any::<u8>()).prop_map(|(b, mask)| Step::Apply { b, mask }),
        2 => any::<u8>().prop_map(|mask| Step::Rollback { mask }),
        1 => (0..32usize).prop_map(|which| Step::Drift { which }),
        2 => (0..16usize, 0..3u8).prop_map(|(at, how)| Step::Die { at, how }),
        1 => (0..16usize).prop_map(|at| Step::Refuse { at }),
    ]
}

fn masked(b: bool, mask: u8) -> Vec<Selected> {
    let mut profile = if b { profile_b() } else { profile_a() };
    for (at, tweak) in profile.iter_mut().enumerate() {
        tweak.enable &= mask >> at & 1 == 1;
    }
    profile
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_ends_at_the_baseline(steps in proptest::collection::vec(step(), 1..14)) {
        let (dir, mut host) = (tempdir(), world());
        let before = host.states.clone();
        for step in &steps {
            match step {
                Step::Apply { b, mask } => {
                    let profile = masked(*b, *mask);
                    dies(&mut host, |h| drop(apply(h, dir.path(), &profile).unwrap()));
                }
                Step::Rollback { mask } => {
                    let tweaks = profile_a();
                    let chosen = tweaks.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
                    let tweaks = Some(chosen.map(|(_, t)| t.name.to_string()).collect());
                    let scope = Scope { tweaks, links: None };
                    dies(&mut host, |h| drop(rollback_as(h, dir.path(), scope, false).unwrap()));
                }
                Step::Drift { which } => {
                    let store = Store::read(dir.path(), &host.facts().unwrap()).unwrap();
                    // Collateral that somebody else sets meanwhile is theirs: what a tweak holds counts.
                    let held = store.ledger.owned.iter().filter(|(_, o)| !o.claims.is_empty());
                    let held: Vec<_> = held.map(|(r, _)| r.clone()).collect();
                    if !held.is_empty() {
                        let resource = &held[which % held.len()];
                        host.set(&resource.to_string(), "rx=7 tx=7 other=7 combined=3");
                    }
                }
                Step::Die { at, how } => {
                    let fault = [Fault::DieBefore, Fault::DieAfter, Fault::DieHalf][*how as usize];
                    host.fault = Some((host.writes + at, fault));
                }
                Step::Refuse { at } => host.fault = Some((host.writes + at, Fault::Refuse)),
            }
        }
        host.fault = None;
        let answer = rollback_as(&mut host, dir.path(), Scope::default(), true).unwrap();
        prop_assert_eq!(&host.states, &before, "{:#?}", answer);
    }
}
