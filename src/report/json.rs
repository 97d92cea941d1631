//! The JSON of every verb. Names do not change inside a schema number; `nettune schema` prints the
//! JSON Schema made from these types.

use std::collections::BTreeMap;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Applied, View};
use crate::VERSION;
use crate::cilium::diff::Diff;
use crate::cilium::values::Values;
use crate::engine::Exit;
use crate::engine::confirm::{Pending, Watchdog};
use crate::engine::row::{Row, Status};
use crate::image::kernels::Finding;
use crate::image::manifest::{Entry, Manifest};
use crate::model::bpf::Deep;
use crate::model::need::HelmValue;
use crate::model::{Facts, Impact, Outcome, Probe, Side, State};
use crate::profile::Profile;

pub const SCHEMA: u32 = 1;

/// What every verb prints.
#[derive(Serialize, JsonSchema)]
pub struct Envelope<T> {
    pub schema: u32,
    pub command: String,
    pub version: &'static str,
    /// UTC, RFC 3339.
    pub time: String,
    #[serde(flatten)]
    pub body: T,
    /// The exit code.
    pub exit: u8,
}

pub(super) fn envelope<T>(command: &str, body: T, exit: Exit) -> Envelope<T> {
    Envelope {
        schema: SCHEMA,
        command: command.to_string(),
        version: VERSION,
        time: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        body,
        exit: exit as u8,
    }
}

#[derive(Serialize, JsonSchema)]
pub struct NodeJson {
    pub name: String,
    pub kubernetes_name: Option<String>,
    pub machine_type: Option<String>,
    pub kernel: String,
    pub boot_id: String,
    /// The version of its Cilium, and the cloud that owns that.
    pub cilium: Option<String>,
    pub managed: Option<String>,
}

fn node(facts: &Facts) -> NodeJson {
    NodeJson {
        name: facts.node.name.clone(),
        kubernetes_name: facts.node.kubernetes_name.clone(),
        machine_type: facts.node.machine_type.clone(),
        kernel: facts.kernel.release.clone(),
        boot_id: facts.node.boot_id.clone(),
        cilium: facts.agents.cilium.as_ref().and_then(|c| c.version.clone()),
        managed: facts.agents.cilium.as_ref().and_then(|c| c.managed.clone()),
    }
}

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

