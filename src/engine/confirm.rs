//! Commit-confirm: a run that is taken back unless somebody says that it may stay. What waits is one
//! file in the run directory, written before the run's first write; a watchdog outside the command
//! reads it and takes the run back when its time is up.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::journal::{Begin, Record, write_atomically};
use super::ledger::Ledger;
use super::{Exit, Refusal};
use crate::model::reach::Reach;
use crate::model::{Claims, Resource, State};
use crate::open;

pub const SCHEMA: u32 = 1;
pub const MOST_SECONDS: u32 = 86400;
const MOST_BYTES: u64 = 16 << 20;

/// A run that waits for its confirmation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pending {
    pub schema: u32,
    /// The run's time, by which the journal names its stages.
    pub run: String,
    pub verb: String,
    pub profile: Option<String>,
    /// The profile that was applied before the run.
    pub profile_before: Option<String>,
    pub plan_id: Option<String>,
    pub boot: String,
    /// Milliseconds since boot, suspend included: no setting of a clock moves it.
    pub deadline: u64,
    pub seconds: u32,
    /// What answered before the run, and must answer after it.
    pub probes: Vec<Passed>,
    pub watchdog: Watchdog,
    /// Who makes the run; it is stopped when it hangs past the deadline.
    pub maker: Process,
    pub host: PathBuf,
    pub state_dir: PathBuf,
    /// What to apply once it is confirmed, so that a reset before that leaves nothing behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist: Option<Persist>,
    /// What taking back means, once somebody has begun to: the journal may be compacted meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<Target>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    pub reach: Reach,
    /// It answered a packet as large as its path takes, so it must do so again.
    pub full: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Watchdog {
    /// Not armed yet.
    None,
    /// A transient timer of systemd, by the name of its units.
    Unit(String),
    /// A process in a session of its own.
    Process(Process),
}

/// A process and when it was started: numbers are used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub start: u64,
}

/// What is made to last by the confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persist {
    pub profile: String,
    /// That profile with its includes and overrides resolved.
    pub table: String,
}

/// A resource as it was before the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub resource: Resource,
    pub state: State,
    /// Who held it.
    pub claims: Claims,
    /// Values that the run gave it.
    pub wrote: Vec<State>,
    pub tweaks: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    pub why: String,
    pub time: String,
    pub notes: Vec<String>,
}

/// The run directory: what dies with the boot.
pub struct RunDir(pub PathBuf);

impl RunDir {
    fn file(&self) -> PathBuf {
        self.0.join("pending.json")
    }

    /// What waits, or has ended last. Nothing when there is nothing, or when it is of another boot:
    /// what that run set died with its kernel.
    pub fn load(&self, boot: &str) -> Result<Option<Pending>> {
        let path = self.file();
        let verb = || format!("read {}", path.display());
        let file = match open::regular(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(verb),
        };
        // It says what root is to write: asked of the opened file and of its folder.
        let folder = fs::metadata(&self.0).with_context(verb)?;
        for meta in [file.metadata().with_context(verb)?, folder] {
            if meta.uid() != nix::unistd::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
                let text = format!(
                    "{} is refused: others may write it (chown root, chmod go-w)",
                    path.display()
                );
                return Err(Refusal::with(Exit::Config, text));
            }
        }
        let text = open::all(file, MOST_BYTES).with_context(verb)?;
        let pending: Pending = serde_json::from_slice(&text).map_err(|e| {
            Refusal::with(Exit::Config, format!("{}: not a pending run: {e}", path.display()))
        })?;
        if pending.schema > SCHEMA {
            let text = format!(
                "{}: written by a newer nettune (schema {}): use that one",
                path.display(),
                pending.schema
            );
            return Err(Refusal::with(Exit::Config, text));
        }
        Ok((pending.boot == boot).then_some(pending))
    }

    /// What waits for a confirmation now.
    pub fn waiting(&self, boot: &str) -> Result<Option<Pending>> {
        Ok(self.load(boot)?.filter(|p| p.ended.is_none()))
    }

    pub fn store(&self, pending: &Pending) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .with_context(|| format!("create {}", self.0.display()))?;
        write_atomically(&self.file(), &serde_json::to_vec(pending)?, 0o600)
    }

    pub fn clear(&self) -> Result<()> {
        match fs::remove_file(self.file()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("remove {}", self.file().display()))
            }
            _ => Ok(()),
        }
    }
}

/// What a run changed, as it was before, in the order of the run: from the journal.
pub fn targets(records: &[Record], run: &str) -> Vec<Target> {
    let begin = |r: &Record| match r {
        Record::Begin(begin) if begin.time == run => Some(begin.clone()),
        _ => None,
    };
    let Some(first) = records.iter().position(|r| begin(r).is_some()) else { return Vec::new() };
    let before = Ledger::replay(&records[..first]);
    let mut targets: BTreeMap<Resource, (usize, Target)> = BTreeMap::new();
    let begins: Vec<Begin> = records[first..].iter().filter_map(begin).collect();
    for (order, change) in begins.iter().flat_map(|b| &b.changes).enumerate() {
        let new = || Target {
            resource: change.resource.clone(),
            state: change.before.clone(),
            claims: before
                .owned
                .get(&change.resource)
                .map(|o| o.claims.clone())
                .unwrap_or_default(),
            wrote: Vec::new(),
            tweaks: change.tweaks.clone(),
        };
        let (at, target) = targets.entry(change.resource.clone()).or_insert_with(|| (order, new()));
        *at = order;
        target.wrote.push(change.after.clone());
    }
    let mut all: Vec<(usize, Target)> = targets.into_values().collect();
    all.sort_by_key(|(order, _)| *order);
    all.into_iter().map(|(_, target)| target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(boot: &str) -> Pending {
        Pending {
            schema: SCHEMA,
            run: "t1".into(),
            verb: "apply".into(),
            profile: Some("p".into()),
            profile_before: None,
            plan_id: None,
            boot: boot.into(),
            deadline: 1,
            seconds: 20,
            probes: vec![Passed { reach: "icmp:10.0.0.1".parse().unwrap(), full: true }],
            watchdog: Watchdog::Process(Process { pid: 1, start: 2 }),
            maker: Process { pid: 3, start: 4 },
            host: "/".into(),
            state_dir: "/var/lib/nettune".into(),
            persist: None,
            targets: None,
            ended: None,
        }
    }

    #[test]
    fn one_of_another_boot_is_void() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir(dir.path().join("run"));
        assert!(run.load("b").unwrap().is_none());
        run.store(&pending("b")).unwrap();
        assert_eq!(run.waiting("b").unwrap().unwrap().seconds, 20);
        assert!(run.waiting("c").unwrap().is_none());
        run.clear().unwrap();
        run.clear().unwrap();
        assert!(run.load("b").unwrap().is_none());
    }

    #[test]
    fn what_others_may_write_or_nobody_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir(dir.path().join("run"));
        run.store(&pending("b")).unwrap();
        fs::set_permissions(run.file(), fs::Permissions::from_mode(0o666)).unwrap();
        let exit = |e: anyhow::Error| e.downcast_ref::<Refusal>().unwrap().exit;
        assert_eq!(exit(run.load("b").unwrap_err()), Exit::Config);
        fs::set_permissions(run.file(), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(run.file(), "{\"schema\":1}").unwrap();
        assert_eq!(exit(run.load("b").unwrap_err()), Exit::Config);
        run.store(&Pending { schema: 2, ..pending("b") }).unwrap();
        assert_eq!(exit(run.load("b").unwrap_err()), Exit::Config);
    }
}
