//! Desired state and the changes that lead to it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Impact, Resource, State, Want};

/// One thing that a tweak wants to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    pub resource: Resource,
    pub want: Want,
    pub impact: Impact,
}

impl Desired {
    pub fn new(resource: Resource, want: Want, impact: Impact) -> Self {
        Desired { resource, want, impact }
    }
}

/// Which tweaks hold a resource, and at what.
pub type Claims = BTreeMap<String, Want>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub resource: Resource,
    pub before: State,
    pub after: State,
    pub impact: Impact,
    /// Who holds the resource once the change is made; nobody when it goes back to its baseline.
    pub claims: Claims,
    /// The tweaks on whose behalf the change is made: the unit of failure.
    pub tweaks: Vec<String>,
}

impl Change {
    /// A change that gives the resource back.
    pub fn back(&self) -> bool {
        self.claims.is_empty()
    }

    /// Only who holds it changes, not its value.
    pub fn claim_only(&self) -> bool {
        self.before == self.after
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Planned,
    Written,
    /// Written and put back, or not reached, because its tweak failed.
    Undone,
    /// Needs --accept.
    Held,
    Failed,
    /// Given up without a write: the link is gone, or the old value no longer fits.
    Released,
    /// Somebody else changed it since; left alone.
    Drifted,
}

impl fmt::Display for Outcome {
    /// As JSON has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format!("{self:?}").to_lowercase())
    }
}

/// What must hold after a tweak's changes, or they are undone at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A packet of `mtu` bytes that must not be fragmented reaches `peer` and comes back.
    Path { peer: String, mtu: u32 },
    /// The same of a gateway, which many a firewall keeps from answering at all: only one that answers
    /// a small packet before the changes must answer a large one after.
    Gateway { peer: String, mtu: u32 },
}
