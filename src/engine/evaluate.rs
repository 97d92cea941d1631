//! From a profile and facts to one row a tweak: whether it can be had here, and what it wants.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::share::{Share, settle, share};
use crate::model::facts::Facts;
use crate::model::need::HelmValue;
use crate::model::settings::{Conflict, Setting, conflicts};
use crate::model::{
    Change, Context, Desired, Impact, Need, Outcome, Probe, Proof, Resource, Side, Tweak, Want,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// nettune made it so.
    Applied,
    /// It was so already.
    Ok,
    /// Would change.
    Ready,
    /// Needs --accept.
    Held,
    /// An operator can mend it.
    Blocked,
    /// This hardware or kernel cannot.
    Unsupported,
    /// Could not tell.
    Unknown,
    /// Cilium owns it here.
    Cilium,
    /// The profile does not want it.
    Off,
    Drifted,
    Failed,
    // No lever is that in this one; the name stays, as part of the contract.
    /// Not in this version.
    Later,
}

/// `owner` of a tweak's table: who decides on a node where it might be Cilium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owner {
    #[default]
    Auto,
    Nettune,
    /// `[cilium.want]` says false: where Cilium decides, it is not wanted of it.
    Unwanted,
}

/// The profile's `cni`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cni {
    #[default]
    Auto,
    Cilium,
    Other,
    None,
}

/// A tweak as the profile has it.
pub struct Selected {
    pub name: &'static str,
    pub side: Side,
    pub enable: bool,
    pub required: bool,
    pub owner: Owner,
    pub tweak: Box<dyn Tweak>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub code: String,
    pub text: String,
    pub fix: Option<String>,
}

impl Reason {
    pub fn new(code: &str, text: impl Into<String>) -> Self {
        Reason { code: code.to_string(), text: text.into(), fix: None }
    }

    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// What the kernel did not take, one reason for all that it says the same of.
pub fn refusals<'a>(all: impl Iterator<Item = (&'a Resource, &'a str)>) -> Vec<Reason> {
    let mut by_why: BTreeMap<&str, Vec<&Resource>> = BTreeMap::new();
    for (resource, why) in all {
        by_why.entry(why).or_default().push(resource);
    }
    let text = |(why, all): (&str, Vec<&Resource>)| match &all[..] {
        [first, rest @ ..] if !rest.is_empty() => {
            format!("{first} and {} more: {why}", rest.len())
        }
        _ => format!("{}: {why}", all[0]),
    };
    by_why.into_iter().map(|why| Reason::new("refused", text(why))).collect()
}

/// One tweak on this node.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub side: Side,
    pub status: Status,
    pub required: bool,
    pub impact: Impact,
    pub reasons: Vec<Reason>,
    pub needs: Vec<Need>,
    pub advice: Vec<HelmValue>,
    pub proofs: Vec<Proof>,
    pub desired: Vec<Desired>,
    pub changes: Vec<(Change, Outcome)>,
    /// The cluster's side of the lever, also where this node decides itself.
    pub cluster: Option<Share>,
    /// Cilium decides it here: the row is its cluster's side.
    pub ciliums: bool,
}

impl Row {
    pub fn new(name: &str, side: Side, status: Status) -> Self {
        Row {
            name: name.to_string(),
            side,
            status,
            required: false,
            impact: Impact::None,
            reasons: Vec::new(),
            needs: Vec::new(),
            advice: Vec::new(),
            proofs: Vec::new(),
            desired: Vec::new(),
            changes: Vec::new(),
            cluster: None,
            ciliums: false,
        }
    }

    /// Its claims are what the profile says: wanted, or not wanted any more. A row that cannot be
    /// judged leaves what it holds as it is.
    pub fn settled(&self) -> bool {
        matches!(self.status, Status::Ready | Status::Off)
    }

    pub fn has(&self, code: &str) -> bool {
        self.reasons.iter().any(|reason| reason.code == code)
    }

    pub fn block(&mut self, status: Status, reason: Reason) {
        self.status = status;
        self.reasons.push(reason);
        self.desired.clear();
    }
}

pub struct Selection<'a> {
    pub tweaks: &'a [Selected],
    pub links: &'a [String],
    pub pod_links: &'a [String],
    pub cni: Cni,
}