fn tweak(row: &Row) -> TweakJson {
    let need = |need: &crate::model::Need| {
        let (probe, detail) = match &need.probe {
            Probe::Met => (ProbeJson::Met, None),
            Probe::Unmet { why, .. } => (ProbeJson::Unmet, Some(why.clone())),
            Probe::Unknown { error, .. } => (ProbeJson::Unknown, Some(error.clone())),
        };
        NeedJson { need: need.name.to_string(), probe, detail }
    };
    let reason = |r: &crate::engine::row::Reason| ReasonJson {
        code: r.code.clone(),
        text: r.text.clone(),
        fix: r.fix.clone(),
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
    let mut hash = Sha256::new();
    hash.update(VERSION);
    if let Some(profile) = profile {
        hash.update(&profile.name);
        hash.update(profile.table.to_string());
    }
    for (change, _) in rows.iter().flat_map(|r| &r.changes) {
        hash.update(format!("{} {} {}\n", change.resource, change.before, change.after));
    }
    hash.finalize().iter().take(4).map(|b| format!("{b:02x}")).collect()
}

pub fn answer(view: &View) -> impl Serialize + use<> {
    let rows = &view.answer.rows;
    let mut applied = Applied::of(&view.store.ledger, super::table::pending(view));
    let denied = view.store.unreadable.then(|| "root alone may read the journal".to_string());
    applied.unknown = view.store.trouble.clone().or(denied);
    let body = TweaksJson {
        profile: view.profile.map(|p| p.name.clone()).or_else(|| applied.profile.clone()),
        plan_id: plan_id(view.profile, rows),
        node: node(view.facts),
        applied,
        tweaks: rows.iter().map(tweak).collect(),
        notes: view.answer.notes.clone(),
    };
    envelope(view.verb, body, view.answer.exit)
}

#[derive(Serialize, JsonSchema)]
pub struct FactsJson {
    pub node: NodeJson,
    pub facts: Facts,
}

pub fn facts(facts: &Facts) -> impl Serialize + use<> {
    envelope("facts", FactsJson { node: node(facts), facts: facts.clone() }, Exit::Fine)
}

#[derive(Serialize, JsonSchema)]
pub struct StatusJson {
    pub node: NodeJson,
    pub applied: Applied,
    /// The run that waits for its confirmation, or the last one that was taken back in this boot.
    pub confirm: Option<WaitingJson>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WaitingJson {
    /// The run's time, UTC.
    pub run: String,
    pub verb: String,
    pub profile: Option<String>,
    pub plan_id: Option<String>,
    /// 0 when its time is up.
    pub seconds_left: u64,
    /// What must still answer.
    pub probes: Vec<String>,
    /// "systemd" or "process".
    pub watchdog: String,
    /// It was taken back; null while it waits.
    pub ended: Option<EndedJson>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EndedJson {
    pub why: String,
    pub time: String,
    pub notes: Vec<String>,
}

impl WaitingJson {
    pub fn of(pending: &Pending, seconds_left: u64) -> Self {
        let ended = pending.ended.as_ref().map(|e| EndedJson {
            why: e.why.clone(),
            time: e.time.clone(),
            notes: e.notes.clone(),
        });
        WaitingJson {
            run: pending.run.clone(),
            verb: pending.verb.clone(),
            profile: pending.profile.clone(),
            plan_id: pending.plan_id.clone(),
            seconds_left: if ended.is_some() { 0 } else { seconds_left },
            probes: pending.probes.iter().map(|p| p.reach.to_string()).collect(),
            watchdog: match pending.watchdog {
                Watchdog::Unit(_) => "systemd".into(),
                _ => "process".into(),
            },
            ended,
        }
    }
}

/// `confirm`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConfirmedJson {
    pub run: String,
    /// The verb that was confirmed.
    pub verb: String,
    pub profile: Option<String>,
    pub plan_id: Option<String>,
    /// Whether it comes back at boot; null when that was not asked for.
    pub kept: Option<bool>,
    pub notes: Vec<String>,
}

impl ConfirmedJson {
    pub fn of(pending: &Pending) -> Self {
        ConfirmedJson {
            run: pending.run.clone(),
            verb: pending.verb.clone(),
            profile: pending.profile.clone(),
            plan_id: pending.plan_id.clone(),
            kept: None,
            notes: Vec::new(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub struct ConfirmJson {
    pub node: NodeJson,
    pub confirmed: ConfirmedJson,
}

pub fn confirmed(confirmed: &ConfirmedJson, facts: &Facts, exit: Exit) -> impl Serialize + use<> {
    let body = ConfirmJson { node: node(facts), confirmed: confirmed.clone() };
    envelope("confirm", body, exit)
}

pub fn status(
    applied: &Applied,
    waiting: Option<&WaitingJson>,
    facts: &Facts,
    exit: Exit,
) -> impl Serialize + use<> {
    let (node, applied) = (node(facts), applied.clone());
    envelope("status", StatusJson { node, applied, confirm: waiting.cloned() }, exit)
}

/// `bake`, `bake --check`, `bake --undo`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct BakeJson {
    pub root: String,
    pub profile: Option<String>,
    pub arch: Option<String>,
    pub kernels: Vec<String>,
    pub files: Vec<BakedFileJson>,
    /// What the profile wants and a kernel does not have, or cannot be seen to have.
    pub findings: Vec<Finding>,
    /// What is not as baked.
    pub differ: Vec<String>,
    /// How many files were taken out; null unless that was asked for.
    pub undone: Option<usize>,
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BakedFileJson {
    pub path: String,
    /// Octal; null for a link.
    pub mode: Option<String>,
    pub sha256: String,
    /// Whether there was something before.
    pub replaced: bool,
}

impl BakeJson {
    pub fn of(root: &str, manifest: &Manifest) -> Self {
        let file = |f: &Entry| BakedFileJson {
            path: f.path.clone(),
            mode: f.mode.clone(),
            sha256: f.sha256.clone(),
            replaced: f.replaces(),
        };
        BakeJson {
            root: root.to_string(),
            profile: Some(manifest.profile.clone()),
            arch: Some(manifest.arch.clone()),
            kernels: manifest.kernels.clone(),
            files: manifest.files.iter().map(file).collect(),
            ..BakeJson::default()
        }
    }
}

pub fn baked(bake: &BakeJson, exit: Exit) -> impl Serialize + use<> {
    envelope("bake", bake.clone(), exit)
}

#[derive(Serialize, JsonSchema)]
pub struct DeepJson {
    pub node: NodeJson,
    pub deep: Deep,
}

pub fn deep(deep: &Deep, facts: &Facts) -> impl Serialize + use<> {
    envelope("check", DeepJson { node: node(facts), deep: deep.clone() }, Exit::Fine)
}

#[derive(Serialize, JsonSchema)]
pub struct ProfileJson {
    pub profile: String,
    pub summary: String,
    pub values: Vec<ValueJson>,
}

#[derive(Serialize, JsonSchema)]
pub struct ValueJson {
    pub key: String,
    /// In TOML.
    pub value: String,
    pub origin: String,
}

pub fn profile(profile: &Profile) -> impl Serialize + use<> {
    let value = |(key, value, origin): (String, String, &str)| ValueJson {
        key,
        value,
        origin: origin.into(),
    };
    let body = ProfileJson {
        profile: profile.name.clone(),
        summary: profile.summary().to_string(),
        values: profile.values().into_iter().map(value).collect(),
    };
    envelope("show", body, Exit::Fine)
}

#[derive(Serialize, JsonSchema)]
pub struct ListJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<BTreeMap<String, String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tweaks: Option<Vec<BTreeMap<String, String>>>,
}

pub fn list(key: &str, columns: &[&str], rows: &[Vec<String>]) -> impl Serialize + use<> {
    let row = |row: &Vec<String>| {
        columns.iter().zip(row).map(|(c, v)| (c.to_string(), v.clone())).collect()
    };
    let rows: Vec<BTreeMap<String, String>> = rows.iter().map(row).collect();
    let body = match key {
        "profiles" => ListJson { profiles: Some(rows), tweaks: None },
        _ => ListJson { profiles: None, tweaks: Some(rows) },
    };
    envelope("list", body, Exit::Fine)
}

pub fn values(values: &Values) -> impl Serialize {
    envelope("cilium values", values, Exit::Fine)
}

pub fn diff(diff: &Diff, exit: Exit) -> impl Serialize {
    envelope("cilium diff", diff, exit)
}

#[derive(Serialize, JsonSchema)]
pub struct ErrorJson {
    pub error: String,
}

pub fn error(command: &str, error: &str, exit: Exit) -> impl Serialize + use<> {
    envelope(command, ErrorJson { error: error.to_string() }, exit)
}

/// One form a group of verbs; which verbs is in its description.
pub fn schema() -> serde_json::Value {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let forms = [
        (
            "check, plan, apply, verify, rollback, explain",
            generator.subschema_for::<Envelope<TweaksJson>>(),
        ),
        ("facts", generator.subschema_for::<Envelope<FactsJson>>()),
        ("check --deep", generator.subschema_for::<Envelope<DeepJson>>()),
        ("status", generator.subschema_for::<Envelope<StatusJson>>()),
        ("confirm", generator.subschema_for::<Envelope<ConfirmJson>>()),
        ("journal", generator.subschema_for::<Envelope<super::journal::RepairJson>>()),
        ("bake", generator.subschema_for::<Envelope<BakeJson>>()),
        ("cilium values", generator.subschema_for::<Envelope<Values>>()),
        ("cilium diff", generator.subschema_for::<Envelope<Diff>>()),
        ("show", generator.subschema_for::<Envelope<ProfileJson>>()),
        ("list", generator.subschema_for::<Envelope<ListJson>>()),
        (
            "any verb that failed before it had a result",
            generator.subschema_for::<Envelope<ErrorJson>>(),
        ),
    ];
    let form = |(verbs, schema): (&str, schemars::Schema)| {
        let mut value = schema.to_value();
        if let Some(map) = value.as_object_mut() {
            map.insert("description".into(), verbs.into());
        }
        value
    };
    let forms: Vec<serde_json::Value> = forms.into_iter().map(form).collect();
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("nettune --json, schema {SCHEMA}"),
        "anyOf": forms,
        "$defs": generator.take_definitions(true),
    })
}
