//! What bake writes: path and content, in the order of writing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::bootloader;
use super::kernels::Kernel;
use crate::engine::row::Status;
use crate::linux::root::Root;
use crate::model::typed::file::File;
use crate::model::typed::tuned::Profile as Tuned;
use crate::model::{Resource, State, Want, typed};
use crate::persist::{self, Setup};
use crate::profile::Profile;

/// Where packages put programs: on some images /usr/local is not part of what is updated.
pub const BINARY: &str = "/usr/bin/nettune";
/// What is asked once, when a link or a socket is made, and so must be right before the unit runs.
const BEFORE_THE_UNIT: [&str; 2] = ["net/core/default_qdisc", "net/ipv4/tcp_congestion_control"];
const SWITCH: &str = "kernel/debug/sched/preempt";

pub enum Content {
    Binary,
    Text(String),
    Link(String),
    Folder(u32),
}

#[derive(Default)]
pub struct Files {
    pub all: Vec<(String, Content)>,
    pub notes: Vec<String>,
}

/// Everything for this profile on these kernels.
pub fn files(root: &Root, profile: &Profile, kernels: &[Kernel]) -> Result<Files> {
    let mut out = Files::default();
    let values = sysctls(kernels);
    let keys: BTreeSet<String> = values.iter().map(|(key, _)| key.clone()).collect();
    let name = persist::dropin_name(&keys, &crate::linux::sysctl_files(root));
    let lines = persist::dropin(&values);
    let mut table = profile.table.clone();
    table.remove("include");
    let table = toml::to_string(&table)?;
    let setup = Setup {
        origin: "nettune bake; nettune bake --undo takes it out",
        binary: BINARY,
        profile: &profile.name,
        table: &table,
        // Which links there will be is not known; the profile may name them by driver.
        uplinks: &[],
        dropin: (!values.is_empty()).then_some((name.as_str(), lines.as_str())),
    };
    out.all.push((BINARY.to_string(), Content::Binary));
    for (path, state) in persist::files(&setup) {
        let content = match typed::of(&state) {
            Some(File::Link(target)) => Content::Link(target),
            Some(File::Text { content, .. }) => Content::Text(content),
            Some(File::Folder(_)) | None => continue,
        };
        out.all.push((path, content));
    }
    let modules = super::kernels::modules(kernels);
    if !modules.is_empty() {
        let text = format!("# Written by {}.\n{}\n", setup.origin, modules.join("\n"));
        out.all.push(("/etc/modules-load.d/nettune.conf".into(), Content::Text(text)));
    }
    tuned(root, kernels, &mut out);
    masked(root, profile, &mut out)?;
    arguments(root, kernels, &mut out)?;
    with_folders(root, &mut out);
    Ok(out)
}

/// Folders that are missing, the outer first, and the state directory, which root alone may enter.
fn with_folders(root: &Root, out: &mut Files) {
    let state = "/var/lib/nettune".to_string();
    let mut missing: Vec<String> = Vec::new();
    let paths = out.all.iter().map(|(p, _)| p.clone()).chain([format!("{state}/journal")]);
    for path in paths.chain([super::manifest::PATH.to_string()]) {
        let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
        for folder in ends.map(|at| &path[..at]) {
            if !root.exists(folder) && missing.iter().all(|m| m != folder) {
                missing.push(folder.to_string());
            }
        }
    }
    let mode = |path: &String| if *path == state { 0o700 } else { 0o755 };
    let folders = missing.into_iter().map(|p| (p.clone(), Content::Folder(mode(&p))));
    out.all.splice(0..0, folders);
}

/// Values that every kernel of the image takes, whoever runs in it.
fn sysctls(kernels: &[Kernel]) -> Vec<(String, String)> {
    let of = |kernel: &Kernel| -> BTreeMap<String, String> {
        let ready = kernel.rows.iter().filter(|r| r.status == Status::Ready);
        let wanted = ready.flat_map(|r| &r.desired).filter_map(|d| match (&d.resource, &d.want) {
            (Resource::Sysctl { key }, Want::Exactly(State::Is(value)))
                if BEFORE_THE_UNIT.contains(&key.as_str()) =>
            {
                Some((key.clone(), value.clone()))
            }
            _ => None,
        });
        wanted.collect()
    };
    let Some((first, rest)) = kernels.split_first() else { return Vec::new() };
    let mut common = of(first);
    for kernel in rest {
        let other = of(kernel);
        common.retain(|key, value| other.get(key) == Some(value));
    }
    common.into_iter().collect()
}

fn tuned(root: &Root, kernels: &[Kernel], out: &mut Files) {
    let wanted =
        kernels.iter().flat_map(|k| &k.rows).flat_map(|r| &r.desired).find_map(|d| {
            match (&d.resource, &d.want) {
                (Resource::Tuned, Want::Exactly(state)) => typed::of::<Tuned>(state),
                _ => None,
            }
        });
    let Some(profile) = wanted else { return };
    let names = profile.names;
    let places = ["etc/tuned", "etc/tuned/profiles", "usr/lib/tuned", "usr/lib/tuned/profiles"];
    let there =
        |name: &&String| places.iter().any(|p| root.exists(&format!("{p}/{name}/tuned.conf")));
    if let Some(missing) = names.iter().find(|n| !there(n)) {
        out.notes.push(format!("TuneD of this image has no profile {missing}: its choice is left"));
        return;
    }
    let line = names.join(" ") + "\n";
    out.all.push(("/etc/tuned/active_profile".into(), Content::Text(line)));
    out.all.push(("/etc/tuned/profile_mode".into(), Content::Text("manual\n".into())));
}

/// Stopped means never started. What an irqbalance is to leave alone is known only once there are
/// vectors: the unit tells it then.
fn masked(root: &Root, profile: &Profile, out: &mut Files) -> Result<()> {
    let folders = ["usr/lib/systemd/system", "lib/systemd/system", "etc/systemd/system"];
    for tweak in profile.tweaks()?.iter().filter(|t| t.enable) {
        let installed = |unit: &&&str| folders.iter().any(|f| root.exists(&format!("{f}/{unit}")));
        for unit in tweak.tweak.masks().iter().filter(installed) {
            let path = format!("{}/{unit}", persist::UNITS);
            out.all.push((path, Content::Link("/dev/null".into())));
        }
    }
    Ok(())
}

/// The preemption model by boot argument, where all kernels agree and are not built so already.
fn arguments(root: &Root, kernels: &[Kernel], out: &mut Files) -> Result<()> {
    let mut modes = BTreeSet::new();
    for kernel in kernels {
        let desired = kernel.rows.iter().flat_map(|r| &r.desired);
        let mode =
            desired.filter(|d| d.resource == Resource::sysfs(SWITCH)).find_map(|d| match &d.want {
                Want::Exactly(State::Is(mode)) => Some(mode.clone()),
                _ => None,
            });
        let built = kernel.facts.kernel.preempt.build.clone();
        modes.extend(mode.filter(|m| Some(m) != built.as_ref()));
    }
    let mut modes = modes.into_iter();
    match (modes.next(), modes.next()) {
        (None, _) => {}
        (Some(mode), None) => {
            let added = bootloader::add(root, "preempt", &mode)?;
            out.notes.extend(added.notes);
            out.all.extend(added.edits.into_iter().map(|(p, text)| (p, Content::Text(text))));
        }
        (Some(_), Some(_)) => out.notes.push(
            "the kernels of this image want different preempt= arguments: left to the unit".into(),
        ),
    }
    Ok(())
}
