//! Resources that are files: sysctls, sysfs attributes, IRQ affinities, and files of the node.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::root::{Root, is_absent};
use super::socket::errno;
use crate::engine::Wrote;
use crate::model::typed::file::{File, Meta};
use crate::model::{State, sysctls};
use crate::replace::{new_file, replace};

/// Two keys of which the kernel zeroes the one that was not written last: one resource, whose text
/// is "40" for a ratio and "bytes=N" for the other.
const EITHER_OR: [(&str, &str); 2] = [
    ("vm/dirty_ratio", "vm/dirty_bytes"),
    ("vm/dirty_background_ratio", "vm/dirty_background_bytes"),
];

pub fn read_sysctl(root: &Root, key: &str) -> Result<State> {
    if let Some((_, bytes)) = EITHER_OR.iter().find(|(ratio, _)| *ratio == key)
        && let State::Is(n) = read_key(root, bytes)?
        && n != "0"
    {
        return Ok(State::Is(format!("bytes={n}")));
    }
    read_key(root, key)
}

fn read_key(root: &Root, key: &str) -> Result<State> {
    let path = format!("proc/sys/{key}");
    let Some(text) = read_text(root, &path)? else { return Ok(State::Absent) };
    let value = sysctls::read(key, &text);
    if value.len() > TAKEN_BACK && !sysctls::any_length(key) {
        let (path, length) = (root.full(&path), value.len());
        bail!("read {path}: it has {length} bytes, and the kernel takes back {TAKEN_BACK} at most");
    }
    Ok(State::Is(value))
}

/// What the kernel reads of a value that is written: all but the last byte of a page.
const TAKEN_BACK: usize = 4095;

pub fn write_sysctl(root: &Root, key: &str, state: &State) -> Result<Wrote> {
    let ratio = EITHER_OR.iter().find(|(ratio, _)| *ratio == key);
    let (key, state) = match (ratio, state.field("bytes")) {
        (Some((_, bytes)), Some(n)) => (*bytes, State::is(n)),
        _ => (key, state.clone()),
    };
    let path = format!("proc/sys/{key}");
    match write_value(root, &path, &state) {
        Ok(()) => Ok(Wrote::Yes),
        Err(e) if errno(&e) == Some(nix::libc::EACCES) && locked(root, &path) => {
            Ok(Wrote::KernelKeeps { why: "it is read-only here".into(), lasting: true })
        }
        Err(e) => Err(e),
    }
}

/// A key without a write bit: some have it in the first network namespace alone.
fn locked(root: &Root, path: &str) -> bool {
    let meta = root.openat(path, OFlag::O_PATH, 0).and_then(|file| file.metadata());
    meta.is_ok_and(|meta| meta.mode() & 0o222 == 0)
}

pub fn read_sysfs(root: &Root, path: &str) -> Result<State> {
    read_value(root, &format!("sys/{path}"))
}

pub fn write_sysfs(root: &Root, path: &str, state: &State) -> Result<Wrote> {
    match write_value(root, &format!("sys/{path}"), state) {
        Ok(()) => Ok(Wrote::Yes),
        // Threaded NAPI of a link that has no NAPI now: a veth without GRO. The rest can be had.
        Err(e) if path.starts_with("class/net/") && errno(&e) == Some(nix::libc::EOPNOTSUPP) => {
            let why = "the link has nothing that it would be for".into();
            Ok(Wrote::KernelKeeps { why, lasting: false })
        }
        Err(e) => Err(e),
    }
}

/// Absent unless it is (still) one of the link's: numbers are given anew when a driver resets.
pub fn read_irq(
    root: &Root,
    link: &str,
    vector: u32,
    known: Option<&BTreeSet<String>>,
) -> Result<State> {
    let device = format!("sys/class/net/{link}/device");
    let ours = |place: &str| root.exists(&format!("{device}/{place}msi_irqs/{vector}"));
    let ours = match known {
        Some(list) => list.contains(&vector.to_string()),
        None => ours("") || ours("../"),
    };
    if !ours {
        return Ok(State::Absent);
    }
    read_value(root, &format!("proc/irq/{vector}/smp_affinity_list"))
}

