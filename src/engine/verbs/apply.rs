use std::borrow::Cow;

use anyhow::Result;

use super::ask::{Answer, Ask, blockers, options};
use super::became::{reversed, write_into};
use super::clear::{clear, release};
use super::preview::foresee;
use crate::engine::evaluate::evaluate;
use crate::engine::ledger::Ledger;
use crate::engine::met;
use crate::engine::plan::plan;
use crate::engine::reason::Reason;
use crate::engine::row::{Row, Status, plan_id};
use crate::engine::run::{Meta, Stage};
use crate::engine::seen::Seen;
use crate::engine::store::Store;
use crate::engine::work::{Failure, Ran};
use crate::engine::{Exit, Host, Observe, order};
use crate::model::{Change, Claims, Facts, Outcome, Resource};

/// Carries the plan out in two stages: what reshapes links and queues, then the rest, planned anew.
pub fn apply<H: Host>(host: &mut H, store: &mut Store, facts: &Facts, ask: &Ask) -> Result<Answer> {
    let (mut notes, mut stuck) = (store.journal.warnings.clone(), Vec::new());
    clear(host, store, &mut notes, &mut stuck)?;
    let before = store.ledger.clone();
    let options = options(&ask.scope, &ask.accept, false);
    let mut rows = evaluate(&ask.selection, facts, ask.scope.tweaks.as_ref());
    let seen = Seen::new(&*host, facts);
    let mut first = plan(&mut rows, &store.ledger, &seen, facts, &options)?;
    foresee(&mut rows, &first, &store.ledger, &seen, facts, ask)?;
    let exit = blockers(&rows, ask.strict);
    if exit != Exit::Fine {
        notes.push("nothing was changed: a tweak that must be had cannot be had here".to_string());
        return Ok(Answer { rows, notes, exit });
    }
    let mut meta = ask.meta.clone();
    meta.by.plan_id = Some(plan_id(&ask.profile, &rows));
    let released = release(host, store, facts, &meta, &first)?;
    notes.extend(released.iter().cloned());
    stuck.append(&mut first.stuck);
    let mut run = Run {
        ask,
        meta,
        rows,
        made: Vec::new(),
        all: Ran::default(),
        met: first.met,
        refused: false,
        broken: false,
    };
    let two =
        first.changes.split_off(first.changes.partition_point(|c| order::phase(c).first_stage()));
    let one = first.changes;
    run.all.add(stage(host, store, facts, &run.meta, "1", &run.rows).execute(one.clone())?);
    run.made.extend(one.iter().cloned());
    let mut undone = run.must();
    run.broken = run.all.unclosed;
    if run.all.interrupted || host.interrupted() {
        run.stop(&two);
    } else if !undone && !run.broken {
        notes.extend(run.second(host, store, facts, &one, two)?);
        run.broken |= run.all.unclosed;
    }
    undone |= run.must() || run.refused || (run.broken && (ask.atomic || ask.strict));
    if let Err(e) = run.take_back(host, store, facts, &before, undone) {
        stuck.push(format!("{e:#}"));
        undone = false;
    }
    if run.all.interrupted && !undone {
        let what = match run.stays() {
            true => "what was whole stays, the rest was undone",
            false => "nothing of this run stays",
        };
        notes.push(format!("interrupted: {what}; nettune apply goes on"));
    }
    if undone {
        notes.push("everything this run did was undone".to_string());
    }
    write_into(&mut run.rows, &run.made, &run.all);
    if !undone && !run.broken {
        met::note(store, facts, &run.meta, &ask.scope, &run.rows, &run.met)?;
    }
    notes.append(&mut run.all.notes);
    stuck.append(&mut run.all.stuck);
    notes.extend(stuck.iter().map(|s| format!("not put back: {s}")));
    let mut exit = run.exit(undone);
    if !stuck.is_empty() || !released.is_empty() {
        exit = exit.worst(Exit::NotPutBack);
    }
    Ok(Answer { rows: run.rows, notes, exit })
}

/// A run under way, over both stages.
struct Run<'a> {
    ask: &'a Ask<'a>,
    meta: Meta,
    rows: Vec<Row>,
    made: Vec<Change>,
    all: Ran,
    /// Wanted and found so, by the last plan.
    met: Vec<(Resource, Claims)>,
    /// What stage one was to make possible did not come about.
    refused: bool,
    /// Stage two could not be begun.
    broken: bool,
}

