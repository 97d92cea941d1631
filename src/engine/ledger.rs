//! Replaying the journal: which resources are ours, what they were, what we wrote.

use std::collections::BTreeMap;

use super::record::{Begin, Done, End, Left, Met, OwnedRecord, Record, Snapshot};
use super::{Exit, Refusal};
use crate::model::bpf::remains;
use crate::model::facts::{Facts, LinkId};
use crate::model::{Change, Claims, Outcome, Resource, State};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    pub baseline: State,
    /// Values we wrote, the present one last.
    pub wrote: Vec<State>,
    pub claims: Claims,
    /// Collateral that its cause keeps from its baseline.
    pub cause: Option<Resource>,
    /// The baseline is what an agent sets that has it from us.
    pub layered: bool,
    pub boot: String,
    pub netns: u64,
    pub profile: Option<String>,
    pub time: String,
}

impl Owned {
    pub fn present(&self) -> &State {
        self.wrote.last().unwrap_or(&self.baseline)
    }

    /// Neither the baseline nor a value we wrote, nor what is left of one.
    pub fn drifted(&self, observed: &State) -> bool {
        *observed != self.baseline && !self.wrote.contains(observed) && remains(observed).is_none()
    }
}

/// Asked for `asked`, the kernel left it at `kept`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub asked: State,
    pub kept: State,
    pub why: String,
    boot: String,
}

#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub owned: BTreeMap<Resource, Owned>,
    /// Owned resources of links that are gone, with the name they had: released by the next run.
    pub vanished: BTreeMap<Resource, Owned>,
    /// Records of an earlier boot's runtime: void, but what was before nettune is known from them.
    pub void: BTreeMap<Resource, Owned>,
    /// The journal names things that are no more, or by another name: compact before the next run,
    /// or a replay would take our value for a baseline.
    pub stale: bool,
    pub links: Vec<LinkId>,
    /// What the kernel did not take of what was asked, this boot.
    pub refused: BTreeMap<Resource, Refused>,
    /// Stages that were begun and not ended: their run died.
    pub open: Vec<Begin>,
    /// What is wanted and was found so, of this boot.
    pub met: BTreeMap<Resource, Claims>,
    /// The boot that `met` is of.
    met_boot: String,
}

impl Ledger {
    pub fn take(&mut self, record: Record) {
        match record {
            Record::Begin(begin) => self.begin(begin),
            Record::End(end) => self.end(&end),
            Record::Owned(snapshot) => self.restore(&snapshot),
        }
    }

    fn begin(&mut self, begin: Begin) {
        for link in &begin.links {
            self.links.retain(|known| known.name != link.name);
            self.links.push(link.clone());
        }
        self.open.push(begin);
    }

    fn end(&mut self, end: &End) {
        let Some(at) = self.open.iter().position(|b| b.run == end.run) else { return };
        let begin = self.open.remove(at);
        if let Some(met) = &end.met {
            self.find(met);
        }
        let changes: BTreeMap<&Resource, &Change> =
            begin.changes.iter().map(|c| (&c.resource, c)).collect();
        for done in &end.outcomes {
            if let (Some(asked), Some(kept)) = (&done.refused, &done.state) {
                let refused = Refused {
                    asked: asked.clone(),
                    kept: kept.clone(),
                    why: done.why.clone().unwrap_or_default(),
                    boot: begin.boot.clone(),
                };
                self.refused.insert(done.resource.clone(), refused);
            }
            if let Some(change) = changes.get(&done.resource) {
                self.book(&begin, change, done);
            } else if done.outcome == Outcome::Released || done.outcome == Outcome::Written {
                // Collateral that went back with its cause, or a link that is gone.
                self.owned.remove(&done.resource);
            }
        }
        for left in &end.left {
            let new = self.fresh(&begin, &left.resource, left.before.clone());
            let known = self.owned.get(&left.resource).and_then(|o| o.cause.as_ref());
            // Another change that stands still keeps it.
            let kept = known.is_some_and(|c| self.owned.contains_key(c));
            let owned = self.owned.entry(left.resource.clone()).or_insert(new);
            // Somebody set it anew while its cause was away: that is what goes back.
            if owned.claims.is_empty()
                && owned.cause.is_some()
                && !owned.wrote.contains(&left.before)
            {
                owned.baseline = left.before.clone();
            }
            owned.wrote.retain(|s| *s != left.after);
            owned.wrote.push(left.after.clone());
            if !kept {
                owned.cause = Some(left.cause.clone());
            }
        }
    }

