//! `bake`: an image that boots tuned.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::session::Session;
use crate::VERSION;
use crate::cli::BakeArgs;
use crate::engine::{Exit, Refusal};
use crate::image::{self, Ask};
use crate::linux::root::Root;
use crate::open;
use crate::profile::Profile;
use crate::report::json::bake::BakeJson;

pub fn bake(session: &Session, args: &BakeArgs) -> Result<Exit> {
    let root = image_root(args)?;
    let place = args.root.display().to_string();
    if args.check {
        let Some(checked) = image::check(&root)? else {
            return Err(Refusal::with(Exit::Nothing, format!("{place} is not baked")));
        };
        let exit = if checked.differ.is_empty() { Exit::Fine } else { Exit::Drift };
        let report = BakeJson {
            differ: checked.differ,
            notes: checked.notes,
            ..BakeJson::of(&place, &checked.manifest)
        };
        session.report().baked(&report, exit)?;
        return Ok(exit);
    }
    if args.undo {
        let undone = image::undo(&root)?;
        let exit = if undone.left.is_empty() { Exit::Fine } else { Exit::NotPutBack };
        let left = undone.left.iter().map(|p| format!("{p} was changed since: left as it is"));
        let report = BakeJson {
            root: place,
            undone: Some(undone.count),
            differ: left.collect(),
            ..BakeJson::default()
        };
        session.report().baked(&report, exit)?;
        return Ok(exit);
    }
    let Some(name) = &args.profile else {
        return Err(Refusal::with(Exit::Usage, "bake needs a profile: -p PROFILE"));
    };
    let profile = Profile::load(&session.finder(), name, &args.sets.set)?;
    let ask = Ask {
        profile: &profile,
        version: VERSION,
        binary: binary(args)?,
        epoch: epoch()?,
        without_kernel: args.without_kernel,
    };
    let baked = image::bake(&root, &ask)?;
    let exit = match args.strict && !baked.findings.is_empty() {
        true => Exit::Blocked,
        false => Exit::Fine,
    };
    let report = BakeJson {
        findings: baked.findings,
        notes: baked.notes,
        ..BakeJson::of(&place, &baked.manifest)
    };
    session.report().baked(&report, exit)?;
    Ok(exit)
}

/// `/` by whatever name only where somebody says that it is an image that is being built.
fn image_root(args: &BakeArgs) -> Result<Root> {
    let at = &args.root;
    let bad = |text: String| Refusal::with(Exit::Config, text);
    let meta = std::fs::metadata(at).map_err(|e| bad(format!("--root {}: {e}", at.display())))?;
    if !meta.is_dir() {
        return Err(bad(format!("--root {} is not a directory", at.display())));
    }
    let own = std::fs::metadata("/").context("look at /")?;
    if (meta.dev(), meta.ino()) == (own.dev(), own.ino()) {
        if !args.image_build {
            return Err(bad(
                "--root is / itself: on a node use apply --persist; inside a build of an image say \
                 --image-build"
                    .into(),
            ));
        }
        if let Some(name) = kubelet_runs() {
            return Err(bad(format!("{name} runs here: this is a node, not an image being built")));
        }
    }
    Root::open(at)
}

fn kubelet_runs() -> Option<String> {
    const NAMES: [&str; 7] =
        ["kubelet", "k3s", "k3s-server", "k3s-agent", "rke2", "k0s", "kubelite"];
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|p| open::bytes(&p.path().join("comm"), 64).ok())
        .map(|comm| String::from_utf8_lossy(&comm).trim().to_string())
        .find(|comm| NAMES.contains(&comm.as_str()))
}

fn binary(args: &BakeArgs) -> Result<Vec<u8>> {
    let path = args.binary.as_deref().unwrap_or(Path::new("/proc/self/exe"));
    open::bytes(path, image::MOST_BYTES)
        .map_err(|e| Refusal::with(Exit::Config, format!("--binary {}: {e}", path.display())))
}

fn epoch() -> Result<Option<i64>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let parsed = text.to_str().and_then(|t| t.parse::<i64>().ok()).filter(|t| *t >= 0);
    let wrong = || Refusal::with(Exit::Config, "SOURCE_DATE_EPOCH is not a number of seconds");
    parsed.map(Some).ok_or_else(wrong)
}
