//! What each verb prints of recorded nodes, in tests/golden: texts that a person has read. At 60, 80 and 140 columns, and once in colour.
//! `NETTUNE_UPDATE_DOCS=1 cargo test --test golden` writes them anew; read the difference.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use nettune::engine::Observe;
use nettune::engine::plan::Scope;
use nettune::engine::store::Store;
use nettune::engine::verbs::{Answer, Ask, preview};
use nettune::model::{Facts, Impact, State};
use nettune::profile::{Finder, Profile};
use nettune::report::{Manner, Report, View};
use support::{Memory, apply_as, case_facts, case_states, meta, rollback, tempdir, verify};

type Texts = BTreeMap<String, String>;

fn hold(texts: &Texts) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, text) in texts {
        let path = folder.join(name);
        if std::env::var_os("NETTUNE_UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            *text, golden,
            "{name}: NETTUNE_UPDATE_DOCS=1 cargo test --test golden, and read it"
        );
    }
}

/// One answer at every width. What is wider than the terminal is a word that cannot be broken.
fn show(texts: &mut Texts, node: &str, what: &str, view: &View) {
    for width in [60, 80, 140] {
        let text = Report::shown(view, false, width, &Manner::default());
        for line in text.lines() {
            let wide = line.chars().count() > width;
            let broken = line.trim_start().contains(' ');
            assert!(
                !wide || !broken || line.contains("next: "),
                "{node} {what} at {width}: {line}"
            );
            assert_eq!(line, line.trim_end(), "{node} {what} at {width}");
        }
        texts.insert(format!("{node}-{what}-{width}.txt"), text);
    }
    let colour = Report::shown(view, true, 80, &Manner::default());
    texts.insert(format!("{node}-{what}-colour.txt"), colour.replace('\u{1b}', "ESC"));
}

fn facts_of(case: &str) -> Facts {
    let mut facts = case_facts(case);
    facts.node.boot_id = "boot".into();
    facts.node.netns = facts.node.netns.max(1);
    facts
}

/// All verbs in the order of a day: looked at, applied, moved by somebody, put back.
fn day(case: &str, profile: &str) {
    let mut texts = Texts::new();
    let facts = facts_of(case);
    let finder = Finder { folders: Vec::new(), strict: false };
    let profile = Profile::load(&finder, profile, &[]).unwrap();
    let wanted = profile.wanted().unwrap();
    let mut accept: std::collections::BTreeSet<Impact> =
        [Impact::None, Impact::NewFlows, Impact::Node].into();
    if !facts.live() {
        accept.insert(Impact::LinkReset);
    }
    let ask = Ask {
        selection: wanted.selection(),
        scope: Scope::default(),
        accept,
        strict: false,
        atomic: false,
        meta: meta("apply"),
        profile: profile.told_apart(),
    };
    let dir = tempdir();
    let mut host = Memory::new(facts.clone(), case_states(case));
    let mut said = |verb: &'static str, what: &str, facts: &Facts, answer: &Answer, named: bool| {
        let store = Store::read(dir.path(), facts).unwrap();
        let profile = named.then_some(&profile);
        let view = View { verb, profile, facts, store: &store, answer };
        show(&mut texts, case, what, &view);
    };
    let looked = preview(&host, &Store::read(dir.path(), &facts).unwrap(), &facts, &ask).unwrap();
    said("check", "check", &facts, &looked, true);
    said("plan", "plan", &facts, &looked, true);
    let applied = apply_as(&mut host, dir.path(), &ask).unwrap();
    let facts = host.facts().unwrap();
    said("apply", "apply", &facts, &applied, true);
    said("verify", "verify", &facts, &verify(&host, dir.path()), false);
    // Somebody else lowers what was raised.
    let moved = "sysctl:net.core.rmem_max".parse().unwrap();
    if let Some(value) = host.states.get_mut(&moved) {
        *value = State::is("65536");
        said("verify", "drift", &facts, &verify(&host, dir.path()), false);
        let again =
            preview(&host, &Store::read(dir.path(), &facts).unwrap(), &facts, &ask).unwrap();
        said("check", "check-drift", &facts, &again, true);
    }
    let back = rollback(&mut host, dir.path()).unwrap();
    said("rollback", "rollback", &facts, &back, false);
    hold(&texts);
}

#[test]
fn a_lab_node() {
    day("lab-node", "cilium-max");
}

#[test]
fn a_node_of_cilium() {
    day("cilium-all-on", "cilium-max");
}

#[test]
fn a_node_with_pods_that_holds() {
    day("bandwidth-manager-live-node-holds", "cilium-max");
}
