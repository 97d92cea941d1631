//! Each folder of tests/cases is a node, a profile and what nettune makes of them: `facts.json`
//! (what `nettune facts --json` prints under `facts`; what is left out has its default; with a `base`, what
//! is otherwise than that node of tests/nodes),
//! `profile.toml`, `before.toml` (resource = state) and `plan.txt`. The plan is compared, applied,
//! applied again (no change) and rolled back (equal to before), so a new lever's rollback is proven
//! without a line of test code. `NETTUNE_UPDATE_CASES=1` rewrites plan.txt: read the difference.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use nettune::engine::plan::Scope;
use nettune::engine::row::{Row, Selection, Status};
use nettune::engine::store::{Lock, Store};
use nettune::engine::verbs::{self, Ask, preview};
use nettune::engine::{Exit, Observe};
use nettune::model::Impact;
use nettune::profile::{Finder, Profile};
use nettune::report::reasons;
use support::{Memory, meta, rollback, tempdir, verify};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn text(rows: &[Row], exit: Exit) -> String {
    let mut out = String::new();
    for row in rows.iter().filter(|r| !matches!(r.status, Status::Later | Status::Off)) {
        let status = format!("{:?}", row.status).to_lowercase();
        writeln!(out, "{} {status} {}", row.name, row.impact).unwrap();
        for reason in &row.reasons {
            writeln!(out, "  because {}: {}", reason.code(), reasons::text(reason)).unwrap();
            if let Some(fix) = reasons::fix(reason) {
                writeln!(out, "     then {fix}").unwrap();
            }
        }
        for (change, outcome) in &row.changes {
            let outcome = format!("{outcome:?}").to_lowercase();
            let line = format!("{}: {} -> {}", change.resource, change.before, change.after);
            writeln!(out, "  {outcome} {line} ({})", change.impact).unwrap();
        }
    }
    writeln!(out, "exit {}", exit as u8).unwrap();
    out
}

fn case(folder: &Path) {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let mut facts = support::case_facts(&name);
    if facts.node.boot_id.is_empty() {
        facts.node.boot_id = "boot".into();
    }
    if facts.node.netns == 0 {
        facts.node.netns = 1;
    }
    let before = support::case_states(&name);
    let finder = Finder { folders: Vec::new(), strict: false };
    let path = folder.join("profile.toml");
    let profile = Profile::load(&finder, path.to_str().unwrap(), &[]).unwrap();
    let tweaks = profile.tweaks().unwrap();
    let links = profile.links();
    let pods = profile.pod_links();
    let mut accept = [Impact::None, Impact::NewFlows, Impact::Node].into();
    let accept: &mut std::collections::BTreeSet<Impact> = &mut accept;
    if !facts.live() {
        accept.insert(Impact::LinkReset);
    }
    accept.extend(profile.accept());
    let ask = Ask {
        selection: Selection {
            tweaks: tweaks.iter().collect(),
            links: &links,
            pod_links: &pods,
            cni: profile.cni(),
        },
        scope: Scope::default(),
        accept: accept.clone(),
        strict: false,
        atomic: false,
        meta: meta("apply"),
        profile: String::new(),
    };
    let dir = tempdir();
    let mut host = Memory::new(facts.clone(), before.clone());
    // Peers of a case answer whatever size.
    let context = ask.selection.context(&facts);
    for proof in tweaks.iter().flat_map(|t| t.tweak.proofs(&context)) {
        let (nettune::model::Proof::Path { peer, mtu }
        | nettune::model::Proof::Gateway { peer, mtu }) = proof;
        host.paths.insert(peer, mtu);
    }
    let store = Store::read(dir.path(), &facts).unwrap();
    let answer = preview(&host, &store, &facts, &ask).unwrap();
    let plan = text(&answer.rows, answer.exit);
    let expected = folder.join("plan.txt");
    if std::env::var_os("NETTUNE_UPDATE_CASES").is_some() {
        std::fs::write(&expected, &plan).unwrap();
    }
    assert_eq!(plan, read(&expected), "{name}: the plan differs");

    let apply = |host: &mut Memory| {
        let mut store =
            Store::write(Lock::take(dir.path(), Duration::ZERO).unwrap(), &facts).unwrap();
        let facts = host.facts().unwrap();
        verbs::apply(host, &mut store, &facts, &ask).unwrap()
    };
    let answer = apply(&mut host);
    assert_eq!(answer.exit, Exit::Fine, "{name}: {answer:#?}");
    let (after, writes) = (host.states.clone(), host.writes);
    apply(&mut host);
    assert_eq!((&host.states, host.writes), (&after, writes), "{name}: applied again");
    let verified = verify(&host, dir.path()).exit;
    assert!(matches!(verified, Exit::Fine | Exit::Nothing), "{name}: verify {verified:?}");
    let answer = rollback(&mut host, dir.path()).unwrap();
    assert_eq!(answer.exit, Exit::Fine, "{name}: {answer:#?}");
    assert_eq!(host.states, before, "{name}: rolled back");
}

