//! The file system of the node, opened beneath its root: no symbolic link, `..` or absolute path
//! leaves it. `/` itself is a root like any other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::Mode;

use crate::open;

/// Nothing of /proc and /sys that we read is longer, nor a list that packages make; a file that is
/// longer is not what we think.
const MOST_BYTES: u64 = 64 << 20;
/// What people and their tools configure: one file, and the files that are read together.
const MOST_CONFIG: u64 = 1 << 20;
/// Of an open that others' mounts and renames disturb.
const MOST_TRIES: usize = 1000;
const MOST_TOGETHER: u64 = 16 << 20;

pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
    /// Below /proc or /sys, where the kernel alone makes files.
    kernel: bool,
    /// Configuration that is there and could not be read, and why: what it says is not known.
    unread: Mutex<BTreeMap<String, String>>,
}

impl Root {
    pub fn open(path: &Path) -> Result<Self> {
        let dir = open::folder(path).with_context(|| format!("open {}", path.display()))?;
        let root = Root::of(dir, path.to_path_buf(), false);
        // Where a sandbox forbids the call, nothing could be read: not the same as nothing there.
        root.openat(".", OFlag::O_PATH, 0)
            .with_context(|| format!("open {} by openat2 (Linux 5.6)", path.display()))?;
        Ok(root)
    }

    /// A folder as a root of its own, for many reads in it.
    pub fn below(&self, path: &str) -> io::Result<Root> {
        let dir = self.openat(path, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
        Ok(Root::of(dir, self.path.join(path), self.of_kernel(path)))
    }

    fn of(dir: File, path: PathBuf, kernel: bool) -> Root {
        Root { dir: dir.into(), path, kernel, unread: Mutex::default() }
    }

    fn of_kernel(&self, path: &str) -> bool {
        let first = path.trim_start_matches('/').split('/').next();
        self.kernel || matches!(first, Some("proc" | "sys"))
    }

    /// For messages.
    pub fn full(&self, path: &str) -> String {
        self.path.join(path.trim_start_matches('/')).display().to_string()
    }

    /// Never waits; that it is a regular file is asked by [`Root::file`].
    pub fn openat(&self, path: &str, flags: OFlag, mode: u32) -> io::Result<File> {
        let quiet = if flags.contains(OFlag::O_PATH) { OFlag::O_CLOEXEC } else { open::QUIET };
        let how = OpenHow::new()
            .flags(flags | quiet)
            .mode(Mode::from_bits_truncate(mode))
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let open = || openat2(self.dir.as_fd(), path.trim_start_matches('/'), how);
        // While anybody mounts or renames anything, a `..` on the way (each device's link has some) cannot be told from an
        // escape, and is to be tried again: it is not as if the file were not there.
        let tries = std::iter::repeat_with(open).take(MOST_TRIES);
        let mut tries = tries.skip_while(|opened| matches!(opened, Err(Errno::EAGAIN)));
        Ok(File::from(tries.next().unwrap_or(Err(Errno::EAGAIN))?))
    }

    /// A regular file, opened for reading. The files of /proc and /sys are thousands, and nobody puts
    /// a device among them: they are not looked at first.
    pub fn file(&self, path: &str) -> io::Result<File> {
        match self.of_kernel(path) {
            true => open::checked(self.openat(path, OFlag::O_RDONLY, 0)?),
            false => open::opened(|flags| self.openat(path, flags, 0)),
        }
    }

    pub fn bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        self.bytes_within(path, if self.of_kernel(path) { MOST_BYTES } else { MOST_CONFIG })
    }

    pub fn bytes_within(&self, path: &str, most: u64) -> io::Result<Vec<u8>> {
        let read = self.file(path).and_then(|file| open::all(file, most));
        read.inspect_err(|e| self.note(path, e))
    }

