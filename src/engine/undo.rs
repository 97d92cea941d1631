//! A plan by another executor: `undo.sh` is what `rollback` would carry out now, `plan --as script`
//! what `apply` would, with the ordinary tools.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::collateral::collateral;
use super::ledger::Ledger;
use super::plan::{Options, Scope, plan};
use super::record::Begin;
use super::row::{Row, Status};
use super::{Observe, order};
use crate::model::script::{Disturbed, Script, Step};
use crate::model::{Change, Facts, Impact, Outcome, Resource, Side, State};

const UNDO: &str = "Puts back what nettune changed, for a node whose nettune is gone. With nettune \
                    there: nettune rollback";

/// Of all that is owned; where a stage has just begun, as if its writes were made.
pub fn undo_script(
    host: &impl Observe,
    ledger: &Ledger,
    facts: &Facts,
    begun: Option<&Begin>,
) -> Result<String> {
    let made = begun.map(|begin| ledger.as_if_made(begin));
    let ledger = made.as_ref().unwrap_or(ledger);
    let host = &Assumed { host, ledger };
    let tweaks = ledger.tweaks();
    let mut rows: Vec<Row> =
        tweaks.iter().map(|name| Row::new(name, Side::Node, Status::Off)).collect();
    let (scope, accept) = (Scope::default(), BTreeSet::from(Impact::ALL));
    let options = Options { scope: &scope, accept: &accept, force: true };
    let plan = plan(&mut rows, ledger, host, facts, &options)?;
    let told = |(r, why): &(Resource, String)| format!("{r} is left as it is: {why}");
    let notes = plan.released.iter().map(told).chain(plan.stuck.iter().cloned()).collect();
    Ok(script(UNDO, notes, host, ledger, facts, &plan.changes))
}

/// What `apply` would do of these rows.
pub fn plan_script(host: &impl Observe, ledger: &Ledger, facts: &Facts, rows: &[Row]) -> String {
    let mut changes: Vec<Change> = Vec::new();
    let mut notes = Vec::new();
    for (change, outcome) in rows.iter().flat_map(|r| &r.changes) {
        if *outcome != Outcome::Planned {
            notes.push(format!("held: {}: {} -> {}", change.resource, change.before, change.after));
        } else if !changes.contains(change) {
            changes.push(change.clone());
        }
    }
    order::sort(&mut changes, facts);
    script("What nettune would do, with the ordinary tools", notes, host, ledger, facts, &changes)
}

fn script(
    title: &str,
    notes: Vec<String>,
    host: &impl Observe,
    ledger: &Ledger,
    facts: &Facts,
    changes: &[Change],
) -> String {
    let mut disturbed: BTreeMap<Resource, Vec<Disturbed>> = BTreeMap::new();
    for c in collateral(host, ledger, facts, changes) {
        let fixed = c.before != c.now || ledger.owned.contains_key(&c.resource);
        // What is not owned is as it is when the script runs.
        let ours = match ledger.owned.contains_key(&c.resource) {
            true => ours(ledger, &c.resource, &c.now),
            false => Vec::new(),
        };
        let to = fixed.then_some(c.before);
        let one = Disturbed { resource: c.resource, now: c.now, to, ours };
        disturbed.entry(c.cause).or_default().push(one);
    }
    let others = disturbed.values().flatten().map(|d| &d.resource);
    let named: BTreeSet<String> = changes
        .iter()
        .map(|c| &c.resource)
        .chain(others)
        .filter_map(|r| r.link().map(str::to_string))
        .collect();
    let here = |c: &&Change| c.resource.link().is_none_or(|name| facts.link(name).is_some());
    let step = |c: &Change| Step {
        resource: c.resource.clone(),
        from: c.before.clone(),
        to: c.after.clone(),
        ours: ours(ledger, &c.resource, &c.before),
        disturbed: disturbed.remove(&c.resource).unwrap_or_default(),
    };
    Script {
        title,
        node: &facts.node,
        links: named.iter().filter_map(|name| facts.identity(name)).collect(),
        steps: changes.iter().filter(here).filter(|c| !c.claim_only()).map(step).collect(),
        notes,
    }
    .text()
}

/// What of it may be overwritten.
fn ours(ledger: &Ledger, resource: &Resource, now: &State) -> Vec<State> {
    let owned = ledger.owned.get(resource);
    let wrote = owned.map(|o| o.wrote.clone()).unwrap_or_default();
    wrote.into_iter().chain([now.clone()]).collect()
}

/// The node with everything as we wrote it last.
struct Assumed<'a, H: Observe> {
    host: &'a H,
    ledger: &'a Ledger,
}

impl<H: Observe> Observe for Assumed<'_, H> {
    fn facts(&self) -> Result<Facts> {
        self.host.facts()
    }

    fn read_many(&self, resources: &[Resource]) -> Vec<Result<State>> {
        let known = |r: &Resource| self.ledger.owned.get(r).map(|o| o.present().clone());
        let asked: Vec<Resource> =
            resources.iter().filter(|r| known(r).is_none()).cloned().collect();
        let mut answers = self.host.read_many(&asked).into_iter();
        let answer = |r: &Resource| match known(r) {
            Some(state) => Ok(state),
            None => answers.next().unwrap_or(Ok(State::Absent)),
        };
        resources.iter().map(answer).collect()
    }
}
