//! A report of this node for somebody else, and such a report read again.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::session::{Session, accepted, scope};
use crate::VERSION;
use crate::cli::{Choice, DoctorArgs};
use crate::engine::history::runs;
use crate::engine::recorded::Recorder;
use crate::engine::run::now;
use crate::engine::store::Store;
use crate::engine::verbs::{pending, preview, verify};
use crate::engine::{Exit, Observe, Refusal};
use crate::model::Facts;
use crate::open;
use crate::profile::Profile;
use crate::replace::new_file;
use crate::report::doctor::{About, Parts, unpack};
use crate::report::{Applied, View, json};

const SCHEMA: u32 = 1;
const MOST_PACKED: u64 = 64 << 20;

pub fn doctor(session: &Session, args: &DoctorArgs) -> Result<Exit> {
    match &args.read {
        Some(file) => read(session, file),
        None => write(session, args),
    }
}

fn write(session: &Session, args: &DoctorArgs) -> Result<Exit> {
    let choice = Choice { profile: args.profile.clone(), ..Choice::default() };
    let profile = session.profile(&choice)?;
    let host = session.host_for(&profile)?;
    let facts = session.facts(&host)?;
    let time = now();
    let mut parts = Parts::default();
    let about = About {
        schema: SCHEMA,
        version: VERSION.to_string(),
        commit: option_env!("NETTUNE_COMMIT").unwrap_or_default().to_string(),
        arch: std::env::consts::ARCH.to_string(),
        time: time.clone(),
        profile: profile.name.clone(),
    };
    parts.json("about.json", &about)?;
    parts.json("facts.json", &facts)?;
    parts.text("profile.toml", &profile.text());
    gathered(session, &host, &facts, &profile, &choice, &mut parts)?;
    let default = || {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
        let node: String = facts.node.name.chars().map(plain).collect();
        let time: String = time.chars().filter(char::is_ascii_digit).take(14).collect();
        PathBuf::from(format!("nettune-{node}-{time}.tar.gz"))
    };
    let path = args.output.clone().unwrap_or_else(default);
    let packed = parts.pack()?;
    create(&path, &packed).with_context(|| format!("write {}", path.display()))?;
    session.report().doctor(&path, packed.len(), &parts)?;
    Ok(Exit::Fine)
}

/// What each verb answers here, and what they read for it.
fn gathered(
    session: &Session,
    host: &impl Observe,
    facts: &Facts,
    profile: &Profile,
    choice: &Choice,
    parts: &mut Parts,
) -> Result<()> {
    let store = session.reader(facts)?;
    let wanted = profile.wanted()?;
    let accept = accepted(choice, profile, facts)?;
    let recorder = Recorder::new(host, facts);
    let ask = session.ask("check", profile, &wanted, scope(choice, facts)?, accept);
    let answer = preview(&recorder, &store, facts, &ask)?;
    parts.states(&recorder.states.borrow())?;
    let of = |verb, answer| View { verb, profile: Some(profile), facts, store: &store, answer };
    parts.json("check.json", &json::answer(&of("check", &answer)))?;
    let verified = verify(host, &store, facts);
    parts.json("verify.json", &json::answer(&of("verify", &verified)))?;
    let mut applied = Applied::of(&store.ledger, pending(&store.ledger));
    applied.unknown = store.trouble.clone();
    if store.trouble.is_none() && !store.unreadable {
        let (runs, _) = runs(&store.journal)?;
        applied.led_by(&runs);
        parts.json("log.json", &crate::report::log::json(&runs, Exit::Fine))?;
    }
    parts.json("status.json", &json::status(&applied, None, facts, Exit::Fine))
}

/// A new file that its owner alone can read, and no link to one.
fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().context("it is no file's name")?.to_string_lossy();
    let mut file = new_file(&open::folder(folder)?, &name, 0o600)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

/// What check says of the node that wrote it, by this nettune.
fn read(session: &Session, file: &Path) -> Result<Exit> {
    let wrong =
        |e: anyhow::Error| Refusal::with(Exit::Config, format!("read {}: {e:#}", file.display()));
    let bytes = open::bytes(file, MOST_PACKED).map_err(|e| wrong(e.into()))?;
    let reported = unpack(&bytes).map_err(wrong)?;
    let (facts, node) = (reported.node.facts.clone(), &reported.node);
    let profile = Profile::recorded(&reported.about.profile, &reported.profile)?;
    let wanted = profile.wanted()?;
    let choice = Choice::default();
    let accept = accepted(&choice, &profile, &facts)?;
    let store = Store::empty(&facts);
    let ask = session.ask("check", &profile, &wanted, scope(&choice, &facts)?, accept);
    let mut answer = preview(node, &store, &facts, &ask)?;
    answer.notes.push(format!(
        "as recorded at {} by nettune {}; what was applied there is in status.json of the report",
        reported.about.time, reported.about.version
    ));
    let profile = Some(&profile);
    session.report().answer(&View {
        verb: "check",
        profile,
        facts: &facts,
        store: &store,
        answer: &answer,
    })?;
    Ok(answer.exit)
}
