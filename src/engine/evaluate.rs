//! From a profile and facts to one row a tweak: whether it can be had here, and what it wants.

use std::collections::BTreeSet;

use super::reason::Reason;
use super::row::{Cni, Owner, Row, Selected, Selection, Status, verdict};
use super::share::{fall, share};
use crate::model::agents::{keeps, sets, sets_now};
use crate::model::facts::Facts;
use crate::model::facts::Setting;
use crate::model::places::machine_wide;
use crate::model::settings::conflicts;
use crate::model::{Context, Desired, Impact, Side, Want};

/// `Ready` here means: can be had; the plan tells whether anything would change.
pub fn evaluate(selection: &Selection, facts: &Facts, only: Option<&BTreeSet<String>>) -> Vec<Row> {
    let cx = selection.context(facts);
    // A lever that is not chosen may still be the stone that a chosen one stands on.
    let mut rows: Vec<Row> = selection.tweaks.iter().map(|t| row(t, selection.cni, &cx)).collect();
    fall(&mut rows);
    rows.iter_mut().zip(&selection.tweaks).for_each(|(r, t)| owned(r, t, selection.cni, facts));
    exclude(&mut rows, &selection.tweaks);
    fights(&mut rows, facts);
    rows.retain(|r| only.is_none_or(|o| o.contains(&r.name)));
    rows
}

/// Says who else will set what a row wants.
fn fights(rows: &mut [Row], facts: &Facts) {
    let agents = agents_set(rows, facts);
    for row in rows.iter_mut().filter(|r| !r.desired.is_empty()) {
        let settings = facts.settings.iter().chain(agents);
        let conflicts = conflicts(&row.desired, settings).into_iter();
        row.reasons.extend(conflicts.map(Reason::Conflict));
    }
}

/// What agents set themselves, by what they are to have, else by what they have.
pub fn agents_set<'a>(rows: &[Row], facts: &'a Facts) -> &'a [Setting] {
    let switched = rows.iter().flat_map(|r| &r.desired).find_map(|d| match &d.want {
        Want::Exactly(state) => keeps(&d.resource).map(|_| sets(&d.resource, state, facts)),
        _ => None,
    });
    switched.unwrap_or_else(|| sets_now(facts))
}

/// What two rows want may exclude one another: one of them says so.
fn exclude(rows: &mut [Row], tweaks: &[&Selected]) {
    let ready = |row: &Row| row.status == Status::Ready;
    let wanted: Vec<Desired> =
        rows.iter().filter(|r| ready(r)).flat_map(|r| r.desired.clone()).collect();
    for (row, selected) in rows.iter_mut().zip(tweaks).filter(|(r, _)| ready(r)) {
        if let Some(why) = selected.tweak.gives_way(&wanted) {
            row.block(Status::Off, why.into());
        }
    }
}

fn row(selected: &Selected, cni: Cni, cx: &Context) -> Row {
    let mut row = Row::new(selected.name, selected.side, Status::Ready);
    row.required = selected.required;
    let tweak = &selected.tweak;
    if !selected.enable {
        row.block(Status::Off, Reason::Off);
        return row;
    }
    row.advice = tweak.advice(cx);
    for value in &mut row.advice {
        let now = cx.facts.agents.cilium.as_ref().and_then(|c| c.key(value.config));
        value.live = now.map(|now| value.matches(now));
    }
    row.cluster = share(selected, tweak.as_ref(), cni, cx);
    if cx.facts.agents.cilium.as_ref().is_some_and(|c| c.managed.is_some() || c.starting) {
        row.advice.clear();
    }
    if not_ours(selected, cni, cx.facts).is_some() {
        return row;
    }
    if let Some(why) = tweak.idle() {
        row.block(Status::Off, Reason::Idle(why));
        return row;
    }
    row.needs = tweak.needs(cx);
    let (status, reasons) = verdict(&row.needs);
    row.status = status;
    row.reasons.extend(reasons);
    if selected.side == Side::Node {
        row.reasons.extend(tweak.warnings(cx).into_iter().map(Reason::from));
    }
    if row.status != Status::Ready {
        return row;
    }
    match tweak.desired(cx) {
        Ok(desired) => row.desired = desired,
        Err(e) => row.block(Status::Failed, Reason::Desired(format!("{e:#}"))),
    }
    if !cx.facts.node.first_netns {
        leave_the_machine_alone(&mut row);
    }
    row.impact = row.desired.iter().map(|d| d.impact).max().unwrap_or(Impact::None);
    row.proofs = tweak.proofs(cx);
    row.reasons.extend(tweak.remarks(cx).into_iter().map(Reason::Remark));
    row
}

/// In a network namespace of its own nobody asked for a change of what all share.
fn leave_the_machine_alone(row: &mut Row) {
    let mut resources = Vec::new();
    row.desired.retain(|d| {
        let all = machine_wide(&d.resource);
        resources.extend(all.then(|| d.resource.clone()));
        !all
    });
    if resources.is_empty() {
        return;
    }
    match row.desired.is_empty() {
        true => row.block(Status::Unsupported, Reason::Machine { resources, all: true }),
        false => row.reasons.push(Reason::Machine { resources, all: false }),
    }
}

/// Where Cilium decides, the row is the cluster's side of the lever.
fn owned(row: &mut Row, selected: &Selected, cni: Cni, facts: &Facts) {
    if row.status == Status::Off {
        return;
    }
    match (not_ours(selected, cni, facts), &row.cluster) {
        (Some(Decides::Cilium), Some(share)) => {
            row.status = share.status;
            row.reasons = share.reasons.clone();
            row.ciliums = true;
        }
        (Some(Decides::NotKnownYet), _) => {
            row.block(Status::Unknown, Reason::CniUnknown);
        }
        _ => {}
    }
}

enum Decides {
    Cilium,
    NotKnownYet,
}

/// On a node where Cilium runs, or may run once the kubelet has started, its levers are Cilium's.
fn not_ours(selected: &Selected, cni: Cni, facts: &Facts) -> Option<Decides> {
    if selected.side == Side::Cilium {
        return Some(Decides::Cilium);
    }
    if selected.side == Side::Node || selected.owner == Owner::Nettune {
        return None;
    }
    if facts.agents.cilium.is_some() || cni == Cni::Cilium {
        return Some(Decides::Cilium);
    }
    let other = matches!(cni, Cni::Other | Cni::None) || facts.agents.cni.is_some();
    (facts.kubernetes() && !other).then_some(Decides::NotKnownYet)
}
