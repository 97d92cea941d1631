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
use crate::report::log::TakenBackJson;
use crate::{stop, wait};

pub fn log(session: &Session, run: Option<&str>) -> Result<Exit> {
    let host = session.host()?;
    let facts = session.facts(&host)?;
    let store = session.reader(&facts)?;
    look::readable(&store)?;
    let (runs, _) = runs(&store.journal)?;
    match run {
        None => session.report().log(&runs)?,
        Some(name) => session.report().run(&runs[find(&runs, name)?])?,
    }
    Ok(Exit::Fine)
}

/// By its name, a beginning of it, or its time; `last` is the newest that was not taken back.
fn find(runs: &[Run], name: &str) -> Result<usize> {
    let none = |text: String| Err(Refusal::with(Exit::Usage, text));
    if name == "last" {
        return match standing(runs).last() {
            Some((at, _)) => Ok(at),
            None => none("no run is known that was not taken back: nettune log".into()),
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
    let first = confirm::none_waiting(session, &mut host, &mut store, &facts)?;
    let facts = if first.is_empty() { facts } else { session.facts(&host)? };
    let (runs, records) = runs(&store.journal)?;
    let at = find(&runs, name)?;
    let run = &runs[at];
    let (mut targets, mut left) = (targets(&records, &run.time), Vec::new());
    let here = |r: &Resource| store.ledger.present(r.clone(), &facts);
    let later = written_later(&runs[at + 1..], here);
    let mut notes = first;
    targets.retain(|target| match later.get(&here(&target.resource)) {
        Some(other) => {
            left.push(format!("{}: run {other} wrote it later", target.resource));
            false
        }
        None => true,
    });
    let before = targets.len();
    targets.retain(|target| lives(target, run, &facts));
    if targets.len() < before {
        notes.push(format!("{} values went with the boot they were of", before - targets.len()));
    }
    let mut meta = session.meta("rollback", None);
    meta.by.takes_back = Some(run.id());
    let takes_back = || format!("takes back run {}", run.id());
    let reverted =
        wait::during(takes_back, || revert(&mut host, &mut store, &facts, &meta, &targets))?;
    notes.extend(reverted.notes);
    let mut exit = reverted.exit;
    if !left.is_empty() {
        exit = exit.worst(Exit::NotPutBack);
    }
    let back = TakenBackJson {
        run: run.id(),
        began: run.time.clone(),
        values: reverted.count,
        left,
        notes,
    };
    session.report().taken_back(&back, exit)?;
    Ok(exit)
}

/// What these gave the node, with the last of them that did.
fn written_later(runs: &[Run], here: impl Fn(&Resource) -> Resource) -> BTreeMap<Resource, String> {
    let mut written = BTreeMap::new();
    for (_, run) in standing(runs) {
        written.extend(run.wrote().map(|c| (here(&c.resource), run.id())));
    }
    written
}

/// A value of the running kernel is of its boot.
fn lives(target: &Target, run: &Run, facts: &Facts) -> bool {
    !target.resource.runtime() || run.first().boot == facts.node.boot_id
}
