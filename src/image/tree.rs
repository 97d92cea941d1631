//! What is at a path of an image, whole: kind, bytes, mode, owner, extended attributes, time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, UtimensatFlags, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, symlinkat, unlinkat};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::selinux::ATTRIBUTE;
use crate::linux::root::{Root, is_absent};
use crate::model::hex;
use crate::open;
use crate::replace::{new_file, replace};

/// Files that bake edits or replaces are configuration; what is longer is none.
pub const MOST_BYTES: u64 = 64 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    Absent,
    Link {
        target: String,
        time: Time,
        /// For SELinux, which reads no link without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<Bytes>,
    },
    Folder {
        meta: Meta,
    },
    File {
        meta: Meta,
        content: Bytes,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub mode: u32,
    /// None: whoever builds the image.
    pub owner: Option<(u32, u32)>,
    pub time: Time,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Bytes>,
}

/// Of the last change: seconds since 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time(pub i64, pub i64);

impl Time {
    pub fn of(meta: &std::fs::Metadata) -> Self {
        Time(meta.mtime(), meta.mtime_nsec())
    }

    fn spec(self) -> TimeSpec {
        TimeSpec::new(self.0, self.1)
    }
}

/// Written down as text where it is text, so that a reader of the manifest sees it; else in
/// hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Bytes(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written {
    Text(String),
    Hex(String),
}

impl From<Bytes> for Written {
    fn from(bytes: Bytes) -> Self {
        match String::from_utf8(bytes.0) {
            Ok(text) => Written::Text(text),
            Err(e) => Written::Hex(hex(e.as_bytes())),
        }
    }
}

impl TryFrom<Written> for Bytes {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let digits = match written {
            Written::Text(text) => return Ok(Bytes(text.into_bytes())),
            Written::Hex(digits) => digits,
        };
        let byte = |at: usize| {
            let pair = digits.get(at..at + 2).ok_or("an odd number of digits")?;
            u8::from_str_radix(pair, 16).map_err(|e| e.to_string())
        };
        (0..digits.len()).step_by(2).map(byte).collect::<Result<Vec<u8>, String>>().map(Bytes)
    }
}

impl Node {
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::File { content, .. } => std::str::from_utf8(&content.0).ok(),
            _ => None,
        }
    }

    /// Equal in what [`Node::hash`] is of.
    pub fn same(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::Absent, Node::Absent) => true,
            (Node::Link { target: a, .. }, Node::Link { target: b, .. }) => a == b,
            (Node::Folder { meta: a }, Node::Folder { meta: b }) => a.mode == b.mode,
            (Node::File { meta: a, content: x }, Node::File { meta: b, content: y }) => {
                a.mode == b.mode && x == y
            }
            _ => false,
        }
    }

    /// Kind, mode and content: what an image must still hold. Owner, times and labels are the
    /// builder's.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        match self {
            Node::Absent => hash.update("absent"),
            Node::Link { target, .. } => hash.update(format!("link {target}")),
            Node::Folder { meta } => hash.update(format!("folder {:o}", meta.mode)),
            Node::File { meta, content } => {
                hash.update(format!("file {:o}\n", meta.mode));
                hash.update(&content.0);
            }
        }
        hex(&hash.finalize())
    }
}

fn split(path: &str) -> Result<(&str, &str)> {
    let (folder, name) = path.rsplit_once('/').context("a path of an image begins with a slash")?;
    Ok((if folder.is_empty() { "." } else { folder }, name))
}

fn folder_of(root: &Root, path: &str) -> Result<(File, String)> {
    let (folder, name) = split(path)?;
    let open = root
        .openat(folder, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)
        .with_context(|| format!("open folder {}", root.full(folder)))?;
    Ok((open, name.to_string()))
}

/// What is there, itself: a link is not followed.
pub fn read(root: &Root, path: &str) -> Result<Node> {
    let verb = || format!("read {}", root.full(path));
    let (folder, name) = split(path)?;
    let folder = match root.openat(folder, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0) {
        Ok(folder) => folder,
        Err(e) if is_absent(&e) => return Ok(Node::Absent),
        Err(e) => return Err(e).with_context(verb),
    };
    let at = |flags: OFlag| -> std::io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&folder, name, flags, Mode::empty())?))
    };
    let found = match at(OFlag::O_PATH).and_then(|place| place.metadata()) {
        Ok(found) => found,
        Err(e) if is_absent(&e) => return Ok(Node::Absent),
        Err(e) => return Err(e).with_context(verb),
    };
    if found.is_symlink() {
        let target = readlinkat(&folder, name).with_context(verb)?;
        let target =
            target.into_string().ok().context("its target is no text").with_context(verb)?;
        let place = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
        let mut value = vec![0; 1 << 12];
        let length = rustix::fs::lgetxattr(&place, ATTRIBUTE, &mut value[..]).ok();
        let label = length.map(|n| Bytes(value[..n].to_vec()));
        return Ok(Node::Link { target, time: Time::of(&found), label });
    }
    if !found.is_dir() && (!found.is_file() || found.len() > MOST_BYTES) {
        bail!("{}: it is no file that bake would replace", root.full(path));
    }
    let file = match found.is_dir() {
        true => at(OFlag::O_RDONLY | OFlag::O_DIRECTORY),
        false => open::opened(at),
    };
    let file = file.with_context(verb)?;
    let found = file.metadata().with_context(verb)?;
    let meta = Meta {
        mode: found.mode() & 0o7777,
        owner: Some((found.uid(), found.gid())),
        time: Time::of(&found),
        attributes: attributes(&file),
    };
    if found.is_dir() {
        return Ok(Node::Folder { meta });
    }
    let bytes = open::all(file, MOST_BYTES).with_context(verb)?;
    Ok(Node::File { meta, content: Bytes(bytes) })
}

