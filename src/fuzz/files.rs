//! A node's files with changed bytes, for parsers that read them by themselves.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::linux::root::Root;
use crate::model::facts::Link;

/// Everything that is written in memory stays there; a target's thread has its own folders.
pub fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn write(path: &Path, bytes: &[u8]) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    std::io::Write::write_all(&mut file.unwrap(), bytes).unwrap();
}

thread_local! {
    static FOLDERS: RefCell<BTreeMap<String, TempDir>> = RefCell::default();
}

/// The folder of these paths, with the same bytes in each.
pub fn with(paths: &[&str], fixed: &[(&str, &str)], bytes: &[u8], run: impl FnOnce(&Path, Root)) {
    FOLDERS.with_borrow_mut(|all| {
        let new = || {
            let dir = folder();
            for path in paths.iter().chain(fixed.iter().map(|(path, _)| path)) {
                std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            }
            fixed.iter().for_each(|(path, text)| write(&dir.path().join(path), text.as_bytes()));
            dir
        };
        let dir = all.entry(paths.join(" ")).or_insert_with(new).path();
        paths.iter().for_each(|path| write(&dir.join(path), bytes));
        run(dir, Root::open(dir).unwrap());
    });
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn links() -> Vec<Link> {
    let link = |index, name: &str, kind: Option<&str>, driver: Option<&str>| Link {
        index,
        name: name.into(),
        kind: kind.map(str::to_string),
        driver: driver.map(str::to_string),
        mac: Some(format!("02:00:00:00:00:{index:02x}")),
        permanent_mac: driver.map(|_| format!("02:00:00:00:00:{index:02x}")),
        bus: driver.map(|_| "pci/0000:01:00.0".to_string()),
        default_route: true,
        rx_queues: 4,
        tx_queues: 4,
        ..Link::default()
    };
    vec![
        link(1, "eth0", None, Some("ixgbe")),
        link(2, "eth1", None, Some("veth")),
        link(3, "bond0", Some("bond"), None),
        link(4, "eth0.100", Some("vlan"), None),
        link(5, "lxc1", Some("veth"), None),
    ]
}