    fn find(&mut self, met: &[Met]) {
        self.met_boot = met.first().map(|m| m.boot.clone()).unwrap_or_default();
        self.met = met.iter().map(|m| (m.resource.clone(), m.claims.clone())).collect();
    }

    fn book(&mut self, begin: &Begin, change: &Change, done: &Done) {
        let now = match done.outcome {
            Outcome::Written => done.state.clone().unwrap_or_else(|| change.after.clone()),
            Outcome::Failed => match &done.state {
                Some(state) => state.clone(),
                None => return,
            },
            Outcome::Released => {
                self.owned.remove(&change.resource);
                return;
            }
            _ => return,
        };
        let new = self.fresh(begin, &change.resource, change.before.clone());
        let owned = self.owned.entry(change.resource.clone()).or_insert(new);
        if now == owned.baseline || (change.back() && done.outcome == Outcome::Written) {
            self.owned.remove(&change.resource);
            return;
        }
        if done.outcome == Outcome::Written {
            owned.claims = change.claims.clone();
        } else if owned.claims.is_empty() {
            // It is neither as it was nor as asked: whoever asked holds it until it is put back.
            owned.claims = change.claims.clone();
        }
        owned.wrote.retain(|state| *state != now);
        owned.wrote.push(now);
        owned.boot = begin.boot.clone();
        owned.netns = begin.netns;
        owned.profile = begin.profile.clone().or(owned.profile.take());
        owned.time = begin.time.clone();
        owned.cause = None;
    }

    fn fresh(&self, begin: &Begin, resource: &Resource, baseline: State) -> Owned {
        Owned {
            baseline,
            wrote: Vec::new(),
            claims: Claims::new(),
            cause: None,
            layered: begin.layered.contains(resource),
            boot: begin.boot.clone(),
            netns: begin.netns,
            profile: begin.profile.clone(),
            time: begin.time.clone(),
        }
    }

    fn restore(&mut self, snapshot: &Snapshot) {
        self.open.clear();
        self.links = snapshot.links.clone();
        let owned = snapshot.owned.iter().map(|r| {
            let owned = Owned {
                baseline: r.before.clone(),
                wrote: r.wrote.clone(),
                claims: r.claims.clone(),
                cause: r.cause.clone(),
                layered: r.layered,
                boot: r.boot.clone(),
                netns: r.netns,
                profile: r.profile.clone(),
                time: r.time.clone(),
            };
            (r.resource.clone(), owned)
        });
        self.owned = owned.collect();
        self.find(&snapshot.met);
    }

    pub fn snapshot(&self) -> Snapshot {
        let records = self.owned.iter().map(|(resource, o)| OwnedRecord {
            resource: resource.clone(),
            before: o.baseline.clone(),
            wrote: o.wrote.clone(),
            claims: o.claims.clone(),
            cause: o.cause.clone(),
            layered: o.layered,
            boot: o.boot.clone(),
            netns: o.netns,
            profile: o.profile.clone(),
            time: o.time.clone(),
        });
        let owned: Vec<OwnedRecord> = records.collect();
        let used = |l: &&LinkId| owned.iter().any(|r| r.resource.link() == Some(&l.name));
        let met = self.met.iter().map(|(resource, claims)| Met {
            resource: resource.clone(),
            claims: claims.clone(),
            boot: self.met_boot.clone(),
        });
        let links = self.links.iter().filter(used).cloned().collect();
        Snapshot { links, owned, met: met.collect() }
    }

