//! The journal: one JSON object a line, appended and fsynced before the first write of a stage and
//! after its last. Nothing is rewritten in place.
//!
//! Within one major version `resource`, `before`, `after` and `boot` never change their meaning, so
//! an older binary can undo what a newer one did.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Exit, Refusal};
use crate::model::facts::LinkId;
use crate::model::{Change, Claims, Outcome, Resource, State};

pub const SCHEMA: u32 = 1;

/// Past this size, and with nothing pending, a journal is compacted.
const COMPACT_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Record {
    Begin(Begin),
    End(End),
    Owned(Snapshot),
}

/// A stage's whole plan, in the order of writing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Begin {
    pub run: String,
    pub verb: String,
    pub profile: Option<String>,
    pub version: String,
    pub time: String,
    pub boot: String,
    pub netns: u64,
    pub changes: Vec<Change>,
    pub collateral: Vec<Collateral>,
    pub links: Vec<LinkId>,
}

/// What a change disturbs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collateral {
    pub resource: Resource,
    /// As it must be once the change is made.
    pub before: State,
    /// As it was when the stage began.
    pub now: State,
    /// The change that disturbs it.
    pub cause: Resource,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct End {
    pub run: String,
    pub outcomes: Vec<Done>,
    /// Collateral that could not be put back while its cause stands: what it was, what it is.
    pub left: Vec<Left>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    pub resource: Resource,
    pub outcome: Outcome,
    /// Where a change left it that failed, or of which the kernel took a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// What the kernel did not take, all or a part of it, and will not take until the next boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<State>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Done {
    pub fn new(resource: &Resource, outcome: Outcome) -> Self {
        Done { resource: resource.clone(), outcome, state: None, refused: None, why: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub resource: Resource,
    pub before: State,
    pub after: State,
    pub cause: Resource,
}

/// All that is owned, in place of the records that led to it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Snapshot {
    pub owned: Vec<OwnedRecord>,
    pub links: Vec<LinkId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnedRecord {
    pub resource: Resource,
    /// The baseline.
    pub before: State,
    /// The values we wrote, the last one last.
    pub wrote: Vec<State>,
    pub claims: Claims,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Resource>,
    pub boot: String,
    pub netns: u64,
    pub profile: Option<String>,
    pub time: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    schema: u32,
    #[serde(flatten)]
    record: Record,
}

pub struct Journal {
    path: PathBuf,
    pub records: Vec<Record>,
    pub warnings: Vec<String>,
    /// The last line has no line end: a write that was cut off.
    torn: bool,
}

impl Journal {
    /// Reads the journal; one that is not there yet is empty.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("journal.jsonl");
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(mut file) => {
                file.read_to_end(&mut text).with_context(|| format!("read {}", path.display()))?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("open {}", path.display())),
        }
        let mut journal = Journal { path, records: Vec::new(), warnings: Vec::new(), torn: false };
        journal.parse(&text)?;
        Ok(journal)
    }

    fn parse(&mut self, text: &[u8]) -> Result<()> {
        self.torn = !text.is_empty() && !text.ends_with(b"\n");
        for (number, line) in text.split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty())
        {
            let place = format!("{}:{}", self.path.display(), number + 1);
            // The schema alone first: a newer one may hold records we cannot even parse.
            #[derive(Deserialize)]
            struct Head {
                schema: u32,
            }
            if let Ok(head) = serde_json::from_slice::<Head>(line)
                && head.schema > SCHEMA
            {
                let text = format!(
                    "{place}: written by a newer nettune (schema {}, this one knows {SCHEMA}): \
                     use that nettune to roll back",
                    head.schema
                );
                return Err(Refusal::with(Exit::Config, text));
            }
            match serde_json::from_slice::<Line>(line) {
                Ok(line) => self.records.push(line.record),
                // A record that was cut off was never acted upon: writes begin after its fsync.
                Err(_) if serde_json::from_slice::<serde_json::Value>(line).is_err() => self
                    .warnings
                    .push(format!("{place}: dropped a record that was cut off while written")),
                Err(e) => {
                    let text = format!("{place}: not a journal record: {e}");
                    return Err(Refusal::with(Exit::Config, text));
                }
            }
        }
        Ok(())
    }

    /// Appends a record so that it outlives a power cut, or leaves the file as it was.
    pub fn append(&mut self, record: Record) -> Result<()> {
        let mut bytes = Vec::new();
        // After a torn line the next record starts on a line of its own.
        if self.torn {
            bytes.push(b'\n');
        }
        serde_json::to_writer(&mut bytes, &Line { schema: SCHEMA, record: record.clone() })?;
        bytes.push(b'\n');
        let verb = || format!("append to {}", self.path.display());
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)
            .with_context(verb)?;
        let length = file.seek(SeekFrom::End(0)).with_context(verb)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        if let Err(e) = written {
            // Half a record is harmless (it is dropped as torn), but a full disk needs the room.
            let _ = file.set_len(length);
            return Err(e).with_context(verb);
        }
        sync_folder(&self.path)?;
        self.torn = false;
        self.records.push(record);
        Ok(())
    }

    /// Whether there is enough in it that a snapshot would be shorter.
    pub fn wants_compaction(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|m| m.len() > COMPACT_BYTES)
    }

    /// Replaces all records by one snapshot: temporary file, fsync, rename, fsync of the folder.
    pub fn compact(&mut self, snapshot: Snapshot) -> Result<()> {
        let record = Record::Owned(snapshot);
        let mut bytes = serde_json::to_vec(&Line { schema: SCHEMA, record: record.clone() })?;
        bytes.push(b'\n');
        write_atomically(&self.path, &bytes, 0o600)?;
        self.records = vec![record];
        self.torn = false;
        Ok(())
    }
}

pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let verb = || format!("write {}", temporary.display());
    // Left over from a run that died between write and rename.
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(&temporary)
        .with_context(verb)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(verb)?;
    fs::rename(&temporary, path).with_context(|| format!("rename to {}", path.display()))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)
        .and_then(|f| f.sync_all())
        .with_context(|| format!("fsync {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(run: &str) -> Record {
        Record::Begin(Begin { run: run.into(), ..Begin::default() })
    }

    #[test]
    fn a_torn_line_is_dropped_and_the_next_record_starts_on_a_new_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::load(dir.path()).unwrap();
        journal.append(begin("a")).unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(br#"{"schema":1,"type":"beg"#);
        fs::write(&path, &text).unwrap();
        let mut journal = Journal::load(dir.path()).unwrap();
        assert_eq!((journal.records.len(), journal.warnings.len()), (1, 1));
        journal.append(begin("b")).unwrap();
        let journal = Journal::load(dir.path()).unwrap();
        assert_eq!((journal.records.len(), journal.warnings.len()), (2, 1));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("journal.jsonl"), "{\"schema\":2,\"type\":\"spell\"}\n").unwrap();
        let error = Journal::load(dir.path()).err().unwrap();
        assert_eq!(error.downcast_ref::<Refusal>().unwrap().exit, Exit::Config);
    }

    #[test]
    fn every_line_begins_with_the_schema() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::load(dir.path()).unwrap();
        journal.append(begin("a")).unwrap();
        journal.compact(Snapshot::default()).unwrap();
        journal.append(begin("b")).unwrap();
        let text = fs::read_to_string(dir.path().join("journal.jsonl")).unwrap();
        assert!(text.lines().all(|l| l.starts_with("{\"schema\":1,\"type\":")), "{text}");
        assert_eq!(Journal::load(dir.path()).unwrap().records.len(), 2);
    }
}
