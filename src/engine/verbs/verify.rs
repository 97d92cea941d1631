//! Does the node still hold what was applied? The plan of what the journal says must be empty.

use std::collections::BTreeMap;

use super::ask::Answer;
use super::clear::pending;
use crate::engine::ledger::Ledger;
use crate::engine::plan::beyond;
use crate::engine::reason::{Reason, Then};
use crate::engine::row::{Row, Status};
use crate::engine::store::Store;
use crate::engine::{Exit, Observe};
use crate::model::agents::{mover, started_since};
use crate::model::bpf::remains;
use crate::model::facts::Facts;
use crate::model::restore::{offline, went_offline};
use crate::model::{Change, Impact, Outcome, Resource, Side, State};

pub fn verify(host: &impl Observe, store: &Store, facts: &Facts) -> Answer {
    let ledger = &store.ledger;
    let mut notes = store.journal.warnings.clone();
    notes.extend(pending(ledger));
    for resource in ledger.vanished.keys() {
        notes.push(format!("{resource} went with its link; the next run releases it"));
    }
    let resources: Vec<Resource> =
        ledger.owned.iter().filter(|(_, o)| !o.claims.is_empty()).map(|(r, _)| r.clone()).collect();
    let states = host.read_many(&resources);
    let since = |(resource, state): (&Resource, &anyhow::Result<State>)| {
        started_since(resource, state.as_ref().ok()?, &ledger.owned[resource].baseline)
    };
    let anew = resources.iter().zip(&states).find_map(since);
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut away: BTreeMap<String, usize> = BTreeMap::new();
    for (resource, state) in resources.iter().zip(states) {
        let owned = &ledger.owned[resource];
        for tweak in owned.claims.keys() {
            let row = rows
                .entry(tweak.clone())
                .or_insert_with(|| Row::new(tweak, Side::Node, Status::Applied));
            let (status, reason) = match &state {
                Ok(state) if let Some(why) = went_offline(resource, state, facts) => {
                    *away.entry(why).or_default() += 1;
                    continue;
                }
                Ok(state) if state == owned.present() => continue,
                Ok(state) if beyond(resource, &owned.claims, owned, state) => continue,
                Ok(state) if let Some(why) = offline(resource, owned.present(), state, facts) => {
                    *away.entry(why).or_default() += 1;
                    continue;
                }
                Ok(state) => {
                    let change = Change {
                        resource: resource.clone(),
                        before: state.clone(),
                        after: owned.present().clone(),
                        impact: Impact::None,
                        claims: owned.claims.clone(),
                        tweaks: vec![tweak.clone()],
                    };
                    row.changes.push((change, Outcome::Drifted));
                    let left = remains(state);
                    let (now, applied) = resource.shown_both(state, owned.present());
                    let now = left.clone().unwrap_or(now);
                    // A value back at its old one is nobody's and may be set again.
                    let then = match anew.filter(|a| mover(resource) == Some(a)) {
                        _ if *state == owned.baseline || left.is_some() => Then::SetAgain,
                        Some(agent) => Then::Restarted(agent),
                        None => Then::FindWho,
                    };
                    let resource = resource.clone();
                    (Status::Drifted, Reason::Lost { resource, now, applied, then })
                }
                Err(e) => {
                    let (resource, error) = (resource.clone(), format!("{e:#}"));
                    (Status::Unknown, Reason::Unreadable { resource, error })
                }
            };
            row.status = status;
            row.reasons.push(reason);
        }
    }
    for row in lost(host, ledger, facts) {
        let Some(held) = rows.get_mut(&row.name) else {
            rows.insert(row.name.clone(), row);
            continue;
        };
        if row.status != Status::Ok {
            held.status = row.status;
            held.reasons.extend(row.reasons);
        }
    }
    let told = |(why, n): (String, usize)| format!("{why}: {n} values cannot be as applied");
    notes.extend(away.into_iter().map(told));
    let rows: Vec<Row> = rows.into_values().collect();
    let holds = |r: &Row| matches!(r.status, Status::Applied | Status::Ok);
    let exit = if rows.is_empty() && ledger.open.is_empty() {
        Exit::Nothing
    } else if !rows.iter().all(holds) || !ledger.open.is_empty() {
        Exit::Drift
    } else {
        Exit::Fine
    };
    Answer { rows, notes, exit }
}

/// What was as wanted before nettune came, a row a tweak: whether it is so still.
fn lost(host: &impl Observe, ledger: &Ledger, facts: &Facts) -> Vec<Row> {
    let here = |r: &&Resource| r.link().is_none_or(|link| facts.link(link).is_some());
    let resources: Vec<Resource> = ledger.met.keys().filter(here).cloned().collect();
    let mut rows: BTreeMap<&String, Row> = BTreeMap::new();
    for (resource, state) in resources.iter().zip(host.read_many(&resources)) {
        for (tweak, want) in &ledger.met[resource] {
            let row = rows.entry(tweak).or_insert_with(|| Row::new(tweak, Side::Node, Status::Ok));
            let (status, reason) = match &state {
                Ok(state) if want.met_by(state) => continue,
                Ok(state) if went_offline(resource, state, facts).is_some() => continue,
                Ok(state) => {
                    let (now, wanted) = (resource.shown(state), want.to_string());
                    let resource = resource.clone();
                    (Status::Drifted, Reason::NoLonger { resource, now, wanted })
                }
                Err(e) => {
                    let (resource, error) = (resource.clone(), format!("{e:#}"));
                    (Status::Unknown, Reason::Unreadable { resource, error })
                }
            };
            row.status = status;
            row.reasons.push(reason);
        }
    }
    rows.into_values().collect()
}
