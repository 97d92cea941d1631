//! What a journal holds. Within one major version `resource`, `before`, `after` and `boot` never change
//! their meaning, so an older binary can undo what a newer one did.

use serde::{Deserialize, Serialize};

use crate::model::facts::LinkId;
use crate::model::{Change, Claims, Outcome, Resource, State};

pub const SCHEMA: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Record {
    Begin(Begin),
    End(End),
    Owned(Snapshot),
}

/// A stage's whole plan, in the order of writing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Begin {
    pub run: String,
    pub verb: String,
    pub profile: Option<String>,
    pub version: String,
    pub time: String,
    pub boot: String,
    pub netns: u64,
    pub changes: Vec<Change>,
    pub collateral: Vec<Collateral>,
    /// Of what is changed, what an agent sets that has it from us: what it was before is the agent's value,
    /// which it takes along when it leaves what it has from us.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layered: Vec<Resource>,
    pub links: Vec<LinkId>,
    /// Who asked for it; not of journals of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Box<By>>,
}

/// Who asked for a run, and for what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct By {
    /// The user who logged in, where that is known, else the one it ran as.
    pub uid: u32,
    /// Whom sudo names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo: Option<String>,
    /// systemd's unit or scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    pub command: String,
    /// Of the profile as it was resolved, in eight hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<String>,
    /// The run, as log names it, that this one takes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takes_back: Option<String>,
}

/// What a change disturbs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collateral {
    pub resource: Resource,
    /// As it must be once the change is made.
    pub before: State,
    /// As it was when the stage began.
    pub now: State,
    /// The change that disturbs it.
    pub cause: Resource,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct End {
    pub run: String,
    pub outcomes: Vec<Done>,
    /// Collateral that could not be put back while its cause stands: what it was, what it is.
    pub left: Vec<Left>,
    /// From here on, all that is wanted and was found so: nothing of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<Vec<Met>>,
    /// When, UTC; not of journals of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    pub resource: Resource,
    pub claims: Claims,
    pub boot: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    pub resource: Resource,
    pub outcome: Outcome,
    /// Where a change left it that failed, or of which the kernel took a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// What the kernel did not take, all or a part of it, and will not take until the next boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<State>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Done {
    pub fn new(resource: &Resource, outcome: Outcome) -> Self {
        Done { resource: resource.clone(), outcome, state: None, refused: None, why: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub resource: Resource,
    pub before: State,
    pub after: State,
    pub cause: Resource,
}

/// All that is owned, in place of the records that led to it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Snapshot {
    pub owned: Vec<OwnedRecord>,
    pub links: Vec<LinkId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub met: Vec<Met>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnedRecord {
    pub resource: Resource,
    /// The baseline.
    pub before: State,
    /// The values we wrote, the last one last.
    pub wrote: Vec<State>,
    pub claims: Claims,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Resource>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub layered: bool,
    pub boot: String,
    pub netns: u64,
    pub profile: Option<String>,
    pub time: String,
}
