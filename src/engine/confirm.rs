//! Commit-confirm: a run that is taken back unless somebody says that it may stay. What waits is one
//! file in the run directory, written before the run's first write; a watchdog outside the command
//! reads it and takes the run back when its time is up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::ledger::Ledger;
use super::record::{Begin, Record};
use super::{Exit, Refusal};
use crate::model::reach::Reach;
use crate::model::{Claims, Resource, State};

pub const SCHEMA: u32 = 1;
pub const MOST_SECONDS: u32 = 86400;
const MOST_BYTES: u64 = 16 << 20;
const FILE: &str = "pending.json";

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
    /// What waits, or has ended last. Nothing when there is nothing, or when it is of another boot:
    /// what that run set died with its kernel. It says what root is to write, so it is believed only
    /// where nobody else may write it.
    pub fn load(&self, boot: &str) -> Result<Option<Pending>> {
        let Some(folder) = Folder::open(&self.0, true)? else { return Ok(None) };
        let Some(text) = folder.read(FILE, MOST_BYTES)? else { return Ok(None) };
        let path = folder.path(FILE);
        if boot.is_empty() {
            let text = format!(
                "{}: whether it is of this boot is unknown (proc/sys/kernel/random/boot_id cannot be read)",
                path.display()
            );
            return Err(Refusal::with(Exit::Config, text));
        }
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
        Folder::make(&self.0)?.replace(FILE, &serde_json::to_vec(pending)?, 0o600)
    }

    pub fn clear(&self) -> Result<()> {
        Folder::open(&self.0, true)?.map_or(Ok(()), |folder| folder.remove(FILE))
    }
}

/// What a run changed, as it was before, in the order of the run: from the journal.
pub fn targets(records: &[Record], run: &str) -> Vec<Target> {
    let begin = |r: &Record| match r {
        Record::Begin(begin) if begin.time == run => Some(begin.clone()),
        _ => None,
    };
    let Some(first) = records.iter().position(|r| begin(r).is_some()) else { return Vec::new() };
    let mut before = Ledger::default();
    records[..first].iter().for_each(|record| before.take(record.clone()));
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
        use std::fs::{self, Permissions};
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir(dir.path().join("run"));
        run.store(&pending("b")).unwrap();
        let file = run.0.join(FILE);
        let exit = |e: anyhow::Error| e.downcast_ref::<Refusal>().unwrap().exit;
        for (path, mode) in [(&file, 0o666), (&run.0, 0o777), (&run.0, 0o770)] {
            let before = fs::metadata(path).unwrap().permissions();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(exit(run.load("b").unwrap_err()), Exit::Config, "{mode:o}");
            if *path == run.0 {
                assert_eq!(exit(run.store(&pending("b")).unwrap_err()), Exit::Config, "{mode:o}");
                assert_eq!(exit(run.clear().unwrap_err()), Exit::Config, "{mode:o}");
            }
            fs::set_permissions(path, before).unwrap();
        }
        // Of no known boot: not the same as nothing that waits.
        assert_eq!(exit(run.load("").unwrap_err()), Exit::Config);
        let link = RunDir(dir.path().join("link"));
        std::os::unix::fs::symlink(&run.0, &link.0).unwrap();
        assert_eq!(exit(link.load("b").unwrap_err()), Exit::Config);
        fs::write(&file, "{\"schema\":1}").unwrap();
        assert_eq!(exit(run.load("b").unwrap_err()), Exit::Config);
        run.store(&Pending { schema: 2, ..pending("b") }).unwrap();
        assert_eq!(exit(run.load("b").unwrap_err()), Exit::Config);
    }
}
