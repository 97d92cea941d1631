//! What the changes of a stage disturb besides what they set: as it must be once they are made, and
//! what of it could not be put back while its cause stands.

use std::collections::{BTreeMap, BTreeSet};

use super::Observe;
use super::ledger::{Ledger, Owned};
use super::record::{Collateral, Done, Left};
use crate::model::collateral::{disturbs, follows};
use crate::model::facts::Facts;
use crate::model::{Change, Outcome, Resource, State};

/// What the changes disturb, as it must be afterwards.
pub fn collateral(
    host: &impl Observe,
    ledger: &Ledger,
    facts: &Facts,
    changes: &[Change],
) -> Vec<Collateral> {
    let mut by_cause: BTreeMap<&Resource, Vec<&Resource>> = BTreeMap::new();
    for (resource, owned) in &ledger.owned {
        if let Some(cause) = &owned.cause {
            by_cause.entry(cause).or_default().push(resource);
        }
    }
    let mut pairs: Vec<(Resource, &Change)> = Vec::new();
    for change in changes.iter().filter(|c| !c.claim_only() || c.back()) {
        // One that is back already, by undo.sh or by hand, disturbs nothing; what it had disturbed goes
        // back with it, or is somebody's by now.
        let mut disturbed =
            if change.claim_only() { Vec::new() } else { disturbs(&change.resource, facts) };
        // What an earlier run could not put back goes back with its cause.
        let left = by_cause.get(&change.resource).into_iter().flatten();
        let left: Vec<Resource> = left.map(|r| (*r).clone()).collect();
        // One thing under two names would be put back to two values.
        let is_left = |old: &Resource| left.contains(old) && !disturbed.contains(old);
        let twice: Vec<Resource> =
            disturbed.iter().filter(|r| r.once().is_some_and(|o| is_left(&o))).cloned().collect();
        disturbed.retain(|r| !twice.contains(r));
        disturbed.extend(left);
        // In their order: what is put back may disturb what comes after it.
        let mut seen = BTreeSet::from([change.resource.clone()]);
        disturbed.retain(|r| seen.insert(r.clone()));
        pairs.extend(disturbed.into_iter().map(|r| (r, change)));
    }
    let resources: Vec<Resource> = pairs.iter().map(|(r, _)| r.clone()).collect();
    let states = host.read_many(&resources);
    let index = positions(changes);
    let mut collateral = Vec::new();
    for ((resource, change), state) in pairs.into_iter().zip(states) {
        let cause = change.resource.clone();
        // Left as it is by this cause, or by another: what it was before all of them is what counts.
        let left = |o: &&Owned| {
            o.cause.as_ref() == Some(&cause) || (o.cause.is_some() && o.claims.is_empty())
        };
        let owned = ledger.owned.get(&resource).filter(left);
        let own = index.get(&resource).filter(|own| **own < index[&cause]);
        let planned = own.map(|own| changes[*own].after.clone());
        let Ok(now) = state else { continue };
        if owned.is_none() && follows(change, &resource, &now, facts) {
            continue;
        }
        let before = match (owned, planned, &now) {
            // Still as we had to leave it, or gone: its cause goes, so it can go back.
            (Some(o), _, now) if *now == *o.present() || *now == State::Absent => {
                o.baseline.clone()
            }
            (_, Some(after), _) => after,
            (_, _, State::Is(_)) => now.clone(),
            // A file that is not there yet may be made, and is then taken away again.
            (_, _, State::Absent) if resource.creatable() => now.clone(),
            _ => continue,
        };
        collateral.push(Collateral { resource, before, now, cause });
    }
    collateral
}

/// Collateral of an earlier run that has gone back with its cause is ours no more.
pub fn returned(
    host: &impl Observe,
    ledger: &Ledger,
    collateral: &[Collateral],
    changes: &[Change],
) -> Vec<Done> {
    let changed = positions(changes);
    let is_back = |c: &&Collateral| {
        let owned = ledger.owned.get(&c.resource);
        owned.is_some_and(|o| o.cause.as_ref() == Some(&c.cause) && o.claims.is_empty())
            && !changed.contains_key(&c.resource)
            && host.read(&c.resource).is_ok_and(|now| now == c.before)
    };
    collateral.iter().filter(is_back).map(|c| Done::new(&c.resource, Outcome::Written)).collect()
}

/// A queue that came with our change goes with it, and what stood on it is nobody's to keep.
pub fn went_with(collateral: &Collateral, now: &State, changes: &[Change]) -> bool {
    *now == State::Absent
        && collateral.now != State::Absent
        && changes.iter().any(|c| c.resource == collateral.cause && c.back())
}

/// Collateral that is not as it was: ours while its cause stands, and tried again once it is gone.
pub fn left(
    host: &impl Observe,
    collateral: &[Collateral],
    changes: &[Change],
    done: &[Done],
) -> Vec<Left> {
    let index = positions(changes);
    let at = |resource: &Resource| index.get(resource).copied();
    let outcomes: BTreeMap<&Resource, Outcome> =
        done.iter().rev().map(|d| (&d.resource, d.outcome)).collect();
    let mut left = Vec::new();
    let resources: Vec<Resource> = collateral.iter().map(|c| c.resource.clone()).collect();
    for (c, now) in collateral.iter().zip(host.read_many(&resources)) {
        let expected = match at(&c.resource) {
            // What the plan sets after the cause is the plan's own ...
            Some(own) if at(&c.cause).is_none_or(|cause| own > cause) => continue,
            // ... and what it set before, and took back, is as it was before that.
            Some(own) => match outcomes.get(&c.resource) {
                Some(Outcome::Written) => &c.before,
                _ => &changes[own].before,
            },
            None => &c.before,
        };
        let after = now.unwrap_or(State::Absent);
        if after != *expected && !went_with(c, &after, changes) {
            let (resource, cause) = (c.resource.clone(), c.cause.clone());
            left.push(Left { resource, before: expected.clone(), after, cause });
        }
    }
    left
}

fn positions(changes: &[Change]) -> BTreeMap<&Resource, usize> {
    changes.iter().enumerate().map(|(at, c)| (&c.resource, at)).collect()
}
