//! What became of a run: in its rows, and the way back from it.

use std::collections::BTreeMap;

use crate::engine::ledger::Ledger;
use crate::engine::reason::{Reason, refusals};
use crate::engine::record::Done;
use crate::engine::row::{Row, Status};
use crate::engine::work::Ran;
use crate::model::{Change, Impact, Outcome, Resource};

/// Writes what happened into the rows.
pub fn write_into(rows: &mut [Row], made: &[Change], ran: &Ran) {
    let outcomes: BTreeMap<&Resource, Outcome> =
        ran.done.iter().map(|d| (&d.resource, d.outcome)).collect();
    for row in rows.iter_mut() {
        let failures: Vec<_> = ran.failures.iter().filter(|f| f.tweak == row.name).collect();
        if row.status == Status::Held {
            continue;
        }
        let mine: Vec<(Change, Outcome)> = made
            .iter()
            .filter(|c| c.tweaks.contains(&row.name))
            .map(|c| (c.clone(), outcomes.get(&c.resource).copied().unwrap_or(Outcome::Planned)))
            .collect();
        let held = row.changes.iter().filter(|(_, o)| *o == Outcome::Held).cloned();
        row.changes = mine.into_iter().chain(held).collect();
        row.impact = row.changes.iter().map(|(c, _)| c.impact).max().unwrap_or(Impact::None);
        for failure in &failures {
            let reason = match failure.moved {
                true => Reason::Moved(failure.text.clone()),
                false => Reason::Failed(failure.text.clone()),
            };
            if !row.reasons.contains(&reason) {
                row.reasons.push(reason);
            }
        }
        let refused = ran.done.iter().filter(|d| {
            matches!(d.outcome, Outcome::Written | Outcome::Released)
                && d.state.is_some()
                && made.iter().any(|c| c.resource == d.resource && c.tweaks.contains(&row.name))
        });
        let refused = refused.map(|d| (&d.resource, d.why.as_deref().unwrap_or_default()));
        row.reasons.extend(refusals(refused));
        let reached = |row: &Row| row.changes.iter().any(|(_, o)| *o != Outcome::Planned);
        let written = row.changes.iter().any(|(c, o)| *o == Outcome::Written && !c.back());
        row.status = match row.status {
            Status::Off => Status::Off,
            _ if failures.iter().any(|f| !f.moved) => Status::Failed,
            _ if !failures.is_empty() => Status::Drifted,
            // It was about to be changed when the run as a whole was undone.
            Status::Ready | Status::Applied | Status::Ok
                if row.changes.iter().any(|(_, o)| *o == Outcome::Undone) =>
            {
                Status::Ready
            }
            Status::Ready if made.is_empty() || !reached(row) => Status::Ready,
            // The kernel keeps all of it to itself.
            Status::Ready if row.changes.iter().all(|(_, o)| *o == Outcome::Released) => {
                Status::Unsupported
            }
            Status::Ready => Status::Applied,
            Status::Ok if written => Status::Applied,
            other => other,
        };
    }
}

/// The changes that take a run back, in reverse.
pub fn reversed(made: &[Change], done: &[Done], before: &Ledger) -> Vec<Change> {
    let written = |c: &&Change| {
        done.iter().any(|d| d.resource == c.resource && d.outcome == Outcome::Written)
    };
    let kept =
        |c: &Change| done.iter().find(|d| d.resource == c.resource).and_then(|d| d.state.clone());
    let back = |c: &Change| Change {
        resource: c.resource.clone(),
        before: kept(c).unwrap_or_else(|| c.after.clone()),
        after: c.before.clone(),
        impact: c.impact,
        claims: before.owned.get(&c.resource).map(|o| o.claims.clone()).unwrap_or_default(),
        tweaks: c.tweaks.clone(),
    };
    made.iter().rev().filter(written).map(back).collect()
}
