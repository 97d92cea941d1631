//! A tweak as the profile has it, and as one row: whether it can be had on this node, why not, what it
//! wants, and what became of it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::facts::{Facts, Said};
use crate::model::need::HelmValue;
use crate::model::{
    Change, Context, Desired, Impact, Live, Need, Outcome, Probe, Proof, Resource, Side, Tweak,
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
    /// Names of what it goes by of what is told of Cilium.
    pub told: Vec<&'static str>,
    pub tweak: Box<dyn Tweak>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub code: String,
    pub text: String,
    pub fix: Option<String>,
    /// What it speaks of, by name: the lever it falls with, those that fall with it, impacts to accept.
    pub of: Vec<String>,
}

impl Reason {
    pub fn new(code: &str, text: impl Into<String>) -> Self {
        Reason { code: code.to_string(), text: text.into(), fix: None, of: Vec::new() }
    }

    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    pub fn of(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.of = names.into_iter().map(Into::into).collect();
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
    pub fn decided(&self) -> bool {
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
    pub tweaks: Vec<&'a Selected>,
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

/// How a lever of Cilium's stands on this node, whoever decides it here.
#[derive(Debug, Clone)]
pub struct Share {
    /// Ok, Cilium (it could be had), Blocked, Unsupported, Unknown or Off.
    pub status: Status,
    pub reasons: Vec<Reason>,
    pub live: Option<Live>,
    /// What it goes by of what was told of Cilium, and where that was read.
    pub sources: Vec<(&'static str, Said)>,
    pub(super) stands_on: &'static [&'static str],
}

impl Share {
    pub fn can(&self) -> bool {
        matches!(self.status, Status::Ok | Status::Cilium)
    }

    /// It is so already, whatever else is missing.
    pub(super) fn holds(&self) -> bool {
        self.live.as_ref().is_some_and(Live::holds)
    }
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
