use std::os::unix::fs::PermissionsExt;

use super::*;

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn only_what_others_may_not_write_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, is) in
        [(0o700, true), (0o755, true), (0o775, false), (0o707, false), (0o1777, false)]
    {
        chmod(dir.path(), mode);
        assert_eq!(trusted(&dir.path().metadata().unwrap()), is, "{mode:o}");
    }
    // Somebody else's, as root sees it.
    if geteuid().is_root() {
        chmod(dir.path(), 0o700);
        std::os::unix::fs::chown(dir.path(), Some(1), None).unwrap();
        assert!(!trusted(&dir.path().metadata().unwrap()));
    }
}

#[test]
fn every_folder_above_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("1"), dir.path().join("1/2"));
    std::fs::create_dir_all(two.join("3")).unwrap();
    let ask = || untrusted_above(&File::open(two.join("3")).unwrap()).unwrap();
    assert_eq!(ask(), None);
    for (path, mode, up) in [(&two, 0o777, Some(1)), (&one, 0o770, Some(2)), (&one, 0o1777, None)] {
        chmod(path, mode);
        assert_eq!(ask(), up, "{mode:o}");
        chmod(path, 0o755);
    }
    if geteuid().is_root() {
        std::os::unix::fs::chown(&one, Some(1), None).unwrap();
        assert_eq!(ask(), Some(2));
    }
}

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
    assert_eq!(bytes(Path::new("/dev/null"), 9).unwrap(), b"");
}

#[test]
fn a_folder_has_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b", "a"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    assert_eq!(entries(dir.path(), 2).unwrap(), ["a", "b"]);
    assert_eq!(entries(dir.path(), 1).unwrap_err().to_string(), "has more than 1 entries");
}

/// A device is told from a file by looking: opening is what a device may act on.
#[test]
fn what_is_no_file_is_never_opened() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let asked = std::cell::RefCell::new(Vec::new());
    let open = |flags: OFlag| {
        asked.borrow_mut().push(flags.contains(OFlag::O_PATH));
        OpenOptions::new().read(true).custom_flags(flags.bits()).open(&fifo)
    };
    assert!(opened(open).is_err());
    assert_eq!(asked.into_inner(), [true]);
}
