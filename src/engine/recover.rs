//! Closing a run that died between `begin` and `end`: kill -9, a panic, a power cut.

use super::Host;
use super::journal::{Begin, Done, End};
use super::run::left;
use super::store::Store;
use crate::model::{Outcome, Resource, State};

/// Tells our own half-writes from what others wrote, puts the former back, and closes every open
/// stage. What was written whole stays and is ours: the verb that called this decides about it.
/// Returns notes and what could not be put back.
pub fn recover<H: Host>(host: &mut H, store: &mut Store) -> (Vec<String>, Vec<String>) {
    let (mut notes, mut stuck) = (Vec::new(), Vec::new());
    for begin in store.ledger.open.clone() {
        let end = close(host, &begin, &mut notes, &mut stuck);
        store.ledger.close(&end);
        notes.push(format!(
            "finished what an interrupted {} of {} had left",
            begin.verb, begin.time
        ));
    }
    (notes, stuck)
}

fn close<H: Host>(
    host: &mut H,
    begin: &Begin,
    notes: &mut Vec<String>,
    stuck: &mut Vec<String>,
) -> End {
    let resources: Vec<_> = begin.changes.iter().map(|c| c.resource.clone()).collect();
    let states = host.read_many(&resources);
    let reached = |at: usize| {
        let change = &begin.changes[at];
        !change.claim_only() && states[at].as_ref().is_ok_and(|s| *s == change.after)
    };
    // The write that was under way is the one after the last that is whole.
    let frontier = (0..begin.changes.len()).rev().find(|at| reached(*at)).map_or(0, |at| at + 1);
    let cause_made =
        |cause: &Resource| begin.changes.iter().take(frontier + 1).any(|c| c.resource == *cause);
    let mut outcomes = Vec::new();
    for (at, change) in begin.changes.iter().enumerate() {
        let mut done = Done {
            resource: change.resource.clone(),
            outcome: Outcome::Undone,
            state: None,
            why: None,
        };
        let disturbed = || {
            begin.collateral.iter().any(|c| c.resource == change.resource && cause_made(&c.cause))
        };
        match &states[at] {
            Ok(now) if *now == change.after && (!change.claim_only() || at < frontier) => {
                done.outcome = Outcome::Written;
            }
            Ok(now) if *now == change.before => {}
            Ok(State::Absent) if !change.resource.creatable() => {
                // Missing: not put back and not forgotten; the verb that follows releases it.
                done.outcome = Outcome::Failed;
                done.state = Some(State::Absent);
            }
            Ok(now) if at <= frontier || disturbed() => {
                let put_back = host.write(&change.resource, &change.before);
                if let Err(e) = put_back {
                    stuck.push(format!("{}: {e:#}", change.resource));
                    done.outcome = Outcome::Failed;
                    done.state = Some(now.clone());
                } else {
                    notes.push(format!(
                        "{} was half written: put back to {}",
                        change.resource, change.before
                    ));
                }
            }
            Ok(now) => {
                notes.push(format!("{} is {now}, which is not ours: left alone", change.resource))
            }
            Err(e) => {
                stuck.push(format!("{}: {e:#}", change.resource));
                done.outcome = Outcome::Failed;
                done.state = Some(change.after.clone());
            }
        }
        outcomes.push(done);
    }
    for disturbed in begin.collateral.iter().filter(|c| cause_made(&c.cause)) {
        // A change that came after it in the plan has the last word.
        if begin.changes.iter().any(|c| c.resource == disturbed.resource) {
            continue;
        }
        if let Ok(now @ State::Is(_)) = host.read(&disturbed.resource)
            && now != disturbed.before
        {
            // Where it cannot go back while its cause stands, it is recorded as left, below.
            let _ = host.write(&disturbed.resource, &disturbed.before);
        }
    }
    let left = left(host, &begin.collateral, &begin.changes, &outcomes);
    End { run: begin.run.clone(), outcomes, left }
}
