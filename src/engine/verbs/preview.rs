use anyhow::Result;

use super::ask::{Answer, Ask, blockers, options};
use super::clear::pending;
use crate::engine::evaluate::evaluate;
use crate::engine::layers::without_taken;
use crate::engine::ledger::Ledger;
use crate::engine::plan::{Plan, plan};
use crate::engine::row::Row;
use crate::engine::seen::Seen;
use crate::engine::store::Store;
use crate::engine::{Observe, expect, order};
use crate::model::{Change, Facts, Outcome};

/// What apply would do: `check`, `plan`, `apply --dry-run`.
pub fn preview(host: &impl Observe, store: &Store, facts: &Facts, ask: &Ask) -> Result<Answer> {
    let host = &Seen::new(host, facts);
    let mut rows = evaluate(&ask.selection, facts, ask.scope.tweaks.as_ref());
    let ledger = without_taken(host, &store.ledger);
    let plan = plan(&mut rows, &ledger, host, facts, &options(&ask.scope, &ask.accept, false))?;
    foresee(&mut rows, &plan, &ledger, host, facts, ask)?;
    let exit = blockers(&rows, ask.strict);
    let mut notes = store.journal.warnings.clone();
    notes.extend(pending(&store.ledger));
    notes.extend(plan.released.iter().map(|(r, why)| format!("{r} would be released: {why}")));
    Ok(Answer { rows, notes, exit })
}

/// Rows of the second stage as they will stand on what the first leaves.
pub fn foresee(
    rows: &mut [Row],
    first: &Plan,
    ledger: &Ledger,
    host: &impl Observe,
    facts: &Facts,
    ask: &Ask,
) -> Result<()> {
    let Some(after) = expect::after(facts, &first.changes) else { return Ok(()) };
    let mut fresh = evaluate(&ask.selection, &after, ask.scope.tweaks.as_ref());
    plan(&mut fresh, ledger, host, &after, &options(&ask.scope, &ask.accept, false))?;
    let reshapes = |row: &Row| row.changes.iter().any(|(c, _)| order::phase(c).first_stage());
    for (row, new) in rows.iter_mut().zip(fresh) {
        if !reshapes(row) && !reshapes(&new) {
            *row = new;
        } else {
            let first = |(c, _): &(Change, Outcome)| order::phase(c).first_stage();
            row.changes.retain(first);
            row.changes.extend(new.changes.into_iter().filter(|c| !first(c)));
        }
    }
    Ok(())
}
