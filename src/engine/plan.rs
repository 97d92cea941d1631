//! The difference between what the profile wants, what the journal says is ours, and what is.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::ledger::{Ledger, Owned};
use super::reason::{Drift, Reason, refusals};
use super::row::{Row, Status};
use super::{Exit, Observe, Refusal, order};
use crate::model::agents::{tells, told_off, wanders};
use crate::model::facts::Facts;
use crate::model::places::read_only;
use crate::model::restore::{no_longer_fits, offline, went_offline};
use crate::model::{Change, Claims, Desired, Impact, Outcome, Resource, State, Want};

/// What a run may look at; everything else stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub tweaks: Option<BTreeSet<String>>,
    pub links: Option<BTreeSet<String>>,
}

impl Scope {
    pub fn chooses(&self, tweak: &str) -> bool {
        self.tweaks.as_ref().is_none_or(|t| t.contains(tweak))
    }

    pub fn covers(&self, tweak: &str, resource: &Resource) -> bool {
        self.chooses(tweak)
            && self.links.as_ref().is_none_or(|l| resource.link().is_some_and(|n| l.contains(n)))
    }

    /// Also what belongs to no link and grows by those of this run: what is claimed of it stays.
    fn wants(&self, tweak: &str, desired: &Desired) -> bool {
        let grows = matches!(desired.want, Want::Includes(_)) && desired.resource.link().is_none();
        self.covers(tweak, &desired.resource) || grows && self.chooses(tweak)
    }
}

#[derive(Debug, Default)]
pub struct Plan {
    /// In the order of writing.
    pub changes: Vec<Change>,
    /// Given up without a write, and why.
    pub released: Vec<(Resource, String)>,
    /// Somebody else changed it since: left alone.
    pub drifted: Vec<(Resource, Drift)>,
    /// To be given back, and not to be read.
    pub stuck: Vec<String>,
    /// Left for the next boot.
    pub held_back: Vec<Change>,
    /// Wanted, found so, and nothing of ours.
    pub met: Vec<(Resource, Claims)>,
}

pub struct Options<'a> {
    pub scope: &'a Scope,
    pub accept: &'a BTreeSet<Impact>,
    /// Overwrite what somebody else changed since.
    pub force: bool,
}

type States = BTreeMap<Resource, Result<State, String>>;

/// Fills in each row's changes and status, and returns all changes in order.
pub fn plan(
    rows: &mut [Row],
    ledger: &Ledger,
    host: &impl Observe,
    facts: &Facts,
    options: &Options,
) -> Result<Plan> {
    let states = observe(rows, ledger, host, options);
    // A tweak that turns out blocked or held no longer counts for what it shares with others.
    loop {
        let draft = draft(rows, ledger, &states, facts, options)?;
        let before = rows.iter().filter(|r| r.decided()).count();
        for (tweak, status, reason) in draft.blocked {
            if let Some(row) = rows.iter_mut().find(|r| r.name == tweak && r.decided()) {
                row.block(status, reason);
            }
        }
        if rows.iter().filter(|r| r.decided()).count() != before {
            continue;
        }
        if hold(rows, &draft.plan.changes, options.accept) {
            continue;
        }
        let mut plan = draft.plan;
        let accepted = |c: &Change| options.accept.contains(&c.impact) || c.claim_only();
        plan.held_back = plan.changes.iter().filter(|c| !accepted(c)).cloned().collect();
        plan.changes.retain(accepted);
        order::sort(&mut plan.changes, facts);
        give_statuses(rows, ledger, &plan, draft.absent, options.scope);
        return Ok(plan);
    }
}

fn observe(rows: &[Row], ledger: &Ledger, host: &impl Observe, options: &Options) -> States {
    let wanted = rows.iter().flat_map(|r| {
        r.desired.iter().filter(|d| options.scope.wants(&r.name, d)).map(|d| &d.resource)
    });
    let resources: BTreeSet<&Resource> = wanted.chain(ledger.owned.keys()).collect();
    let resources: Vec<Resource> = resources.into_iter().cloned().collect();
    let states = host.read_many(&resources).into_iter().map(|s| s.map_err(|e| format!("{e:#}")));
    resources.iter().cloned().zip(states).collect()
}

struct Missing {
    tweak: String,
    resource: Resource,
    refused: Option<String>,
}

#[derive(Default)]
struct Draft {
    plan: Plan,
    blocked: Vec<(String, Status, Reason)>,
    /// Wanted, but this node has no such thing, or its kernel did not take it this boot.
    absent: Vec<Missing>,
}

