use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::ask::{Answer, options};
use super::became::write_into;
use super::clear::{clear, drifted_of_nobody, pending, release};
use crate::engine::layers::without_taken;
use crate::engine::ledger::Ledger;
use crate::engine::met;
use crate::engine::plan::{Scope, plan};
use crate::engine::row::{Row, Status};
use crate::engine::run::{Meta, Stage};
use crate::engine::store::Store;
use crate::engine::{Exit, Host, Observe};
use crate::model::restore::outlives;
use crate::model::{Change, Facts, Impact, Outcome, Resource, Side};

/// The rows of a rollback of the tweaks in scope: a profile that wants nothing.
fn unwanted(ledger: &Ledger, scope: &Scope, side: impl Fn(&str) -> Side) -> Vec<Row> {
    ledger
        .tweaks()
        .into_iter()
        .filter(|name| scope.chooses(name))
        .map(|name| Row::new(&name, side(&name), Status::Off))
        .collect()
}

pub struct Rollback<'a> {
    pub scope: Scope,
    /// Leaves what resets a link for the next boot.
    pub gentle: bool,
    pub force: bool,
    pub meta: Meta,
    pub side: &'a dyn Fn(&str) -> Side,
}

impl Rollback<'_> {
    fn accept(&self) -> BTreeSet<Impact> {
        let gentle = |i: &Impact| !self.gentle || *i != Impact::LinkReset;
        Impact::ALL.into_iter().filter(gentle).collect()
    }
}

pub fn rollback_preview(
    host: &impl Observe,
    store: &Store,
    facts: &Facts,
    ask: &Rollback,
) -> Result<Answer> {
    let ledger = without_taken(host, &store.ledger);
    let mut rows = unwanted(&ledger, &ask.scope, ask.side);
    let accept = ask.accept();
    let plan = plan(&mut rows, &ledger, host, facts, &options(&ask.scope, &accept, ask.force))?;
    let mut notes = store.journal.warnings.clone();
    notes.extend(pending(&store.ledger));
    notes.extend(plan.released.iter().map(|(r, why)| format!("{r} would be released: {why}")));
    notes.extend(drifted_of_nobody(&plan, &ledger));
    Ok(Answer { rows, notes, exit: Exit::Fine })
}

pub fn rollback<H: Host>(
    host: &mut H,
    store: &mut Store,
    facts: &Facts,
    ask: &Rollback,
) -> Result<Answer> {
    let (mut notes, mut stuck) = (store.journal.warnings.clone(), Vec::new());
    clear(host, store, &mut notes, &mut stuck)?;
    let mut rows = unwanted(&store.ledger, &ask.scope, ask.side);
    let accept = ask.accept();
    let plan =
        plan(&mut rows, &store.ledger, host, facts, &options(&ask.scope, &accept, ask.force))?;
    stuck.extend(plan.stuck.iter().cloned());
    notes.extend(drifted_of_nobody(&plan, &store.ledger));
    let released = release(host, store, facts, &ask.meta, &plan)?;
    let run = format!("{} back", ask.meta.time);
    let (undo, whole, proofs) = (false, false, BTreeMap::new());
    let stage = Stage { host, store, facts, meta: &ask.meta, run, undo, proofs, whole };
    let ran = stage.execute(plan.changes.clone())?;
    write_into(&mut rows, &plan.changes, &ran);
    if !ran.unclosed {
        met::note(store, facts, &ask.meta, &ask.scope, &rows, &[])?;
    }
    notes.extend(released.iter().cloned());
    let written = ran.done.iter().filter(|d| d.outcome == Outcome::Written);
    let written: BTreeSet<&Resource> = written.map(|d| &d.resource).collect();
    let gone_back = |c: &&Change| !c.claim_only() && written.contains(&c.resource);
    let behind = plan.changes.iter().filter(gone_back);
    let behind: BTreeSet<&str> = behind.filter_map(|c| outlives(&c.resource, &c.before)).collect();
    notes.extend(behind.into_iter().map(str::to_string));
    notes.extend(ran.notes);
    stuck.extend(ran.stuck);
    notes.extend(stuck.iter().map(|s| format!("not put back: {s}")));
    if ran.interrupted {
        let written = |c: &&Change| !written.contains(&c.resource);
        let left = plan.changes.iter().filter(written).count();
        notes
            .push(format!("interrupted: {left} values are not put back; nettune rollback goes on"));
    }
    if !plan.held_back.is_empty() {
        let text =
            format!("{} changes that reset a link wait for the next boot", plan.held_back.len());
        notes.push(text);
    }
    let mut exit = Exit::Fine;
    if !stuck.is_empty() || !released.is_empty() || ran.unclosed || ran.interrupted {
        exit = exit.worst(Exit::NotPutBack);
    }
    let moved = ran.failures.iter().any(|f| f.moved);
    if moved || !plan.drifted.is_empty() {
        exit = exit.worst(Exit::Drift);
    }
    Ok(Answer { rows, notes, exit })
}
