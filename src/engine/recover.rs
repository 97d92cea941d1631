//! Closing a run that died between `begin` and `end`: kill -9, a panic, a power cut.

use std::collections::BTreeMap;

use super::Host;
use super::collateral::{left, returned};
use super::ledger::Owned;
use super::record::{Begin, Done, End};
use super::store::Store;
use crate::model::collateral::belongs;
use crate::model::kind::Stage;
use crate::model::restore::at_boot;
use crate::model::{Change, Impact, Outcome, Resource, State};

/// Tells our own half-writes from what others wrote, puts the former back, and closes every open
/// stage. What was written whole stays and is ours: the verb that called this decides about it.
/// Returns notes and what could not be put back.
pub fn recover<H: Host>(host: &mut H, store: &mut Store) -> (Vec<String>, Vec<String>) {
    let (mut notes, mut stuck) = (Vec::new(), Vec::new());
    for begin in store.ledger.open.clone() {
        let mut end = close(host, &begin, &mut notes, &mut stuck);
        end.outcomes.extend(returned(host, &store.ledger, &begin.collateral, &begin.changes));
        store.ledger.close(&end);
        notes.push(format!(
            "finished what an interrupted {} of {} had left",
            begin.verb, begin.time
        ));
    }
    (notes, stuck)
}

/// What files of ours brought back at this boot is ours as it was, with what was before nettune, or
/// a rollback would leave it until the next boot: sysctls, and the qdiscs that links have got by
/// default_qdisc.
pub fn adopt<H: Host>(host: &H, store: &mut Store) {
    let void = std::mem::take(&mut store.ledger.void);
    let kept = |resource: &Resource| resource.sysctl_file();
    if !store.ledger.owned.keys().any(kept) {
        return;
    }
    let held = void.into_iter().filter(|(_, o)| !o.claims.is_empty());
    let (resources, held): (Vec<Resource>, Vec<Owned>) = held.unzip();
    let states = host.read_many(&resources);
    for ((resource, owned), state) in resources.into_iter().zip(held).zip(states) {
        let Ok(state) = state else { continue };
        // Before the network a link is down and has no qdisc yet.
        let to_come = matches!(resource, Resource::Qdisc { .. }) && state == State::Absent;
        // The file may be of an earlier run than the last.
        let brought =
            owned.wrote.iter().rev().filter_map(|w| at_boot(&resource, &owned.baseline, w));
        let holds = brought.into_iter().find(|wrote| *wrote == state || to_come);
        if let Some(wrote) = holds.filter(|_| !store.ledger.owned.contains_key(&resource)) {
            let (boot, netns) = store.boot.clone();
            let owned = Owned { boot, netns, wrote: vec![wrote], ..owned };
            store.ledger.owned.insert(resource, owned);
        }
    }
}

/// What one change of the unfinished stage was found to be.
struct Found {
    /// What it shall be; None leaves it alone.
    target: Option<State>,
    done: Done,
}

