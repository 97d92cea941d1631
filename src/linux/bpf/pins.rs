//! What outlives the process: links and maps pinned below /sys/fs/bpf/nettune, a folder for each hook
//! of a link by its ifindex, one for the maps that all links share.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData, PerCpuArray};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{BPF_FS_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::super::root::{Root, is_absent};
use super::sys::{self, LinkInfo};
use crate::model::bpf::{Hook, REASONS};

const FS: &str = "sys/fs/bpf";
const FOLDER: &str = "sys/fs/bpf/nettune";
const CHUNK: usize = 256;
/// Of our folder: its name, its own, the mark of a namespace, the maps.
const OWN_LINKS: u64 = 4;

/// Takes the program of a link off its hook.
pub fn off(link: &OwnedFd) -> io::Result<()> {
    match sys::detach(link) {
        // Its device has gone.
        Err(e) if e.raw_os_error() == Some(nix::libc::ENOLINK) => Ok(()),
        result => result,
    }
}

pub struct Pins<'a> {
    root: &'a Root,
}

/// What was attached, and by which program: a state is only true while that program is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub program: u32,
    pub text: String,
}

impl<'a> Pins<'a> {
    pub fn new(root: &'a Root) -> Self {
        Pins { root }
    }

    /// Whether a BPF file system is where it belongs.
    pub fn mounted(&self) -> io::Result<bool> {
        let folder = match self.root.openat(FS, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0) {
            Ok(folder) => folder,
            Err(e) if is_absent(&e) => return Ok(false),
            Err(e) => return Err(e),
        };
        let found = fstatfs(&folder).map_err(io::Error::from)?.filesystem_type();
        Ok(found == BPF_FS_MAGIC)
    }

    fn name(hook: Hook, index: u32) -> String {
        format!("{FOLDER}/{hook}-{index}")
    }

    pub fn path(&self, hook: Hook, index: u32, file: &str) -> PathBuf {
        self.root.full(&format!("{}/{file}", Self::name(hook, index))).into()
    }

    pub fn shared(&self, map: &str) -> PathBuf {
        self.root.full(&format!("{FOLDER}/maps/{map}")).into()
    }

    /// Makes the folder of a hook, for root alone.
    pub fn make_for(&self, hook: Hook, index: u32) -> Result<()> {
        let folder = Self::name(hook, index);
        self.mkdir(&folder).with_context(|| format!("make {}", self.root.full(&folder)))
    }

    /// Makes those above, for root alone.
    pub fn make(&self) -> Result<()> {
        let at = self.root.full(FS);
        ensure!(
            self.mounted().with_context(|| format!("open {at}"))?,
            "no BPF file system at {at}: mount -t bpf bpf {at}"
        );
        let make = |folder: &str| {
            self.mkdir(folder).with_context(|| format!("make {}", self.root.full(folder)))
        };
        make(FOLDER)?;
        let (here, others) = self.namespaces()?;
        ensure!(
            others.is_empty(),
            "{} holds programs of another network namespace: give this one a BPF file system of its own",
            self.root.full(FOLDER)
        );
        make(&format!("{FOLDER}/{here}"))?;
        make(&format!("{FOLDER}/maps"))
    }

    /// Links have numbers of their own in each network namespace: the mark of this one, and those of
    /// others that are there.
    fn namespaces(&self) -> io::Result<(String, Vec<String>)> {
        let link = std::fs::read_link("/proc/thread-self/ns/net")?.to_string_lossy().into_owned();
        let inode: String = link.chars().filter(char::is_ascii_digit).collect();
        let here = format!("netns-{inode}");
        let mut marks = match self.root.list(FOLDER) {
            Ok(names) => names,
            Err(e) if is_absent(&e) => Vec::new(),
            Err(e) => return Err(e),
        };
        marks.retain(|name| name.starts_with("netns-") && *name != here);
        Ok((here, marks))
    }

    pub fn remove_link(&self, hook: Hook, index: u32) -> Result<()> {
        self.remove(&format!("{}/link", Self::name(hook, index)))
    }

    /// Sums over all CPUs; nothing where there is no such map.
    pub fn counters(&self, path: &std::path::Path) -> Vec<u64> {
        let nothing = vec![0; REASONS.len()];
        let Ok(data) = MapData::from_pin(path) else { return nothing };
        let map: Result<PerCpuArray<MapData, [u64; REASONS.len()]>, _> =
            Map::PerCpuArray(data).try_into();
        let Some(values) = map.ok().and_then(|m| m.get(&0, 0).ok()) else { return nothing };
        (0..REASONS.len()).map(|i| values.iter().map(|cpu| cpu[i]).sum()).collect()
    }

    /// A note that needs no more than a name.
    pub fn mark(&self, hook: Hook, index: u32, name: &str) -> Result<()> {
        let folder = format!("{}/{name}", Self::name(hook, index));
        self.mkdir(&folder).with_context(|| format!("make {}", self.root.full(&folder)))
    }

    pub fn marked(&self, hook: Hook, index: u32, name: &str) -> bool {
        self.root.exists(&format!("{}/{name}", Self::name(hook, index)))
    }

