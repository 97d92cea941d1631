//! Takes one run back: to what was before it, not to the baseline.

use anyhow::Result;

use super::confirm::Target;
use super::ledger::Owned;
use super::run::{Meta, Stage};
use super::store::Store;
use super::verbs::clear;
use super::{Exit, Host, met};
use crate::model::agents::{told_off, wanders};
use crate::model::{Change, Claims, Facts, Impact, State, Want};

#[derive(Debug)]
pub struct Reverted {
    pub notes: Vec<String>,
    pub exit: Exit,
    pub count: usize,
}

/// Writes what `targets` say, the last one first, as a journaled stage like any other. Whatever dies
/// in between: calling it again with the same targets ends at the same values.
pub fn revert<H: Host>(
    host: &mut H,
    store: &mut Store,
    facts: &Facts,
    meta: &Meta,
    targets: &[Target],
) -> Result<Reverted> {
    let (mut notes, mut stuck) = (store.journal.warnings.clone(), Vec::new());
    // By the names that links have now; asked before what is gone is let go.
    let resources: Vec<_> =
        targets.iter().map(|t| store.ledger.present(t.resource.clone(), facts)).collect();
    clear(host, store, &mut notes, &mut stuck)?;
    let states = host.read_many(&resources);
    let mut changes = Vec::new();
    let mut drifted = false;
    for ((target, resource), state) in targets.iter().zip(resources).zip(states).rev() {
        let owned = store.ledger.owned.get(&resource);
        let held = owned.map(|o| o.claims.clone()).unwrap_or_default();
        let now = match state {
            Ok(now) => now,
            Err(e) => {
                stuck.push(format!("{resource}: {e:#}"));
                continue;
            }
        };
        if now == target.state && held == target.claims {
            continue;
        }
        if now == State::Absent && target.state != now && !resource.creatable() {
            notes.push(format!("{resource} is gone: nothing to take back"));
            continue;
        }
        let ours = now == target.state
            || target.wrote.contains(&now)
            || owned.is_some_and(|o| !o.drifted(&now))
            || told_off(&resource)
                .is_some_and(|told| wanders(&resource, facts, host.read(told).ok().as_ref()));
        if !ours {
            drifted = true;
            notes.push(format!(
                "{resource} is {now}, which this run did not set: left alone (it was {})",
                target.state
            ));
            continue;
        }
        changes.push(Change {
            resource,
            after: target.state.clone(),
            impact: Impact::None,
            claims: claims(target, owned, &now),
            before: now,
            tweaks: target.tweaks.clone(),
        });
    }
    let count = changes.iter().filter(|c| !c.claim_only()).count();
    let run = format!("{} revert", meta.time);
    let proofs = Default::default();
    let ran = Stage { host, store, facts, meta, run, undo: true, proofs, whole: false }
        .execute(changes)?;
    if !ran.unclosed {
        let tweaks = targets.iter().flat_map(|t| &t.tweaks).collect();
        met::forget(store, facts, meta, &tweaks)?;
    }
    notes.extend(ran.notes);
    stuck.extend(ran.stuck);
    notes.extend(stuck.iter().map(|s| format!("not put back: {s}")));
    let mut exit = Exit::Fine;
    if !stuck.is_empty() || ran.unclosed {
        exit = exit.worst(Exit::NotPutBack);
    }
    if drifted || ran.failures.iter().any(|f| f.moved) {
        exit = exit.worst(Exit::Drift);
    }
    Ok(Reverted { notes, exit, count })
}

/// Who holds it then. Where nobody knows any more for whom it was what it goes back to, a value that is not the one
/// before nettune stays ours all the same, or its baseline would be lost.
fn claims(target: &Target, owned: Option<&Owned>, now: &State) -> Claims {
    let baseline = owned.map_or(now, |o| &o.baseline);
    if !target.claims.is_empty() || target.state == *baseline {
        return target.claims.clone();
    }
    let held = owned.map(|o| o.claims.clone()).filter(|claims| !claims.is_empty());
    let all = || target.tweaks.iter().map(|t| (t.clone(), Want::Exactly(target.state.clone())));
    held.unwrap_or_else(|| all().collect())
}
