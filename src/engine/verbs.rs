//! The verbs as the engine sees them: check is the plan, apply carries it out, verify asks whether
//! the plan of what was applied is empty, rollback is the plan for a profile that wants nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::evaluate::evaluate;
use super::layers::without_taken;
use super::ledger::Ledger;
use super::plan::{Options, Plan, Scope, plan};
use super::record::{Begin, Done, End, Record};
use super::recover::{adopt, recover};
use super::row::{Reason, Row, Selection, Status, refusals};
use super::run::{Meta, Stage};
use super::store::Store;
use super::undo::undo_script;
use super::work::Ran;
use super::{Exit, Host, Observe};
use super::{expect, order};
use crate::model::facts::Facts;
use crate::model::restore::outlives;
use crate::model::{Change, Impact, Outcome, Resource, Side};

pub struct Ask<'a> {
    pub selection: Selection<'a>,
    pub scope: Scope,
    pub accept: BTreeSet<Impact>,
    pub strict: bool,
    /// A failure undoes the whole run.
    pub atomic: bool,
    pub meta: Meta,
}

#[derive(Debug)]
pub struct Answer {
    pub rows: Vec<Row>,
    pub notes: Vec<String>,
    pub exit: Exit,
}

/// What apply would do: `check`, `plan`, `apply --dry-run`.
pub fn preview(host: &impl Observe, store: &Store, facts: &Facts, ask: &Ask) -> Result<Answer> {
    let mut rows = evaluate(&ask.selection, facts, ask.scope.tweaks.as_ref());
    let ledger = without_taken(host, &store.ledger);
    let plan = plan(&mut rows, &ledger, host, facts, &options(&ask.scope, &ask.accept, false))?;
    foresee(&mut rows, &plan, &ledger, host, facts, ask)?;
    let exit = blockers(&rows, ask.strict);
    let mut notes = store.journal.warnings.clone();
    notes.extend(pending(&store.ledger));
    notes.extend(plan.released.iter().map(|(r, why)| format!("{r} would be released: {why}")));
    Ok(Answer { rows, notes, exit })
}

/// Rows of the second stage as they will stand on what the first leaves.
fn foresee(
    rows: &mut [Row],
    first: &Plan,
    ledger: &Ledger,
    host: &impl Observe,
    facts: &Facts,
    ask: &Ask,
) -> Result<()> {
    let Some(after) = expect::after(facts, &first.changes) else { return Ok(()) };
    let mut fresh = evaluate(&ask.selection, &after, ask.scope.tweaks.as_ref());
    plan(&mut fresh, ledger, host, &after, &options(&ask.scope, &ask.accept, false))?;
    let reshapes = |row: &Row| row.changes.iter().any(|(c, _)| order::phase(c).first_stage());
    for (row, new) in rows.iter_mut().zip(fresh) {
        if !reshapes(row) && !reshapes(&new) {
            *row = new;
        } else {
            let first = |(c, _): &(Change, Outcome)| order::phase(c).first_stage();
            row.changes.retain(first);
            row.changes.extend(new.changes.into_iter().filter(|c| !first(c)));
        }
    }
    Ok(())
}

