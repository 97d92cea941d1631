//! What `nettune check --json` wrote on each node, read as what it is: input from elsewhere. One at a
//! time, bounded, and nothing of it but names of levers, verdicts and plain words is taken over.

use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::open;

const MOST_FILE: u64 = 64 << 20;
const MOST_FILES: usize = 1 << 17;
const MOST_NAME: usize = 253;
const MOST_REASON: usize = 200;
const SCHEMA: u32 = 1;

#[derive(Deserialize)]
pub struct Report<'a> {
    pub schema: u32,
    #[serde(borrow)]
    pub command: Cow<'a, str>,
    #[serde(borrow)]
    pub node: Node<'a>,
    #[serde(borrow, default)]
    pub tweaks: Vec<Tweak<'a>>,
}

#[derive(Deserialize)]
pub struct Node<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    kubernetes_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub cilium: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    managed: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
pub struct Tweak<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub status: Cow<'a, str>,
    #[serde(borrow, default)]
    pub advice: Vec<Advice<'a>>,
    #[serde(borrow, default)]
    pub cluster: Option<Cluster<'a>>,
}

#[derive(Deserialize)]
pub struct Advice<'a> {
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    #[serde(borrow)]
    pub value: Cow<'a, str>,
    #[serde(borrow)]
    pub cilium: Cow<'a, str>,
    #[serde(default)]
    pub live: Option<bool>,
}

#[derive(Deserialize)]
pub struct Cluster<'a> {
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    #[serde(borrow, default)]
    pub now: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasons: Vec<Reason<'a>>,
}

#[derive(Deserialize)]
struct Reason<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

impl Node<'_> {
    /// The name that Kubernetes has for it, else its own.
    pub fn name(&self) -> String {
        plain(self.kubernetes_name.as_ref().unwrap_or(&self.name), MOST_NAME)
    }

    pub fn managed(&self) -> Option<String> {
        self.managed.as_ref().map(|m| plain(m, 64))
    }
}

impl Cluster<'_> {
    pub fn can(&self) -> bool {
        matches!(self.status.as_ref(), "ok" | "cilium")
    }

    /// Why not, in one line: what is live, and warnings, are no reasons.
    pub fn why(&self) -> String {
        let told = ["live", "none-here", "live-unknown", "managed", "falls"];
        let reason = self.reasons.iter().find(|r| !told.contains(&r.code.as_ref()));
        reason.map_or_else(|| plain(&self.status, 32), |r| plain(&r.text, MOST_REASON))
    }

    /// What it stands on cannot be had.
    pub fn falls(&self) -> bool {
        self.reasons.iter().any(|r| r.code == "stands-on")
    }
}

/// Printable and not too long.
pub fn plain(text: &str, most: usize) -> String {
    let shown = text.chars().take(most);
    let mut out: String = shown.map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        out.push_str("...");
    }
    out
}

/// Reads reports from files, from folders of *.json, and from standard input where a path is `-`;
/// each may hold several, one after another.
pub fn read(paths: &[String], mut take: impl FnMut(&Report) -> Result<()>) -> Result<()> {
    let mut buffer = Vec::new();
    for path in paths {
        if path == "-" {
            read_one("standard input", std::io::stdin().lock(), &mut buffer, &mut take)?;
        } else if Path::new(path).is_dir() {
            for file in files(Path::new(path))? {
                read_file(&file, &mut buffer, &mut take)?;
            }
        } else {
            read_file(Path::new(path), &mut buffer, &mut take)?;
        }
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = open::entries(folder, MOST_FILES);
    let names = names.with_context(|| format!("list {}", folder.display()))?;
    let paths = names.into_iter().map(|name| folder.join(name));
    let found: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    ensure!(!found.is_empty(), "{} has no *.json", folder.display());
    Ok(found)
}

fn read_file(
    path: &Path,
    buffer: &mut Vec<u8>,
    take: &mut impl FnMut(&Report) -> Result<()>,
) -> Result<()> {
    let name = path.display().to_string();
    let file = open::regular(path).with_context(|| format!("open {name}"))?;
    read_one(&name, file, buffer, take)
}

fn read_one(
    name: &str,
    input: impl Read,
    buffer: &mut Vec<u8>,
    take: &mut impl FnMut(&Report) -> Result<()>,
) -> Result<()> {
    buffer.clear();
    input.take(MOST_FILE + 1).read_to_end(buffer).with_context(|| format!("read {name}"))?;
    ensure!(buffer.len() as u64 <= MOST_FILE, "{name} is over {} MiB", MOST_FILE >> 20);
    let mut some = false;
    for report in serde_json::Deserializer::from_slice(buffer).into_iter::<Report>() {
        let report = report
            .map_err(|e| anyhow::anyhow!("{name} is no report of nettune check --json: {e}"))?;
        if report.schema != SCHEMA || !matches!(report.command.as_ref(), "check" | "plan") {
            bail!(
                "{name} is of {} with schema {}, not of nettune check with schema {SCHEMA}",
                plain(&report.command, 32),
                report.schema
            );
        }
        take(&report)?;
        some = true;
    }
    ensure!(some, "{name} holds no report of nettune check --json");
    Ok(())
}
