//! A tweak as the profile has it, and as one row: whether it can be had on this node, why not, what it
//! wants, and what became of it.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::reason::Reason;
use crate::model::facts::{Facts, Said};
use crate::model::need::HelmValue;
use crate::model::{
    Change, Context, Desired, Impact, Live, Need, Outcome, Probe, Proof, Side, Tweak, hex,
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

    pub fn block(&mut self, status: Status, reason: Reason) {
        self.status = status;
        self.reasons.push(reason);
        self.desired.clear();
    }
}

/// Profile and changes, in eight hexadecimal digits.
pub fn plan_id(profile: &str, rows: &[Row]) -> String {
    let mut hash = Sha256::new();
    hash.update(profile);
    for (change, _) in rows.iter().flat_map(|r| &r.changes) {
        hash.update(format!("{} {} {}\n", change.resource, change.before, change.after));
    }
    hex(&hash.finalize()[..4])
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
        let mut cx = Context::new(facts, self.links);
        cx.pod_links = self.pod_links;
        cx.placement = wanted().find_map(|t| t.tweak.placement()).unwrap_or_default();
        cx.native_xdp = wanted().filter(|t| !idle(t)).find_map(|t| t.tweak.native_xdp());
        cx.enabled = wanted().filter(|t| !idle(t)).map(|t| t.name).collect();
        cx
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
        let Some(reason) = Reason::unmet(need.name, &need.probe) else { continue };
        let found = match &need.probe {
            Probe::Unknown { .. } => Status::Unknown,
            _ if reason.can_be_mended() => Status::Blocked,
            _ => Status::Unsupported,
        };
        if weight(found) > weight(status) {
            status = found;
        }
        reasons.push(reason);
    }
    (status, reasons)
}