pub fn apply<H: Host>(host: &mut H, store: &mut Store, facts: &Facts, ask: &Ask) -> Result<Answer> {
    let (mut notes, mut stuck) = (store.journal.warnings.clone(), Vec::new());
    clear(host, store, &mut notes, &mut stuck)?;
    let before = store.ledger.clone();
    let only = ask.scope.tweaks.as_ref();
    let options = options(&ask.scope, &ask.accept, false);
    let mut rows = evaluate(&ask.selection, facts, only);
    let mut first = plan(&mut rows, &store.ledger, host, facts, &options)?;
    foresee(&mut rows, &first, &store.ledger, host, facts, ask)?;
    let exit = blockers(&rows, ask.strict);
    if exit != Exit::Fine {
        notes.push("nothing was changed: a tweak that must be had cannot be had here".to_string());
        return Ok(Answer { rows, notes, exit });
    }
    let released = release(host, store, facts, &ask.meta, &first)?;
    notes.extend(released.iter().cloned());
    stuck.append(&mut first.stuck);
    let two =
        first.changes.split_off(first.changes.partition_point(|c| order::phase(c).first_stage()));
    let one = std::mem::take(&mut first.changes);
    let mut all = Ran::default();
    let mut made = Vec::new();
    all.add(stage(host, store, facts, &ask.meta, "1", &rows).execute(one.clone())?);
    made.extend(one.iter().cloned());
    let required: Vec<&str> =
        ask.selection.tweaks.iter().filter(|t| t.required).map(|t| t.name).collect();
    let must = |all: &Ran| {
        !all.failures.is_empty()
            && (ask.atomic
                || ask.strict
                || all.failures.iter().any(|f| required.contains(&f.tweak.as_str())))
    };
    let mut whole_undone = must(&all);
    let (mut broken, mut refused) = (false, false);
    if !whole_undone {
        match plan_two(host, &store.ledger, facts, ask, &mut rows, &one, two, &all) {
            // What stage one was to make possible did not come about.
            Ok(_) if blockers(&rows, ask.strict) != Exit::Fine => refused = true,
            Ok((facts, two)) => {
                let two_stage = stage(host, store, &facts, &ask.meta, "2", &rows);
                match two_stage.execute(two.clone()) {
                    Ok(ran) => {
                        all.add(ran);
                        made.extend(two);
                    }
                    // Nothing was done at all.
                    Err(e) if one.is_empty() => return Err(e),
                    Err(e) => {
                        broken = true;
                        notes.push(format!("stage two was not begun: {e:#}"));
                    }
                }
            }
            Err(e) => {
                broken = true;
                notes.push(format!("stage two could not be planned: {e:#}"));
            }
        }
        whole_undone = must(&all) || refused || (broken && (ask.atomic || ask.strict));
    }
    // A tweak that failed in stage two is undone in stage one as well.
    let whole = |t: &String| all.failures.iter().any(|f| f.tweak == *t && f.only.is_none());
    let failed = |c: &&Change| c.tweaks.iter().all(whole);
    let lost: Vec<Change> =
        made.iter().filter(|c| whole_undone || (failed(c) && !c.back())).cloned().collect();
    let undo = reversed(&lost, &all.done, &before);
    if !undo.is_empty() {
        let meta = Meta { verb: "undo", ..ask.meta.clone() };
        let ran = stage(host, store, facts, &meta, "undo", &[]).execute(undo)?;
        for done in &ran.done {
            if let Some(mine) = all.done.iter_mut().find(|d| d.resource == done.resource)
                && done.outcome == Outcome::Written
            {
                mine.outcome = Outcome::Undone;
            }
        }
        all.stuck.extend(ran.stuck);
        all.notes.extend(ran.notes);
    }
    if whole_undone {
        notes.push("everything this run did was undone".to_string());
    }
    conclude(&mut rows, &made, &all);
    notes.extend(all.notes);
    stuck.extend(all.stuck);
    notes.extend(stuck.iter().map(|s| format!("not put back: {s}")));
    let mut exit = Exit::Fine;
    if !stuck.is_empty() || !released.is_empty() {
        exit = exit.worst(Exit::NotPutBack);
    }
    if refused {
        exit = exit.worst(Exit::Blocked);
    }
    if broken || all.failures.iter().any(|f| !f.moved) {
        exit = exit.worst(if whole_undone { Exit::Failed } else { Exit::Part });
    }
    if all.failures.iter().any(|f| f.moved) || rows.iter().any(|r| r.status == Status::Drifted) {
        exit = exit.worst(if whole_undone { Exit::Failed } else { Exit::Drift });
    }
    Ok(Answer { rows, notes, exit })
}

