//! What a fleet should tell Cilium.

use std::path::Path;

use anyhow::{Context, Result};

use super::look::looked;
use super::session::Session;
use crate::cilium::configmap::{self, Config};
use crate::cilium::fleet::{Fleet, Known, Levers};
use crate::cilium::report::{Report, read};
use crate::cilium::version::{DEFAULT, Version};
use crate::cilium::{diff as difference, values as merged};
use crate::cli::{Choice, DiffArgs, ValuesArgs};
use crate::engine::{Exit, Observe, Refusal};
use crate::model::Side;
use crate::open;
use crate::report::{ValuesForm, json};
use crate::tweaks::TWEAKS;

pub fn values(session: &Session, args: &ValuesArgs) -> Result<Exit> {
    let named = args.cilium.as_deref().map(parse).transpose()?;
    let named = named.or_else(|| of_profile(session, &args.profile));
    let mut fleet = gather(session, &args.profile, &args.reports, named.unwrap_or(DEFAULT))?;
    if named.is_none() {
        // Of several the oldest: its chart has the fewest keys, and nobody is upgraded by the way.
        fleet.version = fleet.releases().first().copied().unwrap_or(DEFAULT);
    }
    let version = fleet.version;
    let form = match (args.command, args.node_configs) {
        (true, _) => ValuesForm::Command,
        (_, true) => ValuesForm::NodeConfigs,
        _ => ValuesForm::Yaml,
    };
    session.report().values(&merged::values(&fleet, args.new_nodes), form, version)?;
    Ok(Exit::Fine)
}

pub fn diff(session: &Session, args: &DiffArgs) -> Result<Exit> {
    if args.config.as_deref() == Some("-") && args.reports.iter().any(|r| r == "-") {
        let text = "standard input is either the configuration or the reports";
        return Err(Refusal::with(Exit::Usage, text));
    }
    let named = args.cilium.as_deref().map(parse).transpose()?;
    let config = configuration(session, args)?;
    let mut fleet = gather(session, &args.profile, &args.reports, named.unwrap_or(DEFAULT))?;
    if named.is_none() {
        let most = fleet.versions.iter().max_by_key(|(_, n)| **n);
        let agents = most.and_then(|(text, _)| Version::parse(text).ok());
        let profile = || of_profile(session, &args.profile);
        fleet.version = agents.or_else(profile).unwrap_or(DEFAULT);
    }
    let diff = difference::diff(&fleet, &config, args.config.is_some());
    let exit = if diff.differs() { Exit::Drift } else { Exit::Fine };
    session.report().diff(&diff, exit)?;
    Ok(exit)
}

fn parse(text: &str) -> Result<Version> {
    Version::parse(text).map_err(|e| Refusal::with(Exit::Usage, e))
}

fn choice(profile: &Option<String>) -> Choice {
    Choice { profile: profile.clone(), ..Choice::default() }
}

fn of_profile(session: &Session, profile: &Option<String>) -> Option<Version> {
    let profile = session.profile(&choice(profile)).ok()?;
    Version::parse(profile.cilium("version")?).ok()
}

fn configuration(session: &Session, args: &DiffArgs) -> Result<Config> {
    let bad = |e: anyhow::Error| Refusal::with(Exit::Config, format!("{e:#}"));
    let Some(path) = &args.config else {
        let profile = session.profile(&choice(&args.profile))?;
        let facts = session.host_for(&profile)?.facts()?;
        let Some(cilium) = &facts.agents.cilium else {
            let text = "no Cilium is seen on this node: give its configuration with --config FILE";
            return Err(Refusal::with(Exit::Config, text));
        };
        let more = "; give it with --config FILE";
        return configmap::of_agent(cilium)
            .map_err(|e| Refusal::with(Exit::Config, format!("{e:#}{more}")));
    };
    let read = match path.as_str() {
        "-" => open::all(std::io::stdin().lock(), configmap::MOST_BYTES),
        path => open::bytes(Path::new(path), configmap::MOST_BYTES),
    };
    let text = read.with_context(|| format!("read {path}")).map_err(bad)?;
    configmap::parse(&text).with_context(|| format!("read {path}")).map_err(bad)
}

/// Every lever with a cluster's side, and what it stands on.
pub(crate) fn levers() -> Levers {
    let both = TWEAKS.iter().filter(|t| t.side != Side::Node);
    let stones = |t: &crate::tweaks::Entry| -> &'static [&'static str] {
        let built = (t.lever.build)(toml::Table::new()).ok();
        built.map_or(&[], |tweak| tweak.stands_on())
    };
    both.map(|t| Known { name: t.name, stands_on: stones(t), keys: t.more.keys }).collect()
}

fn gather(
    session: &Session,
    profile: &Option<String>,
    reports: &[String],
    version: Version,
) -> Result<Fleet> {
    let mut fleet = Fleet::new(version, levers());
    if reports.is_empty() {
        // This node's own report, on the way of all others.
        looked(session, &choice(profile), "check", false, |_, view| {
            let text = serde_json::to_string(&json::answer(view))?;
            let report: Report = serde_json::from_str(&text)?;
            fleet.add(&report)
        })?;
        return Ok(fleet);
    }
    read(reports, |report| fleet.add(report))
        .map_err(|e| Refusal::with(Exit::Config, format!("{e:#}")))?;
    Ok(fleet)
}
