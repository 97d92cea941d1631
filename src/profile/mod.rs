//! Profiles: TOML, one table a tweak. Built-in ones are overridden by the vendor's, those by the
//! admin's; a profile may include others; `--set` has the last word.
//! `source.rs` finds and reads, `syntax.rs` and `shape.rs` say what is wrong with a file in words, `merged.rs` lays
//! one over another. Uses the levers and the engine's rows. Begin with `Profile::load` and `wanted`.

mod merged;
mod shape;
mod source;
mod syntax;

use std::collections::BTreeSet;

use anyhow::Result;

use crate::engine::row::{Cni, Owner, Selected, Selection};
use crate::engine::{Exit, Refusal};
use crate::model::Impact;
use crate::tweaks::TWEAKS;
pub use merged::Profile;
pub use source::{Finder, names};
use syntax::COMMON;

/// What a profile asks of a node, built.
pub struct Wanted {
    pub tweaks: Vec<Selected>,
    pub links: Vec<String>,
    pub pod_links: Vec<String>,
    pub cni: Cni,
}

impl Wanted {
    pub fn selection(&self) -> Selection<'_> {
        let Wanted { tweaks, links, pod_links, cni } = self;
        Selection { tweaks: tweaks.iter().collect(), links, pod_links, cni: *cni }
    }
}

impl Profile {
    pub fn load(finder: &Finder, name: &str, sets: &[String]) -> Result<Self> {
        let mut profile = Profile { name: name.to_string(), ..Profile::default() };
        source::read_into(&mut profile, finder, name)?;
        for set in sets {
            let table = syntax::assignment(set)?;
            let origin = format!("--set {set}");
            let text = toml::to_string(&table).unwrap_or_default();
            profile.lay(syntax::check(&text, &origin)?, &origin);
        }
        Ok(profile)
    }

    /// One that was resolved elsewhere.
    pub fn recorded(name: &str, text: &str) -> Result<Self> {
        let mut profile = Profile { name: name.to_string(), ..Profile::default() };
        profile.lay(syntax::check(text, "the report")?, "the report");
        Ok(profile)
    }

    fn strings(&self, key: &str) -> Vec<String> {
        let list = self.table.get(key).and_then(|v| v.as_array());
        list.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_string)).collect()
    }

    pub fn summary(&self) -> &str {
        self.table.get("summary").and_then(|v| v.as_str()).unwrap_or_default()
    }

    pub fn links(&self) -> Vec<String> {
        self.strings("links")
    }

    pub fn pod_links(&self) -> Vec<String> {
        self.strings("pod-links")
    }

    pub fn accept(&self) -> BTreeSet<Impact> {
        self.strings("accept").iter().filter_map(|name| Impact::parse(name)).collect()
    }

    pub fn cni(&self) -> Cni {
        match self.table.get("cni").and_then(|v| v.as_str()) {
            Some("cilium") => Cni::Cilium,
            Some("other") => Cni::Other,
            Some("none") => Cni::None,
            _ => Cni::Auto,
        }
    }

    /// A text of `[cilium]`: `version`, `socket`.
    pub fn cilium(&self, key: &str) -> Option<&str> {
        self.table.get("cilium")?.get(key)?.as_str()
    }

    /// `[cilium.want]` says that Cilium shall not have this lever.
    fn unwanted(&self, lever: &str) -> bool {
        let want = self.table.get("cilium").and_then(|c| c.get("want"));
        want.and_then(|w| w.get(lever)).and_then(|v| v.as_bool()) == Some(false)
    }

    /// Every tweak there is, as this profile has it.
    pub fn tweaks(&self) -> Result<Vec<Selected>> {
        let mut selected = Vec::new();
        for entry in TWEAKS {
            let table = self.table.get(entry.name).and_then(|v| v.as_table());
            let flag = |key: &str| table.and_then(|t| t.get(key)).and_then(|v| v.as_bool());
            let owner = table.and_then(|t| t.get("owner")).and_then(|v| v.as_str());
            let mut own = table.cloned().unwrap_or_default();
            own.retain(|key: &str, _| !COMMON.contains(&key));
            let wrong = |e: String| {
                let text = format!("profile {}: [{}] {}", self.name, entry.name, e.trim());
                Refusal::with(Exit::Config, text)
            };
            let tweak = (entry.lever.build)(own).map_err(|e| wrong(e.message().to_string()))?;
            // A lever that the profile does not speak of may refuse its own defaults.
            if table.is_some() {
                tweak.validate().map_err(|e| self.doubted(entry.name, wrong(format!("{e:#}"))))?;
            }
            selected.push(Selected {
                name: entry.name,
                side: entry.side,
                enable: table.is_some() && flag("enable") != Some(false),
                required: flag("required") == Some(true),
                owner: match owner {
                    Some("nettune") => Owner::Nettune,
                    _ if self.unwanted(entry.name) => Owner::Unwanted,
                    _ => Owner::Auto,
                },
                told: entry.told(),
                tweak,
            });
        }
        Ok(selected)
    }

    /// Where one key alone is wrong its file and line are named, else the whole table.
    fn doubted(&self, tweak: &str, whole: anyhow::Error) -> anyhow::Error {
        let mine = |path: &&String| path.split('.').next() == Some(tweak);
        match self.doubts.iter().find(|(path, _)| mine(path)) {
            Some((_, why)) => Refusal::with(Exit::Config, why),
            None => whole,
        }
    }

    /// All that it asks of a node.
    pub fn wanted(&self) -> Result<Wanted> {
        let (links, pod_links, cni) = (self.links(), self.pod_links(), self.cni());
        Ok(Wanted { tweaks: self.tweaks()?, links, pod_links, cni })
    }

    /// Dotted path, value and origin of everything that is set, in the order of the file.
    pub fn values(&self) -> Vec<(String, String, &str)> {
        fn walk(table: &toml::Table, path: &str, depth: usize, out: &mut Vec<(String, String)>) {
            for (key, value) in table {
                let bare = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
                let shown = if bare { key.clone() } else { format!("{key:?}") };
                let here = if path.is_empty() { shown } else { format!("{path}.{shown}") };
                match value {
                    toml::Value::Table(inner) if depth < 2 && !inner.is_empty() => {
                        walk(inner, &here, depth + 1, out);
                    }
                    value => out.push((here, value.to_string())),
                }
            }
        }
        let mut out = Vec::new();
        walk(&self.table, "", 0, &mut out);
        let origin = |path: &str| {
            let plain = path.replace('"', "");
            self.origins.get(&plain).map_or("", String::as_str)
        };
        out.iter().map(|(path, value)| (path.clone(), value.clone(), origin(path))).collect()
    }
}
