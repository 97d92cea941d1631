//! Where profiles are found, and whether a file may be trusted.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Profile, syntax};
use crate::engine::{Exit, Refusal};

const BUILT_IN: [(&str, &str); 3] = [
    ("cilium-max", include_str!("../../profiles/cilium-max.toml")),
    ("network-latency", include_str!("../../profiles/network-latency.toml")),
    ("network-throughput", include_str!("../../profiles/network-throughput.toml")),
];
const MOST_BYTES: u64 = 1 << 20;
const MOST_DEPTH: usize = 8;

/// Folders, the one that wins first.
pub struct Finder {
    pub folders: Vec<PathBuf>,
    /// As root, only what nobody else may write.
    pub strict: bool,
}

impl Finder {
    /// Below the root of the node.
    pub fn new(root: &Path) -> Self {
        let folders = ["etc/nettune/profiles", "usr/lib/nettune/profiles"];
        Finder {
            folders: folders.iter().map(|f| root.join(f)).collect(),
            strict: nix::unistd::geteuid().is_root(),
        }
    }

    fn find(&self, name: &str) -> Result<(String, String)> {
        // A path is taken as it is; a name is looked up.
        if name.contains('/') || name.ends_with(".toml") {
            return Ok((self.read(Path::new(name))?, name.to_string()));
        }
        if name.is_empty() || name.starts_with('.') {
            return Err(Refusal::with(
                Exit::Config,
                format!("{name:?} is not the name of a profile"),
            ));
        }
        for folder in &self.folders {
            let path = folder.join(format!("{name}.toml"));
            if path.exists() {
                return Ok((self.read(&path)?, path.display().to_string()));
            }
        }
        if let Some((_, text)) = BUILT_IN.iter().find(|(n, _)| *n == name) {
            return Ok((text.to_string(), format!("{name} (built in)")));
        }
        let known: Vec<String> = names(self).into_iter().map(|(name, _)| name).collect();
        let mut near = syntax::nearest(name, known.iter().map(String::as_str));
        if near.is_empty() {
            near = format!("; there are {}", known.join(" "));
        }
        Err(Refusal::with(Exit::Config, format!("there is no profile {name:?}{near}")))
    }

    fn read(&self, path: &Path) -> Result<String> {
        let verb = || format!("read profile {}", path.display());
        let refuse = |why: &str| {
            let text = format!("profile {} is refused: {why}", path.display());
            Refusal::with(Exit::Config, text)
        };
        let file = File::open(path)
            .map_err(|e| Refusal::with(Exit::Config, format!("{}: {e}", verb())))?;
        // Asked of the opened file, not of the name: it cannot be exchanged in between.
        let meta = file.metadata().with_context(verb)?;
        if self.strict {
            let others = |m: &fs::Metadata| !crate::open::trusted(m);
            let folder =
                path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if others(&meta) {
                return Err(refuse("others than root may write it (chown root, chmod go-w)"));
            }
            if others(&fs::metadata(folder).with_context(verb)?) {
                return Err(refuse(
                    "others than root may write its folder (chown root, chmod go-w)",
                ));
            }
        }
        let mut text = String::new();
        file.take(MOST_BYTES + 1).read_to_string(&mut text).with_context(verb)?;
        if text.len() as u64 > MOST_BYTES {
            return Err(refuse("it is larger than 1 MiB"));
        }
        Ok(text)
    }
}

/// Reads a profile and what it includes, the included ones first.
pub fn read_into(profile: &mut Profile, finder: &Finder, name: &str, depth: usize) -> Result<()> {
    if depth > MOST_DEPTH {
        let text = format!("profile {name}: includes are nested deeper than {MOST_DEPTH}");
        return Err(Refusal::with(Exit::Config, text));
    }
    let (text, origin) = finder.find(name)?;
    let table = syntax::check(&text, &origin)?;
    let includes = table.get("include").and_then(|v| v.as_array()).cloned().unwrap_or_default();
    for include in includes.iter().filter_map(|v| v.as_str()) {
        read_into(profile, finder, include, depth + 1)?;
    }
    profile.merge(table, &origin);
    Ok(())
}

/// All profiles that can be named, with where each is from.
pub fn names(finder: &Finder) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        BUILT_IN.iter().map(|(n, _)| (n.to_string(), "built in".to_string())).collect();
    for folder in finder.folders.iter().rev() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            if let Some(name) = file.strip_suffix(".toml") {
                all.retain(|(n, _)| n != name);
                all.push((name.to_string(), entry.path().display().to_string()));
            }
        }
    }
    all.sort();
    all
}