/// Numbers of the link's vectors, as strings.
pub fn vectors(root: &Root, link: &str) -> BTreeSet<String> {
    let device = format!("sys/class/net/{link}/device");
    let list = |place: &str| root.list(&format!("{device}/{place}msi_irqs")).ok();
    list("").or_else(|| list("../")).unwrap_or_default().into_iter().collect()
}

pub fn write_irq(root: &Root, vector: u32, state: &State) -> Result<Wrote> {
    let path = format!("proc/irq/{vector}/smp_affinity_list");
    match root.write(&path, state.text().unwrap_or_default()) {
        Ok(()) => Ok(Wrote::Yes),
        // A managed vector: the driver has the kernel place it, for good reasons of its own. Newer
        // kernels say EPERM, which root gets for nothing else here.
        Err(e) if matches!(e.raw_os_error(), Some(nix::libc::EIO | nix::libc::EPERM)) => {
            let why = "the kernel manages this vector itself".into();
            Ok(Wrote::KernelKeeps { why, lasting: true })
        }
        Err(e) => Err(e).with_context(|| format!("write {}", root.full(&path))),
    }
}

const IRQ_DEFAULT: &str = "proc/irq/default_smp_affinity";

pub fn read_irq_default(root: &Root) -> Result<State> {
    read_value(root, IRQ_DEFAULT)
}

pub fn write_irq_default(root: &Root, state: &State) -> Result<()> {
    write_value(root, IRQ_DEFAULT, state)
}

/// White space is folded; of a choice ("always [madvise] never", "none (full)") the chosen word is
/// the state.
fn read_value(root: &Root, path: &str) -> Result<State> {
    let Some(text) = read_text(root, path)? else { return Ok(State::Absent) };
    let between = |open, close| {
        let (_, rest) = text.split_once(open)?;
        rest.split_once(close).map(|(word, _)| word)
    };
    let chosen = match path.starts_with("sys/") {
        true => between('[', ']').or_else(|| between('(', ')')),
        false => None,
    };
    let text = chosen.unwrap_or(text.as_str());
    Ok(State::Is(text.split_whitespace().collect::<Vec<_>>().join(" ")))
}

fn read_text(root: &Root, path: &str) -> Result<Option<String>> {
    match root.whole(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => bail!("read {}: it is no text", root.full(path)),
        },
        Err(e) if is_absent(&e) || inactive(&e, path) => Ok(None),
        Err(e) => Err(e).with_context(|| format!("read {}", root.full(path))),
    }
}

/// The files of a frequency policy stay when its last CPU goes offline, and answer nothing.
fn inactive(e: &std::io::Error, path: &str) -> bool {
    e.raw_os_error() == Some(nix::libc::EBUSY)
        && path.starts_with("sys/devices/system/cpu/cpufreq/")
}

fn write_value(root: &Root, path: &str, state: &State) -> Result<()> {
    let Some(text) = state.text() else {
        bail!("write {}: there is no way to make it {state}", root.full(path));
    };
    // Some sysctls take nothing from an empty write; a line end sets them to nothing.
    let text = if text.is_empty() { "\n" } else { text };
    root.write(path, text).with_context(|| format!("write {}", root.full(path)))
}

/// "mode=0644 owner=0:0" and the content, "link TARGET", or "folder mode=0755 owner=0:0".
pub fn read_file(root: &Root, path: &str) -> Result<State> {
    let verb = || format!("read {}", root.full(path));
    if let Ok(target) = root.readlink(path) {
        return Ok(File::Link(target).into());
    }
    let place = match root.openat(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0) {
        Ok(place) => place,
        Err(e) if is_absent(&e) => return Ok(State::Absent),
        Err(e) => return Err(e).with_context(verb),
    };
    let meta = place.metadata().with_context(verb)?;
    let what = || State::Foreign { what: "something that is no text file".into(), owner: None };
    let own = Meta { mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid() };
    if meta.is_dir() {
        return Ok(File::Folder(own).into());
    }
    if !meta.is_file() {
        return Ok(what());
    }
    // A new file would part it from its other names, and the old one would not bring them back.
    if meta.nlink() > 1 {
        let what = format!("a file with {} names (hard links)", meta.nlink());
        return Ok(State::Foreign { what, owner: None });
    }
    let Ok(content) = String::from_utf8(root.bytes(path).with_context(verb)?) else {
        return Ok(what());
    };
    Ok(File::Text { meta: own, content }.into())
}