impl<'a> Selection<'a> {
    pub fn context(&self, facts: &'a Facts) -> Context<'a> {
        let wanted = || self.tweaks.iter().filter(|t| t.enable);
        let cilium = facts.agents.cilium.is_some() || self.cni == Cni::Cilium;
        let idle = |t: &Selected| !cilium && t.tweak.idle().is_some();
        Context {
            facts,
            links: self.links,
            pod_links: self.pod_links,
            placement: wanted().find_map(|t| t.tweak.placement()).unwrap_or_default(),
            native_xdp: wanted().filter(|t| !idle(t)).find_map(|t| t.tweak.native_xdp()),
            enabled: wanted().filter(|t| !idle(t)).map(|t| t.name).collect(),
        }
    }
}

/// `Ready` here means: can be had; the plan tells whether anything would change.
pub fn evaluate(selection: &Selection, facts: &Facts, only: Option<&BTreeSet<String>>) -> Vec<Row> {
    let cx = selection.context(facts);
    // A lever that is not chosen may still be the stone that a chosen one stands on.
    let mut rows: Vec<Row> = selection.tweaks.iter().map(|t| row(t, selection.cni, &cx)).collect();
    settle(&mut rows);
    rows.iter_mut().zip(selection.tweaks).for_each(|(r, t)| owned(r, t, selection.cni, facts));
    exclude(&mut rows);
    fights(&mut rows, facts);
    rows.retain(|r| only.is_none_or(|o| o.contains(&r.name)));
    rows
}

/// Says who else will set what a row wants.
fn fights(rows: &mut [Row], facts: &Facts) {
    let tuned = tuneds(rows, facts);
    for row in rows.iter_mut().filter(|r| !r.desired.is_empty()) {
        let settings = facts.settings.iter().chain(tuned);
        let reason = |c: Conflict| Reason::new("conflict", c.text).fix(c.fix);
        row.reasons.extend(conflicts(&row.desired, settings).into_iter().map(reason));
    }
}

/// What TuneD sets itself, by the profile that it is to have, else by the one it has.
pub fn tuneds<'a>(rows: &[Row], facts: &'a Facts) -> &'a [Setting] {
    let switched = rows.iter().flat_map(|r| &r.desired).find_map(|d| match &d.want {
        Want::Exactly(state) if d.resource == Resource::Tuned => state.tuned_profile(),
        _ => None,
    });
    let running = facts.agents.tuned_profile.clone().filter(|_| facts.agents.tuned.pid.is_some());
    let profile = switched.or(running).and_then(|name| facts.tuned_profiles.get(&name));
    profile.map_or(&[], Vec::as_slice)
}

/// A flowtable takes its flows from conntrack, which never sees packets that are not to be tracked.
fn exclude(rows: &mut [Row]) {
    let wants = |row: &Row, name: &str| {
        let table = |d: &Desired| matches!(&d.resource, Resource::Nft { table } if table == name);
        row.status == Status::Ready && row.desired.iter().any(table)
    };
    if !rows.iter().any(|r| wants(r, "nettune-flow")) {
        return;
    }
    for row in rows.iter_mut().filter(|r| wants(r, "nettune-notrack")) {
        let text = "host-routing takes tracked flows here (established), which excludes notrack";
        row.block(Status::Off, Reason::new("host-routing", text));
    }
}

fn row(selected: &Selected, cni: Cni, cx: &Context) -> Row {
    let mut row = Row::new(selected.name, selected.side, Status::Ready);
    row.required = selected.required;
    let tweak = &selected.tweak;
    if !selected.enable {
        row.block(Status::Off, Reason::new("off", "the profile does not want it"));
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
        row.block(Status::Off, Reason::new("off", why));
        return row;
    }
    row.needs = tweak.needs(cx);
    let (status, reasons) = verdict(&row.needs);
    row.status = status;
    row.reasons.extend(reasons);
    if selected.side == Side::Node {
        let warned = tweak.warnings(cx).into_iter();
        row.reasons.extend(warned.map(|w| Reason { fix: w.fix, ..Reason::new(w.code, w.text) }));
    }
    if row.status != Status::Ready {
        return row;
    }
    match tweak.desired(cx) {
        Ok(desired) => row.desired = desired,
        Err(e) => row.block(Status::Failed, Reason::new("desired", format!("{e:#}"))),
    }
    row.impact = row.desired.iter().map(|d| d.impact).max().unwrap_or(Impact::None);
    row.proofs = tweak.proofs(cx);
    row.reasons.extend(tweak.remarks(cx).into_iter().map(|text| Reason::new("remark", text)));
    row
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
            let text = "a kubelet is installed, and which CNI it will start is not known yet";
            let fix = "set cni = \"cilium\" or \"other\" in the profile";
            row.block(Status::Unknown, Reason::new("cni-unknown", text).fix(fix));
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

/// Unsupported outweighs blocked outweighs unknown: the reader is told the least that can be helped.
pub fn verdict(needs: &[Need]) -> (Status, Vec<Reason>) {
    let mut status = Status::Ready;
    let mut reasons = Vec::new();
    let weight = |s: Status| match s {
        Status::Unsupported => 3,
        Status::Blocked => 2,
        Status::Unknown => 1,
        _ => 0,
    };
    for need in needs {
        let (found, reason) = match &need.probe {
            Probe::Met => continue,
            Probe::Unmet { why, fix: Some(fix), .. } => {
                (Status::Blocked, Reason::new(need.name, why.clone()).fix(fix.clone()))
            }
            Probe::Unmet { why, fix: None, since } => {
                let text = match since {
                    Some(release) => format!("{why} (kernel {release} has it)"),
                    None => why.clone(),
                };
                (Status::Unsupported, Reason::new(need.name, text))
            }
            Probe::Unknown { error, fix } => {
                let mut reason = Reason::new(need.name, error.clone());
                reason.fix = fix.clone();
                (Status::Unknown, reason)
            }
        };
        if weight(found) > weight(status) {
            status = found;
        }
        reasons.push(reason);
    }
    (status, reasons)
}
