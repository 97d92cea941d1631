//! `apply --persist` and the runs at boot that it leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::session::Session;
use crate::cli::{ApplyArgs, Boot};
use crate::engine::confirm::Persist;
use crate::engine::evaluate::agents_set;
use crate::engine::ledger::Ledger;
use crate::engine::plan::Scope;
use crate::engine::record::Begin;
use crate::engine::row::{Owner, Selected, Status};
use crate::engine::store::Store;
use crate::engine::verbs::{Answer, Ask, apply, preview};
use crate::engine::{Exit, Observe, Refusal};
use crate::linux::{Linux, watchdog};
use crate::model::facts::Setting;
use crate::model::glob;
use crate::model::typed::file::{File, Meta};
use crate::model::uplinks::{matches, uplinks};
use crate::model::{
    Context, Desired, Facts, Impact, Need, Probe, Resource, Side, State, Tweak, Want,
};
use crate::persist::{self, NAME, Setup};
use crate::profile::Profile;
use crate::tweaks::TWEAKS;

/// How long an early run waits for the links it is told of.
const LINKS_APPEAR: Duration = Duration::from_secs(5);
/// What a boot does not have, or not yet, or what the units may not see.
const NOT_KEPT: [&str; 7] = ["/tmp", "/run", "/dev", "/proc", "/var/tmp", "/home", "/root"];

/// The files of persistence as one row: planned, journaled and taken back like any lever's.
struct Kept {
    needs: Vec<Need>,
    files: Vec<(String, State)>,
}

impl Tweak for Kept {
    fn needs(&self, _: &Context) -> Vec<Need> {
        self.needs.clone()
    }

    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        let want = |(path, state): &(String, State)| {
            let resource = Resource::File { path: path.clone() };
            Desired::new(resource, Want::Exactly(state.clone()), Impact::None)
        };
        Ok(self.files.iter().map(want).collect())
    }
}

/// The part of the profile that this run applies, with what was accepted: so it comes back at boot.
pub fn narrowed(
    session: &Session,
    profile: &Profile,
    scope: &Scope,
    accept: &[String],
) -> Result<Profile> {
    if scope.links.is_some() {
        let text =
            "--persist keeps a profile, not a choice of links: name them by links = [..] in it";
        return Err(Refusal::with(Exit::Usage, text));
    }
    if session.state_dir() != session.cli.global.host.join("var/lib/nettune") {
        let text = "--persist goes with the journal in /var/lib/nettune, not with --state-dir";
        return Err(Refusal::with(Exit::Usage, text));
    }
    let mut table = profile.table.clone();
    table.remove("include");
    if let Some(only) = &scope.tweaks {
        table.retain(|key, value| !value.is_table() || only.contains(key));
    }
    let mut all: BTreeSet<String> = accept.iter().cloned().collect();
    all.extend(profile.accept().iter().map(|i| i.name().to_string()));
    if !all.is_empty() {
        let all = all.into_iter().map(toml::Value::String).collect();
        table.insert("accept".into(), toml::Value::Array(all));
    }
    Ok(Profile { name: profile.name.clone(), table, ..Profile::default() })
}

/// What `--persist` adds to a run: a row beside the others, or what the confirmation is to keep.
pub enum Asked {
    Nothing,
    Now(Selected),
    Later(Persist),
}

pub fn asked(
    session: &Session,
    args: &ApplyArgs,
    profile: &Profile,
    host: &Linux,
    store: &Store,
    facts: &Facts,
    ask: &Ask,
) -> Result<Asked> {
    if !args.persist {
        return Ok(Asked::Nothing);
    }
    let narrowed = narrowed(session, profile, &ask.scope, &args.choice.accept)?;
    let made = row(session, host, store, facts, &narrowed, ask)?;
    Ok(match args.confirm.confirm {
        Some(_) => Asked::Later(for_later(&narrowed, &made, facts)?),
        None => Asked::Now(made),
    })
}

