//! Images of nodes, with no kernel of theirs running: what makes them boot tuned is written, checked
//! and taken out again as plain files. Nothing leaves the image's root, whatever links are in it.
//! `kernels.rs` meets each kernel of the image, `files.rs` says what is written, `tree.rs` writes it,
//! `manifest.rs` remembers what was there; `bootloader.rs` and `selinux.rs` are arguments and labels.
//! Uses the engine's rows, the levers, persist and linux/facts. Begin with `bake` here.

pub(crate) mod bootloader;
mod files;
pub mod kernels;
pub mod manifest;
pub(crate) mod selinux;
mod tree;

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::engine::{Exit, Refusal};
use crate::linux::root::Root;
use crate::profile::Profile;
use files::Content;
use kernels::Finding;
use manifest::{Entry, Manifest};
pub use tree::MOST_BYTES;
use tree::{Bytes, Meta, Node, Time};

pub struct Ask<'a> {
    pub profile: &'a Profile,
    pub version: &'a str,
    /// The binary that the image gets.
    pub binary: Vec<u8>,
    pub epoch: Option<i64>,
    /// An image whose kernel comes from elsewhere.
    pub without_kernel: bool,
}

#[derive(Debug)]
pub struct Baked {
    pub manifest: Manifest,
    pub findings: Vec<Finding>,
    /// What the builder must do or know.
    pub notes: Vec<String>,
}

/// Writes the profile into the image. The same image, profile and binary give the same bytes.
pub fn bake(root: &Root, ask: &Ask) -> Result<Baked> {
    let arch = kernels::root_file_system(root)?;
    match kernels::machine(&ask.binary) {
        Some(machine) if machine == arch => {}
        machine => {
            let text = format!(
                "the image is of {arch} and the binary of {}: give it one with --binary FILE",
                machine.unwrap_or("no known architecture")
            );
            return Err(Refusal::with(Exit::Config, text));
        }
    }
    let releases = kernels::releases(root);
    if releases.is_empty() && !ask.without_kernel {
        let text = format!(
            "{} has no kernel to check the profile against; --without-kernel if another image brings it",
            root.full("")
        );
        return Err(Refusal::with(Exit::Config, text));
    }
    // What an earlier bake wrote goes first: it is not what the image was.
    let earlier = Manifest::load(root)?.is_some();
    if earlier {
        let undone = undo(root)?;
        if !undone.left.is_empty() {
            let text = format!("baked before, and changed since: {}", undone.left.join(", "));
            return Err(Refusal::with(Exit::Config, text));
        }
    }
    let wanted = ask.profile.wanted()?;
    // Without a kernel nothing of one is known; what asks for none is decided all the same.
    let nameless = vec![String::new()];
    let asked = if releases.is_empty() { &nameless } else { &releases };
    let met = kernels::meet(root, &arch, asked, &wanted.selection());
    let mut planned = files::files(root, ask.profile, &met)?;
    let mut notes = std::mem::take(&mut planned.notes);
    let nodes = nodes(root, ask, planned.all, &mut notes).map_err(|e| match earlier {
        true => e.context("what was baked before is taken out"),
        false => e,
    })?;
    let unread = root.unread().into_iter();
    let told = |path: &String| notes.iter().any(|n| n.starts_with(path));
    let unread: Vec<_> = unread.filter(|(path, _)| !told(path)).collect();
    notes.extend(unread.iter().map(|(path, why)| format!("{path} could not be read: {why}")));
    let mut manifest = Manifest {
        schema: manifest::SCHEMA,
        version: ask.version.to_string(),
        profile: ask.profile.name.clone(),
        time: ask.epoch,
        arch,
        kernels: releases,
        files: Vec::new(),
        folders: Vec::new(),
    };
    for (path, before, after) in &nodes {
        manifest.files.push(Entry {
            path: path.clone(),
            mode: mode(after),
            sha256: after.hash(),
            before: before.clone(),
        });
    }
    manifest.folders = folders(root, &manifest)?;
    if let Err(e) = write(root, ask, &manifest, &nodes, &mut notes) {
        let undone = undo(root);
        let said = match undone {
            Ok(_) => "what was written is taken out again".to_string(),
            Err(e) => format!("what was written could not be taken out: {e:#}"),
        };
        return Err(e.context(said));
    }
    Ok(Baked { findings: kernels::findings(&met), manifest, notes })
}

fn mode(node: &Node) -> Option<String> {
    match node {
        Node::File { meta, .. } | Node::Folder { meta } => Some(format!("{:04o}", meta.mode)),
        _ => None,
    }
}

/// Root's, where root builds the image; otherwise whoever does, and a note says so.
fn owner() -> Option<(u32, u32)> {
    nix::unistd::geteuid().is_root().then_some((0, 0))
}

