//! Taking a run back on a node in memory: to what was before that run, whatever dies on the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::path::Path;
use std::time::Duration;

use nettune::engine::confirm::{Target, targets};
use nettune::engine::revert::{Reverted, revert};
use nettune::engine::store::{Lock, Store};
use nettune::engine::{Exit, Observe};
use nettune::model::State;
use support::*;

fn store(host: &Memory, dir: &Path) -> Store {
    Store::write(Lock::take(dir, Duration::ZERO).unwrap(), &host.facts().unwrap()).unwrap()
}

fn take_back(host: &mut Memory, dir: &Path, targets: &[Target]) -> Reverted {
    let facts = host.facts().unwrap();
    let mut store = store(host, dir);
    revert(host, &mut store, &facts, &meta("revert"), targets).unwrap()
}

/// A is applied, then B is tried and taken back.
fn tried(host: &mut Memory, dir: &Path, fault: Option<(usize, Fault)>) -> Vec<Target> {
    let b = profile_b();
    let ask = ask(&b);
    host.writes = 0;
    host.fault = fault;
    dies(host, |host| drop(apply_as(host, dir, &ask)));
    targets(&store(host, dir).journal.records().unwrap(), &ask.meta.time)
}

#[test]
fn back_to_what_was_applied_before_and_not_to_the_baseline() {
    let (dir, mut host) = (tempdir(), world());
    let start = host.states.clone();
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let a = host.states.clone();
    let targets = tried(&mut host, dir.path(), None);
    assert_ne!(host.states, a);
    let back = take_back(&mut host, dir.path(), &targets);
    assert_eq!((back.exit, &host.states), (Exit::Fine, &a), "{back:#?}");
    assert!(back.count > 0);
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    assert_eq!(take_back(&mut host, dir.path(), &targets).count, 0);
    // Whose values these are is known as before: A applied again changes nothing, and B goes on from A.
    let writes = host.writes;
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    assert_eq!(host.writes, writes);
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, start);
}

/// Where it is not known any more for whom a value was before the run, it stays ours: its baseline is not lost.
#[test]
fn what_is_known_by_halves_keeps_its_baseline() {
    let (dir, mut host) = (tempdir(), world());
    let start = host.states.clone();
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let mut targets = tried(&mut host, dir.path(), None);
    targets.iter_mut().for_each(|target| target.claims.clear());
    assert_eq!(take_back(&mut host, dir.path(), &targets).exit, Exit::Fine);
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, start);
}

/// What the log reads is what undo reads, also after the journal was made short.
#[test]
fn a_run_is_taken_back_by_its_history() {
    use nettune::engine::history::{keep, runs};
    let (dir, mut host) = (tempdir(), world());
    let start = host.states.clone();
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let a = host.states.clone();
    tried(&mut host, dir.path(), None);
    let mut short = store(&host, dir.path());
    keep(short.journal.folder().unwrap()).unwrap();
    let snapshot = short.ledger.snapshot();
    short.journal.compact(snapshot).unwrap();
    drop(short);
    let (known, records) = runs(&store(&host, dir.path()).journal).unwrap();
    assert_eq!(known.len(), 2);
    assert!(known.iter().all(|run| run.ended().is_some() && !run.net().is_empty()));
    let targets = targets(&records, &known[1].time);
    let back = take_back(&mut host, dir.path(), &targets);
    assert_eq!((back.exit, &host.states), (Exit::Fine, &a), "{back:#?}");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.states, start);
}

#[test]
fn a_rollback_is_taken_back_as_well() {
    let (dir, mut host) = (tempdir(), world());
    let start = host.states.clone();
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let a = host.states.clone();
    let answer = rollback(&mut host, dir.path()).unwrap();
    assert_eq!(answer.exit, Exit::Fine);
    let records = store(&host, dir.path()).journal.records().unwrap();
    let time = records.iter().rev().find_map(|r| match r {
        nettune::engine::record::Record::Begin(begin) => Some(begin.time.clone()),
        _ => None,
    });
    let targets = targets(&records, &time.unwrap());
    let back = take_back(&mut host, dir.path(), &targets);
    assert_eq!((back.exit, &host.states), (Exit::Fine, &a), "{back:#?}");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    rollback(&mut host, dir.path()).unwrap();
    assert_eq!(host.states, start);
}

/// Taken back it is as profile a had made it, and rolled back as it was at first.
fn ends_whole(
    host: &mut Memory,
    dir: &Path,
    targets: &[Target],
    (a, start): (&States, &States),
    when: &str,
) {
    let back = take_back(host, dir, targets);
    assert_eq!(host.states, *a, "{when}: {back:#?}");
    assert_eq!(verify(host, dir).exit, Exit::Fine, "{when}");
    rollback(host, dir).unwrap();
    assert_eq!(host.states, *start, "{when}");
}

#[test]
fn the_run_dies_at_every_write_and_is_taken_back() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    host.writes = 0;
    apply(&mut host, dir.path(), &profile_b()).unwrap();
    let most = host.writes;
    for fault in DEATHS {
        for at in 0..most {
            let (dir, mut host, start, a) = with_a();
            let targets = tried(&mut host, dir.path(), Some((at, fault)));
            ends_whole(
                &mut host,
                dir.path(),
                &targets,
                (&a, &start),
                &format!("{fault:?} at {at}"),
            );
        }
    }
}

/// A node with profile a applied: what it was before, and what it is.
fn with_a() -> (tempfile::TempDir, Memory, States, States) {
    let (dir, mut host) = (tempdir(), world());
    let start = host.states.clone();
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let a = host.states.clone();
    (dir, host, start, a)
}

#[test]
fn taking_back_dies_at_every_write_and_is_finished() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let targets = tried(&mut host, dir.path(), None);
    host.writes = 0;
    take_back(&mut host, dir.path(), &targets);
    let most = host.writes;
    for fault in DEATHS {
        for at in 0..most {
            let (dir, mut host, start, a) = with_a();
            let targets = tried(&mut host, dir.path(), None);
            host.writes = 0;
            host.fault = Some((at, fault));
            assert!(dies(&mut host, |host| drop(take_back(host, dir.path(), &targets))));
            // The journal may have been compacted: what is to be done is what was written down before.
            ends_whole(
                &mut host,
                dir.path(),
                &targets,
                (&a, &start),
                &format!("{fault:?} at {at}"),
            );
        }
    }
}

#[test]
fn what_somebody_else_set_meanwhile_is_left() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let targets = tried(&mut host, dir.path(), None);
    host.set("sysctl:net.core.rmem_max", "12345");
    let back = take_back(&mut host, dir.path(), &targets);
    assert_eq!(back.exit, Exit::Drift, "{back:#?}");
    let kept = host.get(&"sysctl:net.core.rmem_max".parse().unwrap());
    assert_eq!(kept, State::is("12345"));
    assert_eq!(host.get(&"mtu:eth0".parse().unwrap()), State::is("9000"));
}