    /// Fits the ledger to the node as it is: what died with another boot is dropped, links that
    /// were renamed are followed, links that are gone are set apart.
    pub fn fit_to(&mut self, facts: &Facts) -> anyhow::Result<()> {
        let boot = &facts.node.boot_id;
        let here = |o: &Owned| o.boot == *boot && o.netns == facts.node.netns;
        let died = |resource: &Resource, o: &Owned| resource.runtime() && o.boot != *boot;
        // What a stage that a reboot cut off may have written is void as well, and known like the rest:
        // a file of that stage may have brought it back.
        for begin in self.open.clone().iter().filter(|b| b.boot != *boot) {
            for change in begin.changes.iter().filter(|c| c.resource.runtime() && !c.back()) {
                self.book(begin, change, &Done::new(&change.resource, Outcome::Written));
            }
        }
        let all = std::mem::take(&mut self.owned);
        let (void, owned): (BTreeMap<_, _>, _) = all.into_iter().partition(|(r, o)| died(r, o));
        self.owned = owned;
        self.stale |= !void.is_empty();
        self.void = void.into_iter().map(|(r, o)| (self.present(r, facts), o)).collect();
        if self.met_boot != *boot {
            self.met.clear();
        }
        self.refused.retain(|_, r| r.boot == *boot);
        let refused = std::mem::take(&mut self.refused);
        self.refused = refused.into_iter().map(|(r, why)| (self.present(r, facts), why)).collect();
        let foreign = |b: &Begin| b.boot == *boot && b.netns != facts.node.netns;
        if self.owned.iter().any(|(r, o)| r.runtime() && !here(o)) || self.open.iter().any(foreign)
        {
            return Err(Refusal::with(
                Exit::Config,
                "the journal was written in another network namespace: run nettune there, or give \
                 this namespace its own --state-dir",
            ));
        }
        let owned = std::mem::take(&mut self.owned);
        for (resource, mut owned) in owned {
            owned.cause = owned.cause.map(|cause| self.present(cause, facts));
            match self.follow(&resource, facts) {
                Followed::Here(now) => {
                    self.stale |= now != resource;
                    self.owned.insert(now, owned);
                }
                Followed::Gone => {
                    self.stale = true;
                    self.vanished.insert(resource, owned);
                }
            }
        }
        let mut open = std::mem::take(&mut self.open);
        // After a reboot an unfinished stage can have left only what outlives a boot.
        for begin in open.iter_mut().filter(|b| b.boot != *boot) {
            begin.changes.retain(|c| !c.resource.runtime());
            begin.collateral.clear();
        }
        for begin in &mut open {
            for change in &mut begin.changes {
                change.resource = self.present(change.resource.clone(), facts);
            }
            for collateral in &mut begin.collateral {
                collateral.resource = self.present(collateral.resource.clone(), facts);
                collateral.cause = self.present(collateral.cause.clone(), facts);
            }
        }
        self.open = open;
        for id in &mut self.links {
            if let Some(link) = facts.links.iter().find(|l| id.is(l)) {
                id.name = link.name.clone();
            }
        }
        Ok(())
    }

    /// Closes an unfinished stage in memory; the caller compacts the journal.
    pub fn close(&mut self, end: &End) {
        self.stale = true;
        self.end(end);
    }

    /// With every write of a stage that has just begun, but for what it gives back, and with all that
    /// these disturb not put back yet: wherever the stage dies, no more than this is to be undone.
    pub fn as_if_made(&self, begin: &Begin) -> Ledger {
        let done = |c: &Change| Done::new(&c.resource, Outcome::Written);
        let outcomes = begin.changes.iter().filter(|c| !c.back()).map(done).collect();
        let planned = |r: &Resource| begin.changes.iter().any(|c| c.resource == *r);
        let disturbed = begin.collateral.iter().filter(|c| !planned(&c.resource));
        let left = disturbed.map(|c| Left {
            resource: c.resource.clone(),
            before: c.before.clone(),
            after: State::Absent,
            cause: c.cause.clone(),
        });
        let left = left.collect();
        let mut ledger = self.clone();
        ledger.open.push(begin.clone());
        ledger.end(&End { run: begin.run.clone(), outcomes, left, ..End::default() });
        ledger
    }

    /// By the present name of its link.
    pub fn present(&self, resource: Resource, facts: &Facts) -> Resource {
        match self.follow(&resource, facts) {
            Followed::Here(now) => now,
            Followed::Gone => resource,
        }
    }

    fn follow(&self, resource: &Resource, facts: &Facts) -> Followed {
        let Some(name) = resource.link() else { return Followed::Here(resource.clone()) };
        let Some(id) = self.links.iter().find(|l| l.name == name) else {
            return Followed::Here(resource.clone());
        };
        match facts.links.iter().find(|l| id.is(l)) {
            Some(link) => Followed::Here(resource.renamed(&link.name)),
            None => Followed::Gone,
        }
    }

    /// The tweaks that hold something.
    pub fn tweaks(&self) -> std::collections::BTreeSet<String> {
        self.owned.values().flat_map(|o| o.claims.keys().cloned()).collect()
    }
}

enum Followed {
    Here(Resource),
    Gone,
}
