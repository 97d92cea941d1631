//! The journal: one JSON object a line, appended and fsynced before the first write of a stage and
//! after its last. Nothing is rewritten in place.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;

use super::folder::{Folder, kind};
use super::ledger::Ledger;
use super::lines::{self, Bad, End, Line};
use super::record::{Record, SCHEMA, Snapshot};
use super::{Exit, Refusal};
use crate::model::script;

pub const NAME: &str = "journal.jsonl";
pub const UNDO: &str = "undo.sh";

/// Past this size, and with nothing pending, a journal is compacted.
const COMPACT_BYTES: u64 = 1 << 20;
/// A journal that is longer is none of ours.
pub const MOST_BYTES: u64 = 64 << 20;

#[derive(Default)]
pub struct Journal {
    folder: Option<Arc<Folder>>,
    /// What its records make of the node.
    pub ledger: Ledger,
    /// Records.
    pub count: usize,
    pub warnings: Vec<String>,
    /// Why it cannot be read. Then no record is known, and nothing may be written.
    pub damage: Option<String>,
    length: u64,
    /// Where a write was cut off.
    whole: u64,
    /// What is whole lacks its line end.
    open: bool,
}

impl Journal {
    /// Reads the journal; one that is not there yet is empty.
    pub fn load(folder: Option<Arc<Folder>>) -> Result<Self> {
        let mut journal = Journal { folder, ..Journal::default() };
        let Some(folder) = journal.folder.clone() else { return Ok(journal) };
        match journal.read(&folder) {
            Ok(()) => {}
            Err(e) if kind(&e) == Some(ErrorKind::PermissionDenied) => return Err(e),
            Err(e) if e.downcast_ref::<Refusal>().is_some() => return Err(e),
            Err(e) => journal.damage = Some(format!("{e:#}")),
        }
        if journal.damage.is_some() {
            (journal.ledger, journal.count) = (Ledger::default(), 0);
        } else if journal.count == 0 {
            journal.damage = lost(&folder);
        }
        Ok(journal)
    }

    /// Record by record: of a long one no more is kept than what it makes of the node.
    fn read(&mut self, folder: &Folder) -> Result<()> {
        let place = folder.path(NAME).display().to_string();
        let (mut newest, mut damage) = (None, None);
        let (ledger, count) = (&mut self.ledger, &mut self.count);
        let end = records(folder, |line| {
            let place = format!("{place}:{}", line.number);
            let why = match line.read {
                Ok(record) => {
                    *count += 1;
                    return ledger.take(record);
                }
                Err(Bad::Newer(schema)) => {
                    newest.get_or_insert_with(|| newer(&place, schema));
                    return;
                }
                Err(Bad::Twice(first)) => format!("it is line {first} once more"),
                Err(Bad::Damaged(why)) => why,
            };
            damage.get_or_insert_with(|| {
                format!(
                    "{place} cannot be read: {why}; nothing is written before it is mended: nettune \
                     journal repair shows what is lost"
                )
            });
        })?;
        self.damage = damage;
        if let Some(newer) = newest {
            return Err(newer);
        }
        let Some(end) = end else { return Ok(()) };
        (self.length, self.whole, self.open) = (end.length, end.whole, end.open);
        if end.whole < end.length {
            // A record that was cut off was never acted upon: writes begin after its fsync.
            self.warnings.push(format!("{place}: dropped a record that was cut off while written"));
        }
        Ok(())
    }

    pub fn folder(&self) -> Option<&Folder> {
        self.folder.as_deref()
    }

    /// All its records, once more from the disk.
    pub fn records(&self) -> Result<Vec<Record>> {
        let mut all = Vec::new();
        if let Some(folder) = &self.folder {
            records(folder, |line| all.extend(line.read))?;
        }
        Ok(all)
    }

    /// What cannot be read is not written over, nor is anything else before it is repaired.
    pub fn intact(&self) -> Result<()> {
        match &self.damage {
            Some(why) => Err(Refusal::with(Exit::Config, why)),
            None => Ok(()),
        }
    }

    /// Appends a record so that it outlives a power cut, or leaves the file as it was.
    pub fn append(&mut self, record: Record) -> Result<()> {
        self.append_all(&[record])
    }

