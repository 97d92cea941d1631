//! One journaled stage: `begin`, the writes, `end`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::collateral::{collateral, left, returned, went_with};
use super::layers::layered;
use super::record::{Begin, By, Collateral, Done, End, Record};
use super::store::Store;
use super::undo::undo_script;
use super::work::{Failed, Failure, Ran, Work};
use super::{Host, Wrote};
use crate::model::agents;
use crate::model::collateral::belongs;
use crate::model::facts::Facts;
use crate::model::{Change, Outcome, Proof, Resource, State};

/// Who runs, for the journal.
#[derive(Debug, Clone)]
pub struct Meta {
    pub verb: &'static str,
    pub profile: Option<String>,
    pub version: &'static str,
    pub time: String,
    pub by: By,
}

impl Meta {
    /// A stage of this run, on the node as it is.
    pub fn begin(&self, run: String, facts: &Facts) -> Begin {
        Begin {
            run,
            verb: self.verb.to_string(),
            profile: self.profile.clone(),
            version: self.version.to_string(),
            time: self.time.clone(),
            boot: facts.node.boot_id.clone(),
            netns: facts.node.netns,
            by: Some(Box::new(self.by.clone())),
            ..Begin::default()
        }
    }
}

/// The end of a stage, now.
pub fn end(run: String, outcomes: Vec<Done>) -> End {
    End { run, outcomes, time: Some(now()), ..End::default() }
}

/// UTC, as the journal has it.
pub fn now() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

pub struct Stage<'a, H: Host> {
    pub host: &'a mut H,
    pub store: &'a mut Store,
    pub facts: &'a Facts,
    pub meta: &'a Meta,
    /// Names this stage in the journal.
    pub run: String,
    /// Takes back a run: what can go back goes back, whoever holds it afterwards, and whoever wants it to end.
    pub undo: bool,
    /// What must hold once a tweak's changes are made.
    pub proofs: BTreeMap<String, Vec<Proof>>,
    /// It lays back what made room for another change: it ends only when that is done.
    pub whole: bool,
}

