//! Why a row is as it is, as data: programs go by its code and what it names, report/reasons.rs has its words.

use std::collections::BTreeMap;
use std::fmt;

use super::ledger::Owned;
use crate::model::settings::Conflict;
use crate::model::{Impact, Probe, Resource, State, Warning};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A lever's own, by its name of a need or a warning.
    Lever {
        code: &'static str,
        text: String,
        fix: Option<String>,
        since: Option<String>,
    },
    Remark(String),
    /// The profile does not want it, or wants nothing with it.
    Off,
    Idle(&'static str),
    /// Links were named, and nothing that it wants belongs to one of them.
    NotAsked,
    /// Nothing comes back at boot.
    NothingKept,
    Desired(String),
    Failed(String),
    Moved(String),
    /// Taken back by a probe, or as nobody confirmed it.
    TakenBack(String),
    Held(Vec<Impact>),
    Absent {
        resources: Vec<Resource>,
        all: bool,
    },
    /// Of the whole machine, where this is a network namespace of its own.
    Machine {
        resources: Vec<Resource>,
        all: bool,
    },
    Refused {
        resources: Vec<Resource>,
        why: String,
    },
    Unreadable {
        resource: Resource,
        error: String,
    },
    Drift {
        resource: Resource,
        drift: Drift,
    },
    /// It is not as it was applied.
    Lost {
        resource: Resource,
        now: String,
        applied: String,
        then: Then,
    },
    /// It was as wanted before nettune came, and is not now.
    NoLonger {
        resource: Resource,
        now: String,
        wanted: String,
    },
    ReadOnly(&'static str),
    Foreign {
        resource: Resource,
        state: State,
    },
    Cannot {
        resource: Resource,
        why: String,
    },
    Conflict(Conflict),
    CniUnknown,
    /// The cluster's side.
    Unwanted(&'static str),
    OtherCni,
    Starting,
    Decided(&'static str),
    NoneHere {
        wanted: String,
    },
    Live {
        now: String,
        wanted: String,
        because: Option<String>,
    },
    LiveUnknown {
        why: Option<String>,
        wanted: String,
        root: bool,
    },
    Managed(String),
    StandsOn(String),
    Falls(Vec<String>),
}

/// Neither what was before nettune nor what nettune wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub now: String,
    pub wrote: String,
    pub before: String,
}

/// What is to be done about a value that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is nobody's and may be set again.
    SetAgain,
    /// The agent that moves it was started since.
    Restarted(&'static str),
    FindWho,
}

impl Drift {
    pub fn new(resource: &Resource, now: &State, owned: &Owned) -> Self {
        let (now, wrote) = resource.shown_both(now, owned.present());
        let (before, _) = resource.shown_both(&owned.baseline, owned.present());
        Drift { now, wrote, before }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is {}; nettune wrote {}, before it was {}", self.now, self.wrote, self.before)
    }
}

impl Reason {
    /// Stable: programs go by it.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::Lever { code, .. } => code,
            Reason::Remark(_) => "remark",
            Reason::Off | Reason::Idle(_) | Reason::NothingKept => "off",
            Reason::NotAsked => "not-asked",
            Reason::Desired(_) => "desired",
            Reason::Failed(_) => "failed",
            Reason::Moved(_) => "moved",
            Reason::TakenBack(_) => "probe",
            Reason::Held(_) => "held",
            Reason::Absent { .. } => "absent",
            Reason::Machine { .. } => "machine",
            Reason::Refused { .. } => "refused",
            Reason::Unreadable { .. } => "unreadable",
            Reason::Drift { .. } | Reason::Lost { .. } | Reason::NoLonger { .. } => "drift",
            Reason::ReadOnly(_) => "read-only",
            Reason::Foreign { .. } => "foreign",
            Reason::Cannot { .. } => "cannot",
            Reason::Conflict(_) => "conflict",
            Reason::CniUnknown => "cni-unknown",
            Reason::Unwanted(_) => "unwanted",
            Reason::OtherCni => "cni",
            Reason::Starting => "starting",
            Reason::Decided(_) => "cilium-owns",
            Reason::NoneHere { .. } => "none-here",
            Reason::Live { .. } => "live",
            Reason::LiveUnknown { .. } => "live-unknown",
            Reason::Managed(_) => "managed",
            Reason::StandsOn(_) => "stands-on",
            Reason::Falls(_) => "falls",
        }
    }

    /// What it speaks of, by name: the lever it falls with, those that fall with it, impacts to accept.
    pub fn of(&self) -> Vec<&str> {
        match self {
            Reason::Held(impacts) => impacts.iter().map(|i| i.name()).collect(),
            Reason::StandsOn(stone) => vec![stone],
            Reason::Falls(with) => with.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    pub fn resources(&self) -> &[Resource] {
        match self {
            Reason::Absent { resources, .. }
            | Reason::Machine { resources, .. }
            | Reason::Refused { resources, .. } => resources,
            Reason::Unreadable { resource, .. }
            | Reason::Drift { resource, .. }
            | Reason::Lost { resource, .. }
            | Reason::NoLonger { resource, .. }
            | Reason::Foreign { resource, .. }
            | Reason::Cannot { resource, .. } => std::slice::from_ref(resource),
            _ => &[],
        }
    }

    /// None where the need is met.
    pub fn unmet(code: &'static str, probe: &Probe) -> Option<Self> {
        let (text, fix, since) = match probe {
            Probe::Met => return None,
            Probe::Unmet { why, fix, since } => (why, fix, since),
            Probe::Unknown { error, fix } => (error, fix, &None),
        };
        let (text, fix, since) = (text.clone(), fix.clone(), since.clone());
        Some(Reason::Lever { code, text, fix, since })
    }

    /// Somebody can mend it.
    pub fn can_be_mended(&self) -> bool {
        matches!(self, Reason::Lever { fix: Some(_), .. })
    }
}

impl From<Warning> for Reason {
    fn from(warning: Warning) -> Self {
        let Warning { code, text, fix } = warning;
        Reason::Lever { code, text, fix, since: None }
    }
}

/// What the kernel did not take, one reason for all that it says the same of.
pub fn refusals<'a>(all: impl Iterator<Item = (&'a Resource, &'a str)>) -> Vec<Reason> {
    let mut by_why: BTreeMap<&str, Vec<Resource>> = BTreeMap::new();
    for (resource, why) in all {
        by_why.entry(why).or_default().push(resource.clone());
    }
    let reason = |(why, resources): (&str, _)| Reason::Refused { resources, why: why.to_string() };
    by_why.into_iter().map(reason).collect()
}
