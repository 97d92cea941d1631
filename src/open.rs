//! The one way to a file's bytes in the whole program: a FIFO, device or socket that lies where a
//! file should be is an error and never a wait, and no file is longer than what its reader expects.

#![allow(clippy::disallowed_methods, reason = "here they are asked with care")]

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

/// Who owns `/` as a user namespace sees it: root outside it, whom it does not know.
const OVERFLOW_UID: u32 = 65534;

/// What every opening for reading adds: a FIFO without a writer would block it.
pub const QUIET: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);
/// More than any folder of configuration has.
pub const MOST_ENTRIES: usize = 1 << 14;

/// Opens a regular file for reading. Follows links: who may not has `Root`.
pub fn regular(path: &Path) -> io::Result<File> {
    opened(|flags| OpenOptions::new().read(true).custom_flags(flags.bits()).open(path))
}

/// What `open` leads to, looked at before it is opened for reading: a device that is opened may act
/// on it, as a tape that rewinds. Then by its descriptor, so that it is the same one.
pub fn opened(open: impl Fn(OFlag) -> io::Result<File>) -> io::Result<File> {
    let place = open(OFlag::O_PATH | OFlag::O_CLOEXEC)?;
    let found = place.metadata()?;
    refuse(&found)?;
    let own = format!("/proc/self/fd/{}", place.as_raw_fd());
    let again = OpenOptions::new().read(true).custom_flags(QUIET.bits()).open(own);
    let same = |now: Metadata| (now.dev(), now.ino()) == (found.dev(), found.ino());
    if let Ok(file) = again
        && file.metadata().is_ok_and(same)
    {
        return Ok(file);
    }
    // No /proc here, or no leave to read it, which then says so itself.
    checked(open(OFlag::O_RDONLY | QUIET)?)
}

/// An opened file, if it is a regular one.
pub fn checked(file: File) -> io::Result<File> {
    refuse(&file.metadata()?)?;
    Ok(file)
}

/// The null device passes as well: systemd's files are masked by a link to it, and it is empty.
fn refuse(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let null = || kind.is_char_device() && found.rdev() == nix::sys::stat::makedev(1, 3);
    if kind.is_file() || null() {
        return Ok(());
    }
    if kind.is_dir() {
        return Err(io::Error::from_raw_os_error(nix::libc::EISDIR));
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file"))
}

/// All of what is no longer than `most`.
pub fn all(input: impl Read, most: u64) -> io::Result<Vec<u8>> {
    // Most are short: one read takes them, and the next finds the end.
    let mut bytes = Vec::with_capacity(4 << 10);
    input.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = format!("is longer than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

pub fn bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    all(regular(path)?, most)
}

/// Whether nobody but root and who runs this may write what was opened.
pub fn trusted(meta: &Metadata) -> bool {
    (meta.uid() == 0 || meta.uid() == geteuid().as_raw()) && meta.mode() & 0o022 == 0
}

/// How many folders up from an opened one others could put something else in its place. Asked of each
/// up to the root, as sshd does, but one with the sticky bit may be written: what is root's stays
/// root's in it.
pub fn untrusted_above(folder: &File) -> io::Result<Option<usize>> {
    let identity = |meta: &Metadata| (meta.dev(), meta.ino());
    let (mut at, mut last) = (folder.try_clone()?, identity(&folder.metadata()?));
    for up in 1.. {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        at = File::from(openat(&at, "..", flags, Mode::empty())?);
        let meta = at.metadata()?;
        if identity(&meta) == last {
            break;
        }
        last = identity(&meta);
        let owner = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
        let others = meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0;
        if others || !(owner || meta.uid() == OVERFLOW_UID && nobodys_root()) {
            return Ok(Some(up));
        }
    }
    Ok(None)
}

fn nobodys_root() -> bool {
    std::fs::metadata("/").is_ok_and(|meta| meta.uid() == OVERFLOW_UID)
}

/// A folder, to look beneath it or to have its entries reach the disk.
pub fn folder(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags((OFlag::O_DIRECTORY | QUIET).bits()).open(path)
}

/// Names in a folder, sorted.
pub fn entries(path: &Path, most: usize) -> io::Result<Vec<OsString>> {
    let found = std::fs::read_dir(path)?.take(most + 1);
    let mut names = found.map(|e| Ok(e?.file_name())).collect::<io::Result<Vec<_>>>()?;
    few(names.len(), most)?;
    names.sort();
    Ok(names)
}

pub fn few(entries: usize, most: usize) -> io::Result<()> {
    if entries <= most {
        return Ok(());
    }
    let text = format!("has more than {most} entries");
    Err(io::Error::new(io::ErrorKind::FileTooLarge, text))
}

#[cfg(test)]
mod tests;