fn close<H: Host>(
    host: &mut H,
    begin: &Begin,
    notes: &mut Vec<String>,
    stuck: &mut Vec<String>,
) -> End {
    let resources: Vec<_> = begin.changes.iter().map(|c| c.resource.clone()).collect();
    let states = host.read_many(&resources);
    let reached = |at: &usize| {
        let change = &begin.changes[*at];
        !change.claim_only() && states[*at].as_ref().is_ok_and(|s| *s == change.after)
    };
    // The write that was under way is the one after the last that is whole, or a later one: up to the
    // first that is still as before, or to one that has disturbed something.
    let whole = (0..begin.changes.len()).rev().find(reached).map_or(0, |at| at + 1);
    // A change of claims alone looks untouched whether it was reached or not: it tells nothing.
    let untouched = |at: &usize| {
        let change = &begin.changes[*at];
        !change.claim_only() && states[*at].as_ref().is_ok_and(|s| *s == change.before)
    };
    let still = (whole..begin.changes.len()).find(untouched).unwrap_or(begin.changes.len());
    let last = (whole..still).rev().find(|at| !begin.changes[*at].claim_only()).unwrap_or(whole);
    let frontier = last.max(traces(host, begin, &states));
    let cause_made =
        |cause: &Resource| begin.changes.iter().take(frontier + 1).any(|c| c.resource == *cause);
    let disturbed = |resource: &Resource| {
        begin.collateral.iter().any(|c| c.resource == *resource && cause_made(&c.cause))
    };
    let found = |(at, change): (usize, &Change)| {
        let mut done = Done::new(&change.resource, Outcome::Undone);
        let target = match &states[at] {
            // Its proof had not been had, and without an end record nobody knows whether it would be.
            Ok(now) if *now == change.after && change.impact == Impact::Path && !change.back() => {
                notes.push(format!(
                    "{} was not proved yet: put back to {}",
                    change.resource, change.before
                ));
                Some(change.before.clone())
            }
            Ok(now) if *now == change.after && (!change.claim_only() || at < frontier) => {
                done.outcome = Outcome::Written;
                Some(now.clone())
            }
            Ok(now) if *now == change.before => Some(now.clone()),
            // Missing: not put back and not forgotten; the verb that follows decides.
            Ok(State::Absent) if !change.resource.creatable() => {
                done.outcome = Outcome::Failed;
                done.state = Some(State::Absent);
                None
            }
            Ok(now) if at == frontier || disturbed(&change.resource) => {
                notes.push(format!(
                    "{} was half written: {now} -> {}",
                    change.resource, change.before
                ));
                Some(change.before.clone())
            }
            Ok(now) => {
                notes.push(format!("{} is {now}, which is not ours: left alone", change.resource));
                // Written by us and changed since: drift, which the verb that follows reports.
                if at < frontier && !change.back() {
                    done.outcome = Outcome::Written;
                }
                None
            }
            Err(e) => {
                stuck.push(format!("{}: {e:#}", change.resource));
                done.outcome = Outcome::Failed;
                done.state = Some(change.after.clone());
                None
            }
        };
        Found { target, done }
    };
    let mut found: Vec<Found> = begin.changes.iter().enumerate().map(found).collect();
    // What reshapes a link first: putting it back disturbs the rest, which is read again for that.
    for stage_one in [true, false] {
        for (change, found) in begin.changes.iter().zip(&mut found) {
            let Some(target) = found
                .target
                .as_ref()
                .filter(|_| (change.resource.kind().stage == Stage::One) == stage_one)
            else {
                continue;
            };
            if host.read(&change.resource).is_ok_and(|now| now == *target) {
                continue;
            }
            if let Err(e) = host.write(&change.resource, target) {
                stuck.push(format!("{}: {e:#}", change.resource));
                found.done.outcome = Outcome::Failed;
                found.done.state = host.read(&change.resource).ok();
            }
        }
    }
    for collateral in begin.collateral.iter().filter(|c| cause_made(&c.cause)) {
        let stands =
            |f: &Found| f.done.resource == collateral.cause && f.done.outcome == Outcome::Written;
        if belongs(&collateral.cause) && found.iter().any(stands) {
            continue;
        }
        // A change of the plan itself has the last word.
        if begin.changes.iter().any(|c| c.resource == collateral.resource) {
            continue;
        }
        if let Ok(now @ State::Is(_)) = host.read(&collateral.resource)
            && now != collateral.before
        {
            // Where it cannot go back while its cause stands, it is recorded as left, below.
            let _ = host.write(&collateral.resource, &collateral.before);
        }
    }
    let outcomes: Vec<Done> = found.into_iter().map(|f| f.done).collect();
    let left = left(host, &begin.collateral, &begin.changes, &outcomes);
    End { run: begin.run.clone(), outcomes, left, ..End::default() }
}

/// The last change that something it disturbs speaks of: by an unexpected value. Of several changes
/// that disturb the same thing it can be any, and is known to be the first.
fn traces<H: Host>(host: &H, begin: &Begin, states: &[anyhow::Result<State>]) -> usize {
    let resources: Vec<Resource> = begin.collateral.iter().map(|c| c.resource.clone()).collect();
    let now = host.read_many(&resources);
    let at = |resource: &Resource| begin.changes.iter().position(|c| c.resource == *resource);
    let disturbed = begin.collateral.iter().zip(now).filter(|(c, now)| {
        let expected = |state: &State| match at(&c.resource) {
            // Set by the plan itself: any of its two values is no trace.
            Some(own) => {
                let change = &begin.changes[own];
                states[own].is_err() || *state == change.before || *state == change.after
            }
            None => *state == c.before || *state == c.now,
        };
        now.as_ref().is_ok_and(|state| !expected(state))
    });
    let mut first: BTreeMap<&Resource, usize> = BTreeMap::new();
    for (c, _) in disturbed {
        let Some(cause) = at(&c.cause) else { continue };
        first.entry(&c.resource).and_modify(|f| *f = cause.min(*f)).or_insert(cause);
    }
    first.into_values().max().unwrap_or(0)
}
