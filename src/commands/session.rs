//! What every verb has at hand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::VERSION;
use crate::cli::{Choice, Cli, Color, Command, Format};
use crate::engine::confirm::RunDir;
use crate::engine::plan::Scope;
use crate::engine::run::{Meta, now};
use crate::engine::store::{Lock, Store};
use crate::engine::verbs::Ask;
use crate::engine::{Exit, Observe, Refusal};
use crate::linux::root::is_absent;
use crate::linux::{Linux, caller};
use crate::model::{Facts, Impact};
use crate::open;
use crate::profile::{Finder, Profile, Wanted};
use crate::report::{Manner, Report, page};
use crate::tweaks::{self, Entry};
use crate::wait;

const MOST_CONFIG: u64 = 1 << 20;

pub fn report(cli: &Cli) -> Report {
    let choice = cli.command.choice();
    let options = choice.map(Choice::words).unwrap_or_default();
    Report {
        json: cli.global.json || cli.global.format == Format::Json,
        page: match cli.global.format {
            Format::Markdown => Some(page::Form::Markdown),
            Format::Html => Some(page::Form::Html),
            _ => None,
        },
        manner: Manner {
            verbose: cli.global.verbose,
            cilium: match &cli.command {
                Command::Check(args) if args.cilium => true,
                _ => choice.is_none_or(|choice| !choice.only.is_empty()),
            },
            only: choice.is_some_and(|choice| !choice.only.is_empty()),
            options: cli.global.words().into_iter().chain(options).collect(),
            accepted: choice.map(|choice| choice.accept.clone()).unwrap_or_default(),
        },
        colour: match cli.global.color {
            Color::Always => Some(true),
            Color::Never => Some(false),
            Color::Auto => None,
        },
        command: cli.command.name(),
    }
}

pub struct Session<'a> {
    pub cli: &'a Cli,
}

impl Session<'_> {
    pub fn report(&self) -> Report {
        report(self.cli)
    }

    pub fn host(&self) -> Result<Linux> {
        let root = &self.cli.global.host;
        if !root.is_dir() {
            let text = format!("--host {} is not a directory", root.display());
            return Err(Refusal::with(Exit::Usage, text));
        }
        // Of any other folder all would be absent, and a check of nothing would go well.
        let top = ["proc", "sys", "etc", "run", "usr", "var"];
        let given = root != Path::new("/");
        if given && !top.iter().any(|folder| root.join(folder).is_dir()) {
            let text = format!(
                "--host {} is no root of a node: none of {} is there",
                root.display(),
                top.join(", ")
            );
            return Err(Refusal::with(Exit::Usage, text));
        }
        Linux::open(root)
    }

    /// The host, with Cilium's socket where the profile says.
    pub fn host_for(&self, profile: &Profile) -> Result<Linux> {
        Ok(self.host()?.with_cilium(profile.cilium("socket").map(str::to_string)))
    }

    pub fn facts(&self, host: &Linux) -> Result<Facts> {
        host.facts()
    }

    pub fn finder(&self) -> Finder {
        Finder::new(&self.cli.global.host)
    }

    pub fn state_dir(&self) -> PathBuf {
        let default = || self.cli.global.host.join("var/lib/nettune");
        self.cli.global.state_dir.clone().unwrap_or_else(default)
    }

    pub fn run_dir(&self) -> RunDir {
        let default = || self.cli.global.host.join("run/nettune");
        RunDir(self.cli.global.run_dir.clone().unwrap_or_else(default))
    }

    pub fn reader(&self, facts: &Facts) -> Result<Store> {
        Store::read(&self.state_dir(), facts)
    }

    pub fn lock(&self) -> Result<Lock> {
        let _waiting = wait::on(|| "waits for the lock of another nettune".to_string());
        Lock::take(&self.state_dir(), Duration::from_secs(self.cli.global.wait.into()))
    }

    /// The profile that is asked for, else the node's own, else cilium-max.
    pub fn profile(&self, choice: &Choice) -> Result<Profile> {
        let finder = self.finder();
        let name = match &choice.profile {
            Some(name) => name.clone(),
            None => self.node_profile()?.unwrap_or_else(|| "cilium-max".to_string()),
        };
        Profile::load(&finder, &name, &choice.sets.set)
    }

    /// `profile = "NAME"` in /etc/nettune/nettune.toml.
    pub fn node_profile(&self) -> Result<Option<String>> {
        let path = self.cli.global.host.join("etc/nettune/nettune.toml");
        let wrong =
            |why: String| Refusal::with(Exit::Config, format!("read {}: {why}", path.display()));
        let bytes = match open::bytes(&path, MOST_CONFIG) {
            Ok(bytes) => bytes,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(wrong(e.to_string())),
        };
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is no UTF-8 text".into()))?;
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| wrong(e.message().to_string()))?;
        Ok(table.get("profile").and_then(|v| v.as_str()).map(str::to_string))
    }

    /// Of all that the profile wants; strict and atomic are for the verb to set.
    pub fn ask<'a>(
        &self,
        verb: &'static str,
        profile: &Profile,
        wanted: &'a Wanted,
        scope: Scope,
        accept: BTreeSet<Impact>,
    ) -> Ask<'a> {
        let mut meta = self.meta(verb, Some(profile.name.clone()));
        meta.by.profile_hash = Some(profile.hash());
        let (strict, atomic) = (false, false);
        let (selection, profile) = (wanted.selection(), profile.told_apart());
        Ask { selection, scope, accept, strict, atomic, meta, profile }
    }

    pub fn meta(&self, verb: &'static str, profile: Option<String>) -> Meta {
        Meta { verb, profile, version: VERSION, time: now(), by: caller::by() }
    }
}