    fn mkdir(&self, path: &str) -> io::Result<()> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.root.openat(parent, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
        match mkdirat(&folder, name, Mode::S_IRWXU) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// The pinned link, if there is one.
    pub fn link(&self, hook: Hook, index: u32) -> Result<Option<LinkInfo>> {
        let path = format!("{}/link", Self::name(hook, index));
        if let Err(e) = self.root.openat(&path, OFlag::O_PATH, 0) {
            return if is_absent(&e) {
                Ok(None)
            } else {
                Err(e).with_context(|| format!("open {}", self.root.full(&path)))
            };
        }
        let full = self.root.full(&path);
        let link = sys::open_pin(&full).with_context(|| format!("open {full}"))?;
        Ok(Some(sys::link_info(&link).with_context(|| format!("ask {full}"))?))
    }

    /// Whether each of the maps that links share is there by its name.
    pub fn has_maps(&self, maps: &[&str]) -> bool {
        maps.iter().all(|map| self.root.exists(&format!("{FOLDER}/maps/{map}")))
    }

    /// Gives a link that is pinned nowhere we see the name that it should have.
    pub fn adopt(&self, hook: Hook, index: u32, link: &OwnedFd) -> Result<()> {
        self.remove_link(hook, index)?;
        let full = self.root.full(&format!("{}/link", Self::name(hook, index)));
        sys::pin(link, &full).with_context(|| format!("pin {full}"))
    }

    /// Takes the program off its hook, then the pin away.
    pub fn detach(&self, hook: Hook, index: u32) -> Result<()> {
        let full = self.root.full(&format!("{}/link", Self::name(hook, index)));
        match sys::open_pin(&full) {
            Ok(link) => off(&link).with_context(|| format!("detach {full}")),
            Err(e) if is_absent(&e) => Ok(()),
            Err(e) => Err(e).with_context(|| format!("open {full}")),
        }
    }

    /// Writes down what is attached. The map is replaced whole: a note half written names no program.
    pub fn note(&self, hook: Hook, index: u32, note: &Note) -> Result<()> {
        let mut bytes =
            [note.program.to_ne_bytes(), (note.text.len() as u32).to_ne_bytes()].concat();
        bytes.extend(note.text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(CHUNK), 0);
        let chunks: Vec<[u8; CHUNK]> =
            bytes.chunks(CHUNK).filter_map(|c| c.try_into().ok()).collect();
        let fd = sys::create_array(CHUNK, chunks.len()).context("make a map")?;
        let map = Map::Array(MapData::from_fd(fd).context("make a map")?);
        let mut map: Array<MapData, [u8; CHUNK]> = map.try_into().context("make a map")?;
        for (at, chunk) in chunks.iter().enumerate() {
            map.set(at as u32, chunk, 0).context("fill a map")?;
        }
        self.remove(&format!("{}/note", Self::name(hook, index)))?;
        let path = self.path(hook, index, "note");
        map.pin(&path).with_context(|| format!("pin {}", path.display()))
    }

    pub fn noted(&self, hook: Hook, index: u32) -> Option<Note> {
        let data = MapData::from_pin(self.path(hook, index, "note")).ok()?;
        let entries = data.info().ok()?.max_entries();
        let map: Array<MapData, [u8; CHUNK]> = Map::Array(data).try_into().ok()?;
        let bytes: Vec<u8> = (0..entries).filter_map(|i| map.get(&i, 0).ok()).flatten().collect();
        let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let text = bytes.get(8..8 + number(4)? as usize)?;
        Some(Note { program: number(0)?, text: String::from_utf8(text.to_vec()).ok()? })
    }

    /// Every hook that has a folder.
    pub fn all(&self) -> io::Result<Vec<(Hook, u32)>> {
        let names = match self.root.list(FOLDER) {
            Ok(names) if self.namespaces()?.1.is_empty() => names,
            Ok(_) => Vec::new(),
            Err(e) if is_absent(&e) => Vec::new(),
            Err(e) => return Err(e),
        };
        let parse = |name: &String| {
            let (hook, index) = name.rsplit_once('-')?;
            Some((Hook::parse(hook)?, index.parse().ok()?))
        };
        Ok(names.iter().filter_map(parse).collect())
    }

    /// Takes a hook's folder away with all in it, and the shared ones after the last.
    pub fn clear(&self, hook: Hook, index: u32) -> Result<()> {
        self.clear_folder(&Self::name(hook, index))?;
        // A folder has a link from each folder in it: with more than ours of no hook there is no use in a list.
        let folder = self.root.openat(FOLDER, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0);
        let many = folder.and_then(|f| f.metadata()).is_ok_and(|f| f.nlink() > OWN_LINKS);
        if !many && self.all()?.is_empty() {
            self.clear_folder(&format!("{FOLDER}/maps"))?;
            self.clear_folder(FOLDER)?;
        }
        Ok(())
    }

    fn clear_folder(&self, folder: &str) -> Result<()> {
        for name in self.root.list(folder).unwrap_or_default() {
            self.remove(&format!("{folder}/{name}"))?;
        }
        self.remove(folder)
    }

    pub fn remove(&self, path: &str) -> Result<()> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let what = || format!("remove {}", self.root.full(path));
        let folder = match self.root.openat(parent, OFlag::O_PATH | OFlag::O_DIRECTORY, 0) {
            Ok(folder) => folder,
            Err(e) if is_absent(&e) => return Ok(()),
            Err(e) => return Err(e).with_context(what),
        };
        let unlink = |flag| unlinkat(&folder, name, flag);
        match unlink(UnlinkatFlags::NoRemoveDir) {
            Err(nix::errno::Errno::EISDIR) => match unlink(UnlinkatFlags::RemoveDir) {
                Err(nix::errno::Errno::ENOENT) => Ok(()),
                result => result.with_context(what),
            },
            Err(nix::errno::Errno::ENOENT) => Ok(()),
            result => result.with_context(what),
        }
    }
}