impl Run<'_> {
    /// A failure that the whole run falls with.
    fn must(&self) -> bool {
        let required = |tweak: &String| {
            self.ask.selection.tweaks.iter().any(|t| t.required && t.name == *tweak)
        };
        let failures = &self.all.failures;
        let all_or_none = self.ask.atomic || self.ask.strict;
        !failures.is_empty() && (all_or_none || failures.iter().any(|f| required(&f.tweak)))
    }

    /// The run ends before stage two: what that was to make whole falls.
    fn stop(&mut self, two: &[Change]) {
        self.all.interrupted = true;
        for change in two.iter().filter(|c| !c.back()) {
            change.tweaks.iter().for_each(|tweak| self.all.fall(tweak.clone()));
        }
    }

    /// Stage two; what kept it from beginning, in words.
    fn second<H: Host>(
        &mut self,
        host: &mut H,
        store: &mut Store,
        facts: &Facts,
        one: &[Change],
        two: Vec<Change>,
    ) -> Result<Option<String>> {
        let planned = self.plan_two(host, &store.ledger, facts, one, two);
        let (facts, two) = match planned {
            Ok(planned) => planned,
            Err(e) => {
                self.broken = true;
                return Ok(Some(format!("stage two could not be planned: {e:#}")));
            }
        };
        if blockers(&self.rows, self.ask.strict) != Exit::Fine {
            self.refused = true;
            return Ok(None);
        }
        match stage(host, store, &facts, &self.meta, "2", &self.rows).execute(two.clone()) {
            Ok(ran) => {
                self.all.add(ran);
                self.made.extend(two);
                Ok(None)
            }
            // Nothing was done at all.
            Err(e) if one.is_empty() => Err(e),
            Err(e) => {
                self.broken = true;
                Ok(Some(format!("stage two was not begun: {e:#}")))
            }
        }
    }

    /// Planned anew where stage one has changed anything: links, queues and vectors may be others now.
    fn plan_two<'f>(
        &mut self,
        host: &impl Observe,
        ledger: &Ledger,
        facts: &'f Facts,
        one: &[Change],
        two: Vec<Change>,
    ) -> Result<(Cow<'f, Facts>, Vec<Change>)> {
        if one.is_empty() {
            return Ok((Cow::Borrowed(facts), two));
        }
        let (ask, facts) = (self.ask, host.facts()?);
        let mut fresh = evaluate(&ask.selection, &facts, ask.scope.tweaks.as_ref());
        for row in &mut fresh {
            let failed = |f: &&Failure| f.tweak == row.name && f.only.is_none();
            if let Some(f) = self.all.failures.iter().find(failed) {
                row.block(Status::Failed, Reason::Failed(f.text.clone()));
            }
        }
        let options = options(&ask.scope, &ask.accept, false);
        let second = plan(&mut fresh, ledger, &Seen::new(host, &facts), &facts, &options)?;
        (self.rows, self.met) = (fresh, second.met);
        // A file may speak of queues that are others now (an agent's configuration).
        let is_new = |c: &Change| {
            let file = matches!(c.resource, Resource::File { .. }) && !c.back();
            file || !order::phase(c).first_stage() && one.iter().all(|m| m.resource != c.resource)
        };
        Ok((Cow::Owned(facts), second.changes.into_iter().filter(is_new).collect()))
    }

    /// A tweak that failed in stage two is undone in stage one as well; the whole run where it falls.
    fn take_back<H: Host>(
        &mut self,
        host: &mut H,
        store: &mut Store,
        facts: &Facts,
        before: &Ledger,
        whole: bool,
    ) -> Result<()> {
        let failures = &self.all.failures;
        let fell = |t: &String| failures.iter().any(|f| f.tweak == *t && f.only.is_none());
        let failed = |c: &&Change| c.tweaks.iter().all(fell);
        let lost = self.made.iter().filter(|c| whole || (failed(c) && !c.back())).cloned();
        let undo = reversed(&lost.collect::<Vec<_>>(), &self.all.done, before);
        if undo.is_empty() {
            return Ok(());
        }
        // What it leaves is of the profile before it.
        let held = before.owned.values().filter(|o| !o.claims.is_empty());
        let newest = held.max_by(|a, b| a.time.cmp(&b.time));
        let profile = newest.and_then(|o| o.profile.clone());
        let meta = Meta { verb: "undo", profile, ..self.meta.clone() };
        let ran = stage(host, store, facts, &meta, "undo", &[]).execute(undo)?;
        for done in &ran.done {
            if let Some(mine) = self.all.done.iter_mut().find(|d| d.resource == done.resource)
                && done.outcome == Outcome::Written
            {
                mine.outcome = Outcome::Undone;
            }
        }
        self.all.stuck.extend(ran.stuck);
        self.all.notes.extend(ran.notes);
        Ok(())
    }

    fn stays(&self) -> bool {
        self.all.done.iter().any(|d| d.outcome == Outcome::Written)
    }

    fn exit(&self, undone: bool) -> Exit {
        let mut exit = Exit::Fine;
        if self.refused {
            exit = exit.worst(Exit::Blocked);
        }
        let failures = &self.all.failures;
        let none = undone || (self.all.interrupted && !self.stays());
        if self.broken || self.all.interrupted || failures.iter().any(|f| !f.moved) {
            exit = exit.worst(if none { Exit::Failed } else { Exit::Part });
        }
        let drifted = self.rows.iter().any(|r| r.status == Status::Drifted);
        if failures.iter().any(|f| f.moved) || drifted {
            exit = exit.worst(if undone { Exit::Failed } else { Exit::Drift });
        }
        exit
    }
}

fn stage<'a, H: Host>(
    host: &'a mut H,
    store: &'a mut Store,
    facts: &'a Facts,
    meta: &'a Meta,
    run: &str,
    rows: &[Row],
) -> Stage<'a, H> {
    let proofs = rows.iter().map(|r| (r.name.clone(), r.proofs.clone())).collect();
    Stage {
        host,
        store,
        facts,
        meta,
        run: format!("{} {run}", meta.time),
        undo: run == "undo",
        proofs,
        whole: false,
    }
}
