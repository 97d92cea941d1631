//! Values that a shell completes: of this node where they can be read, quick, and never an error.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use clap_complete::engine::{CompletionCandidate as Candidate, PathCompleter, ValueCompleter};

use super::help::PAGES;
use crate::cilium::version::{NEWEST, OLDEST};
use crate::engine::folder::Folder;
use crate::engine::history::runs as history;
use crate::engine::journal::Journal;
use crate::model::Impact;
use crate::open;
use crate::profile::{Finder, Profile, names};
use crate::tweaks::{self, TWEAKS};

fn with(value: impl Into<std::ffi::OsString>, help: &str) -> Candidate {
    Candidate::new(value).help((!help.is_empty()).then(|| help.to_string().into()))
}

pub fn verbs() -> Vec<Candidate> {
    PAGES.iter().map(|page| Candidate::new(page.verb)).collect()
}

pub fn tweaks() -> Vec<Candidate> {
    TWEAKS.iter().map(|tweak| with(tweak.name, tweak.summary)).collect()
}

pub fn impacts() -> Vec<Candidate> {
    Impact::ALL.iter().filter(|i| **i != Impact::None).map(|i| Candidate::new(i.name())).collect()
}

pub fn profiles() -> Vec<Candidate> {
    let finder = Finder::new(Path::new("/"));
    let summary = |name: &str| match Profile::load(&finder, name, &[]) {
        Ok(profile) => profile.summary().to_string(),
        Err(_) => String::new(),
    };
    let found = names(&finder).unwrap_or_default();
    found.into_iter().map(|(name, _)| with(&name, &summary(&name))).collect()
}

/// A name, or a file once it looks like one.
pub fn profile_or_file(current: &OsStr) -> Vec<Candidate> {
    let typed = current.to_string_lossy();
    if typed.contains('/') {
        return PathCompleter::file().complete(current);
    }
    let starts = |c: &Candidate| c.get_value().to_string_lossy().starts_with(&*typed);
    profiles().into_iter().filter(starts).collect()
}

pub fn links() -> Vec<Candidate> {
    let found = open::entries(Path::new("/sys/class/net"), open::MOST_ENTRIES).unwrap_or_default();
    found.into_iter().map(Candidate::new).collect()
}

pub fn versions() -> Vec<Candidate> {
    (OLDEST.1..=NEWEST.1).map(|minor| Candidate::new(format!("{}.{minor}", OLDEST.0))).collect()
}

/// "TWEAK." first, then its keys with "=".
pub fn sets(current: &OsStr) -> Vec<Candidate> {
    let typed = current.to_string_lossy();
    let Some((name, key)) = typed.split_once('.') else {
        let starts = TWEAKS.iter().filter(|tweak| tweak.name.starts_with(&*typed));
        return starts.map(|tweak| with(format!("{}.", tweak.name), tweak.summary)).collect();
    };
    let Some(entry) = tweaks::find(name) else { return Vec::new() };
    let keys = tweaks::keys(entry).into_iter().filter(|k| k.name.starts_with(key));
    keys.map(|k| with(format!("{name}.{}=", k.name), &k.about)).collect()
}

/// Those that can be read: root's alone, as a rule.
pub fn runs() -> Vec<Candidate> {
    let mut all = vec![with("last", "the newest")];
    let folder = Folder::open(Path::new("/var/lib/nettune"), true).ok().flatten();
    let found = Journal::load(folder.map(Arc::new)).and_then(|journal| history(&journal));
    let Ok((found, _)) = found else { return all };
    let line = |run: &crate::engine::history::Run| {
        with(
            run.id(),
            &format!("{} {}", run.first().verb, run.first().profile.clone().unwrap_or_default()),
        )
    };
    all.extend(found.iter().rev().take(50).map(line));
    all
}
