//! The one way a file is put in the place of another: whoever reads it finds the old one or the new one, whole,
//! and what could not be finished leaves nothing behind.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// `make` makes `temporary` in the folder, which then takes the place of `name`.
pub fn replace(
    folder: &impl AsFd,
    temporary: &str,
    name: &str,
    make: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let gone = || unlinkat(folder, temporary, UnlinkatFlags::NoRemoveDir);
    // Left over from one that died between write and rename.
    let _ = gone();
    let done = make().and_then(|()| Ok(renameat(folder, temporary, folder, name)?));
    if done.is_err() {
        // A full disk wants its room back.
        let _ = gone();
    }
    done
}

/// A file that was not there, nor a link to one.
pub fn new_file(folder: &impl AsFd, name: &str, mode: u32) -> io::Result<File> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(folder, name, flags, Mode::from_bits_truncate(mode))?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_fails_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let folder = nix::fcntl::open(dir.path(), flags, Mode::empty()).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let put = |text: &'static str, then: anyhow::Result<()>| {
            replace(&folder, ".x.tmp", "x", || {
                new_file(&folder, ".x.tmp", 0o600)?.write_all(text.as_bytes())?;
                then
            })
        };
        put("old", Ok(())).unwrap();
        std::fs::write(dir.path().join(".x.tmp"), "left over").unwrap();
        assert!(put("new", Err(anyhow::anyhow!("the disk is full"))).is_err());
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!((names.len(), names[0].file_name().to_str()), (1, Some("x")));
        assert_eq!(read("x"), "old");
        put("new", Ok(())).unwrap();
        assert_eq!(read("x"), "new");
    }
}
