//! Where profiles are found, and whether a file may be trusted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::merged::Profile;
use super::syntax::{self, Checked};
use crate::engine::{Exit, Refusal};
use crate::open;

const BUILT_IN: [(&str, &str); 3] = [
    ("cilium-max", include_str!("../../profiles/cilium-max.toml")),
    ("network-latency", include_str!("../../profiles/network-latency.toml")),
    ("network-throughput", include_str!("../../profiles/network-throughput.toml")),
];
const MOST_BYTES: u64 = 1 << 20;
const MOST_DEPTH: usize = 8;
/// One profile with all that it includes.
const MOST_FILES: usize = 256;
const MOST_TOGETHER: usize = 4 << 20;

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
        let known: Vec<String> = names(self)?.into_iter().map(|(name, _)| name).collect();
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
        let unread = |e| Refusal::with(Exit::Config, format!("{}: {e}", verb()));
        let file = open::regular(path).map_err(unread)?;
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
        let bytes = open::all(file, MOST_BYTES).map_err(unread)?;
        String::from_utf8(bytes).map_err(|_| refuse("it is no UTF-8 text"))
    }
}

/// A file as it was read, where from, and how deep its includes go.
struct Parsed {
    checked: Checked,
    origin: String,
    height: usize,
}

/// One profile being read, with what it includes: each file once, however often it is named.
struct Reading<'a> {
    finder: &'a Finder,
    bytes: usize,
    /// The last word first.
    order: Vec<String>,
    files: BTreeMap<String, Parsed>,
}

impl Reading<'_> {
    /// A file that is included twice counts where it comes last: what it set before that would be
    /// set again. So its own comes first here, then its includes from the last to the first, and what
    /// was met already is passed over. `above` are the files that lead here.
    fn visit(&mut self, name: &str, above: &mut Vec<String>) -> Result<usize> {
        let wrong = |why: String| Refusal::with(Exit::Config, format!("profile {name}: {why}"));
        if above.iter().any(|open| open == name) {
            return Err(wrong(format!("it includes itself: {} {name}", above.join(" "))));
        }
        let depth = above.len();
        let deep = |height: usize| match depth + height > MOST_DEPTH {
            true => Err(wrong(format!("includes are nested deeper than {MOST_DEPTH}"))),
            false => Ok(height),
        };
        if let Some(known) = self.files.get(name) {
            return deep(known.height);
        }
        deep(0)?;
        let (text, origin) = self.finder.find(name)?;
        self.bytes += text.len();
        if self.files.len() == MOST_FILES || self.bytes > MOST_TOGETHER {
            return Err(wrong(format!(
                "with it {MOST_FILES} files or {} MiB are exceeded",
                MOST_TOGETHER >> 20
            )));
        }
        let checked = syntax::check(&text, &origin)?;
        let includes =
            checked.table.get("include").and_then(|v| v.as_array()).cloned().unwrap_or_default();
        let file = Parsed { checked, origin, height: 0 };
        self.files.insert(name.to_string(), file);
        self.order.push(name.to_string());
        above.push(name.to_string());
        let mut height = 0;
        for include in includes.iter().rev().filter_map(|v| v.as_str()) {
            height = height.max(1 + self.visit(include, above)?);
        }
        above.pop();
        if let Some(file) = self.files.get_mut(name) {
            file.height = height;
        }
        Ok(height)
    }
}

/// Reads a profile and what it includes, the included ones first.
pub fn read_into(profile: &mut Profile, finder: &Finder, name: &str) -> Result<()> {
    let mut reading = Reading { finder, bytes: 0, order: Vec::new(), files: BTreeMap::new() };
    reading.visit(name, &mut Vec::new())?;
    for name in reading.order.iter().rev() {
        if let Some(file) = reading.files.remove(name) {
            profile.lay(file.checked, &file.origin);
        }
    }
    Ok(())
}

