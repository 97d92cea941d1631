//! The state directory: journal, lock and undo.sh.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::folder::{Folder, kind};
use super::journal::{Journal, UNDO, known};
use super::ledger::Ledger;
use super::{Exit, Refusal, history};
use crate::model::Facts;

pub struct Store {
    pub dir: PathBuf,
    pub journal: Journal,
    pub ledger: Ledger,
    /// The journal is there and cannot be read: what is applied is unknown.
    pub unreadable: bool,
    /// Why, where it is more than that root alone may read it.
    pub trouble: Option<String>,
    /// Boot id and network namespace of this node now.
    pub boot: (String, u64),
    /// Held for as long as this may write.
    lock: Option<Lock>,
}

/// Proof that nobody else writes.
pub struct Lock {
    dir: PathBuf,
    pub folder: Arc<Folder>,
    _file: Flock<File>,
}

impl Lock {
    /// Makes the directory and takes the lock, waiting up to `wait` for it.
    pub fn take(dir: &Path, wait: Duration) -> Result<Self> {
        let folder = Folder::make(dir)?;
        let _file = lock(&folder, dir, wait)?;
        Ok(Lock { dir: dir.to_path_buf(), folder: Arc::new(folder), _file })
    }
}

impl Store {
    /// Of a node that is not here: nothing is applied.
    pub fn empty(facts: &Facts) -> Self {
        Store {
            dir: PathBuf::new(),
            journal: Journal::default(),
            ledger: Ledger::default(),
            unreadable: false,
            trouble: None,
            boot: now(facts),
            lock: None,
        }
    }

    /// For reading verbs: no lock, nothing created. What cannot be read, or root must not believe, is
    /// unknown.
    pub fn read(dir: &Path, facts: &Facts) -> Result<Self> {
        let mut store = Store { dir: dir.to_path_buf(), ..Store::empty(facts) };
        let folder = Folder::open(dir, nix::unistd::geteuid().is_root());
        match folder.and_then(|folder| Journal::load(folder.map(Arc::new))) {
            Ok(journal) => store.journal = journal,
            Err(e) if kind(&e) == Some(std::io::ErrorKind::PermissionDenied) => {
                store.unreadable = true;
            }
            Err(e) if e.downcast_ref::<Refusal>().is_some() => {
                store.trouble = Some(e.to_string());
            }
            Err(e) => return Err(e),
        }
        if let Some(why) = &store.journal.damage {
            store.trouble = Some(why.clone());
        }
        let of_this_boot = known(&store.boot.0, store.boot.1);
        if let Err(e) = of_this_boot
            && store.journal.count > 0
        {
            store.trouble = Some(e.to_string());
        }
        if let Some(why) = &store.trouble {
            store.unreadable = true;
            store.journal.warnings.push(why.clone());
            return Ok(store);
        }
        store.ledger = std::mem::take(&mut store.journal.ledger);
        store.ledger.fit_to(facts)?;
        store.journal.warnings.extend(store.journal.long());
        Ok(store)
    }

    /// For verbs that write. The facts are to be gathered under the lock: another nettune may have
    /// changed queues and vectors while this one waited.
    pub fn write(lock: Lock, facts: &Facts) -> Result<Self> {
        known(&facts.node.boot_id, facts.node.netns)?;
        let mut journal = Journal::load(Some(lock.folder.clone()))?;
        journal.intact()?;
        let mut ledger = std::mem::take(&mut journal.ledger);
        ledger.fit_to(facts)?;
        let (dir, boot) = (lock.dir.clone(), now(facts));
        let (unreadable, trouble) = (false, None);
        Ok(Store { dir, journal, ledger, unreadable, trouble, boot, lock: Some(lock) })
    }

    /// For a verb that has written all it will: what it prints may block, and nobody else should.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    /// Leaves the script that undoes everything when the binary is gone.
    pub fn write_undo(&self, script: &str) -> Result<()> {
        self.journal.intact()?;
        let lock = self.lock.as_ref().context("write undo.sh: not locked")?;
        lock.folder.replace(UNDO, script.as_bytes(), 0o700)
    }

    /// Rewrites the journal where it names what is no more, or has grown.
    pub fn tidy(&mut self) -> Result<()> {
        if self.ledger.stale || self.journal.wants_compaction() {
            // Of runs that are over undo needs nothing: where their history cannot be kept it is lost, and no more.
            let _ = self.journal.folder().map(history::keep);
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

fn lock(folder: &Folder, dir: &Path, wait: Duration) -> Result<Flock<File>> {
    let path = folder.path("lock");
    let mut file = folder.file("lock", OFlag::O_RDWR | OFlag::O_CREAT, 0o600)?;
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