impl<H: Host> Stage<'_, H> {
    /// Makes `changes` in their order, as one run of the journal. A failed write undoes its tweak and
    /// the rest goes on.
    pub fn make(&mut self, run: String, changes: Vec<Change>) -> Result<Ran> {
        if changes.is_empty() {
            return Ok(Ran::default());
        }
        if self.stops() {
            let mut work = Work::new(changes, Vec::new());
            work.stop();
            return Ok(work.ran);
        }
        self.run = run;
        self.ask_gateways(&changes);
        let collateral = collateral(&*self.host, &self.store.ledger, self.facts, &changes);
        self.begin(&changes, &collateral)?;
        let mut work = Work::new(changes, collateral);
        self.write_all(&mut work);
        self.end(work)
    }

    /// As `make`, whoever wants it to end.
    pub fn make_whole(&mut self, run: String, changes: Vec<Change>) -> Result<Ran> {
        let whole = std::mem::replace(&mut self.whole, true);
        let ran = self.make(run, changes);
        self.whole = whole;
        ran
    }

    pub fn stops(&self) -> bool {
        !self.whole && !self.undo && self.host.interrupted()
    }

    /// Those that answer now must answer afterwards; the others prove nothing.
    fn ask_gateways(&mut self, changes: &[Change]) {
        let raised = |tweak: &String| {
            changes.iter().any(|c| c.tweaks.contains(tweak) && !c.back() && !c.claim_only())
        };
        for (_, proofs) in self.proofs.iter_mut().filter(|(tweak, _)| raised(tweak)) {
            for proof in std::mem::take(proofs) {
                match proof {
                    Proof::Gateway { peer, mtu } if self.host.answers(&peer) => {
                        proofs.push(Proof::Path { peer, mtu });
                    }
                    Proof::Gateway { .. } => {}
                    path => proofs.push(path),
                }
            }
        }
    }

    fn begin(&mut self, changes: &[Change], collateral: &[Collateral]) -> Result<()> {
        let named: BTreeSet<&str> = changes
            .iter()
            .map(|c| &c.resource)
            .chain(collateral.iter().map(|c| &c.resource))
            .filter_map(Resource::link)
            .collect();
        let begin = Begin {
            changes: changes.to_vec(),
            collateral: collateral.to_vec(),
            layered: layered(&*self.host, &self.store.ledger, self.facts, changes),
            links: named.iter().filter_map(|n| self.facts.identity(n)).collect(),
            ..self.meta.begin(self.run.clone(), self.facts)
        };
        self.store.journal.found()?;
        // The script first: from the moment the record exists, a reader may need it.
        self.write_undo(Some(&begin))?;
        self.store.journal.append(Record::Begin(begin.clone()))?;
        self.store.ledger.open.push(begin);
        Ok(())
    }

    fn write_undo(&self, begun: Option<&Begin>) -> Result<()> {
        let script = undo_script(&*self.host, &self.store.ledger, self.facts, begun)?;
        self.store.write_undo(&script)
    }

    fn write_all(&mut self, work: &mut Work) {
        let mut missing: Vec<usize> = Vec::new();
        for at in 0..work.changes.len() {
            if self.stops() {
                work.stop();
                return self.undo_failed(work);
            }
            if !self.undo && work.skipped(at) {
                continue;
            }
            match self.write_one(work, at) {
                Ok(true) => {}
                Ok(false) => missing.push(at),
                Err(failure) if self.may_fit_later(&work.changes[at], &failure) => missing.push(at),
                Err(failure) => self.fail(work, at, failure),
            }
            self.prove_finished(work, at);
        }
        // Queues that were missing may be back with their channels; what is still gone is let go.
        for at in missing {
            match self.write_one(work, at) {
                Ok(true) => {}
                Ok(false) => {
                    let resource = &work.changes[at].resource;
                    work.ran.notes.push(format!("{resource} is gone: released"));
                    work.set(at, Outcome::Released, None, Some("it is gone".into()));
                }
                Err(failure) => self.fail(work, at, failure),
            }
        }
    }

    /// Keys bound each other (a low and a high threshold): one that is refused may be taken once the
    /// others are written.
    fn may_fit_later(&self, change: &Change, failed: &Failed) -> bool {
        failed.tried
            && matches!(change.resource, Resource::Sysctl { .. })
            && self.host.read(&change.resource).is_ok_and(|now| now == change.before)
    }

    /// True when written; false when the resource is missing and the change gives it back.
    fn write_one(&mut self, work: &mut Work, at: usize) -> Result<bool, Failed> {
        let change = work.changes[at].clone();
        let now = self.host.read(&change.resource).map_err(Failed::unread)?;
        if now == State::Absent && change.before != now && change.after != now {
            if change.back() {
                return Ok(false);
            }
            return Err(Failed::moved("it is gone since the plan was made"));
        }
        if now == State::Absent
            && change.back()
            && change.after != now
            && !change.resource.creatable()
        {
            return Ok(false);
        }
        if now != change.before && now != change.after && !self.expected(&change.resource, &now) {
            return Err(Failed::moved(&format!(
                "it was {} when the plan was made and is {now} now: left alone",
                change.before
            )));
        }
        if now != change.after {
            let wrote = self.set(&change.resource, &change.after)?;
            self.undisturb(work, &change);
            if let Wrote::LeftToOthers(why) = wrote {
                work.set(at, Outcome::Released, None, Some(why));
                return Ok(true);
            }
            if let Wrote::KernelKeeps { why, lasting } = wrote {
                let left = self.host.read(&change.resource).map_err(Failed::refused)?;
                if change.back() || self.undo {
                    return Err(Failed::bent(format!("{}: {why}", change.resource)));
                }
                let ours = self.store.ledger.owned.contains_key(&change.resource);
                let outcome = match left == change.before && !ours {
                    true => Outcome::Released,
                    false => Outcome::Written,
                };
                work.set(at, outcome, Some(left), Some(why));
                if lasting {
                    work.refused(at);
                }
                return Ok(true);
            }
        }
        // A bond's MTU went to its members with it, and what a member's disturbs with that.
        if now == change.after && (!change.claim_only() || change.back()) {
            self.undisturb(work, &change);
        }
        work.set(at, Outcome::Written, None, None);
        Ok(true)
    }

    fn undisturb(&mut self, work: &mut Work, change: &Change) {
        if change.back() || self.undo || !belongs(&change.resource) {
            self.restore_collateral(work, &change.resource);
        }
    }

    /// What no plan would call drift is none in the moment of writing: an agent that was restarted
    /// since has forgotten what it was told.
    fn expected(&self, resource: &Resource, now: &State) -> bool {
        let owned = self.store.ledger.owned.get(resource);
        owned.is_some_and(|o| !o.drifted(now)) || self.wanders(resource)
    }

    /// An agent may move it also in the moment between our plan and the word that keeps the agent off.
    fn wanders(&self, resource: &Resource) -> bool {
        agents::wanders(resource, self.facts, None)
    }

    /// Writes and reads back: a value that the kernel accepts but bends is a failure.
    fn set(&mut self, resource: &Resource, state: &State) -> Result<Wrote, Failed> {
        let wrote = self
            .host
            .write(resource, state)
            .with_context(|| format!("set {resource} to {state}"))
            .map_err(Failed::refused)?;
        if wrote != Wrote::Yes {
            return Ok(wrote);
        }
        match self.host.read(resource) {
            Ok(kept) if kept == *state => Ok(wrote),
            Ok(kept) => {
                let (asked, kept) = resource.shown_both(state, &kept);
                Err(Failed::bent(format!("{resource}: asked for {asked}, kernel kept {kept}")))
            }
            Err(e) => Err(Failed::refused(e)),
        }
    }

    fn restore_collateral(&mut self, work: &mut Work, cause: &Resource) {
        let places = work.by_cause.get(cause).into_iter().flatten();
        let disturbed: Vec<Collateral> = places.map(|at| work.collateral[*at].clone()).collect();
        for disturbed in &disturbed {
            let now = match self.host.read(&disturbed.resource) {
                Ok(now) if now == disturbed.before => continue,
                Ok(State::Absent) => State::Absent,
                Ok(_) => match self.set(&disturbed.resource, &disturbed.before) {
                    Ok(_) => continue,
                    Err(_) => self.host.read(&disturbed.resource).unwrap_or(State::Absent),
                },
                Err(_) => State::Absent,
            };
            if !went_with(disturbed, &now, &work.changes) {
                work.left_alone(disturbed, now);
            }
        }
    }

    /// A pod that leaves takes its link along: what was to be written there is nobody's any more.
    fn went(&self, change: &Change) -> Option<String> {
        let id = self.facts.identity(change.resource.link()?)?;
        (!self.host.has(&id)).then_some(id.name)
    }

    fn fail(&mut self, work: &mut Work, at: usize, failed: Failed) {
        let change = work.changes[at].clone();
        if let Some(link) = self.went(&change) {
            work.gone.insert(link);
            return work.set(at, Outcome::Released, None, Some("its link is gone".into()));
        }
        let now = self.host.read(&change.resource).ok();
        // A bent or half-made value is ours to put back, and a refused one may be half made; so may one
        // that nobody can read since, and it stays ours until somebody can.
        let half_made = failed.tried && now.as_ref().is_none_or(|n| *n != change.before);
        let now = now.or_else(|| half_made.then(|| change.after.clone()));
        let put_back =
            if half_made { self.set(&change.resource, &change.before).map(drop) } else { Ok(()) };
        if half_made {
            self.restore_collateral(work, &change.resource);
        }
        match put_back {
            Ok(()) if failed.moved => {
                work.set(at, Outcome::Drifted, None, Some(failed.text.clone()))
            }
            Ok(()) => work.set(at, Outcome::Failed, None, Some(failed.text.clone())),
            Err(e) => {
                work.ran.stuck.push(format!("{}: {}", change.resource, e.text));
                work.set(at, Outcome::Failed, now, Some(failed.text.clone()));
            }
        }
        if change.back() || self.undo {
            // Giving back has no unit: what can go back goes back, the rest is named.
            if failed.moved {
                work.ran.notes.push(format!("{}: {}", change.resource, failed.text));
            } else {
                work.ran.stuck.push(failed.text.clone());
            }
        }
        for tweak in &change.tweaks {
            let only = (!failed.moved && work.keys_alone(tweak)).then(|| change.resource.clone());
            let (tweak, text, moved) = (tweak.clone(), failed.text.clone(), failed.moved);
            work.ran.failures.push(Failure { tweak, text, moved, only });
        }
        if !change.back() && !self.undo {
            self.undo_failed(work);
        }
    }

    /// Puts back, in reverse, what was written for tweaks that have failed and for nobody else.
    fn undo_failed(&mut self, work: &mut Work) {
        for at in (0..work.changes.len()).rev() {
            let change = work.changes[at].clone();
            if change.back() || !work.failed_all(&change) {
                continue;
            }
            match work.outcomes.get(&at).map(|d| d.outcome) {
                Some(Outcome::Written) => {
                    let result = if change.claim_only() {
                        Ok(())
                    } else {
                        self.set(&change.resource, &change.before).map(drop)
                    };
                    self.restore_collateral(work, &change.resource);
                    match result {
                        Ok(()) => work.set(at, Outcome::Undone, None, None),
                        Err(e) => {
                            let now = self.host.read(&change.resource).unwrap_or(change.after);
                            work.ran.stuck.push(e.text.clone());
                            work.set(at, Outcome::Failed, Some(now), Some(e.text));
                        }
                    }
                }
                None => work.set(at, Outcome::Undone, None, None),
                _ => {}
            }
        }
    }

    /// Runs the proofs of tweaks whose last change this was.
    fn prove_finished(&mut self, work: &mut Work, at: usize) {
        let proved = |t: &&String| self.proofs.get(*t).is_some_and(|p| !p.is_empty());
        let tweaks: Vec<String> = work.changes[at].tweaks.iter().filter(proved).cloned().collect();
        for tweak in tweaks {
            let more =
                work.changes[at + 1..].iter().any(|c| c.tweaks.contains(&tweak) && !c.back());
            let back = work.changes[at].back();
            let failed = |f: &Failure| f.tweak == tweak && f.only.is_none();
            if more || back || work.ran.failures.iter().any(failed) {
                continue;
            }
            let mut proofs = self.proofs.get(&tweak).cloned().unwrap_or_default();
            // Not asked before, so its silence says nothing.
            proofs.retain(|p| !matches!(p, Proof::Gateway { .. }));
            for proof in &proofs {
                if let Err(e) = self.host.prove(proof) {
                    let text = format!("{e:#}");
                    let (tweak, only) = (tweak.clone(), None);
                    work.ran.failures.push(Failure { tweak, text, moved: false, only });
                    self.undo_failed(work);
                    break;
                }
            }
        }
    }

    fn end(&mut self, mut work: Work) -> Result<Ran> {
        work.say_left();
        if !work.gone.is_empty() {
            let names: Vec<&str> = work.gone.iter().map(String::as_str).collect();
            let notes = &mut work.ran.notes;
            notes.push(format!("{} went while this ran: released", names.join(", ")));
        }
        let Work { changes, outcomes, mut ran, collateral, .. } = work;
        if let Err(e) = self.host.stage_ends() {
            ran.notes.push(format!("{e:#}: run systemctl daemon-reload"));
        }
        ran.done = outcomes.into_values().collect();
        let mut end = end(self.run.clone(), ran.done.clone());
        end.outcomes.extend(returned(&*self.host, &self.store.ledger, &collateral, &changes));
        end.left = left(&*self.host, &collateral, &changes, &ran.done);
        // Left behind by a change that gave its resource back: nothing stands in its way any more.
        let back = |cause: &Resource| changes.iter().any(|c| c.resource == *cause && c.back());
        // What an agent moves and we do not hold does not stay where it was put.
        end.left.retain(|l| {
            let held = self.store.ledger.owned.contains_key(&l.resource);
            held || !self.wanders(&l.resource) || !back(&l.cause)
        });
        for left in end.left.iter().filter(|l| l.after != State::Absent && back(&l.cause)) {
            ran.stuck
                .push(format!("{}: it was {} and is {}", left.resource, left.before, left.after));
        }
        // The node has the changes, whatever the disk says now: they are told, and the next run ends this one.
        if let Err(e) = self.store.journal.append(Record::End(end.clone())) {
            ran.unclosed = true;
            ran.notes.push(format!(
                "what is done could not be written down as ended: {e:#}; make room, then nettune rollback or apply"
            ));
            return Ok(ran);
        }
        self.store.ledger.close(&end);
        // Closing by a record of its own leaves nothing to compact away.
        self.store.ledger.stale = false;
        // The one from before the writes undoes them all as well.
        if let Err(e) = self.write_undo(None) {
            ran.notes.push(format!("undo.sh is the one of this run's beginning: {e:#}"));
        }
        Ok(ran)
    }
}