#[test]
fn every_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut folders: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    assert!(folders.len() >= 12, "only {} cases", folders.len());
    folders.iter().for_each(|f| case(f));
}

#[test]
fn every_lever_has_a_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    for entry in nettune::tweaks::TWEAKS {
        let prefix = format!("{}-", entry.name);
        let has = std::fs::read_dir(&root)
            .unwrap()
            .any(|e| e.unwrap().file_name().to_string_lossy().starts_with(&prefix));
        assert!(has, "tests/cases has no folder {prefix}*");
    }
}

/// What a reason tells to do is a command of nettune that it takes, a key of a profile that it takes, or a sentence.
#[test]
fn every_fix_can_be_done() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let texts = std::fs::read_dir(root).unwrap().map(|e| read(&e.unwrap().path().join("plan.txt")));
    let mut fixes: Vec<String> = Vec::new();
    for text in texts {
        fixes.extend(
            text.lines().filter_map(|l| l.trim_start().strip_prefix("then ")).map(str::to_string),
        );
    }
    fixes.sort();
    fixes.dedup();
    assert!(fixes.len() > 60, "only {}", fixes.len());
    let key = regex_lite::Regex::new(
        r#"\b([a-z-]+\.[a-z0-9-]+) = ("[^"]*"|\[[^\]]*\]|[0-9]+\b|true|false)"#,
    )
    .unwrap();
    let (mut commands, mut keys) = (0, 0);
    for fix in &fixes {
        assert!(!fix.trim().is_empty() && fix.len() < 240, "{fix}");
        for (at, _) in fix.match_indices("nettune ") {
            let words = fix[at..].split([',', ';']).next().unwrap().split_whitespace();
            let words: Vec<&str> =
                words.take_while(|w| !matches!(*w, "first" | "again" | "on")).collect();
            let verb = words.get(1).copied().unwrap_or_default();
            // nettune as the one who does something is a sentence.
            if matches!(verb, "writes" | "sets" | "again" | "") {
                continue;
            }
            let parsed = nettune::cli::Cli::try_parse_from(&words);
            assert!(parsed.is_ok(), "{fix}: {words:?}: {}", parsed.err().unwrap());
            commands += 1;
        }
        for found in key.captures_iter(fix) {
            let name = found[1].split('.').next().unwrap().to_string();
            if !nettune::tweaks::TWEAKS.iter().any(|t| t.name == name) {
                continue;
            }
            let value = found[2].replace("IP of a peer", "192.0.2.1");
            let set = format!("{}={value}", &found[1]);
            let finder = Finder { folders: Vec::new(), strict: false };
            let profile = Profile::load(&finder, "cilium-max", std::slice::from_ref(&set));
            let taken = profile.and_then(|p| p.tweaks().map(drop));
            assert!(taken.is_ok(), "{fix}: --set {set}: {:#}", taken.err().unwrap());
            keys += 1;
        }
    }
    assert!(commands > 2 && keys > 15, "{commands} commands, {keys} keys");
}