    /// Several at once, whole or not at all.
    pub fn append_all(&mut self, records: &[Record]) -> Result<()> {
        self.intact()?;
        let mut line = Vec::new();
        for record in records {
            if let Record::Begin(begin) = record {
                known(&begin.boot, begin.netns)?;
            }
            line.extend(lines::write(record)?);
        }
        let folder = self.folder.as_ref().context("append to the journal: no folder")?;
        let verb = || format!("append to {}", folder.path(NAME).display());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND;
        let mut file = folder.file(NAME, flags, 0o600)?;
        let length = file.metadata().with_context(verb)?.len();
        if length != self.length {
            let text = format!("{}: somebody else has written to it", verb());
            return Err(Refusal::with(Exit::Config, text));
        }
        if self.whole < length {
            file.set_len(self.whole).with_context(verb)?;
            self.length = self.whole;
        }
        let end: &[u8] = if self.open { b"\n" } else { b"" };
        let bytes = [end, &line].concat();
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        if let Err(e) = written {
            // Half a record is harmless (it is dropped as torn), but a full disk needs the room.
            let _ = file.set_len(self.length);
            return Err(e).with_context(verb);
        }
        // A name that is there already needs none.
        if length == 0 {
            folder.sync()?;
        }
        self.length += bytes.len() as u64;
        (self.whole, self.open) = (self.length, false);
        self.count += records.len();
        Ok(())
    }

    /// Has a first record before there is an undo.sh: one that is empty beside a full script was lost.
    pub fn found(&mut self) -> Result<()> {
        if self.count == 0 { self.compact(Snapshot::default()) } else { Ok(()) }
    }

    /// Whether there is enough in it that a snapshot would be shorter.
    pub fn wants_compaction(&self) -> bool {
        self.length > COMPACT_BYTES
    }

    /// For those who only read it.
    pub fn long(&self) -> Option<String> {
        let text = |bytes| {
            format!(
                "the journal has {} MiB, mostly of what is done: the next apply or rollback makes it short",
                bytes >> 20
            )
        };
        Some(self.length).filter(|_| self.wants_compaction()).map(text)
    }

    /// Replaces all records by one snapshot: temporary file, fsync, rename, fsync of the folder.
    pub fn compact(&mut self, snapshot: Snapshot) -> Result<()> {
        self.intact()?;
        let folder = self.folder.as_ref().context("compact the journal: no folder")?;
        let record = Record::Owned(snapshot);
        let line = lines::write(&record)?;
        folder.replace(NAME, &line, 0o600)?;
        self.length = line.len() as u64;
        (self.whole, self.open) = (self.length, false);
        self.count = 1;
        Ok(())
    }
}

/// Hands out its lines; None where there is none.
pub fn records(folder: &Folder, take: impl FnMut(Line)) -> Result<Option<End>> {
    let verb = || format!("read {}", folder.path(NAME).display());
    let file = match folder.file(NAME, OFlag::O_RDONLY, 0) {
        Err(e) if kind(&e) == Some(ErrorKind::NotFound) => return Ok(None),
        other => other?,
    };
    let end = lines::each(BufReader::new(file.take(MOST_BYTES + 1)), take).with_context(verb)?;
    if end.length > MOST_BYTES {
        let text = format!("is longer than {MOST_BYTES} bytes");
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, text)).with_context(verb);
    }
    Ok(Some(end))
}

/// Why a journal without a record is not a node without a change: undo.sh beside it has steps.
pub fn lost(folder: &Folder) -> Option<String> {
    let undo = folder.read(UNDO, MOST_BYTES).ok().flatten().unwrap_or_default();
    let steps = script::steps(&String::from_utf8_lossy(&undo));
    let (place, undo) = (folder.path(NAME), folder.path(UNDO));
    let (place, undo) = (place.display(), undo.display());
    let text = || {
        format!(
            "{place} is gone or empty, and {undo} still undoes {steps} of nettune's changes: run it \
             (sh {undo}), then remove it"
        )
    };
    (steps > 0).then(text)
}

pub fn newer(place: &str, schema: u32) -> anyhow::Error {
    let text = format!(
        "{place}: written by a newer nettune (schema {schema}, this one knows {SCHEMA}): use that nettune \
         to roll back"
    );
    Refusal::with(Exit::Config, text)
}