fn time(ask: &Ask) -> Time {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(ask.epoch.unwrap_or_else(|| now().map_or(0, |d| d.as_secs() as i64)), 0)
}

/// What is there and what is to be there, for everything that differs.
fn nodes(
    root: &Root,
    ask: &Ask,
    all: Vec<(String, Content)>,
    notes: &mut Vec<String>,
) -> Result<Vec<(String, Node, Node)>> {
    let contexts = selinux::Contexts::load(root);
    let mut nodes = Vec::new();
    for (path, content) in all {
        let before = tree::read(root, &path)?;
        let kind = match &content {
            Content::Folder(_) => selinux::Kind::Folder,
            Content::Link(_) => selinux::Kind::Link,
            _ => selinux::Kind::File,
        };
        let label = contexts.as_ref().map(|c| c.label(&path, kind));
        if label == Some(None) {
            notes
                .push(format!("{path}: the image's policy has no label that could be told for it"));
        }
        let label = label.flatten().map(|label| Bytes((label + "\0").into_bytes()));
        let named = |label| (selinux::ATTRIBUTE.to_string(), label);
        let attributes: BTreeMap<_, _> = label.clone().into_iter().map(named).collect();
        let fresh = |mode: u32| Meta { mode, owner: owner(), time: time(ask), attributes };
        let after = match (content, &before) {
            (Content::Link(target), _) => Node::Link { target, time: time(ask), label },
            (Content::Folder(mode), _) => Node::Folder { meta: fresh(mode) },
            (Content::Binary, _) => {
                Node::File { meta: fresh(0o755), content: Bytes(ask.binary.clone()) }
            }
            // What is edited stays what it was otherwise.
            (Content::Text(text), Node::File { meta, .. }) => Node::File {
                meta: Meta { time: time(ask), ..meta.clone() },
                content: Bytes(text.into_bytes()),
            },
            (Content::Text(text), _) => {
                Node::File { meta: fresh(0o644), content: Bytes(text.into_bytes()) }
            }
        };
        if path == files::BINARY && before != Node::Absent && !before.same(&after) {
            let text = format!(
                "{} is another nettune: bake with that one, or take it out first",
                root.full(&path)
            );
            return Err(Refusal::with(Exit::Config, text));
        }
        // The same already: nothing to write, and nothing to take out again.
        if !before.same(&after) {
            alone(root, &path, &before)?;
            nodes.push((path, before, after));
        }
    }
    Ok(nodes)
}

/// A file is replaced by a new one, which parts it from its other names: undo could not join them
/// again, and written in place it would change by those names as well, outside the image even.
fn alone(root: &Root, path: &str, before: &Node) -> Result<()> {
    let names = match before {
        Node::File { .. } | Node::Link { .. } => tree::names(root, path)?,
        Node::Absent | Node::Folder { .. } => return Ok(()),
    };
    if names == 1 {
        return Ok(());
    }
    let full = root.full(path);
    let text = format!(
        "{full} has {names} names (hard links), which bake would part and undo could not join again: \
         give the image a copy of its own (cp -a {full} {full}.new && mv {full}.new {full})"
    );
    Err(Refusal::with(Exit::Config, text))
}

/// Folders that are there and get or lose an entry.
fn folders(root: &Root, manifest: &Manifest) -> Result<Vec<(String, Time)>> {
    let mut times = BTreeMap::new();
    for path in manifest.files.iter().map(|f| f.path.as_str()).chain([manifest::PATH]) {
        let folder = match path.rsplit_once('/') {
            Some(("", _)) | None => continue,
            Some((folder, _)) => folder,
        };
        // Through links, as the files in it are reached.
        if let Ok(open) = root.openat(folder, nix::fcntl::OFlag::O_PATH, 0) {
            times.insert(folder.to_string(), Time::of(&open.metadata()?));
        }
    }
    Ok(times.into_iter().collect())
}