/// Stage two, planned anew where stage one has changed anything: links, queues and vectors may be
/// others now.
#[expect(clippy::too_many_arguments, reason = "the state of one run, at its one turning point")]
fn plan_two(
    host: &impl Observe,
    ledger: &Ledger,
    facts: &Facts,
    ask: &Ask,
    rows: &mut Vec<Row>,
    one: &[Change],
    two: Vec<Change>,
    all: &Ran,
) -> Result<(Facts, Vec<Change>)> {
    if one.is_empty() {
        return Ok((facts.clone(), two));
    }
    let facts = host.facts()?;
    let mut fresh = evaluate(&ask.selection, &facts, ask.scope.tweaks.as_ref());
    for row in &mut fresh {
        if let Some(f) = all.failures.iter().find(|f| f.tweak == row.name && f.only.is_none()) {
            row.block(Status::Failed, Reason::new("failed", f.text.clone()));
        }
    }
    let options = options(&ask.scope, &ask.accept, false);
    let second = plan(&mut fresh, ledger, host, &facts, &options)?;
    *rows = fresh;
    // A file may speak of queues that are others now (irqbalance's configuration).
    let is_new = |c: &Change| {
        let file = matches!(c.resource, Resource::File { .. }) && !c.back();
        file || !order::phase(c).first_stage() && one.iter().all(|m| m.resource != c.resource)
    };
    Ok((facts, second.changes.into_iter().filter(is_new).collect()))
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
    }
}

/// The rows of a rollback of the tweaks in scope: a profile that wants nothing.
fn unwanted(ledger: &Ledger, scope: &Scope, side: impl Fn(&str) -> Side) -> Vec<Row> {
    ledger
        .tweaks()
        .into_iter()
        .filter(|name| scope.chooses(name))
        .map(|name| Row::new(&name, side(&name), Status::Off))
        .collect()
}

pub struct Rollback<'a> {
    pub scope: Scope,
    /// Leaves what resets a link for the next boot.
    pub gentle: bool,
    pub force: bool,
    pub meta: Meta,
    pub side: &'a dyn Fn(&str) -> Side,
}

impl Rollback<'_> {
    fn accept(&self) -> BTreeSet<Impact> {
        let gentle = |i: &Impact| !self.gentle || *i != Impact::LinkReset;
        Impact::ALL.into_iter().filter(gentle).collect()
    }
}

pub fn rollback_preview(
    host: &impl Observe,
    store: &Store,
    facts: &Facts,
    ask: &Rollback,
) -> Result<Answer> {
    let ledger = without_taken(host, &store.ledger);
    let mut rows = unwanted(&ledger, &ask.scope, ask.side);
    let accept = ask.accept();
    let plan = plan(&mut rows, &ledger, host, facts, &options(&ask.scope, &accept, ask.force))?;
    let mut notes = store.journal.warnings.clone();
    notes.extend(pending(&store.ledger));
    notes.extend(plan.released.iter().map(|(r, why)| format!("{r} would be released: {why}")));
    notes.extend(drifted_of_nobody(&plan, &ledger));
    Ok(Answer { rows, notes, exit: Exit::Fine })
}

pub fn rollback<H: Host>(
    host: &mut H,
    store: &mut Store,
    facts: &Facts,
    ask: &Rollback,
) -> Result<Answer> {
    let (mut notes, mut stuck) = (store.journal.warnings.clone(), Vec::new());
    clear(host, store, &mut notes, &mut stuck)?;
    let mut rows = unwanted(&store.ledger, &ask.scope, ask.side);
    let accept = ask.accept();
    let plan =
        plan(&mut rows, &store.ledger, host, facts, &options(&ask.scope, &accept, ask.force))?;
    stuck.extend(plan.stuck.iter().cloned());
    notes.extend(drifted_of_nobody(&plan, &store.ledger));
    let released = release(host, store, facts, &ask.meta, &plan)?;
    let run = format!("{} back", ask.meta.time);
    let stage =
        Stage { host, store, facts, meta: &ask.meta, run, undo: false, proofs: BTreeMap::new() };
    let ran = stage.execute(plan.changes.clone())?;
    conclude(&mut rows, &plan.changes, &ran);
    notes.extend(released.iter().cloned());
    let gone_back = |c: &&Change| {
        let written = |d: &Done| d.resource == c.resource && d.outcome == Outcome::Written;
        !c.claim_only() && ran.done.iter().any(written)
    };
    let behind = plan.changes.iter().filter(gone_back);
    let behind: BTreeSet<&str> = behind.filter_map(|c| outlives(&c.resource, &c.before)).collect();
    notes.extend(behind.into_iter().map(str::to_string));
    notes.extend(ran.notes);
    stuck.extend(ran.stuck);
    notes.extend(stuck.iter().map(|s| format!("not put back: {s}")));
    if !plan.held_back.is_empty() {
        let text =
            format!("{} changes that reset a link wait for the next boot", plan.held_back.len());
        notes.push(text);
    }
    let mut exit = Exit::Fine;
    if !stuck.is_empty() || !released.is_empty() {
        exit = exit.worst(Exit::NotPutBack);
    }
    let moved = ran.failures.iter().any(|f| f.moved);
    if moved || !plan.drifted.is_empty() {
        exit = exit.worst(Exit::Drift);
    }
    Ok(Answer { rows, notes, exit })
}