fn draft(
    rows: &[Row],
    ledger: &Ledger,
    states: &States,
    facts: &Facts,
    options: &Options,
) -> Result<Draft> {
    let mut draft = Draft::default();
    // In place now, and held by nobody until the agent that moves it was told.
    let mut loose: Vec<Change> = Vec::new();
    let decided: BTreeMap<&str, &Row> =
        rows.iter().filter(|r| r.decided()).map(|r| (r.name.as_str(), r)).collect();
    let mut wanted: BTreeMap<&Resource, Vec<(&Row, &Desired)>> = BTreeMap::new();
    for row in decided.values() {
        for desired in row.desired.iter().filter(|d| options.scope.wants(&row.name, d)) {
            wanted.entry(&desired.resource).or_default().push((row, desired));
        }
    }
    for (resource, state) in states {
        let owned = ledger.owned.get(resource);
        let old = owned.map(|o| o.claims.clone()).unwrap_or_default();
        let mut claims = old.clone();
        claims
            .retain(|t, _| !decided.contains_key(t.as_str()) || !options.scope.covers(t, resource));
        let mut impact = Impact::None;
        let mut tweaks: Vec<String> = Vec::new();
        for (row, desired) in wanted.get(resource).into_iter().flatten() {
            impact = impact.max(desired.impact);
            let want = match claims.get(&row.name) {
                Some(mine) => merge(&row.name, mine, &row.name, &desired.want, resource)?,
                None => desired.want.clone(),
            };
            claims.insert(row.name.clone(), want);
            tweaks.push(row.name.clone());
        }
        let dropped: Vec<String> =
            old.keys().filter(|t| !claims.contains_key(*t)).cloned().collect();
        tweaks.extend(dropped.iter().cloned());
        tweaks.dedup();
        // Collateral whose cause is gone already, but that could not go back with it: tried again.
        let orphan = owned.is_some_and(|o| {
            o.claims.is_empty() && o.cause.as_ref().is_none_or(|c| !ledger.owned.contains_key(c))
        });
        let moved = |o: &Owned| state.as_ref().is_ok_and(|s| pushed(resource, o, s, facts));
        let told = told_off(resource).and_then(|t| states.get(t)?.as_ref().ok());
        let wanders = wanders(resource, facts, told) || owned.is_some_and(moved);
        if tweaks.is_empty() && !orphan {
            if let (true, Some(owned), Ok(now @ State::Is(_))) = (wanders, owned, state)
                && !old.is_empty()
            {
                let (before, after) = (now.clone(), owned.present().clone());
                let (impact, tweaks) = (Impact::None, old.keys().cloned().collect());
                let resource = resource.clone();
                loose.push(Change { resource, before, after, impact, claims: old, tweaks });
            }
            continue;
        }
        let state = match state {
            Ok(state) => state,
            // What cannot be read cannot be put back now; the rest of its tweak still can.
            Err(e) if claims.is_empty() => {
                draft.plan.stuck.push(format!("{resource}: {e}"));
                continue;
            }
            Err(e) => {
                let (resource, error) = (resource.clone(), e.clone());
                let reason = Reason::Unreadable { resource, error };
                let unknown = tweaks.into_iter().map(|t| (t, Status::Unknown, reason.clone()));
                draft.blocked.extend(unknown);
                continue;
            }
        };
        if claims.is_empty() {
            if let Some(owned) = owned {
                impact = resource.kind().impact;
                let free = Options { force: options.force || wanders, ..*options };
                let goes_too = |r: &Resource| {
                    let free = |o: &Owned| o.claims.keys().all(|t| options.scope.covers(t, r));
                    ledger.owned.get(r).is_some_and(free)
                };
                draft.back(resource, state, owned, impact, tweaks, facts, &free, &goes_too);
            }
            continue;
        }
        let off = owned.is_some() && went_offline(resource, state, facts).is_some();
        if off || (*state == State::Absent && !resource.creatable()) {
            if !off {
                draft.missing(tweaks, resource, None);
            }
            continue;
        }
        if owned.is_some_and(|o| beyond(resource, &claims, o, state)) {
            continue;
        }
        if let Some(owned) = owned.filter(|o| o.drifted(state) && !wanders && !options.force) {
            let drift = Drift::new(resource, state, owned);
            draft.plan.drifted.push((resource.clone(), drift));
            continue;
        }
        let want = claims_merged(&claims, resource)?;
        let basis = owned.map_or(state, |o| &o.baseline);
        match want.resolve(basis).map(|state| resource.canonical(state)) {
            Err(why) => {
                let reason = foreign(resource, state, &why);
                draft
                    .blocked
                    .extend(tweaks.into_iter().map(|t| (t, Status::Blocked, reason.clone())));
            }
            Ok(target) if target == *state && (owned.is_none() || claims == old) => {
                if owned.is_none() && !wanders {
                    draft.plan.met.push((resource.clone(), claims));
                } else if wanders {
                    let (before, resource) = (target.clone(), resource.clone());
                    loose.push(Change { resource, before, after: target, impact, claims, tweaks });
                }
            }
            Ok(target)
                if (owned.is_none() || claims == old)
                    && ledger
                        .refused
                        .get(resource)
                        .is_some_and(|r| r.asked == target && r.kept == *state) =>
            {
                let why = ledger.refused.get(resource).map(|r| r.why.clone());
                draft.missing(tweaks, resource, why);
            }
            Ok(after) => {
                if after != *state
                    && let Some(place) = read_only(resource, facts)
                {
                    draft.read_only(tweaks, place);
                    continue;
                }
                draft.plan.changes.push(Change {
                    resource: resource.clone(),
                    before: state.clone(),
                    after,
                    impact: match dropped.is_empty() {
                        true => impact,
                        false => impact.max(resource.kind().impact),
                    },
                    claims,
                    tweaks,
                });
            }
        }
    }
    let told = |c: &Change| tells(&c.resource) && !c.back();
    if draft.plan.changes.iter().any(told) {
        draft.plan.changes.extend(loose);
    }
    Ok(draft)
}

