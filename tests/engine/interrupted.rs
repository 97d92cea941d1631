//! Told to end at every write in turn: what is whole stays, the rest is as it was, and the next run goes on.

use super::*;
use nettune::model::Change;

/// Of each tweak's resources all have what the whole apply gives them, or all what they had before.
fn whole(now: &States, before: &States, after: &States, profile: &[Selected]) -> bool {
    let answer = |states: &States| {
        let (dir, mut host) = (tempdir(), world());
        host.states = states.clone();
        apply(&mut host, dir.path(), profile).unwrap()
    };
    let rows = answer(before).rows;
    rows.iter().all(|row| {
        // What two want stands with either.
        let alone = |c: &&(Change, Outcome)| c.0.tweaks.len() == 1;
        let mine: Vec<_> = row.changes.iter().filter(alone).map(|(c, _)| &c.resource).collect();
        let all = |of: &States| mine.iter().all(|r| now.get(r) == of.get(r));
        all(before) || all(after)
    })
}

#[test]
fn an_apply_that_is_told_to_end_leaves_whole_tweaks_and_goes_on() {
    let before = world().states;
    let after = {
        let (dir, mut host) = (tempdir(), world());
        apply(&mut host, dir.path(), &profile_a()).unwrap();
        host.states
    };
    let mut exits = BTreeSet::new();
    for at in 0..=writes(&profile_a()) {
        let (dir, mut host) = (tempdir(), world());
        host.interrupted = Some(at);
        let answer = apply(&mut host, dir.path(), &profile_a()).unwrap();
        host.interrupted = None;
        assert!(whole(&host.states, &before, &after, &profile_a()), "{at}: {answer:#?}");
        exits.insert(answer.exit as u8);
        let all = host.states == after;
        assert!(answer.exit == Exit::Part || all || host.states == before, "{at}: {answer:#?}");
        assert!(answer.exit != Exit::Failed || host.states == before, "{at}: {answer:#?}");
        if !all {
            assert!(answer.notes.iter().any(|n| n.contains("interrupted")), "{at}: {answer:#?}");
        }
        // What stayed is ours and holds; what did not is nobody's.
        let held = verify(&host, dir.path()).exit;
        let none = host.states == before;
        assert_eq!(held, if none { Exit::Nothing } else { Exit::Fine }, "{at}");
        let (middle, journal) = (host.states.clone(), copy(dir.path()));
        assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine, "{at}");
        assert_eq!(host.states, before, "{at}");
        host.states = middle;
        let answer = apply(&mut host, journal.path(), &profile_a()).unwrap();
        assert_eq!((answer.exit, &host.states), (Exit::Fine, &after), "{at}: {answer:#?}");
        assert_eq!(rollback(&mut host, journal.path()).unwrap().exit, Exit::Fine, "{at}");
        assert_eq!(host.states, before, "{at}");
    }
    let wanted = [Exit::Fine, Exit::Failed, Exit::Part].map(|e| e as u8);
    assert_eq!(exits, BTreeSet::from(wanted));
}

#[test]
fn a_rollback_that_is_told_to_end_says_so_and_goes_on() {
    let before = world().states;
    for at in 0..=writes(&profile_a()) {
        let (dir, mut host) = (tempdir(), world());
        apply(&mut host, dir.path(), &profile_a()).unwrap();
        host.interrupted = Some(host.writes + at);
        let answer = rollback(&mut host, dir.path()).unwrap();
        host.interrupted = None;
        let back = host.states == before;
        assert_eq!(answer.exit, if back { Exit::Fine } else { Exit::NotPutBack }, "{at}");
        assert_eq!(answer.notes.iter().any(|n| n.contains("interrupted")), !back, "{at}");
        assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine, "{at}");
        assert_eq!(host.states, before, "{at}");
    }
}

#[test]
fn a_switch_of_profiles_that_is_told_to_end_goes_back_exactly() {
    let before = world().states;
    for at in 0..40 {
        let (dir, mut host) = (tempdir(), world());
        apply(&mut host, dir.path(), &profile_a()).unwrap();
        host.interrupted = Some(host.writes + at);
        let answer = apply(&mut host, dir.path(), &profile_b()).unwrap();
        host.interrupted = None;
        assert!(answer.exit != Exit::NotPutBack, "{at}: {answer:#?}");
        assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine, "{at}");
        assert_eq!(host.states, before, "{at}");
    }
}

/// TuneD's switch and what stands aside for it are one.
#[test]
fn what_stands_aside_is_set_again_whoever_wants_it_to_end() {
    let wants = || {
        vec![
            selected(
                "tuned",
                Some(Wants(vec![want("tuned:profile", Want::is("profile=b mode=manual"))])),
            ),
            selected("tcp", Some(Wants(vec![want("sysctl:net.core.somaxconn", Want::is("9000"))]))),
        ]
    };
    for at in 0..12 {
        let (dir, mut host) = (tempdir(), tuned::with_tuned());
        let before = host.states.clone();
        apply(&mut host, dir.path(), &wants()[1..]).unwrap();
        host.interrupted = Some(host.writes + at);
        apply(&mut host, dir.path(), &wants()).unwrap();
        host.interrupted = None;
        let somaxconn = host.get(&"sysctl:net.core.somaxconn".parse().unwrap());
        assert_eq!(somaxconn, State::is("9000"), "{at}");
        assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine, "{at}");
        let file = "file:/etc/tuned/bootcmdline".parse().unwrap();
        let without = |states: &States| {
            let mut states = states.clone();
            states.remove(&file);
            states
        };
        assert_eq!(without(&host.states), without(&before), "{at}");
    }
}

/// A state folder as this one is now.
fn copy(dir: &Path) -> tempfile::TempDir {
    let to = tempdir();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}