/// Without them nobody could tell later whether a record is of that boot and of that namespace.
pub fn known(boot: &str, netns: u64) -> Result<()> {
    let what = match (boot.is_empty(), netns) {
        (true, _) => "the boot id of this node cannot be read (proc/sys/kernel/random/boot_id)",
        (_, 0) => "the network namespace of this process cannot be read (/proc/thread-self/ns/net)",
        _ => return Ok(()),
    };
    let text = format!("{what}, and without it nothing is written: mount /proc");
    Err(Refusal::with(Exit::Config, text))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::record::Begin;
    use super::*;

    fn begin(run: &str) -> Record {
        let (run, boot) = (run.into(), "b".into());
        Record::Begin(Begin { run, boot, netns: 1, ..Begin::default() })
    }

    fn load(dir: &Path) -> Result<Journal> {
        Journal::load(Folder::open(dir, true)?.map(Arc::new))
    }

    fn counts(dir: &Path) -> (usize, usize, bool) {
        let journal = load(dir).unwrap();
        (journal.count, journal.warnings.len(), journal.damage.is_some())
    }

    #[test]
    fn what_was_cut_off_is_dropped_and_goes_with_the_next_record() {
        let record = lines::write(&begin("c")).unwrap();
        let cut = |at: usize| record[..at].to_vec();
        let nul = |n: usize| vec![0; n];
        let tails =
            [cut(1), cut(40), cut(record.len() - 2), nul(1), nul(4096), [cut(9), nul(9)].concat()];
        for tail in tails {
            let dir = tempfile::tempdir().unwrap();
            load(dir.path()).unwrap().append(begin("a")).unwrap();
            let path = dir.path().join(NAME);
            let whole = fs::read(&path).unwrap();
            fs::write(&path, [&whole[..], &tail].concat()).unwrap();
            assert_eq!(counts(dir.path()), (1, 1, false), "{tail:?}");
            load(dir.path()).unwrap().append(begin("b")).unwrap();
            assert_eq!(counts(dir.path()), (2, 0, false), "{tail:?}");
            assert!(fs::read(&path).unwrap().starts_with(&whole), "{tail:?}");
        }
    }

    #[test]
    fn a_whole_line_without_its_end_is_a_record_and_the_next_starts_on_a_line_of_its_own() {
        for tail in [0, 1, 4096] {
            let dir = tempfile::tempdir().unwrap();
            load(dir.path()).unwrap().append(begin("a")).unwrap();
            let path = dir.path().join(NAME);
            let mut text = fs::read(&path).unwrap();
            text.pop();
            text.extend(vec![0; tail]);
            fs::write(&path, text).unwrap();
            assert_eq!(counts(dir.path()), (1, usize::from(tail > 0), false), "{tail}");
            load(dir.path()).unwrap().append(begin("b")).unwrap();
            assert_eq!(counts(dir.path()), (2, 0, false), "{tail}");
        }
    }

    #[test]
    fn nothing_is_written_to_a_damaged_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        fs::write(&path, "{}\n").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let mut journal = load(dir.path()).unwrap();
        let exit = |e: anyhow::Error| e.downcast_ref::<Refusal>().unwrap().exit;
        assert_eq!(exit(journal.append(begin("a")).unwrap_err()), Exit::Config);
        assert_eq!(exit(journal.compact(Snapshot::default()).unwrap_err()), Exit::Config);
        assert_eq!(fs::read(&path).unwrap(), b"{}\n");
    }

    #[test]
    fn a_record_of_no_known_boot_or_namespace_is_never_written() {
        let dir = tempfile::tempdir().unwrap();
        for (boot, netns) in [("", 1), ("b", 0)] {
            let begin = Begin { boot: boot.into(), netns, ..Begin::default() };
            let error = load(dir.path()).unwrap().append(Record::Begin(begin)).unwrap_err();
            assert_eq!(error.downcast_ref::<Refusal>().unwrap().exit, Exit::Config);
        }
        assert!(!dir.path().join(NAME).exists());
    }

    #[test]
    fn what_somebody_else_has_written_meanwhile_is_not_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (load(dir.path()).unwrap(), load(dir.path()).unwrap());
        one.append(begin("a")).unwrap();
        assert!(two.append(begin("b")).is_err());
        assert_eq!(counts(dir.path()), (1, 0, false));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        fs::write(&path, "{\"schema\":2,\"type\":\"spell\"}\n").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let error = load(dir.path()).err().unwrap();
        assert_eq!(error.downcast_ref::<Refusal>().unwrap().exit, Exit::Config);
        assert!(error.to_string().contains("newer nettune"), "{error}");
    }

    #[test]
    fn every_line_begins_with_the_schema_and_ends_with_its_sum() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = load(dir.path()).unwrap();
        journal.append(begin("a")).unwrap();
        journal.compact(Snapshot::default()).unwrap();
        journal.append(begin("b")).unwrap();
        let text = fs::read_to_string(dir.path().join(NAME)).unwrap();
        assert!(text.lines().all(|l| l.starts_with("{\"schema\":1,\"type\":")), "{text}");
        // Nobody else's program need be believed: printf '%s' '{"schema":…"links":[]' | sha256sum
        assert!(text.starts_with(
            r#"{"schema":1,"type":"owned","owned":[],"links":[],"sum":"55ee9cb4f752ede1"}"#
        ));
        assert_eq!(counts(dir.path()), (2, 0, false));
    }
}