/// By a temporary file in the same folder and a rename, so that it is whole or as it was.
pub fn write_file(root: &Root, path: &str, state: &State) -> Result<Wrote> {
    let verb = || format!("write {}", root.full(path));
    let (folder, name) = path.rsplit_once('/').context("a file has a folder")?;
    let folder = if folder.is_empty() { "." } else { folder };
    let folder = root.openat(folder, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0).with_context(verb)?;
    let State::Is(text) = state else {
        match unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => {
                match unlinkat(&folder, name, UnlinkatFlags::RemoveDir) {
                    Err(Errno::ENOTEMPTY | Errno::EEXIST) => {
                        let why = "others have put files into it";
                        return Ok(Wrote::LeftToOthers(why.into()));
                    }
                    other => other.with_context(verb)?,
                }
            }
            other => other.with_context(verb)?,
        }
        folder.sync_all().with_context(verb)?;
        return Ok(Wrote::Yes);
    };
    let temporary = format!(".{name}.nettune");
    let file = text.parse::<File>().map_err(anyhow::Error::msg).with_context(verb)?;
    if let File::Folder(meta) = file {
        match mkdirat(&folder, name, Mode::from_bits_truncate(0o700)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e).with_context(verb),
        }
        let made = root
            .openat(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, 0)
            .with_context(verb)?;
        own(&made, meta).with_context(verb)?;
        folder.sync_all().with_context(verb)?;
        return Ok(Wrote::Yes);
    }
    let make = || match &file {
        File::Link(target) => {
            Ok(nix::unistd::symlinkat(target.as_str(), &folder, temporary.as_str())?)
        }
        File::Text { meta, content } => {
            let mut file = new_file(&folder, &temporary, 0o600)?;
            file.write_all(content.as_bytes())?;
            own(&file, *meta)?;
            Ok(file.sync_all()?)
        }
        File::Folder(_) => Ok(()),
    };
    replace(&folder, &temporary, name, make).with_context(verb)?;
    folder.sync_all().with_context(verb)?;
    Ok(Wrote::Yes)
}

/// Owner, then mode, which a change of owner may take bits from.
fn own(file: &std::fs::File, meta: Meta) -> Result<()> {
    fchown(file, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))?;
    Ok(file.set_permissions(std::fs::Permissions::from_mode(meta.mode))?)
}

/// Every file that systemd-sysctl reads, but for ours.
pub fn sysctl_files(root: &Root) -> Vec<(String, String)> {
    let folders = [
        "etc/sysctl.d",
        "run/sysctl.d",
        "usr/local/lib/sysctl.d",
        "usr/lib/sysctl.d",
        "lib/sysctl.d",
    ];
    let mut paths = Vec::new();
    for folder in folders {
        let names = root.list(folder).unwrap_or_default().into_iter();
        let others = names.filter(|n| n.ends_with(".conf") && !n.ends_with("zzz-nettune.conf"));
        paths.extend(others.map(|name| format!("{folder}/{name}")));
    }
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_string();
    let mut files: Vec<_> = root.texts(paths).into_iter().map(|(p, t)| (name(&p), t)).collect();
    // What cannot be read may set any key.
    let unread = root.unread().into_keys().filter(|path| path.ends_with(".conf"));
    let ours = unread.filter(|p| folders.iter().any(|f| p.starts_with(&format!("/{f}/"))));
    files.extend(ours.map(|path| (name(&path), "* = ?".to_string())));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a rename would part, or is no file at all, is somebody else's.
    #[test]
    fn only_a_file_of_one_name_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("one"), "text").unwrap();
        std::fs::write(at("two"), "text").unwrap();
        std::fs::hard_link(at("two"), at("other")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        let foreign = |name: &str| match read_file(&root, name).unwrap() {
            State::Foreign { what, .. } => Some(what),
            _ => None,
        };
        assert_eq!(foreign("/one"), None);
        assert_eq!(foreign("/two").unwrap(), "a file with 2 names (hard links)");
        assert_eq!(foreign("/fifo").unwrap(), "something that is no text file");
    }
}