/// How many names what is there has: more than one are hard links.
pub fn names(root: &Root, path: &str) -> Result<u64> {
    let place = root.openat(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0);
    let found = place.and_then(|place| place.metadata());
    Ok(found.with_context(|| format!("look at {}", root.full(path)))?.nlink())
}

/// Makes it so, by a temporary file and a rename where it is a file or a link.
pub fn write(root: &Root, path: &str, node: &Node) -> Result<()> {
    let verb = || format!("write {}", root.full(path));
    let (folder, name) = folder_of(root, path)?;
    let temporary = format!(".{name}.nettune");
    let gone = |name: &str| match unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) | Ok(()) => Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => unlinkat(&folder, name, UnlinkatFlags::RemoveDir),
        Err(e) => Err(e),
    };
    match node {
        Node::Absent => return gone(&name).with_context(verb),
        Node::Folder { meta } => {
            match mkdirat(&folder, name.as_str(), Mode::from_bits_truncate(0o700)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e).with_context(verb),
            }
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let made = openat(&folder, name.as_str(), flags, Mode::empty()).with_context(verb)?;
            return dress(&File::from(made), meta).with_context(verb);
        }
        Node::Link { target, time, label } => replace(&folder, &temporary, &name, || {
            symlinkat(target.as_str(), &folder, temporary.as_str())?;
            if let Some(label) = label {
                let place = format!("/proc/self/fd/{}/{temporary}", folder.as_raw_fd());
                let flags = rustix::fs::XattrFlags::empty();
                // Whether it could be set is asked by reading it, as of files.
                let _ = rustix::fs::lsetxattr(&place, ATTRIBUTE, &label.0, flags);
            }
            let time = time.spec();
            let flag = UtimensatFlags::NoFollowSymlink;
            Ok(utimensat(&folder, temporary.as_str(), &time, &time, flag)?)
        }),
        Node::File { meta, content } => replace(&folder, &temporary, &name, || {
            let mut file = new_file(&folder, &temporary, 0o600)?;
            file.write_all(&content.0)?;
            dress(&file, meta)
        }),
    }
    .with_context(verb)
}

/// Owner, mode, attributes, time, in this order: each would disturb those before it.
fn dress(file: &File, meta: &Meta) -> Result<()> {
    if let Some((uid, gid)) = meta.owner {
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (uid, gid) {
            fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).context("chown")?;
        }
    }
    file.set_permissions(std::fs::Permissions::from_mode(meta.mode)).context("chmod")?;
    for (name, value) in &meta.attributes {
        let flags = rustix::fs::XattrFlags::empty();
        let set = rustix::fs::fsetxattr(file.as_fd(), name.as_str(), &value.0, flags);
        // A label that this builder may not set is named to the user instead, as is known by then.
        if let Err(e) = set
            && name != ATTRIBUTE
        {
            return Err(e).with_context(|| format!("set attribute {name}"));
        }
    }
    let time = meta.time.spec();
    futimens(file, &time, &time).context("set its time")
}

/// Those that can be read; a file system without any has none.
fn attributes(file: &File) -> BTreeMap<String, Bytes> {
    let mut names = vec![0; 1 << 16];
    let Ok(length) = rustix::fs::flistxattr(file.as_fd(), &mut names[..]) else {
        return BTreeMap::new();
    };
    let names = names[..length].split(|b| *b == 0).filter(|n| !n.is_empty());
    let value = |name: &[u8]| {
        let name = String::from_utf8(name.to_vec()).ok()?;
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::fgetxattr(file.as_fd(), name.as_str(), &mut value[..]).ok()?;
        value.truncate(length);
        Some((name, Bytes(value)))
    };
    names.filter_map(value).collect()
}

/// The time of a folder, which every file that comes or goes in it would move.
pub fn touch(root: &Root, path: &str, time: Time) -> Result<()> {
    let folder = root.openat(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?;
    let time = time.spec();
    Ok(futimens(&folder, &time, &time)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        for bytes in [b"text\n".to_vec(), vec![0xff, 0, 0x80], Vec::new()] {
            let written = serde_json::to_string(&Bytes(bytes.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Bytes>(&written).unwrap().0, bytes, "{written}");
        }
        for bad in ["{\"hex\":\"0\"}", "{\"hex\":\"zz\"}", "{\"hex\":\"ää\"}", "3"] {
            assert!(serde_json::from_str::<Bytes>(bad).is_err(), "{bad}");
        }
    }
}