fn options<'a>(scope: &'a Scope, accept: &'a BTreeSet<Impact>, force: bool) -> Options<'a> {
    Options { scope, accept, force }
}

/// Reading verbs only report a run that died.
pub fn pending(ledger: &Ledger) -> Vec<String> {
    let died = |b: &Begin| {
        format!("{} of {} did not end: the next apply or rollback finishes it", b.verb, b.time)
    };
    ledger.open.iter().map(died).collect()
}

/// Finishes what died, lets go of what is gone.
pub fn clear<H: Host>(
    host: &mut H,
    store: &mut Store,
    notes: &mut Vec<String>,
    stuck: &mut Vec<String>,
) -> Result<()> {
    let gone = store.ledger.vanished.len();
    if gone > 0 {
        let mut links: Vec<&str> =
            store.ledger.vanished.keys().filter_map(Resource::link).collect();
        links.dedup();
        notes.push(format!("{} is gone: {gone} values released with it", links.join(", ")));
    }
    let (more, left) = recover(host, store);
    notes.extend(more);
    stuck.extend(left);
    adopt(host, store);
    if let Cow::Owned(ledger) = without_taken(host, &store.ledger) {
        store.ledger = ledger;
    }
    store.tidy()
}

/// What a change disturbed and somebody else has moved since: it belongs to no tweak, so no row
/// speaks of it.
fn drifted_of_nobody(plan: &Plan, ledger: &Ledger) -> Vec<String> {
    let nobodys = |r: &Resource| ledger.owned.get(r).is_none_or(|o| o.claims.is_empty());
    let drifted = plan.drifted.iter().filter(|(r, _)| nobodys(r));
    drifted.map(|(r, why)| format!("{r} {why}: rollback --force puts the old value back")).collect()
}

/// Journals what is given up without a write; returns a note for each.
fn release(
    host: &impl Observe,
    store: &mut Store,
    facts: &Facts,
    meta: &Meta,
    plan: &Plan,
) -> Result<Vec<String>> {
    if plan.released.is_empty() {
        return Ok(Vec::new());
    }
    let run = format!("{} release", meta.time);
    let begin = Begin {
        run: run.clone(),
        verb: meta.verb.to_string(),
        version: meta.version.to_string(),
        time: meta.time.clone(),
        boot: facts.node.boot_id.clone(),
        netns: facts.node.netns,
        ..Begin::default()
    };
    let done = |(resource, why): &(Resource, String)| Done {
        resource: resource.clone(),
        outcome: Outcome::Released,
        state: None,
        refused: None,
        why: Some(why.clone()),
    };
    let end = End { run, outcomes: plan.released.iter().map(done).collect(), left: Vec::new() };
    store.journal.append(Record::Begin(begin.clone()))?;
    store.journal.append(Record::End(end.clone()))?;
    store.ledger.open.push(begin);
    let stale = store.ledger.stale;
    store.ledger.close(&end);
    store.ledger.stale = stale;
    store.write_undo(&undo_script(host, &store.ledger, facts, None)?)?;
    Ok(plan.released.iter().map(|(r, why)| format!("{r} released as it is: {why}")).collect())
}