/// The row that keeps `profile` (already narrowed), as this node takes it now.
pub fn row(
    session: &Session,
    host: &Linux,
    store: &Store,
    facts: &Facts,
    profile: &Profile,
    ask: &Ask,
) -> Result<Selected> {
    let mut needs = vec![systemd(facts)];
    let binary = match binary(session) {
        Ok(binary) => {
            needs.push(Need::met("binary"));
            binary
        }
        Err(need) => {
            needs.push(need);
            String::new()
        }
    };
    let values = sysctls(host, store, facts, ask)?;
    let keys: BTreeSet<String> = values.iter().map(|(key, _)| key.clone()).collect();
    let name = persist::dropin_name(&keys, &host.sysctl_files());
    let lines = persist::dropin(&values);
    let ids = if profile.links().is_empty() { identities(facts) } else { Vec::new() };
    let table = toml::to_string(&profile.table)?;
    let setup = Setup {
        origin: "nettune apply --persist; nettune rollback persist takes it away",
        binary: &binary,
        profile: &profile.name,
        table: &table,
        uplinks: &ids,
        dropin: (!values.is_empty()).then_some((name.as_str(), lines.as_str())),
    };
    let mut files = folders(host, store);
    files.extend(persist::files(&setup));
    Ok(Selected {
        name: NAME,
        side: Side::Node,
        enable: true,
        // Who asks for it and does not get it should hear that by the exit code.
        required: true,
        told: Vec::new(),
        owner: Owner::Nettune,
        tweak: Box::new(Kept { needs, files }),
    })
}

fn systemd(facts: &Facts) -> Need {
    if facts.agents.systemd {
        return Need::met("systemd");
    }
    let fix = "run nettune apply at boot by the means of this init system";
    Need::blocked("systemd", "systemd is not the init of this node", fix)
}

/// Where the node has this binary at its next boot.
fn binary(session: &Session) -> Result<String, Need> {
    let root = &session.cli.global.host;
    let found = match root == Path::new("/") {
        true => watchdog::binary().filter(|b| NOT_KEPT.iter().all(|gone| !b.starts_with(gone))),
        false => watchdog::binary_on(root),
    };
    found.and_then(|path| path.to_str().map(str::to_string)).ok_or_else(|| {
        let why = "this binary is not where the node's next boot would find it";
        Need::blocked("binary", why, "install it in /usr/local/bin and run it from there")
    })
}

/// What this run sets, as fixed values: at-least is resolved on the value from before nettune. What
/// TuneD sets as well is left to the boot unit, which runs after it: TuneD would find our value, keep
/// it for the machine's own and lay it over the node when it switches back. A file of somebody else's
/// that names such a key is outdone nevertheless.
fn sysctls(host: &Linux, store: &Store, facts: &Facts, ask: &Ask) -> Result<Vec<(String, String)>> {
    let answer = preview(host, store, facts, ask)?;
    let had = |s: Status| matches!(s, Status::Ready | Status::Applied | Status::Ok);
    let names = |settings: &[Setting], resource: &Resource| {
        let name = resource.to_string();
        settings.iter().any(|s| glob(&s.resource, &name))
    };
    let agents = agents_set(&answer.rows, facts);
    let files: Vec<Setting> =
        facts.settings.iter().filter(|s| s.in_sysctl_file()).cloned().collect();
    let left = |r: &Resource| names(agents, r) && !names(&files, r);
    let mut wants: BTreeMap<&Resource, Want> = BTreeMap::new();
    for desired in answer.rows.iter().filter(|r| had(r.status)).flat_map(|r| &r.desired) {
        let resource = &desired.resource;
        let sysctl = matches!(resource, Resource::Sysctl { .. }) && resource.link().is_none();
        if !sysctl || left(resource) {
            continue;
        }
        let merged = match wants.get(resource) {
            Some(other) => other.merge(&desired.want).unwrap_or_else(|| desired.want.clone()),
            None => desired.want.clone(),
        };
        wants.insert(resource, merged);
    }
    let mut values = Vec::new();
    for (resource, want) in wants {
        let owned = store.ledger.owned.get(resource);
        let basis = match owned {
            Some(owned) => owned.baseline.clone(),
            None => host.read(resource)?,
        };
        let (Resource::Sysctl { key }, Ok(State::Is(value))) = (resource, want.resolve(&basis))
        else {
            continue;
        };
        if basis == State::Absent {
            continue;
        }
        match (value.strip_prefix("bytes="), key.strip_suffix("_ratio")) {
            (Some(bytes), Some(stem)) => values.push((format!("{stem}_bytes"), bytes.to_string())),
            _ => values.push((key.clone(), value)),
        }
    }
    Ok(values)
}

/// Uplinks by bus path and permanent address: whichever of the two is still true finds the link.
fn identities(facts: &Facts) -> Vec<String> {
    let mut ids = Vec::new();
    for link in uplinks(facts, &[]).into_iter().filter(|l| l.bus.is_some()) {
        let pci = link.bus.as_deref().and_then(|bus| bus.strip_prefix("pci/"));
        ids.extend(pci.map(|address| format!("pci:{address}")));
        ids.extend(link.permanent_mac.as_ref().map(|mac| format!("mac:{mac}")));
    }
    ids
}

