//! What of ours stands aside while an agent switches that keeps what it finds (`model/agents.rs`). With ours in
//! the way it would keep our value for the machine's own, lay the machine's over ours, or set ours itself. So
//! values and files are back at their baselines for the moment of the switch, and set again over what is there
//! after it.

use std::collections::BTreeMap;

use anyhow::Result;

use super::ledger::{Ledger, Owned};
use super::plan::claims_merged;
use super::run::Stage;
use super::store::Store;
use super::work::Ran;
use super::{Host, Observe, order};
use crate::model::agents::{self, Keeps};
use crate::model::{Change, Claims, Facts, Impact, Resource, State};

impl<H: Host> Stage<'_, H> {
    /// Makes `changes`, in their order, and lets stand aside what must while an agent switches.
    pub fn execute(mut self, changes: Vec<Change>) -> Result<Ran> {
        let run = self.run.clone();
        let switch = |(at, c): (usize, &Change)| Some((at, keeps(c)?));
        let Some((at, reach)) = changes.iter().enumerate().find_map(switch).filter(|_| self.undo)
        else {
            return self.around_a_switch(run, changes);
        };
        // What is taken back before the switch is ours again when it comes, and stands aside as well.
        let mut before = changes;
        let mut switch = before.split_off(at);
        let mut after = switch.split_off(1);
        let given_back: Vec<Change> =
            before.iter().filter(|c| c.back() && reach(&c.resource)).cloned().collect();
        let mut all = self.make(format!("{run} before"), before)?;
        if all.unclosed {
            return Ok(all);
        }
        all.add(self.around_a_switch(run.clone(), switch)?);
        after.extend(self.laid_again(given_back));
        all.add(self.make(format!("{run} after"), after)?);
        Ok(all)
    }

    fn around_a_switch(&mut self, run: String, changes: Vec<Change>) -> Result<Ran> {
        let aside = aside(&self.store.ledger, &*self.host, self.facts, &changes);
        if aside.changes.is_empty() || self.stops() {
            return self.make(run, changes);
        }
        let mut before = self.make_whole(format!("{run} aside"), aside.changes.clone())?;
        if before.unclosed {
            return Ok(before);
        }
        let mut ran = self.make(run.clone(), changes)?;
        if ran.unclosed {
            return Ok(ran);
        }
        let (again, notes) = aside.again(self.store, &*self.host, self.facts)?;
        let mut after = self.make_whole(format!("{run} again"), again)?;
        // How these went is not how the run's own changes went.
        before.done.clear();
        after.done.clear();
        ran.add(before);
        ran.add(after);
        ran.notes.extend(notes);
        Ok(ran)
    }

    /// Of what was given back, all that the agent has set to our value once more: it began while ours was
    /// there (a restart, a boot with our drop-in) and took it for the machine's own.
    fn laid_again(&self, given_back: Vec<Change>) -> Vec<Change> {
        let resources: Vec<Resource> = given_back.iter().map(|c| c.resource.clone()).collect();
        let states = self.host.read_many(&resources);
        let ours = |(c, state): (Change, Result<State>)| {
            let ours = state.is_ok_and(|s| s == c.before && s != c.after);
            ours.then_some(c)
        };
        given_back.into_iter().zip(states).filter_map(ours).collect()
    }
}

/// What stood aside, as it was ours.
#[derive(Default)]
struct Aside {
    /// The kind that switched, for people.
    switched: &'static str,
    changes: Vec<Change>,
    owned: BTreeMap<Resource, Owned>,
}

/// The way there: nothing unless an agent switches among these changes.
fn aside(ledger: &Ledger, host: &impl Observe, facts: &Facts, changes: &[Change]) -> Aside {
    let mut aside = Aside::default();
    let Some(switch) = changes.iter().find(|c| keeps(c).is_some()) else { return aside };
    let Some(reach) = keeps(switch) else { return aside };
    aside.switched = switch.resource.kind().name;
    let free = |r: &Resource| changes.iter().all(|c| c.resource != *r);
    let owned = ledger.owned.iter().filter(|(r, o)| reach(r) && !o.claims.is_empty() && free(r));
    let (resources, owned): (Vec<Resource>, Vec<_>) = owned.map(|(r, o)| (r.clone(), o)).unzip();
    for ((resource, owned), state) in resources.iter().zip(owned).zip(host.read_many(&resources)) {
        // What somebody else changed since is left alone here, too.
        let Some(before) = state.ok().filter(|s| s == owned.present() && *s != owned.baseline)
        else {
            continue;
        };
        aside.owned.insert(resource.clone(), owned.clone());
        aside.changes.push(Change {
            resource: resource.clone(),
            before,
            after: owned.baseline.clone(),
            impact: Impact::None,
            claims: Claims::new(),
            tweaks: owned.claims.keys().cloned().collect(),
        });
    }
    order::sort(&mut aside.changes, facts);
    aside
}

/// What the agent keeps that this change switches.
fn keeps(change: &Change) -> Option<Keeps> {
    agents::keeps(&change.resource).filter(|_| !change.claim_only())
}

impl Aside {
    /// The way back, from what is there now; only what did stand aside. With it what cannot be set
    /// again.
    fn again(
        mut self,
        store: &mut Store,
        host: &impl Observe,
        facts: &Facts,
    ) -> Result<(Vec<Change>, Vec<String>)> {
        let (mut changes, mut notes) = (Vec::new(), Vec::new());
        let gone = |c: &&Change| !store.ledger.owned.contains_key(&c.resource);
        let stood: Vec<&Change> = self.changes.iter().filter(gone).collect();
        let resources: Vec<Resource> = stood.iter().map(|c| c.resource.clone()).collect();
        for (change, state) in stood.into_iter().zip(host.read_many(&resources)) {
            let resource = change.resource.clone();
            let Some(owned) = self.owned.remove(&resource) else { continue };
            // The agent took our value for the machine's own: it is ours as before.
            if state.as_ref().is_ok_and(|s| *s == change.before) {
                store.ledger.owned.insert(resource, owned);
                store.ledger.stale = true;
                continue;
            }
            let claims = owned.claims;
            let wanted = |now: State| -> Result<(State, State)> {
                let want = claims_merged(&claims, &resource)?;
                let after = want.resolve(&now).map_err(anyhow::Error::msg)?;
                Ok((now, resource.canonical(after)))
            };
            match state.and_then(wanted) {
                // Where the agent wants what we want there is nothing of ours left.
                Ok((before, after)) if before == after => {}
                Ok((before, after)) => {
                    let (tweaks, impact) = (change.tweaks.clone(), Impact::None);
                    changes.push(Change { resource, before, after, impact, claims, tweaks });
                }
                Err(e) => notes.push(format!(
                    "{resource} stood aside for {} and is not set again: {e:#}; \
                     nettune apply tries it anew",
                    self.switched
                )),
            }
        }
        store.tidy()?;
        order::sort(&mut changes, facts);
        Ok((changes, notes))
    }
}
