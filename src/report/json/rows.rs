//! A tweak as programs read it.

use schemars::JsonSchema;
use serde::Serialize;

use super::envelope::NodeJson;
use crate::VERSION;
use crate::engine::reason::Reason;
use crate::engine::row::plan_id as of_rows;
use crate::engine::row::{Row, Status};
use crate::model::need::HelmValue;
use crate::model::{Impact, Need, Outcome, Probe, Side, State};
use crate::profile::Profile;
use crate::report::reasons;
use crate::report::view::Applied;

/// `check`, `plan`, `apply`, `verify`, `rollback`, `explain`.
#[derive(Serialize, JsonSchema)]
pub struct TweaksJson {
    pub profile: Option<String>,
    /// The same profile, version and changes on two nodes give the same id.
    pub plan_id: String,
    pub node: NodeJson,
    pub applied: Applied,
    pub tweaks: Vec<TweakJson>,
    pub notes: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub struct TweakJson {
    pub name: String,
    pub side: Side,
    pub status: Status,
    pub impact: Impact,
    pub required: bool,
    pub reasons: Vec<ReasonJson>,
    pub needs: Vec<NeedJson>,
    pub changes: Vec<ChangeJson>,
    pub advice: Vec<HelmValue>,
    /// The cluster's side of a lever of Cilium's, also where this node decides itself.
    pub cluster: Option<ClusterJson>,
}

#[derive(Serialize, JsonSchema)]
pub struct ClusterJson {
    /// ok, cilium (it can be had), blocked, unsupported, unknown or off.
    pub status: Status,
    /// What Cilium does here now; null where that is not known.
    pub now: Option<String>,
    pub wanted: Option<String>,
    pub because: Option<String>,
    pub reasons: Vec<ReasonJson>,
    /// What it goes by, each with where that was read.
    pub sources: Vec<SourceJson>,
}

#[derive(Serialize, JsonSchema)]
pub struct SourceJson {
    /// A name of docs/cilium.md, or the key of cilium-config.
    pub name: String,
    pub value: String,
    /// "GET /v1/healthz bandwidth-manager.enabled, left out".
    pub source: String,
}

#[derive(Serialize, JsonSchema)]
pub struct ReasonJson {
    pub code: String,
    pub text: String,
    pub fix: Option<String>,
    /// What it speaks of, by name: the lever it falls with, those that fall with it, impacts to accept.
    pub of: Vec<String>,
    /// The resources that it speaks of.
    pub resources: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub struct NeedJson {
    pub need: String,
    pub probe: ProbeJson,
    pub detail: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProbeJson {
    Met,
    Unmet,
    Unknown,
}

#[derive(Serialize, JsonSchema)]
pub struct ChangeJson {
    pub resource: String,
    pub before: StateJson,
    pub after: StateJson,
    pub impact: Impact,
    pub outcome: Outcome,
}

/// Text, null for absent, or what somebody else has there.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum StateJson {
    Text(String),
    Foreign { foreign: String, owner: Option<String> },
    Absent(()),
}

impl From<&State> for StateJson {
    fn from(state: &State) -> Self {
        match state {
            State::Absent => StateJson::Absent(()),
            State::Is(text) => StateJson::Text(text.clone()),
            State::Foreign { what, owner } => {
                StateJson::Foreign { foreign: what.clone(), owner: owner.clone() }
            }
        }
    }
}

pub fn tweak(row: &Row) -> TweakJson {
    let need = |need: &Need| {
        let (probe, detail) = match &need.probe {
            Probe::Met => (ProbeJson::Met, None),
            Probe::Unmet { why, .. } => (ProbeJson::Unmet, Some(why.clone())),
            Probe::Unknown { error, .. } => (ProbeJson::Unknown, Some(error.clone())),
        };
        NeedJson { need: need.name.to_string(), probe, detail }
    };
    let reason = |r: &Reason| ReasonJson {
        code: r.code().to_string(),
        text: reasons::text(r),
        fix: reasons::fix(r),
        of: r.of().into_iter().map(str::to_string).collect(),
        resources: r.resources().iter().map(ToString::to_string).collect(),
    };
    TweakJson {
        name: row.name.clone(),
        side: row.side,
        status: row.status,
        impact: row.impact,
        required: row.required,
        reasons: row.reasons.iter().map(reason).collect(),
        needs: row.needs.iter().map(need).collect(),
        changes: row
            .changes
            .iter()
            .filter(|(c, _)| !c.claim_only())
            .map(|(change, outcome)| ChangeJson {
                resource: change.resource.to_string(),
                before: (&change.before).into(),
                after: (&change.after).into(),
                impact: change.impact,
                outcome: *outcome,
            })
            .collect(),
        advice: row.advice.clone(),
        cluster: row.cluster.as_ref().map(|share| ClusterJson {
            status: share.status,
            now: share.live.as_ref().and_then(|l| l.now.clone()),
            wanted: share.live.as_ref().map(|l| l.wanted.clone()),
            because: share.live.as_ref().and_then(|l| l.because.clone()),
            reasons: share.reasons.iter().map(reason).collect(),
            sources: share
                .sources
                .iter()
                .map(|(name, said)| SourceJson {
                    name: name.to_string(),
                    value: said.value.clone(),
                    source: said.source.clone(),
                })
                .collect(),
        }),
    }
}

/// Profile, version and changes, in eight hexadecimal digits.
pub fn plan_id(profile: Option<&Profile>, rows: &[Row]) -> String {
    of_rows(&profile.map_or_else(|| VERSION.to_string(), Profile::told_apart), rows)
}