/// A vector or a queue whose CPUs went offline was moved by the kernel: where it is now is nobody's wish.
fn pushed(resource: &Resource, owned: &Owned, now: &State, facts: &Facts) -> bool {
    *now != State::Absent
        && owned.drifted(now)
        && offline(resource, owned.present(), now, facts).is_some()
}

/// Others went beyond a bound that was asked for: it holds, and the value is theirs.
pub fn beyond(resource: &Resource, claims: &Claims, owned: &Owned, now: &State) -> bool {
    let want = claims_merged(claims, resource);
    owned.drifted(now) && want.is_ok_and(|want| want.beyond(owned.present(), now))
}

impl Draft {
    fn read_only(&mut self, tweaks: Vec<String>, place: &'static str) {
        let blocked = |tweak| (tweak, Status::Blocked, Reason::ReadOnly(place));
        self.blocked.extend(tweaks.into_iter().map(blocked));
    }

    fn missing(&mut self, tweaks: Vec<String>, resource: &Resource, refused: Option<String>) {
        let missing =
            |tweak| Missing { tweak, resource: resource.clone(), refused: refused.clone() };
        self.absent.extend(tweaks.into_iter().map(missing));
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one decision, named at one call")]
    fn back(
        &mut self,
        resource: &Resource,
        state: &State,
        owned: &Owned,
        impact: Impact,
        tweaks: Vec<String>,
        facts: &Facts,
        options: &Options,
        goes_too: &dyn Fn(&Resource) -> bool,
    ) {
        if let Some(why) = went_offline(resource, state, facts) {
            let later = "it goes back with a rollback when that is online again";
            self.plan.stuck.push(format!("{resource}: {why}; {later}"));
            return;
        }
        if !options.force && beyond(resource, &owned.claims, owned, state) {
            self.plan.stuck.push(format!(
                "{resource} is {state}: somebody went beyond what nettune wrote; before it was {}, \
                 which rollback --force puts back",
                owned.baseline
            ));
            return;
        }
        // A queue may be gone until its channels are back: the run tries it last, then lets go.
        let missing = *state == State::Absent && !resource.creatable();
        if owned.drifted(state) && !missing && !options.force {
            let drift = Drift::new(resource, state, owned);
            self.plan.drifted.push((resource.clone(), drift));
            return;
        }
        if *state != owned.baseline
            && let Some(why) = no_longer_fits(resource, &owned.baseline, facts, goes_too)
        {
            self.plan.released.push((resource.clone(), why));
            return;
        }
        self.plan.changes.push(Change {
            resource: resource.clone(),
            before: state.clone(),
            after: owned.baseline.clone(),
            impact: if *state == owned.baseline { Impact::None } else { impact },
            claims: Claims::new(),
            tweaks,
        });
    }
}

fn foreign(resource: &Resource, state: &State, why: &str) -> Reason {
    match state {
        State::Foreign { .. } => {
            Reason::Foreign { resource: resource.clone(), state: state.clone() }
        }
        _ => Reason::Cannot { resource: resource.clone(), why: why.to_string() },
    }
}

fn merge(a: &str, want_a: &Want, b: &str, want_b: &Want, resource: &Resource) -> Result<Want> {
    want_a.merge(want_b).ok_or_else(|| {
        let text = format!(
            "tweaks {a} and {b} want {resource} to be two things: {want_a} and {want_b}; \
             change one of the two in the profile"
        );
        Refusal::with(Exit::Config, text)
    })
}

pub fn claims_merged(claims: &Claims, resource: &Resource) -> Result<Want> {
    let mut all = claims.iter();
    let Some((first, want)) = all.next() else { return Ok(Want::Exactly(State::Absent)) };
    let mut want = want.clone();
    for (tweak, other) in all {
        want = merge(first, &want, tweak, other, resource)?;
    }
    Ok(want)
}

/// Holds each tweak that wants a change nobody has accepted; true when one was newly held.
fn hold(rows: &mut [Row], changes: &[Change], accept: &BTreeSet<Impact>) -> bool {
    let mut held = false;
    for row in rows.iter_mut().filter(|r| r.status == Status::Ready) {
        let mine: Vec<&Change> = changes.iter().filter(|c| c.tweaks.contains(&row.name)).collect();
        let refused: BTreeSet<Impact> = mine
            .iter()
            .filter(|c| !c.claim_only() && !accept.contains(&c.impact))
            .map(|c| c.impact)
            .collect();
        if refused.is_empty() {
            continue;
        }
        row.impact = mine.iter().map(|c| c.impact).max().unwrap_or(Impact::None);
        row.changes = mine.into_iter().map(|c| (c.clone(), Outcome::Held)).collect();
        row.block(Status::Held, Reason::Held(refused.into_iter().collect()));
        held = true;
    }
    held
}

/// The rows' final statuses.
fn give_statuses(
    rows: &mut [Row],
    ledger: &Ledger,
    plan: &Plan,
    absent: Vec<Missing>,
    scope: &Scope,
) {
    let holds = |tweak: &str| ledger.owned.values().any(|o| o.claims.contains_key(tweak));
    for row in rows.iter_mut() {
        if row.decided() {
            let of = |list: &[Change], outcome| -> Vec<(Change, Outcome)> {
                let mine = list.iter().filter(|c| c.tweaks.contains(&row.name));
                mine.map(|c| (c.clone(), outcome)).collect()
            };
            row.changes = of(&plan.changes, Outcome::Planned);
            row.changes.extend(of(&plan.held_back, Outcome::Held));
            row.impact = row.changes.iter().map(|(c, _)| c.impact).max().unwrap_or(Impact::None);
        }
        let mine = || absent.iter().filter(|m| m.tweak == row.name);
        let none = mine().count() == row.desired.len() && !row.desired.is_empty();
        let missing = mine().filter(|m| m.refused.is_none()).map(|m| m.resource.clone());
        let resources: Vec<Resource> = missing.collect();
        let refused = mine().filter_map(|m| Some((&m.resource, m.refused.as_deref()?)));
        row.reasons.extend(refusals(refused));
        if row.status == Status::Ready {
            if none && !holds(&row.name) {
                row.status = Status::Unsupported;
                if !resources.is_empty() {
                    row.reasons.push(Reason::Absent { resources, all: true });
                }
                row.desired.clear();
                continue;
            }
            let asked = |d: &Desired| scope.wants(&row.name, d);
            if !row.desired.is_empty() && !row.desired.iter().any(asked) && !holds(&row.name) {
                row.block(Status::Off, Reason::NotAsked);
                continue;
            }
            if row.changes.iter().all(|(c, _)| c.claim_only()) {
                row.status = if holds(&row.name) { Status::Applied } else { Status::Ok };
            }
        }
        if !resources.is_empty() {
            row.reasons.push(Reason::Absent { resources, all: false });
        }
        for (resource, drift) in &plan.drifted {
            if ledger.owned.get(resource).is_some_and(|o| o.claims.contains_key(&row.name)) {
                row.status = Status::Drifted;
                let (resource, drift) = (resource.clone(), drift.clone());
                row.reasons.push(Reason::Drift { resource, drift });
            }
        }
    }
}