    pub fn read(&self, path: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(path)?).into_owned())
    }

    /// A list that packages make, such as modules.dep.
    pub fn long(&self, path: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes_within(path, MOST_BYTES)?).into_owned())
    }

    /// Files of configuration that belong together, each with its text: what cannot be read, or is
    /// too much, is left out and found in [`Root::unread`].
    pub fn texts(&self, paths: Vec<String>) -> Vec<(String, String)> {
        let mut left = MOST_TOGETHER;
        let mut texts = Vec::new();
        for path in paths {
            if left < MOST_CONFIG {
                let text = format!("{} MiB were read before it", MOST_TOGETHER >> 20);
                self.note(&path, &io::Error::new(io::ErrorKind::FileTooLarge, text));
                continue;
            }
            match self.read(&path) {
                Ok(text) => {
                    left = left.saturating_sub(text.len() as u64);
                    texts.push((path, text));
                }
                Err(e) if e.kind() == io::ErrorKind::FileTooLarge => {
                    left = left.saturating_sub(MOST_CONFIG);
                }
                Err(_) => {}
            }
        }
        texts
    }

    /// Paths of configuration that could not be read so far, and why.
    pub fn unread(&self) -> BTreeMap<String, String> {
        self.unread.lock().map(|unread| unread.clone()).unwrap_or_default()
    }

    fn note(&self, path: &str, error: &io::Error) {
        if self.of_kernel(path) || is_absent(error) {
            return;
        }
        if let Ok(mut unread) = self.unread.lock() {
            unread.insert(format!("/{}", path.trim_start_matches('/')), error.to_string());
        }
    }

    /// One value, without its line end; None when there is no such file.
    pub fn line(&self, path: &str) -> Option<String> {
        let text = if self.of_kernel(path) { self.value(path) } else { self.read(path) };
        text.ok().map(|text| text.trim().to_string())
    }

    /// A file of /proc or /sys that holds one value: the kernel hands it out in one read.
    pub fn value(&self, path: &str) -> io::Result<String> {
        let mut bytes = Vec::with_capacity(4096);
        rustix::io::read(self.file(path)?, rustix::buffer::spare_capacity(&mut bytes))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// In one write: /proc and /sys take a value whole or not at all (and do not mind O_TRUNC, which
    /// a file that stands in for one needs).
    pub fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let file = self.openat(path, OFlag::O_WRONLY | OFlag::O_TRUNC, 0)?;
        open::checked(file)?.write_all(text.as_bytes())
    }

    pub fn exists(&self, path: &str) -> bool {
        self.openat(path, OFlag::O_PATH, 0).is_ok()
    }

    /// Names in a folder, sorted; nothing when there is no such folder.
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.names(path).inspect_err(|e| self.note(path, e))
    }

    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let folder = self.openat(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?;
        // The kernel has as many processes and links as it has.
        let most = if self.of_kernel(path) { usize::MAX } else { open::MOST_ENTRIES };
        let mut names = Vec::new();
        for entry in Dir::from_fd(folder.into())?.iter() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
                open::few(names.len(), most)?;
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
        let file = self.file(path)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fifo(path: &Path) {
        nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap();
    }

    #[test]
    fn what_could_not_be_read_is_named_and_what_is_not_there_is_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("proc/sys")).unwrap();
        for path in ["fifo", "proc/fifo", "proc/sys/fifo"] {
            fifo(&dir.path().join(path));
        }
        std::os::unix::fs::symlink("fifo", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/dev/null", dir.path().join("masked")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        for path in ["/fifo", "link", "proc/fifo", "masked", "none"] {
            assert!(root.read(path).is_err(), "{path}");
            assert!(root.value(path).is_err(), "{path}");
        }
        assert!(root.write("proc/sys/fifo", "1").is_err());
        let below = root.below("proc").unwrap();
        assert!(below.read("sys/fifo").is_err());
        let unread = root.unread();
        assert_eq!(unread.keys().collect::<Vec<_>>(), ["/fifo", "/link"]);
        assert_eq!(unread["/fifo"], "is no regular file");
        assert_eq!(Root::open(Path::new("/")).unwrap().read("dev/null").unwrap(), "");
    }

    /// The kernel refuses a `..` while anything is renamed, anywhere: such a file is there all the same.
    #[test]
    fn what_others_rename_meanwhile_makes_nothing_absent() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["sys/device", "sys/link"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("sys/device/irq"), "1").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let names = ["a", "b"].map(|name| dir.path().join(name));
                std::fs::create_dir(&names[0]).unwrap();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    std::fs::rename(&names[0], &names[1]).unwrap();
                    std::fs::rename(&names[1], &names[0]).unwrap();
                }
            });
            let there = |_: &i32| root.exists("sys/link/../device/irq");
            let found = (0..20_000).filter(there).count();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(found, 20_000);
        });
    }

    /// Ten files of 8 GB, and more text than any node has.
    #[test]
    fn configuration_is_bounded_one_by_one_and_together() {
        let dir = tempfile::tempdir().unwrap();
        for at in 0..10 {
            let file = std::fs::File::create(dir.path().join(format!("s{at}"))).unwrap();
            file.set_len(8 << 30).unwrap();
        }
        for at in 10..30 {
            let text = vec![b'\n'; MOST_CONFIG as usize];
            std::fs::write(dir.path().join(format!("t{at}")), text).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let texts = root.texts(root.list(".").unwrap());
        let names: Vec<_> = texts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["t10", "t11", "t12", "t13", "t14", "t15"]);
        let unread = root.unread();
        assert_eq!(unread.len(), 24);
        assert_eq!(unread["/s0"], "is longer than 1048576 bytes");
        assert_eq!(unread["/t16"], "16 MiB were read before it");
        assert_eq!(root.long("s0").unwrap_err().to_string(), "is longer than 67108864 bytes");
    }

    #[test]
    fn a_folder_of_a_million_entries_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let many = dir.path().join("many");
        std::fs::create_dir(&many).unwrap();
        for at in 0..=open::MOST_ENTRIES {
            std::fs::File::create(many.join(at.to_string())).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        assert!(root.list("many").is_err());
        assert_eq!(root.unread()["/many"], "has more than 16384 entries");
    }
}