fn write(
    root: &Root,
    ask: &Ask,
    manifest: &Manifest,
    nodes: &[(String, Node, Node)],
    notes: &mut Vec<String>,
) -> Result<()> {
    let own = manifest.node(owner(), time(ask))?;
    // First of all, with the folder it is in: even a bake that dies can then be undone.
    let (lead, rest): (Vec<_>, Vec<_>) =
        nodes.iter().partition(|(path, ..)| path == manifest::FOLDER);
    for (path, _, after) in &lead {
        tree::write(root, path, after)?;
    }
    tree::write(root, manifest::PATH, &own)?;
    let mut unlabelled = Vec::new();
    for (path, _, after) in rest {
        tree::write(root, path, after)?;
        let attributes = |node: &Node| match node {
            Node::File { meta, .. } | Node::Folder { meta } => {
                meta.attributes.get(selinux::ATTRIBUTE).cloned()
            }
            Node::Link { label, .. } => label.clone(),
            Node::Absent => None,
        };
        if let Some(label) = attributes(after)
            && attributes(&tree::read(root, path)?) != Some(label)
        {
            unlabelled.push(path.clone());
        }
    }
    if !unlabelled.is_empty() {
        notes.push(format!(
            "these could not be labelled here, relabel them (restorecon, or touch /.autorelabel): {}",
            unlabelled.join(" ")
        ));
    }
    if owner().is_none() {
        notes.push(
            "not root: what was written belongs to you; the image must give it to root".into(),
        );
    }
    for (path, _, after) in nodes {
        if let Node::Folder { meta } = after {
            tree::touch(root, path, meta.time)
                .with_context(|| format!("set the time of {path}"))?;
        }
    }
    restore_times(root, manifest)
}

/// A folder's time moves with each entry that comes or goes: back to what it was.
fn restore_times(root: &Root, manifest: &Manifest) -> Result<()> {
    for (folder, time) in &manifest.folders {
        if root.exists(folder) {
            tree::touch(root, folder, *time)
                .with_context(|| format!("set the time of {folder}"))?;
        }
    }
    Ok(())
}

#[derive(Debug)]
pub struct Checked {
    pub manifest: Manifest,
    /// Paths that are not as baked, and how.
    pub differ: Vec<String>,
    pub notes: Vec<String>,
}

/// Whether the image still holds what was baked; None when nothing was.
pub fn check(root: &Root) -> Result<Option<Checked>> {
    let Some(manifest) = Manifest::load(root)? else { return Ok(None) };
    let mut differ = Vec::new();
    for file in &manifest.files {
        let now = tree::read(root, &file.path)?;
        if now == Node::Absent {
            differ.push(format!("{} is gone", file.path));
        } else if now.hash() != file.sha256 {
            differ.push(format!("{} was changed", file.path));
        }
    }
    let mut notes = Vec::new();
    let releases = kernels::releases(root);
    if releases != manifest.kernels {
        notes.push(format!(
            "its kernels are {} and were {}: bake again",
            releases.join(" "),
            manifest.kernels.join(" ")
        ));
    }
    Ok(Some(Checked { manifest, differ, notes }))
}

#[derive(Debug)]
pub struct Undone {
    pub count: usize,
    /// Changed by somebody else since: left as it is.
    pub left: Vec<String>,
}

/// Takes out what was baked, the last first, byte for byte.
pub fn undo(root: &Root) -> Result<Undone> {
    let Some(mut manifest) = Manifest::load(root)? else {
        return Err(Refusal::with(Exit::Nothing, format!("{} is not baked", root.full(""))));
    };
    let (mut left, mut kept, mut count) = (Vec::new(), Vec::new(), 0);
    let (mut folders, rest): (Vec<Entry>, Vec<Entry>) =
        manifest.files.drain(..).partition(|f| f.path == manifest::FOLDER);
    for file in rest.into_iter().rev() {
        let now = tree::read(root, &file.path)?;
        if now.same(&file.before) {
            continue;
        }
        let emptied = matches!(now, Node::Folder { .. }) && file.before == Node::Absent;
        if now.hash() != file.sha256 {
            left.push(file.path.clone());
            kept.push(file);
            continue;
        }
        match tree::write(root, &file.path, &file.before) {
            Ok(()) => count += 1,
            // Others have put something into it: it stays, and is nobody's business any more.
            Err(e) if emptied && not_empty(&e) => {}
            Err(e) => return Err(e),
        }
    }
    if !kept.is_empty() {
        kept.reverse();
        kept.append(&mut folders);
        manifest.files = kept;
        let time = Time(manifest.time.unwrap_or_default(), 0);
        tree::write(root, manifest::PATH, &manifest.node(owner(), time)?)?;
        return Ok(Undone { count, left });
    }
    tree::write(root, manifest::PATH, &Node::Absent)?;
    for folder in folders {
        match tree::write(root, &folder.path, &folder.before) {
            Ok(()) => count += 1,
            Err(e) if not_empty(&e) => {}
            Err(e) => return Err(e),
        }
    }
    restore_times(root, &manifest)?;
    Ok(Undone { count, left })
}

fn not_empty(error: &anyhow::Error) -> bool {
    let errno = error.chain().find_map(|e| e.downcast_ref::<nix::errno::Errno>());
    errno.is_some_and(|e| matches!(e, nix::errno::Errno::ENOTEMPTY | nix::errno::Errno::EEXIST))
}
