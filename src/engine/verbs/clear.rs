//! What stands before each run: what died is finished, what is gone is let go.

use std::borrow::Cow;

use anyhow::Result;

use crate::engine::layers::without_taken;
use crate::engine::ledger::Ledger;
use crate::engine::plan::Plan;
use crate::engine::record::{Begin, Done, Record};
use crate::engine::recover::{adopt, recover};
use crate::engine::run::{Meta, end};
use crate::engine::store::Store;
use crate::engine::undo::undo_script;
use crate::engine::{Host, Observe};
use crate::model::{Facts, Outcome, Resource};

/// Reading verbs only report a run that died.
pub fn pending(ledger: &Ledger) -> Vec<String> {
    let died = |b: &Begin| {
        format!("{} of {} did not end: the next apply or rollback finishes it", b.verb, b.time)
    };
    ledger.open.iter().map(died).collect()
}

/// Finishes what died, lets go of what is gone.
pub fn clear<H: Host>(
    host: &mut H,
    store: &mut Store,
    notes: &mut Vec<String>,
    stuck: &mut Vec<String>,
) -> Result<()> {
    let gone = store.ledger.vanished.len();
    if gone > 0 {
        let mut links: Vec<&str> =
            store.ledger.vanished.keys().filter_map(Resource::link).collect();
        links.dedup();
        notes.push(format!("{} is gone: {gone} values released with it", links.join(", ")));
    }
    let (more, left) = recover(host, store);
    notes.extend(more);
    stuck.extend(left);
    adopt(host, store);
    if let Cow::Owned(ledger) = without_taken(host, &store.ledger) {
        store.ledger = ledger;
    }
    store.tidy()
}

/// What a change disturbed and somebody else has moved since: it belongs to no tweak, so no row
/// speaks of it.
pub fn drifted_of_nobody(plan: &Plan, ledger: &Ledger) -> Vec<String> {
    let nobodys = |r: &Resource| ledger.owned.get(r).is_none_or(|o| o.claims.is_empty());
    let drifted = plan.drifted.iter().filter(|(r, _)| nobodys(r));
    drifted.map(|(r, why)| format!("{r} {why}: rollback --force puts the old value back")).collect()
}

/// Journals what is given up without a write; returns a note for each.
pub fn release(
    host: &impl Observe,
    store: &mut Store,
    facts: &Facts,
    meta: &Meta,
    plan: &Plan,
) -> Result<Vec<String>> {
    if plan.released.is_empty() {
        return Ok(Vec::new());
    }
    let run = format!("{} release", meta.time);
    let begin = Begin { profile: None, ..meta.begin(run.clone(), facts) };
    let done = |(resource, why): &(Resource, String)| Done {
        resource: resource.clone(),
        outcome: Outcome::Released,
        state: None,
        refused: None,
        why: Some(why.clone()),
    };
    let end = end(run, plan.released.iter().map(done).collect());
    store.journal.append(Record::Begin(begin.clone()))?;
    store.journal.append(Record::End(end.clone()))?;
    store.ledger.open.push(begin);
    let stale = store.ledger.stale;
    store.ledger.close(&end);
    store.ledger.stale = stale;
    store.write_undo(&undo_script(host, &store.ledger, facts, None)?)?;
    Ok(plan.released.iter().map(|(r, why)| format!("{r} released as it is: {why}")).collect())
}