/// All profiles that can be named, with where each is from.
pub fn names(finder: &Finder) -> Result<Vec<(String, String)>> {
    let mut all: BTreeMap<String, String> =
        BUILT_IN.iter().map(|(n, _)| (n.to_string(), "built in".to_string())).collect();
    for folder in finder.folders.iter().rev() {
        let files = match open::entries(folder, open::MOST_ENTRIES) {
            Ok(files) => files,
            Err(e) if e.kind() == std::io::ErrorKind::FileTooLarge => {
                let text = format!("list profiles: {} {e}", folder.display());
                return Err(Refusal::with(Exit::Config, text));
            }
            Err(_) => continue,
        };
        for file in files {
            if let Some(name) = file.to_string_lossy().strip_suffix(".toml") {
                let path = folder.join(&file).display().to_string();
                all.insert(name.to_string(), path);
            }
        }
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }

    /// Twelve includes a level and eight levels are 12^8 ways, and 97 files.
    #[test]
    fn what_is_included_by_many_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let finder = Finder { folders: vec![dir.path().to_path_buf()], strict: false };
        let names = |level: u32| (0..12).map(move |n| format!("l{level}-{n}"));
        let list =
            |level: u32| names(level).map(|n| format!("{n:?}")).collect::<Vec<_>>().join(",");
        write(dir.path(), "top", &format!("include = [{}]\n", list(1)));
        let mut total = format!("include = [{}]\n", list(1)).len();
        for level in 1..=8 {
            for (at, name) in names(level).enumerate() {
                let below = if level < 8 { list(level + 1) } else { String::new() };
                let text = format!("include = [{below}]\n[cpu]\nidle-latency-us = {at}\n");
                write(dir.path(), &name, &text);
                total += text.len();
            }
        }
        let mut reading =
            Reading { finder: &finder, bytes: 0, order: Vec::new(), files: BTreeMap::new() };
        assert_eq!(reading.visit("top", &mut Vec::new()).unwrap(), 8);
        assert_eq!((reading.files.len(), reading.bytes), (97, total));
        let profile = Profile::load(&finder, "top", &[]).unwrap();
        assert_eq!(profile.table["cpu"]["idle-latency-us"].as_integer(), Some(11));
        assert!(profile.origins["cpu.idle-latency-us"].ends_with("/l1-11.toml"));
    }

    /// The last to say a thing wins, as if each file were read wherever it is named.
    #[test]
    fn the_last_place_of_a_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let finder = Finder { folders: vec![dir.path().to_path_buf()], strict: false };
        write(dir.path(), "a", "[steering]\nrfs = 1\n[cpu]\ngovernor = \"a\"\n");
        write(dir.path(), "b", "[steering]\nrfs = 2\n");
        write(dir.path(), "c", "include = [\"a\"]\n");
        write(dir.path(), "d", "include = [\"b\"]\n[cpu]\ngovernor = \"d\"\n");
        let value = |list: &str| {
            write(dir.path(), "top", &format!("include = [{list}]\n"));
            let table = Profile::load(&finder, "top", &[]).unwrap().table;
            let governor = table["cpu"]["governor"].as_str().map(str::to_string).unwrap();
            (table["steering"]["rfs"].as_integer().unwrap(), governor)
        };
        let is = |rfs, governor: &str| (rfs, governor.to_string());
        assert_eq!(value(r#""a", "b", "c""#), is(1, "a"));
        assert_eq!(value(r#""c", "b", "d", "a", "d""#), is(2, "d"));
        assert_eq!(value(r#""a", "d", "b""#), is(2, "d"));
        assert_eq!(value(r#""d", "c", "b""#), is(2, "a"));
    }

    #[test]
    fn a_profile_has_a_bound_with_what_it_includes() {
        let dir = tempfile::tempdir().unwrap();
        let finder = Finder { folders: vec![dir.path().to_path_buf()], strict: false };
        let names: Vec<String> = (0..MOST_FILES).map(|n| format!("\"n{n}\"")).collect();
        for at in 0..MOST_FILES {
            write(dir.path(), &format!("n{at}"), "");
        }
        let load = |count: usize| {
            write(dir.path(), "top", &format!("include = [{}]\n", names[..count].join(",")));
            Profile::load(&finder, "top", &[]).map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(load(MOST_FILES - 1), Ok(()));
        assert!(load(MOST_FILES).unwrap_err().contains("256 files or 4 MiB"));
    }
}