fn blockers(rows: &[Row], strict: bool) -> Exit {
    let bad = |s: Status| {
        matches!(
            s,
            Status::Blocked | Status::Unsupported | Status::Unknown | Status::Held | Status::Failed
        )
    };
    // What only the cluster can set is no blocker of this node, unless the profile requires it.
    // But an agent that is starting will have an answer.
    let counts = |r: &Row| r.required || (strict && (r.side != Side::Cilium || r.has("starting")));
    let found = rows.iter().any(|r| bad(r.status) && counts(r));
    if found { Exit::Blocked } else { Exit::Fine }
}

/// The changes that take a run back, in reverse.
fn reversed(made: &[Change], done: &[Done], before: &Ledger) -> Vec<Change> {
    let written = |c: &&Change| {
        done.iter().any(|d| d.resource == c.resource && d.outcome == Outcome::Written)
    };
    let kept =
        |c: &Change| done.iter().find(|d| d.resource == c.resource).and_then(|d| d.state.clone());
    let back = |c: &Change| Change {
        resource: c.resource.clone(),
        before: kept(c).unwrap_or_else(|| c.after.clone()),
        after: c.before.clone(),
        impact: c.impact,
        claims: before.owned.get(&c.resource).map(|o| o.claims.clone()).unwrap_or_default(),
        tweaks: c.tweaks.clone(),
    };
    made.iter().rev().filter(written).map(back).collect()
}

/// Writes what happened into the rows.
fn conclude(rows: &mut [Row], made: &[Change], ran: &Ran) {
    let outcomes: BTreeMap<&Resource, Outcome> =
        ran.done.iter().map(|d| (&d.resource, d.outcome)).collect();
    for row in rows.iter_mut() {
        let failures: Vec<_> = ran.failures.iter().filter(|f| f.tweak == row.name).collect();
        if row.status == Status::Held {
            continue;
        }
        let mine: Vec<(Change, Outcome)> = made
            .iter()
            .filter(|c| c.tweaks.contains(&row.name))
            .map(|c| (c.clone(), outcomes.get(&c.resource).copied().unwrap_or(Outcome::Planned)))
            .collect();
        let held = row.changes.iter().filter(|(_, o)| *o == Outcome::Held).cloned();
        row.changes = mine.into_iter().chain(held).collect();
        row.impact = row.changes.iter().map(|(c, _)| c.impact).max().unwrap_or(Impact::None);
        for failure in &failures {
            if row.reasons.iter().all(|r| r.text != failure.text) {
                let code = if failure.moved { "moved" } else { "failed" };
                row.reasons.push(Reason::new(code, failure.text.clone()));
            }
        }
        let refused = ran.done.iter().filter(|d| {
            matches!(d.outcome, Outcome::Written | Outcome::Released)
                && d.state.is_some()
                && made.iter().any(|c| c.resource == d.resource && c.tweaks.contains(&row.name))
        });
        let refused = refused.map(|d| (&d.resource, d.why.as_deref().unwrap_or_default()));
        row.reasons.extend(refusals(refused));
        let reached = |row: &Row| row.changes.iter().any(|(_, o)| *o != Outcome::Planned);
        let written = row.changes.iter().any(|(c, o)| *o == Outcome::Written && !c.back());
        row.status = match row.status {
            Status::Off => Status::Off,
            _ if failures.iter().any(|f| !f.moved) => Status::Failed,
            _ if !failures.is_empty() => Status::Drifted,
            // It was about to be changed when the run as a whole was undone.
            Status::Ready | Status::Applied | Status::Ok
                if row.changes.iter().any(|(_, o)| *o == Outcome::Undone) =>
            {
                Status::Ready
            }
            Status::Ready if made.is_empty() || !reached(row) => Status::Ready,
            // The kernel keeps all of it to itself.
            Status::Ready if row.changes.iter().all(|(_, o)| *o == Outcome::Released) => {
                Status::Unsupported
            }
            Status::Ready => Status::Applied,
            Status::Ok if written => Status::Applied,
            other => other,
        };
    }
}
