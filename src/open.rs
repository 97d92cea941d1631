//! The one way to a file's bytes in the whole program: a FIFO, device or socket that lies where a
//! file should be is an error and never a wait, and no file is longer than what its reader expects.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

/// What every opening for reading adds: a FIFO without a writer would block it.
pub const QUIET: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

/// Opens a regular file for reading. Follows links: who may not has `Root`.
pub fn regular(path: &Path) -> io::Result<File> {
    checked(OpenOptions::new().read(true).custom_flags(QUIET.bits()).open(path)?)
}

/// An opened file, if it is a regular one.
pub fn checked(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    if kind.is_dir() {
        return Err(io::Error::from_raw_os_error(nix::libc::EISDIR));
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file"))
}

/// All of a file that is no longer than `most`.
pub fn all(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = format!("is longer than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

pub fn bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    all(regular(path)?, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_sane_length_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(at("file"), "12345").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!(bytes(&at("file"), 5).unwrap(), b"12345");
        for (name, most) in [("file", 4), ("fifo", 9), ("socket", 9), (".", 9)] {
            assert!(bytes(&at(name), most).is_err(), "{name}");
        }
        assert!(bytes(Path::new("/dev/zero"), 9).is_err());
    }
}
