//! The file system of the node, opened beneath its root: no symbolic link, `..` or absolute path
//! leaves it. `/` itself is a root like any other.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::Mode;

/// Nothing of /proc and /sys that we read is longer; a file that is longer is not what we think.
const MOST_BYTES: u64 = 64 << 20;

pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
}

impl Root {
    pub fn open(path: &Path) -> Result<Self> {
        let dir = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let root = Root { dir: dir.into(), path: path.to_path_buf() };
        // Where a sandbox forbids the call, nothing could be read: not the same as nothing there.
        root.openat(".", OFlag::O_PATH, 0)
            .with_context(|| format!("open {} by openat2 (Linux 5.6)", path.display()))?;
        Ok(root)
    }

    /// A folder as a root of its own, for many reads in it.
    pub fn below(&self, path: &str) -> io::Result<Root> {
        let dir = self.openat(path, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
        Ok(Root { dir: dir.into(), path: self.path.join(path) })
    }

    /// For messages.
    pub fn full(&self, path: &str) -> String {
        self.path.join(path.trim_start_matches('/')).display().to_string()
    }

    pub fn openat(&self, path: &str, flags: OFlag, mode: u32) -> io::Result<File> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(Mode::from_bits_truncate(mode))
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(File::from(openat2(self.dir.as_fd(), path.trim_start_matches('/'), how)?))
    }

    pub fn bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.openat(path, OFlag::O_RDONLY, 0)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub fn read(&self, path: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(path)?).into_owned())
    }

    /// One value, without its line end; None when there is no such file.
    pub fn line(&self, path: &str) -> Option<String> {
        self.value(path).ok().map(|text| text.trim().to_string())
    }

    /// A file of /proc or /sys that holds one value: the kernel hands it out in one read.
    pub fn value(&self, path: &str) -> io::Result<String> {
        let mut bytes = [0; 4096];
        let length = self.openat(path, OFlag::O_RDONLY, 0)?.read(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// In one write: /proc and /sys take a value whole or not at all (and do not mind O_TRUNC, which
    /// a file that stands in for one needs).
    pub fn write(&self, path: &str, text: &str) -> io::Result<()> {
        self.openat(path, OFlag::O_WRONLY | OFlag::O_TRUNC, 0)?.write_all(text.as_bytes())
    }

    pub fn exists(&self, path: &str) -> bool {
        self.openat(path, OFlag::O_PATH, 0).is_ok()
    }

    /// Names in a folder, sorted; nothing when there is no such folder.
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let folder = self.openat(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(folder.into())?.iter() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    pub fn readlink(&self, path: &str) -> io::Result<String> {
        let link = self.openat(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
        Ok(readlinkat(link.as_fd(), "")?.to_string_lossy().into_owned())
    }

    /// One value of /proc/sys or /sys, whole. Many answer only a read from the start, and older
    /// kernels make a buffer as large as what is asked for, so it is asked again for more.
    pub fn whole(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.openat(path, OFlag::O_RDONLY, 0)?;
        for size in [4 << 10, 64 << 10, 256 << 10] {
            let mut bytes = vec![0; size];
            let length = file.read_at(&mut bytes, 0)?;
            if length < size {
                bytes.truncate(length);
                return Ok(bytes);
            }
        }
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "the value is longer than 256 KiB"))
    }
}

/// Whether an error says that the thing is not there, as opposed to: could not be told.
pub fn is_absent(e: &io::Error) -> bool {
    use nix::libc::{ENODEV, ENOENT, ENOTDIR, EOPNOTSUPP};
    matches!(e.raw_os_error(), Some(ENOENT | ENOTDIR | ENODEV | EOPNOTSUPP))
}