/// Changing verbs need root before they look at anything.
pub fn need_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Refusal::with(Exit::NeedsRoot, "this changes the node: run it as root (sudo nettune ...)"))
}

pub fn scope(choice: &Choice, facts: &Facts) -> Result<Scope> {
    for name in choice.only.iter().chain(&choice.skip) {
        known_tweak(name)?;
    }
    let all = || tweaks::TWEAKS.iter().map(|t| t.name.to_string());
    let chosen: BTreeSet<String> = if choice.only.is_empty() {
        all().filter(|t| !choice.skip.contains(t)).collect()
    } else {
        choice.only.iter().filter(|t| !choice.skip.contains(t)).cloned().collect()
    };
    let tweaks = (!choice.only.is_empty() || !choice.skip.is_empty()).then_some(chosen);
    Ok(Scope { tweaks, links: links(&choice.link, facts)? })
}

pub fn links(names: &[String], facts: &Facts) -> Result<Option<BTreeSet<String>>> {
    for name in names {
        crate::model::resource::valid_link(name).map_err(|e| Refusal::with(Exit::Usage, e))?;
        if facts.link(name).is_none() {
            return Err(Refusal::with(Exit::Usage, format!("there is no link {name}")));
        }
    }
    Ok((!names.is_empty()).then(|| names.iter().cloned().collect()))
}

pub fn known_tweak(name: &str) -> Result<&'static Entry> {
    if let Some(entry) = tweaks::row(name) {
        return Ok(entry);
    }
    let known: Vec<&str> = tweaks::TWEAKS.iter().map(|t| t.name).collect();
    let text = format!("there is no tweak {name:?}; there are {}", known.join(" "));
    Err(Refusal::with(Exit::Usage, text))
}

/// What is accepted on this node: traffic that runs is not disturbed unasked.
pub fn accepted(choice: &Choice, profile: &Profile, facts: &Facts) -> Result<BTreeSet<Impact>> {
    let mut accept = BTreeSet::from([Impact::None, Impact::NewFlows, Impact::Node]);
    if !facts.live() {
        accept.insert(Impact::LinkReset);
    }
    accept.extend(profile.accept());
    for name in &choice.accept {
        let impact = Impact::parse(name).ok_or_else(|| {
            let known: Vec<&str> = Impact::ALL.iter().map(|i| i.name()).collect();
            Refusal::with(
                Exit::Usage,
                format!("{name:?} is no impact; the impacts are {}", known.join(", ")),
            )
        })?;
        accept.insert(impact);
    }
    Ok(accept)
}
