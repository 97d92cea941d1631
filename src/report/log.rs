//! What was done here, as a table, a run whole, and as JSON.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::json::envelope::envelope;
use super::json::rows::StateJson;
use super::page::{Page, Table};
use super::table::list;
pub use super::text::values;
use super::text::{Style, clean, wrap};
use super::when::{ago, seconds, when};
use crate::engine::Exit;
use crate::engine::history::Run;
use crate::engine::record::By;
use crate::model::Outcome;

/// `log`: the newest first.
#[derive(Serialize, JsonSchema)]
pub struct LogJson {
    pub runs: Vec<RunJson>,
}

#[derive(Serialize, JsonSchema)]
pub struct RunJson {
    /// What rollback --run takes.
    pub run: String,
    /// UTC.
    pub time: String,
    /// Null where it died, or where an earlier version wrote it.
    pub seconds: Option<f64>,
    pub verb: String,
    pub profile: Option<String>,
    pub profile_hash: Option<String>,
    pub plan_id: Option<String>,
    pub version: String,
    pub uid: Option<u32>,
    pub sudo_user: Option<String>,
    pub unit: Option<String>,
    pub command: Option<String>,
    /// "done", "part", "undone" or "died".
    pub outcome: String,
    /// Values that it gave the node.
    pub values: usize,
    /// The run that it took back.
    pub takes_back: Option<String>,
    pub changes: Vec<LoggedJson>,
}

#[derive(Serialize, JsonSchema)]
pub struct LoggedJson {
    pub resource: String,
    pub before: StateJson,
    pub after: StateJson,
    pub tweaks: Vec<String>,
    /// Null where the run died before it said so.
    pub outcome: Option<Outcome>,
}

/// `rollback --run`.
#[derive(Serialize, JsonSchema)]
pub struct TakenBackJson {
    pub run: String,
    /// When that run was, UTC.
    pub began: String,
    /// Values that went back.
    pub values: usize,
    /// What a later run wrote as well: left.
    pub left: Vec<String>,
    pub notes: Vec<String>,
}

pub fn json(runs: &[Run], exit: Exit) -> impl Serialize + use<> {
    envelope("log", LogJson { runs: runs.iter().rev().map(RunJson::of).collect() }, exit)
}

impl RunJson {
    fn of(run: &Run) -> Self {
        let (first, by) = (run.first(), run.stages.iter().find_map(|(b, _)| b.by.clone()));
        let logged = |(c, outcome): (&crate::model::Change, Option<Outcome>)| LoggedJson {
            resource: c.resource.to_string(),
            before: StateJson::from(&c.before),
            after: StateJson::from(&c.after),
            tweaks: c.tweaks.clone(),
            outcome,
        };
        RunJson {
            run: run.id(),
            time: run.time.clone(),
            seconds: took(run).map(|d| d.as_secs_f64()),
            verb: first.verb.clone(),
            profile: first.profile.clone(),
            profile_hash: by.as_ref().and_then(|b| b.profile_hash.clone()),
            plan_id: by.as_ref().and_then(|b| b.plan_id.clone()),
            version: first.version.clone(),
            uid: by.as_ref().map(|b| b.uid),
            sudo_user: by.as_ref().and_then(|b| b.sudo.clone()),
            unit: by.as_ref().and_then(|b| b.unit.clone()),
            command: by.as_ref().map(|b| b.command.clone()),
            outcome: outcome(run).to_string(),
            values: run.net().len(),
            takes_back: by.and_then(|b| b.takes_back),
            changes: run.changes().map(logged).collect(),
        }
    }
}

fn outcome(run: &Run) -> &'static str {
    let lost = |o: Option<Outcome>| !matches!(o, None | Some(Outcome::Written | Outcome::Planned));
    match run.died() {
        true => "died",
        false if run.net().is_empty() && run.changes().any(|(c, _)| !c.claim_only()) => "undone",
        false if run.changes().any(|(_, outcome)| lost(outcome)) => "part",
        false => "done",
    }
}

fn took(run: &Run) -> Option<Duration> {
    let parse = |text: &str| humantime::parse_rfc3339(text).ok();
    parse(run.ended()?)?.duration_since(parse(&run.time)?).ok()
}

