//! The state directory: journal, lock and undo.sh.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use super::journal::{Journal, write_atomically};
use super::ledger::Ledger;
use super::{Exit, Refusal};
use crate::model::Facts;

pub struct Store {
    pub dir: PathBuf,
    pub journal: Journal,
    pub ledger: Ledger,
    /// The journal is there and cannot be read: what is applied is unknown.
    pub unreadable: bool,
    /// Boot id and network namespace of this node now.
    pub boot: (String, u64),
    /// Held for as long as this may write.
    _lock: Option<Lock>,
}

/// Proof that nobody else writes.
pub struct Lock {
    dir: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    /// Makes the directory and takes the lock, waiting up to `wait` for it.
    pub fn take(dir: &Path, wait: Duration) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("create {}", dir.display()))?;
        Ok(Lock { dir: dir.to_path_buf(), _file: lock(dir, wait)? })
    }
}

impl Store {
    /// For reading verbs: no lock, nothing created; a journal that root alone may read is unknown.
    pub fn read(dir: &Path, facts: &Facts) -> Result<Self> {
        let (journal, unreadable) = match Journal::load(dir) {
            Ok(journal) => (journal, false),
            Err(e) if denied(&e) => (Journal::load(Path::new("/nonexistent"))?, true),
            Err(e) => return Err(e),
        };
        let mut ledger = Ledger::replay(&journal.records);
        ledger.settle_on(facts)?;
        let (dir, boot) = (dir.to_path_buf(), now(facts));
        Ok(Store { dir, journal, ledger, unreadable, boot, _lock: None })
    }

    /// For verbs that write. The facts are to be gathered under the lock: another nettune may have
    /// changed queues and vectors while this one waited.
    pub fn write(lock: Lock, facts: &Facts) -> Result<Self> {
        let journal = Journal::load(&lock.dir)?;
        let mut ledger = Ledger::replay(&journal.records);
        ledger.settle_on(facts)?;
        let (dir, boot) = (lock.dir.clone(), now(facts));
        Ok(Store { dir, journal, ledger, unreadable: false, boot, _lock: Some(lock) })
    }

    /// For a verb that has written all it will: what it prints may block, and nobody else should.
    pub fn unlock(&mut self) {
        self._lock = None;
    }

    /// Leaves the script that undoes everything when the binary is gone.
    pub fn write_undo(&self, script: &str) -> Result<()> {
        write_atomically(&self.dir.join("undo.sh"), script.as_bytes(), 0o700)
    }

    /// Rewrites the journal where it names what is no more, or has grown.
    pub fn tidy(&mut self) -> Result<()> {
        if self.ledger.stale || self.journal.wants_compaction() {
            self.journal.compact(self.ledger.snapshot())?;
            self.ledger.stale = false;
            self.ledger.vanished.clear();
        }
        Ok(())
    }
}

fn now(facts: &Facts) -> (String, u64) {
    (facts.node.boot_id.clone(), facts.node.netns)
}

fn denied(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|e| e.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
}

fn lock(dir: &Path, wait: Duration) -> Result<Flock<File>> {
    let path = dir.join("lock");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let deadline = Instant::now() + wait;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).ok();
                return Ok(lock);
            }
            Err((mut same, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() >= deadline => {
                let mut pid = String::new();
                same.read_to_string(&mut pid).ok();
                let holder = match pid.trim() {
                    "" => "another nettune".to_string(),
                    pid => format!("nettune with pid {pid}"),
                };
                let text = format!(
                    "{} is locked by {holder}: wait for it, or --wait SECONDS",
                    dir.display()
                );
                return Err(Refusal::with(Exit::Busy, text));
            }
            Err((same, nix::errno::Errno::EWOULDBLOCK)) => {
                file = same;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err((_, e)) => return Err(e).with_context(|| format!("lock {}", path.display())),
        }
    }
}
