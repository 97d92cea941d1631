//! What a profile wants and found so: verify names its loss, and no rollback writes it.

use super::*;

const MOST: &str = "sysctl:net.core.somaxconn";

/// The node has 4096.
fn wants(floor: &str) -> Vec<Selected> {
    vec![
        selected("tcp", Some(Wants(vec![want(MOST, Want::AtLeast(floor.into()))]))),
        selected("mtu", Some(Wants(vec![want("mtu:eth0", Want::is("9000"))]))),
    ]
}

fn lose(host: &mut Memory) {
    host.set(MOST, "77");
}

#[test]
fn its_loss_is_drift_and_a_rollback_leaves_it() {
    let (dir, mut host) = (tempdir(), world());
    assert_eq!(host.get(&MOST.parse().unwrap()), State::is("4096"));
    apply(&mut host, dir.path(), &wants("1024")).unwrap();
    let answer = verify(&host, dir.path());
    assert_eq!((answer.exit, status(&answer, "tcp")), (Exit::Fine, Status::Ok));
    // Writing it down is the last of that run, which has an end all the same.
    let store = nettune::engine::store::Store::read(dir.path(), &host.facts).unwrap();
    let (runs, _) = nettune::engine::history::runs(&store.journal).unwrap();
    assert!(runs.iter().all(|run| run.ended().is_some()));
    // Further than the bound is no loss.
    host.set(MOST, "2000");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    lose(&mut host);
    let answer = verify(&host, dir.path());
    assert_eq!((answer.exit, status(&answer, "tcp")), (Exit::Drift, Status::Drifted));
    assert_eq!(status(&answer, "mtu"), Status::Applied);
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.get(&MOST.parse().unwrap()), State::is("77"));
    assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
}

#[test]
fn apply_sets_what_was_lost_and_then_it_is_ours() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &wants("1024")[..1]).unwrap();
    // All of the profile was there: it holds, though nothing of it is ours.
    assert_eq!((host.writes, verify(&host, dir.path()).exit), (0, Exit::Fine));
    lose(&mut host);
    assert_eq!(verify(&host, dir.path()).exit, Exit::Drift);
    assert_eq!(apply(&mut host, dir.path(), &wants("1024")[..1]).unwrap().exit, Exit::Fine);
    assert_eq!(host.get(&MOST.parse().unwrap()), State::is("1024"));
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(host.get(&MOST.parse().unwrap()), State::is("77"));
}

#[test]
fn what_no_profile_wants_any_more_is_not_asked() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &wants("1024")).unwrap();
    apply(&mut host, dir.path(), &[selected("tcp", None), wants("1").remove(1)]).unwrap();
    lose(&mut host);
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    // Another boot finds it anew.
    apply(&mut host, dir.path(), &wants("64")).unwrap();
    host.facts.node.boot_id = "another".into();
    host.set(MOST, "7");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
}

/// A part of the profile speaks of that part.
#[test]
fn another_tweaks_apply_leaves_what_is_known() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &wants("1024")).unwrap();
    let profile = wants("1024");
    let mut ask = ask(&profile);
    ask.scope = only(&["mtu"]);
    apply_as(&mut host, dir.path(), &ask).unwrap();
    let lines =
        || std::fs::read_to_string(dir.path().join("journal.jsonl")).unwrap().lines().count();
    let before = lines();
    apply(&mut host, dir.path(), &wants("1024")).unwrap();
    assert_eq!(lines(), before, "the same once more is not written down");
    lose(&mut host);
    assert_eq!(verify(&host, dir.path()).exit, Exit::Drift);
}
