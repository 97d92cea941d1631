//! What can still be had of a damaged journal, and what is lost.

use std::collections::BTreeMap;

use anyhow::Result;
use regex_lite::Regex;
use serde::Deserialize;

use super::folder::Folder;
use super::journal::UNDO;
use super::journal::{MOST_BYTES, NAME, known, lost, newer};
use super::ledger::{Ledger, Owned};
use super::lines::{Bad, Line, Lines, fitted};
use super::{Exit, Refusal};
use crate::model::{Facts, Resource, State};

#[derive(Debug, Default)]
pub struct Repair {
    pub lines: usize,
    pub records: usize,
    pub lost: Vec<Lost>,
    /// Lines that are damaged, and all of them is still had.
    pub mended: Vec<usize>,
    pub torn: bool,
    /// What is ours by what is left.
    pub ledger: Ledger,
    text: Vec<u8>,
}

#[derive(Debug)]
pub struct Lost {
    pub line: usize,
    pub why: String,
    /// `type`, `verb`, `profile`, `run`, `time`, as far as they are there.
    pub words: BTreeMap<&'static str, String>,
    pub named: Vec<Named>,
}

/// A resource that a lost line speaks of; nobody vouches for what is read here.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub resource: String,
    pub before: Option<State>,
    pub after: Option<State>,
}

impl Repair {
    pub fn of(folder: &Folder, facts: &Facts) -> Result<Self> {
        known(&facts.node.boot_id, facts.node.netns)?;
        let text = folder.read(NAME, MOST_BYTES)?.unwrap_or_default();
        let lines = Lines::of(&text);
        let torn = lines.torn(&text);
        let mut repair = Repair { lines: lines.all.len(), torn, ..Repair::default() };
        let mut kept: Vec<Line> = Vec::new();
        for line in lines.all {
            match &line.read {
                Ok(_) => kept.push(line),
                Err(Bad::Newer(schema)) => {
                    let place = format!("{}:{}", folder.path(NAME).display(), line.number);
                    return Err(newer(&place, *schema));
                }
                Err(Bad::Twice(_)) => repair.mended.push(line.number),
                Err(Bad::Damaged(why)) => {
                    let (records, rest) = line.salvage();
                    match rest.is_empty() {
                        true => repair.mended.push(line.number),
                        false => repair.lost.push(Lost::of(line.number, why, &rest.concat())),
                    }
                    kept.extend(records);
                }
            }
        }
        for line in fitted(kept) {
            match line.read {
                Ok(record) => {
                    repair.records += 1;
                    repair.text.extend_from_slice(line.bytes);
                    repair.text.push(b'\n');
                    repair.ledger.take(record);
                }
                Err(Bad::Damaged(why)) => {
                    repair.mended.retain(|number| *number != line.number);
                    repair.lost.push(Lost::of(line.number, &why, line.bytes));
                }
                Err(Bad::Newer(_) | Bad::Twice(_)) => {}
            }
        }
        if repair.records == 0
            && repair.lost.is_empty()
            && let Some(why) = lost(folder)
        {
            return Err(Refusal::with(Exit::Config, why));
        }
        repair.lost.sort_by_key(|lost| lost.line);
        repair.ledger.fit_to(facts)?;
        Ok(repair)
    }

    pub fn damaged(&self) -> bool {
        !self.lost.is_empty() || !self.mended.is_empty()
    }

    /// Whether a lost line may know an older value of it: it names it, or nobody knows what it names.
    pub fn doubtful(&self, resource: &Resource) -> bool {
        let name = resource.to_string();
        self.lost.iter().any(|l| l.named.is_empty() || l.named.iter().any(|n| n.resource == name))
    }

    pub fn owned(&self) -> impl Iterator<Item = (&Resource, &Owned)> {
        self.ledger.owned.iter().chain(&self.ledger.vanished)
    }

    /// Keeps journal and undo.sh as they are under other names, then leaves out what is lost. undo.sh
    /// itself stays: it may know more than what is left. Returns the names of the copies.
    pub fn write(&self, folder: &Folder, time: &str) -> Result<Vec<String>> {
        let mut copies = Vec::new();
        for (name, mode) in [(NAME, 0o600), (UNDO, 0o700)] {
            if let Some(bytes) = folder.read(name, MOST_BYTES)? {
                let copy = format!("{name}.damaged-{time}");
                folder.create(&copy, &bytes, mode)?;
                copies.push(folder.path(&copy).display().to_string());
            }
        }
        folder.replace(NAME, &self.text, 0o600)?;
        Ok(copies)
    }
}

/// An object of a record, as much of it as any kind of record has.
#[derive(Deserialize)]
struct Piece {
    resource: Resource,
    before: Option<State>,
    after: Option<State>,
    wrote: Option<Vec<State>>,
}

impl Lost {
    fn of(line: usize, why: &str, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut words = BTreeMap::new();
        for key in ["type", "verb", "profile", "run", "time"] {
            let pattern = Regex::new(&format!(r#""{key}":"([^"\\]{{1,200}})""#));
            if let Some(found) = pattern.ok().and_then(|p| p.captures(&text)) {
                words.insert(key, found[1].to_string());
            }
        }
        Lost { line, why: why.to_string(), words, named: named(&text) }
    }
}

fn named(text: &str) -> Vec<Named> {
    const HEAD: &str = r#"{"resource":"#;
    let mut all: Vec<Named> = Vec::new();
    for (at, _) in text.match_indices(HEAD) {
        let rest = &text[at..];
        let mut pieces = serde_json::Deserializer::from_str(rest).into_iter::<Piece>();
        let named = match pieces.next() {
            Some(Ok(piece)) => Named {
                resource: piece.resource.to_string(),
                before: piece.before,
                after: piece.after.or(piece.wrote.and_then(|mut w| w.pop())),
            },
            // Its name alone, where that is whole.
            _ => {
                let mut names = serde_json::Deserializer::from_str(&rest[HEAD.len()..]).into_iter();
                let Some(Ok(resource)) = names.next() else { continue };
                Named { resource, before: None, after: None }
            }
        };
        // A change comes before what it disturbs.
        if all.iter().all(|known| known.resource != named.resource) {
            all.push(named);
        }
    }
    all
}
