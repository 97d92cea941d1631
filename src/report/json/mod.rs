//! The JSON of every verb. Names do not change inside a schema number; `nettune schema` prints the
//! JSON Schema made from these types.

pub mod bake;
pub mod envelope;
pub mod rows;
pub mod runs;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use self::bake::BakeJson;
use self::envelope::{Envelope, NodeJson, SCHEMA, envelope, node};
use self::rows::{TweaksJson, plan_id, tweak};
use self::runs::{ConfirmedJson, WaitingJson};
use super::view::{Applied, View};
use crate::cilium::diff::Diff;
use crate::cilium::values::Values;
use crate::engine::Exit;
use crate::engine::verbs::pending;
use crate::model::Facts;
use crate::model::bpf::Deep;
use crate::profile::Profile;

pub fn answer(view: &View) -> impl Serialize + use<> {
    let rows = &view.answer.rows;
    let mut applied = Applied::of(&view.store.ledger, pending(&view.store.ledger));
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

/// `doctor`.
#[derive(Serialize, JsonSchema)]
pub struct DoctorJson {
    pub file: String,
    pub bytes: usize,
    pub parts: Vec<String>,
}

pub fn doctored(path: &std::path::Path, bytes: usize, parts: &[&str]) -> impl Serialize + use<> {
    let parts = parts.iter().map(|part| part.to_string()).collect();
    let body = DoctorJson { file: path.display().to_string(), bytes, parts };
    envelope("doctor", body, Exit::Fine)
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
        ("log", generator.subschema_for::<Envelope<super::log::LogJson>>()),
        ("rollback --run", generator.subschema_for::<Envelope<super::log::TakenBackJson>>()),
        ("doctor", generator.subschema_for::<Envelope<DoctorJson>>()),
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
