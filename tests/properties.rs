//! Whatever happens in whatever order, a forced rollback ends at the baseline.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;

use nettune::engine::Observe;
use nettune::engine::plan::Scope;
use nettune::engine::row::Selected;
use nettune::engine::store::Store;
use nettune::model::facts::Link;
use nettune::model::{Resource, State, Want};
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
    /// Somebody else writes an owned resource at the moment of the next step's n-th write.
    Meanwhile { at: usize, which: usize },
    /// The uplink gets its other name.
    Rename,
    /// A pod's link leaves, at the moment of the next step's n-th write.
    Leave { at: usize },
}

const NAMES: [&str; 2] = ["eth0", "lan0"];
const POD: &str = "lxc1";
const THEIRS: &str = "rx=7 tx=7 other=7 combined=3";

/// With links above the uplink, whose MTU goes down with profile b, and one of a pod.
fn node() -> Memory {
    let mut host = world();
    host.set("mtu:eth0", "9000");
    host.facts.links[0].mtu = 9000;
    for (name, index, lower, mtu) in [("mv0", 7, "eth0", 8900), ("mv1", 8, "mv0", 8800)] {
        host.set(&format!("mtu:{name}"), &mtu.to_string());
        host.set(&format!("sysctl:net.ipv6.conf.{name}.mtu"), "1300");
        host.facts.links.push(stacked(name, index, lower, mtu));
    }
    host.set(&format!("sizes:{POD}"), "gso=65536 gro=65536");
    host.facts.links.push(Link { name: POD.into(), index: 12, ..Link::default() });
    host
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), any::<u8>()).prop_map(|(b, mask)| Step::Apply { b, mask }),
        2 => any::<u8>().prop_map(|mask| Step::Rollback { mask }),
        1 => (0..32usize).prop_map(|which| Step::Drift { which }),
        2 => (0..16usize, 0..3u8).prop_map(|(at, how)| Step::Die { at, how }),
        1 => (0..16usize).prop_map(|at| Step::Refuse { at }),
        1 => (0..16usize, 0..32usize).prop_map(|(at, which)| Step::Meanwhile { at, which }),
        1 => Just(Step::Rename),
        1 => (0..16usize).prop_map(|at| Step::Leave { at }),
    ]
}

/// What a profile says of the uplink goes by the name that it has.
fn masked(b: bool, mask: u8, uplink: &str) -> Vec<Selected> {
    let mut profile = if b { profile_b_of(uplink) } else { profile_a_of(uplink) };
    let sizes = want(&format!("sizes:{POD}"), Want::is("gso=9 gro=9"));
    profile.push(selected("pods", Some(Wants(vec![sizes]))));
    for (at, tweak) in profile.iter_mut().enumerate() {
        tweak.enable &= mask >> at & 1 == 1;
    }
    profile
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_ends_at_the_baseline(steps in proptest::collection::vec(step(), 1..14)) {
        let (dir, mut host) = (tempdir(), node());
        let mut before = host.states.clone();
        let mut uplink = 0;
        for step in &steps {
            match step {
                Step::Apply { b, mask } => {
                    let profile = masked(*b, *mask, NAMES[uplink]);
                    dies(&mut host, |h| drop(apply(h, dir.path(), &profile).unwrap()));
                }
                Step::Rollback { mask } => {
                    let tweaks = masked(false, 0xff, NAMES[uplink]);
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
                        host.set(&resource.to_string(), THEIRS);
                    }
                }
                Step::Die { at, how } => {
                    let fault = [Fault::DieBefore, Fault::DieAfter, Fault::DieHalf][*how as usize];
                    host.fault = Some((host.writes + at, fault));
                }
                Step::Meanwhile { at, which } => {
                    let store = Store::read(dir.path(), &host.facts().unwrap()).unwrap();
                    let held = store.ledger.owned.iter().filter(|(_, o)| !o.claims.is_empty());
                    // Other channels would take queues along, which is a story of its own.
                    let shapes = |r: &Resource| r.to_string().ends_with("/channels") || matches!(r, Resource::Mtu { .. });
                    let plain = |r: &&Resource| !shapes(r);
                    let held: Vec<_> = held.map(|(r, _)| r).filter(plain).cloned().collect();
                    if !held.is_empty() {
                        let theirs = State::is(THEIRS);
                        host.meanwhile = Some((host.writes + at, held[which % held.len()].clone(), theirs));
                    }
                }
                Step::Rename => {
                    host.meanwhile = None;
                    host.rename(NAMES[uplink], NAMES[1 - uplink]);
                    uplink = 1 - uplink;
                }
                Step::Leave { at } => host.leaves = Some((host.writes + at, POD.to_string())),
                Step::Refuse { at } => host.fault = Some((host.writes + at, Fault::Refuse)),
            }
        }
        (host.fault, host.meanwhile, host.leaves) = (None, None, None);
        // What we hold over a value of its own goes back to that. What somebody set once it was given
        // back is theirs, and what we found there since.
        let ledger = Store::read(dir.path(), &host.facts().unwrap()).unwrap().ledger;
        let theirs = State::is(THEIRS);
        let owned = ledger.owned.iter().filter(|(_, o)| o.baseline != theirs).map(|(r, _)| r);
        let begun = ledger.open.iter().flat_map(|b| &b.changes);
        let begun = begun.filter(|c| c.before != theirs && c.after != theirs).map(|c| &c.resource);
        let of = |r: &Resource| match r.link() {
            Some(name) if name == NAMES[1] => r.renamed(NAMES[0]),
            _ => r.clone(),
        };
        let mut held: BTreeSet<Resource> = owned.chain(begun).map(of).collect();
        // A run that died may have given it back before somebody came.
        for change in ledger.open.iter().flat_map(|b| &b.changes) {
            let resource = of(&change.resource);
            if before.get(&resource) == Some(&change.after) {
                held.remove(&resource);
            }
        }
        let answer = rollback_as(&mut host, dir.path(), Scope::default(), true).unwrap();
        if uplink == 1 {
            host.rename(NAMES[1], NAMES[0]);
        }
        if host.facts.link(POD).is_none() {
            before.retain(|r, _| r.link() != Some(POD));
        }
        for (resource, state) in &host.states {
            if *state == theirs && !held.contains(resource) {
                before.insert(resource.clone(), theirs.clone());
            }
        }
        let wrong: Vec<_> = before
            .iter()
            .map(|(r, s)| (r, s.clone(), host.get(r)))
            .filter(|(_, was, is)| was != is)
            .collect();
        prop_assert!(wrong.is_empty(), "{wrong:?} {:?}", answer.notes);
        prop_assert_eq!(&host.states, &before);
    }
}
