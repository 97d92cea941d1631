//! What a profile wants and found so. It is not ours, no rollback writes it, and `verify` names its loss: who applied a
//! profile wants to know whether the node still holds all of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::ledger::Ledger;
use super::plan::Scope;
use super::record::{End, Met, Record};
use super::row::{Row, Status};
use super::run::{Meta, end};
use super::store::Store;
use crate::model::{Claims, Facts, Resource};

/// What `rows` say now of the tweaks in scope, in place of what was known of them.
fn known(
    ledger: &Ledger,
    scope: &Scope,
    rows: &[Row],
    met: &[(Resource, Claims)],
) -> BTreeMap<Resource, Claims> {
    let of = |tweak: &str| rows.iter().find(|r| r.name == tweak).map(|r| r.status);
    let decided =
        |tweak: &str| matches!(of(tweak), None | Some(Status::Applied | Status::Ok | Status::Off));
    let mut all: BTreeMap<Resource, Claims> = BTreeMap::new();
    for (resource, claims) in &ledger.met {
        let mut kept = claims.clone();
        kept.retain(|tweak, _| !(scope.covers(tweak, resource) && decided(tweak)));
        all.insert(resource.clone(), kept);
    }
    for (resource, claims) in met {
        let holds = |tweak: &String| matches!(of(tweak), Some(Status::Applied | Status::Ok));
        let new = claims.iter().filter(|(tweak, _)| holds(tweak));
        all.entry(resource.clone()).or_default().extend(new.map(|(t, w)| (t.clone(), w.clone())));
    }
    // What was set since is ours.
    all.retain(|resource, claims| !claims.is_empty() && !ledger.owned.contains_key(resource));
    all
}

pub fn note(
    store: &mut Store,
    facts: &Facts,
    meta: &Meta,
    scope: &Scope,
    rows: &[Row],
    met: &[(Resource, Claims)],
) -> Result<()> {
    let met = known(&store.ledger, scope, rows, met);
    write(store, facts, meta, met)
}

/// Of a run that was taken back: what these found before it is not known any more.
pub fn forget(
    store: &mut Store,
    facts: &Facts,
    meta: &Meta,
    tweaks: &BTreeSet<&String>,
) -> Result<()> {
    let mut met = store.ledger.met.clone();
    met.values_mut().for_each(|claims| claims.retain(|tweak, _| !tweaks.contains(tweak)));
    met.retain(|_, claims| !claims.is_empty());
    write(store, facts, meta, met)
}

/// Where it is not what the journal says already.
fn write(
    store: &mut Store,
    facts: &Facts,
    meta: &Meta,
    met: BTreeMap<Resource, Claims>,
) -> Result<()> {
    if met == store.ledger.met {
        return Ok(());
    }
    let run = format!("{} met", meta.time);
    let begin = meta.begin(run.clone(), facts);
    let record = |(resource, claims): (&Resource, &Claims)| Met {
        resource: resource.clone(),
        claims: claims.clone(),
        boot: facts.node.boot_id.clone(),
    };
    let met_now = Some(met.iter().map(record).collect());
    let end = End { met: met_now, ..end(run, Vec::new()) };
    store.journal.append_all(&[Record::Begin(begin), Record::End(end)])?;
    store.ledger.met = met;
    Ok(())
}