/// A profile by a path is named as its file is.
fn stem(profile: &str) -> &str {
    let name = profile.rsplit('/').next().unwrap_or(profile);
    name.strip_suffix(".toml").unwrap_or(name)
}

fn who(by: &By) -> String {
    let user = match (by.uid, &by.sudo) {
        (_, Some(name)) => format!("{name} (sudo)"),
        (0, None) => "root".to_string(),
        (uid, None) => format!("uid {uid}"),
    };
    let service = by.unit.as_ref().filter(|unit| unit.ends_with(".service"));
    service.map_or(user, |unit| unit.clone())
}

pub fn text(runs: &[Run], style: &Style) -> String {
    if runs.is_empty() {
        return "nothing was done here yet\n".to_string();
    }
    // The time itself where there is room for it.
    let wide = style.width >= 100;
    let shown = |row: Vec<String>| -> Vec<String> {
        let cells = row.into_iter().enumerate().filter(|(at, _)| wide || *at != UTC);
        cells.map(|(_, cell)| cell).collect()
    };
    let head = COLUMNS.iter().map(|c| c.to_string()).collect();
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows(runs)).map(shown).collect();
    let mut out = list(&all, style);
    let next = "nettune log RUN shows its changes; nettune rollback --run RUN takes it back";
    out.push_str(&(wrap(next, style.width, "") + "\n"));
    out
}

pub fn page(runs: &[Run]) -> Page {
    let table = Table { title: String::new(), columns: COLUMNS, rows: rows(runs).collect() };
    Page { title: "nettune log".into(), tables: vec![table], ..Page::default() }
}

const COLUMNS: &[&str] = &["run", "when", "UTC", "who", "what", "became"];
/// Where it stands among them.
const UTC: usize = 2;

/// The newest first.
fn rows(runs: &[Run]) -> impl Iterator<Item = Vec<String>> {
    runs.iter().rev().map(|run| {
        let by = run.by();
        let what = match (&by.takes_back, &run.first().profile) {
            (Some(other), _) => format!("takes back {other}"),
            (None, Some(profile)) => format!("{} {}", run.first().verb, stem(profile)),
            (None, None) => run.first().verb.clone(),
        };
        let values = values(run.net().len());
        let became = match outcome(run) {
            "done" => values,
            other => format!("{values}, {other}"),
        };
        let when = ago(&run.time).unwrap_or_default();
        vec![run.id(), when, seconds(&run.time), who(&by), what, became]
    })
}

pub fn whole(run: &Run, style: &Style) -> String {
    let (first, by) = (run.first(), run.by());
    let mut out = String::new();
    let mut line = |what: &str, text: String| {
        out.push_str(&format!("{}{}\n", style.bold(&format!("{what:<9}")), clean(&text)));
    };
    line("run", format!("{}, {}", run.id(), outcome(run)));
    let took = took(run).map(|d| format!(", {:.1} s", d.as_secs_f64())).unwrap_or_default();
    line("when", format!("{}{took}", when(&run.time)));
    line("who", who(&by));
    if !by.command.is_empty() {
        line("command", format!("nettune {}", by.command));
    }
    let mut what = first.verb.clone();
    if let Some(profile) = &first.profile {
        what = format!("{what} {profile}");
    }
    let told =
        [("profile", &by.profile_hash), ("plan", &by.plan_id), ("takes back", &by.takes_back)];
    for (name, value) in told.iter().filter_map(|(n, v)| Some((n, v.as_ref()?))) {
        what = format!("{what}, {name} {value}");
    }
    line("what", format!("{what}, by nettune {}", first.version));
    let changes = run.changes().filter(|(c, _)| !c.claim_only());
    for (change, outcome) in changes {
        let (before, after) = change.resource.shown_both(&change.before, &change.after);
        let became = match outcome {
            Some(Outcome::Written) => String::new(),
            Some(other) => format!(" ({other})"),
            None => " (not known)".to_string(),
        };
        let text = format!("{}: {before} -> {after}{became}", change.resource);
        out.push_str(&format!("  {}\n", clean(&text)));
    }
    out
}

pub fn taken_back(back: &TakenBackJson) -> String {
    let mut out = format!("{} as before run {} of {}\n", values(back.values), back.run, back.began);
    for left in &back.left {
        out.push_str(&format!("left: {}\n", clean(left)));
    }
    out
}
