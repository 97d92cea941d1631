//! A folder whose files say what root is to write: opened once, asked on that descriptor whether
//! others own it, may write it or could put another in its place, and only what is beneath the
//! descriptor is opened.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Exit, Refusal};
use crate::open::{QUIET, all, checked, trusted, untrusted_above};
use crate::replace::replace;

const OTHERS: &str = "others than root own it or may write it (chown root, chmod go-w)";

const ODD: &str = "it is no regular file (take it away)";

#[derive(Debug)]
pub struct Folder {
    dir: File,
    path: PathBuf,
    /// Believed only where nobody else may write.
    strict: bool,
}

impl Folder {
    /// None where there is none.
    pub fn open(path: &Path, strict: bool) -> Result<Option<Self>> {
        // Without a slash at its end, by which a link would be followed.
        let path: PathBuf = path.components().collect();
        let follow = if strict { OFlag::O_NOFOLLOW } else { OFlag::empty() };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | follow;
        #[expect(clippy::disallowed_methods, reason = "a folder, by its path and not by a link")]
        let dir = match open(&path, flags, Mode::empty()) {
            Ok(dir) => File::from(dir),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ENOTDIR) if strict && path.is_symlink() => {
                return Err(refused(&path, "it is a symbolic link (name the folder itself)"));
            }
            Err(Errno::ENOTDIR) => {
                return Err(refused(&path, "it is no folder (name another by --state-dir)"));
            }
            Err(e) => return Err(e).with_context(|| format!("open {}", path.display())),
        };
        let folder = Folder { dir, path, strict };
        if strict {
            folder.ask()?;
        }
        Ok(Some(folder))
    }

    /// Opens it, and makes it where it is missing.
    pub fn make(path: &Path) -> Result<Self> {
        let verb = || format!("create {}", path.display());
        match DirBuilder::new().recursive(true).mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(refused(path, "it is no folder (name another by --state-dir)"));
            }
            other => other.with_context(verb)?,
        }
        Folder::open(path, true)?.ok_or(io::Error::from(io::ErrorKind::NotFound)).with_context(verb)
    }

    fn ask(&self) -> Result<()> {
        let verb = || format!("look at {}", self.path.display());
        if !trusted(&self.dir.metadata().with_context(verb)?) {
            return Err(refused(&self.path, OTHERS));
        }
        if let Some(up) = untrusted_above(&self.dir).with_context(verb)? {
            let real = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
            let above = real.ancestors().nth(up).unwrap_or(Path::new("/")).display();
            let why = format!(
                "others than root own {above} above it, or may write that (chown root, chmod go-w)"
            );
            return Err(refused(&self.path, &why));
        }
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a regular file in it that is no link and has no other name.
    pub fn file(&self, name: &str, flags: OFlag, mode: u32) -> Result<File> {
        let path = self.path(name);
        let verb = || format!("open {}", path.display());
        let follow = if self.strict { OFlag::O_NOFOLLOW } else { OFlag::empty() };
        let mode = Mode::from_bits_truncate(mode);
        let file = match openat(&self.dir, name, flags | follow | QUIET, mode) {
            Err(Errno::ELOOP) if self.strict => {
                return Err(refused(&path, "it is a symbolic link"));
            }
            // A FIFO that nobody reads, a socket or a folder says no more than that.
            Err(Errno::ENXIO | Errno::EISDIR) => return Err(refused(&path, ODD)),
            other => checked(File::from(other.map_err(io::Error::from).with_context(verb)?)),
        };
        let odd = |e: &io::Error| {
            matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory)
        };
        let file = match file {
            Err(e) if odd(&e) => return Err(refused(&path, ODD)),
            other => other.with_context(verb)?,
        };
        let meta = file.metadata().with_context(verb)?;
        if self.strict && !trusted(&meta) {
            return Err(refused(&path, OTHERS));
        }
        if self.strict && meta.nlink() > 1 {
            return Err(refused(
                &path,
                "it has another name (a hard link), by which others may write it",
            ));
        }
        Ok(file)
    }

    /// All of a file that is no longer than `most`; None where there is none.
    pub fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let file = match self.file(name, OFlag::O_RDONLY, 0) {
            Err(e) if kind(&e) == Some(io::ErrorKind::NotFound) => return Ok(None),
            other => other?,
        };
        let verb = || format!("read {}", self.path(name).display());
        all(file, most).map(Some).with_context(verb)
    }

    /// A new file, on the disk when this returns.
    pub fn create(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut file = self.file(name, flags, mode)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.with_context(|| format!("write {}", self.path(name).display()))?;
        self.sync()
    }

    /// Whoever reads it finds the old file or the new one, whole.
    pub fn replace(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let temporary = Path::new(name).with_extension("tmp");
        let temporary = temporary.to_string_lossy();
        replace(&self.dir, &temporary, name, || self.create(&temporary, bytes, mode))
            .with_context(|| format!("replace {}", self.path(name).display()))?;
        self.sync()
    }

    pub fn remove(&self, name: &str) -> Result<()> {
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(e).with_context(|| format!("remove {}", self.path(name).display())),
        }
    }

    pub fn sync(&self) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = openat(&self.dir, ".", flags, Mode::empty()).map(File::from);
        folder
            .map_err(io::Error::from)
            .and_then(|f| f.sync_all())
            .with_context(|| format!("fsync {}", self.path.display()))
    }
}

/// What the system said, where an error comes from there.
pub fn kind(error: &anyhow::Error) -> Option<io::ErrorKind> {
    let of = |e: &(dyn std::error::Error + 'static)| {
        let io = e.downcast_ref::<io::Error>().map(io::Error::kind);
        io.or_else(|| e.downcast_ref::<Errno>().map(|e| io::Error::from(*e).kind()))
    };
    error.chain().find_map(of)
}

fn refused(path: &Path, why: &str) -> anyhow::Error {
    Refusal::with(Exit::Config, format!("{} is refused: {why}", path.display()))
}