/// Folders that are missing, or that we have made, so that a rollback takes them away again.
fn folders(host: &Linux, store: &Store) -> Vec<(String, State)> {
    let made = |path: &&&str| {
        let resource = Resource::File { path: path.to_string() };
        store.ledger.owned.contains_key(&resource)
            || matches!(host.read(&resource), Ok(State::Absent))
    };
    let state = State::from(File::Folder(Meta { mode: 0o755, ..Meta::FRESH }));
    persist::folders().iter().filter(made).map(|p| (p.to_string(), state.clone())).collect()
}

/// What a confirmation is to keep; refused now where it could not be had then.
fn for_later(profile: &Profile, row: &Selected, facts: &Facts) -> Result<Persist> {
    let cx = Context::new(facts, &[]);
    for need in row.tweak.needs(&cx) {
        if let Probe::Unmet { why, fix, .. } = &need.probe {
            let fix = fix.as_deref().unwrap_or_default();
            return Err(Refusal::with(Exit::Blocked, format!("--persist: {why}; {fix}")));
        }
    }
    Ok(Persist { profile: profile.name.clone(), table: toml::to_string(&profile.table)? })
}

/// After the confirmation: writes what makes the profile come back.
pub fn keep(
    session: &Session,
    host: &mut Linux,
    store: &mut Store,
    facts: &Facts,
    kept: &Persist,
) -> Result<Answer> {
    let table = kept.table.parse()?;
    let profile = Profile { name: kept.profile.clone(), table, ..Profile::default() };
    let wanted = profile.wanted()?;
    let mut ask = session.ask("confirm", &profile, &wanted, Scope::default(), Impact::ALL.into());
    let row = row(session, host, store, facts, &profile, &ask)?;
    ask.selection.tweaks = vec![&row];
    ask.scope.tweaks = Some(BTreeSet::from([NAME.to_string()]));
    apply(host, store, facts, &ask)
}

/// The files that bring a profile back stand beside what it wants.
pub fn beside<'a>(ask: &mut Ask<'a>, row: &'a Selected) {
    ask.selection.tweaks.push(row);
    if let Some(only) = &mut ask.scope.tweaks {
        only.insert(NAME.to_string());
    }
}

/// What is kept over reboots and does not follow what this run did.
pub fn remark(store: &Store, did: &str) -> Option<String> {
    let kept = store.ledger.owned.values().any(|o| o.claims.contains_key(NAME));
    kept.then(|| {
        format!(
            "what comes back at each boot is as it was: {did}, or nettune rollback {NAME} to end it"
        )
    })
}

/// What a run at boot makes of the profile it was given.
pub struct BootRun {
    pub links: Vec<String>,
    pub tweaks: Option<BTreeSet<String>>,
}

pub fn boot_run(args: &ApplyArgs, profile: &Profile) -> BootRun {
    let own = profile.links();
    let links = match args.boot {
        Some(Boot::Early) if own.is_empty() => args.uplink.clone(),
        Some(Boot::Link) if own.is_empty() => args.choice.link.clone(),
        _ => own,
    };
    let early = || TWEAKS.iter().filter(|t| t.more.early).map(|t| t.name.to_string()).collect();
    BootRun { links, tweaks: (args.boot == Some(Boot::Early)).then(early) }
}

/// What a power cut left is no matter of the early run when D-Bus has to be asked about it: that would
/// wait for its answer until the unit's time is over. The late run does all of it.
pub fn left_to_late(args: &ApplyArgs, ledger: &Ledger) -> Option<String> {
    let asks = |b: &&Begin| b.changes.iter().any(|c| c.resource.kind().by_bus);
    let begin = ledger.open.iter().find(asks).filter(|_| args.boot == Some(Boot::Early))?;
    let (verb, time) = (&begin.verb, &begin.time);
    Some(format!(
        "{verb} of {time} did not end, and TuneD or systemd has a part in it: left to nettune.service"
    ))
}

/// The node's facts. Early in a boot links are still being found: waits for those that the run was told of. For the
/// run of a single link: whether it is (still) there and has a device behind it.
pub fn links_there(session: &Session, host: &Linux, args: &ApplyArgs) -> Result<Option<Facts>> {
    let deadline = Instant::now() + LINKS_APPEAR;
    loop {
        let facts = session.facts(host)?;
        if args.boot.is_none() {
            return Ok(Some(facts));
        }
        if args.boot == Some(Boot::Link) {
            let there = |name: &String| facts.link(name).is_some_and(|l| l.bus.is_some());
            return Ok(args.choice.link.iter().all(there).then_some(facts));
        }
        let settled = |id: &String| {
            facts.links.iter().any(|l| matches(id, l) && host.udev_is_through(l.index))
        };
        if args.uplink.iter().all(settled) || Instant::now() >= deadline {
            return Ok(Some(facts));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}
