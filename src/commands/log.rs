//! What was done here, and one run of it taken back.

use std::collections::BTreeMap;

use anyhow::Result;

use super::session::{Session, need_root};
use super::{confirm, look};
use crate::engine::confirm::{Target, targets};
use crate::engine::history::{Run, runs, standing};
use crate::engine::revert::revert;
use crate::engine::store::Store;
use crate::engine::{Exit, Refusal};
use crate::model::{Facts, Resource};
use crate::report::log::{TakenBackJson, values};
use crate::{stop, wait};

pub fn log(session: &Session, run: Option<&str>) -> Result<Exit> {
    let host = session.host()?;
    let facts = session.facts(&host)?;
    let store = session.reader(&facts)?;
    look::readable(&store)?;
    let (runs, _) = runs(&store.journal)?;
    match run {
        None => session.report().log(&runs)?,
        Some(name) => session.report().run(&runs[find(&runs, name, &facts)?])?,
    }
    Ok(Exit::Fine)
}

/// By its name, a beginning of it, or its time; `last` is the newest apply that stands.
fn find(runs: &[Run], name: &str, facts: &Facts) -> Result<usize> {
    let none = |text: String| Err(Refusal::with(Exit::Usage, text));
    if name == "last" {
        // One whose links are all gone left nothing.
        let here = |run: &Run| run.net().keys().any(|r| run.here(r, facts).is_some());
        let applied = |at: &usize| runs[*at].first().verb == "apply" && here(&runs[*at]);
        return match standing(runs).into_iter().rfind(applied) {
            Some(at) => Ok(at),
            None => none("no apply is known that was not taken back: nettune log".into()),
        };
    }
    let named = |run: &Run| (name.len() >= 4 && run.id().starts_with(name)) || run.time == name;
    let found: Vec<usize> = (0..runs.len()).filter(|at| named(&runs[*at])).collect();
    match found[..] {
        [one] => Ok(one),
        [] => {
            none(format!("no run {name} is known: nettune log has the last 200, or 4 MiB of them"))
        }
        _ => none(format!("{name} is the beginning of several runs: nettune log")),
    }
}

/// To what was before it, by the journal of its changes; what a later run wrote as well stays as it is.
pub fn take_back(session: &Session, name: &str) -> Result<Exit> {
    need_root()?;
    let lock = session.lock()?;
    stop::listen()?;
    let mut host = session.host()?;
    let facts = session.facts(&host)?;
    let mut store = Store::write(lock, &facts)?;
    let mut notes = confirm::none_waiting(session, &mut host, &mut store, &facts)?;
    let facts = if notes.is_empty() { facts } else { session.facts(&host)? };
    let (runs, records) = runs(&store.journal)?;
    let at = find(&runs, name, &facts)?;
    let (run, stand) = (&runs[at], standing(&runs));
    if !stand.contains(&at) && !run.died() {
        let text =
            format!("run {} changes nothing any more: it was taken back, or undone", run.id());
        return Err(Refusal::with(Exit::Nothing, text));
    }
    let later =
        written_later(stand.iter().filter(|other| **other > at).map(|at| &runs[*at]), &facts);
    let (mut kept, mut left, mut dead) = (Vec::new(), Vec::new(), 0);
    for target in targets(&records, &run.time) {
        let Some(resource) = run.here(&target.resource, &facts) else {
            notes.push(format!("{}: its link is gone, and the value with it", target.resource));
            continue;
        };
        match later.get(&resource) {
            Some(other) => left.push(format!("{resource}: run {other} wrote it later")),
            None if !lives(&target, run, &facts) => dead += 1,
            None => kept.push(Target { resource, ..target }),
        }
    }
    if dead > 0 {
        notes.push(format!("{} went with the boot they were of", values(dead)));
    }
    let mut meta = session.meta("rollback", None);
    meta.by.takes_back = Some(run.id());
    let takes_back = || format!("takes back run {}", run.id());
    let reverted =
        wait::during(takes_back, || revert(&mut host, &mut store, &facts, &meta, &kept))?;
    notes.extend(reverted.notes);
    let mut exit = reverted.exit;
    if !left.is_empty() {
        exit = exit.worst(Exit::NotPutBack);
    }
    let (id, began) = (run.id(), run.time.clone());
    let back = TakenBackJson { run: id, began, values: reverted.count, left, notes };
    session.report().taken_back(&back, exit)?;
    Ok(exit)
}

/// What these gave the node, by its present name, with the last of them that did.
fn written_later<'a>(
    runs: impl Iterator<Item = &'a Run>,
    facts: &Facts,
) -> BTreeMap<Resource, String> {
    let mut written = BTreeMap::new();
    for run in runs {
        let here = run.net().into_keys().filter_map(|resource| run.here(resource, facts));
        written.extend(here.map(|resource| (resource, run.id())));
    }
    written
}

/// A value of the running kernel is of its boot.
fn lives(target: &Target, run: &Run, facts: &Facts) -> bool {
    !target.resource.runtime() || run.first().boot == facts.node.boot_id
}
