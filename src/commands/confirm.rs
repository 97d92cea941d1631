//! Runs that are taken back unless they are confirmed: around `apply` and `rollback`, the verb
//! `confirm`, and the watchdog itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::persist;
use super::session::{Session, need_root};
use crate::cli::ConfirmArgs;
use crate::engine::confirm::{Ended, Passed, Pending, Persist, RunDir, SCHEMA, Watchdog, targets};
use crate::engine::history;
use crate::engine::reason::Reason;
use crate::engine::record::Begin;
use crate::engine::revert::{Reverted, revert};
use crate::engine::row::Status;
use crate::engine::run::Meta;
use crate::engine::store::{Lock, Store};
use crate::engine::verbs::Answer;
use crate::engine::{Exit, Observe, Refusal};
use crate::linux::{Linux, probe, watchdog};
use crate::model::{Facts, Outcome};
use crate::report::{Applied, json, reasons};
use crate::wait;

/// How long probes are asked again after the run, at most: a link may take seconds to come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the watchdog leaves a run that still holds the lock past the deadline.
const GRACE: Duration = Duration::from_secs(60);
/// A run that cannot be taken back now (a full disk) is tried again so often, a second apart.
const TRIES: u32 = 60;

/// A run that is being made under a watchdog.
pub struct Guard {
    dir: RunDir,
    pending: Pending,
    notes: Vec<String>,
}

/// Before any change: a run that waits is in the way, one whose time is up is taken back first.
pub fn none_waiting(
    session: &Session,
    host: &mut Linux,
    store: &mut Store,
    facts: &Facts,
) -> Result<Vec<String>> {
    let dir = session.run_dir();
    let Some(mut pending) = dir.waiting(&facts.node.boot_id)? else { return Ok(Vec::new()) };
    let left = seconds_left(&pending)?;
    if left > 0 {
        let text = format!(
            "{} waits for its confirmation, {left} s left: nettune confirm keeps it; without that it is \
             taken back",
            name(&pending)
        );
        return Err(Refusal::with(Exit::Busy, text));
    }
    let why = "nobody confirmed it, and its watchdog is gone";
    let back = take_back(session, &dir, &mut pending, host, store, facts, why)?;
    let mut notes = vec![format!("{} was taken back first: {why}", name(&pending))];
    notes.extend(back.notes);
    Ok(notes)
}

/// Writes down what waits and arms the watchdog: before the run's first write, so that there is no
/// moment at which a crash would leave an unconfirmed change.
pub fn begin(
    session: &Session,
    args: &ConfirmArgs,
    host: &Linux,
    store: &Store,
    facts: &Facts,
    meta: &Meta,
    persist: Option<Persist>,
) -> Result<Option<Guard>> {
    let Some(seconds) = args.confirm else { return Ok(None) };
    let place = place(session, host, facts)?;
    let asked = if args.probe.is_empty() { host.find_probes(facts) } else { args.probe.clone() };
    let asks = || "asks what must still answer afterwards".to_string();
    let probes = wait::during(asks, || probe::passing(&asked));
    let notes = vec![said(&asked, &probes)];
    let dir = session.run_dir();
    let mut pending = Pending {
        schema: SCHEMA,
        run: meta.time.clone(),
        verb: meta.verb.to_string(),
        profile: meta.profile.clone(),
        profile_before: Applied::of(&store.ledger, Vec::new()).profile,
        plan_id: None,
        boot: facts.node.boot_id.clone(),
        deadline: watchdog::boottime()? + u64::from(seconds) * 1000,
        seconds,
        probes,
        watchdog: Watchdog::None,
        maker: watchdog::this_process()?,
        host: session.cli.global.host.clone(),
        state_dir: session.state_dir(),
        persist,
        targets: None,
        ended: None,
    };
    dir.store(&pending)?;
    match arm(session, host, &place, &pending) {
        Ok(armed) => pending.watchdog = armed,
        Err(e) => {
            dir.clear()?;
            return Err(e.context("nothing was changed: no watchdog could be armed"));
        }
    }
    dir.store(&pending)?;
    Ok(Some(Guard { dir, pending, notes }))
}

/// Who takes the run back.
enum Place {
    /// systemd, with the path of the binary on its side and the node's root on ours.
    Unit {
        binary: PathBuf,
        root: PathBuf,
    },
    Process,
}

fn place(session: &Session, host: &Linux, facts: &Facts) -> Result<Place> {
    let root = &session.cli.global.host;
    let through_a_mount = root != Path::new("/");
    let container = watchdog::container();
    // In a network namespace of its own a container can cut off only itself.
    if (through_a_mount || container.is_some()) && facts.node.first_netns {
        if through_a_mount
            && facts.agents.systemd
            && let Some(binary) = watchdog::binary_on(root)
            && host.systemd_answers()
        {
            return Ok(Place::Unit { binary, root: root.clone() });
        }
        let why = container.unwrap_or_else(|| "the node is seen through --host".into());
        let text = format!(
            "--confirm is refused in a container ({why}): its watchdog would die with it. Run it on the \
             node, or with --host where this same binary is in the node's /usr/local/bin or /usr/bin \
             and the node's systemd answers"
        );
        return Err(Refusal::with(Exit::Config, text));
    }
    if facts.node.first_netns
        && facts.agents.systemd
        && let Some(binary) = watchdog::binary()
        && host.systemd_answers()
    {
        return Ok(Place::Unit { binary, root: "/".into() });
    }
    Ok(Place::Process)
}

fn arm(session: &Session, host: &Linux, place: &Place, pending: &Pending) -> Result<Watchdog> {
    let here = |path: &Path| std::path::absolute(path).context("find the current folder");
    let (state, run) = (here(&session.state_dir())?, here(&session.run_dir().0)?);
    let arguments = |root: &Path, state: &Path, run: &Path| -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        [
            "--host".to_string(),
            text(root),
            "--state-dir".into(),
            text(state),
            "--run-dir".into(),
            text(run),
            "watch".into(),
            pending.run.clone(),
        ]
        .into()
    };
    match place {
        Place::Process => {
            let args = arguments(&here(&session.cli.global.host)?, &state, &run);
            Ok(Watchdog::Process(watchdog::start(&args)?))
        }
        Place::Unit { binary, root } => {
            let root = here(root)?;
            let there = |path: &Path| -> Result<PathBuf> {
                let below = path.strip_prefix(&root).map_err(|_| {
                    let text = format!("{} is not below {}", path.display(), root.display());
                    Refusal::with(Exit::Config, text)
                })?;
                Ok(Path::new("/").join(below))
            };
            let mut command = vec![binary.display().to_string()];
            command.extend(arguments(Path::new("/"), &there(&state)?, &there(&run)?));
            let unit = format!("nettune-confirm-{}", pending.maker.pid);
            host.start_timer(&unit, &command, u64::from(pending.seconds))?;
            Ok(Watchdog::Unit(unit))
        }
    }
}

fn said(asked: &[crate::model::reach::Reach], passed: &[Passed]) -> String {
    let words = |list: Vec<String>| list.join(" ");
    let silent = asked.iter().filter(|r| passed.iter().all(|p| p.reach != **r));
    let silent = words(silent.map(|r| r.to_string()).collect());
    let heard = words(passed.iter().map(|p| p.reach.to_string()).collect());
    match (heard.is_empty(), silent.is_empty()) {
        (true, true) => {
            "no probe was given or found: only nettune confirm tells that all is well".into()
        }
        (true, false) => format!(
            "{silent} did not answer before the change either: only nettune confirm tells that all is well"
        ),
        (false, true) => format!("must still answer: {heard}"),
        (false, false) => {
            format!("must still answer: {heard}; did not answer before either: {silent}")
        }
    }
}

impl Guard {
    /// After the run: asks the probes, takes the run back where one fails, and otherwise starts to
    /// wait for the confirmation.
    pub fn await_confirmation(
        mut self,
        session: &Session,
        host: &mut Linux,
        store: &mut Store,
        result: Result<Answer>,
    ) -> Result<Answer> {
        let facts = host.facts()?;
        let mut answer = match result {
            Ok(answer) => answer,
            Err(e) => {
                self.back(session, host, store, &facts, &format!("it failed: {e:#}"))?;
                return Err(e);
            }
        };
        answer.notes.append(&mut self.notes);
        let made = answer.rows.iter().flat_map(|r| &r.changes);
        if !made.into_iter().any(|(c, o)| *o == Outcome::Written && !c.claim_only()) {
            disarm(host, &self.pending);
            self.dir.clear()?;
            answer.notes.push("nothing was changed: there is nothing to confirm".into());
            return Ok(answer);
        }
        let patience = PATIENCE.min(Duration::from_secs(u64::from(self.pending.seconds)) / 2);
        let asks = || "asks what must still answer".to_string();
        let failing = wait::during(asks, || probe::failing(&self.pending.probes, patience));
        if !failing.is_empty() {
            let why = failing.join("; ");
            let back = self.back(session, host, store, &facts, &why)?;
            undone(&mut answer, &why);
            answer.notes.extend(back.notes);
            answer.notes.push(format!("everything this run did was taken back: {why}"));
            answer.exit = Exit::Failed.worst(back.exit);
            return Ok(answer);
        }
        let pending = &mut self.pending;
        pending.deadline = watchdog::boottime()? + u64::from(pending.seconds) * 1000;
        self.dir.store(pending)?;
        answer
            .notes
            .push(format!("taken back in {} s unless you say: nettune confirm", pending.seconds));
        Ok(answer)
    }

    pub fn planned(&mut self, id: String) {
        self.pending.plan_id = Some(id);
    }

    fn back(
        &mut self,
        session: &Session,
        host: &mut Linux,
        store: &mut Store,
        facts: &Facts,
        why: &str,
    ) -> Result<Reverted> {
        take_back(session, &self.dir, &mut self.pending, host, store, facts, why)
    }
}

/// The rows of a run that was taken back.
fn undone(answer: &mut Answer, why: &str) {
    for row in &mut answer.rows {
        let mut any = false;
        for (_, outcome) in row.changes.iter_mut().filter(|(_, o)| *o == Outcome::Written) {
            *outcome = Outcome::Undone;
            any = true;
        }
        if any && row.status == Status::Applied {
            row.status = Status::Failed;
            row.reasons.push(Reason::TakenBack(why.to_string()));
        }
    }
}

fn take_back(
    session: &Session,
    dir: &RunDir,
    pending: &mut Pending,
    host: &mut Linux,
    store: &mut Store,
    facts: &Facts,
    why: &str,
) -> Result<Reverted> {
    let all = match &pending.targets {
        Some(targets) => targets.clone(),
        None => targets(&store.journal.records()?, &pending.run),
    };
    // From here on it cannot be confirmed any more, and whoever goes on knows what to do.
    pending.targets = Some(all.clone());
    dir.store(pending)?;
    let mut meta = session.meta("revert", pending.profile_before.clone());
    meta.by.takes_back = Some(history::id(&pending.run));
    let back = revert(host, store, facts, &meta, &all)?;
    pending.targets = None;
    pending.ended =
        Some(Ended { why: why.to_string(), time: meta.time, notes: back.notes.clone() });
    dir.store(pending)?;
    disarm(host, pending);
    Ok(back)
}

/// A watchdog process ends by itself when it sees that its run waits no more.
fn disarm(host: &Linux, pending: &Pending) {
    if let Watchdog::Unit(name) = &pending.watchdog {
        let _ = host.stop_timer(name);
    }
}

pub fn seconds_left(pending: &Pending) -> Result<u64> {
    Ok(pending.deadline.saturating_sub(watchdog::boottime()?).div_ceil(1000))
}

fn name(pending: &Pending) -> String {
    match &pending.profile {
        Some(profile) => format!("{} of {profile} ({})", pending.verb, pending.run),
        None => format!("{} ({})", pending.verb, pending.run),
    }
}

/// A run that was cut off is half made, and nobody has proved it.
fn whole(session: &Session, facts: &Facts, pending: &Pending) -> Result<()> {
    let cut_off = |b: &Begin| b.time == pending.run;
    if !session.reader(facts)?.ledger.open.iter().any(cut_off) {
        return Ok(());
    }
    let (name, left) = (name(pending), seconds_left(pending)?);
    let text = format!(
        "{name} was cut off before it ended: it cannot be confirmed, and is taken back in {left} s"
    );
    Err(Refusal::with(Exit::Failed, text))
}

pub fn confirm(session: &Session) -> Result<Exit> {
    need_root()?;
    let mut host = session.host()?;
    let dir = session.run_dir();
    let boot = host.boot_id();
    let nothing = |text: String| Err(Refusal::with(Exit::Nothing, text));
    if dir.load(&boot)?.is_none() {
        return nothing("nothing waits for a confirmation".into());
    }
    // The run that is to be confirmed may just be ending.
    let wait = Duration::from_secs(session.cli.global.wait.max(5).into());
    let lock = Lock::take(&session.state_dir(), wait)?;
    let Some(mut pending) = dir.load(&boot)? else {
        return nothing("nothing waits for a confirmation".into());
    };
    if let Some(ended) = &pending.ended {
        return nothing(format!(
            "{} was taken back at {}: {}",
            name(&pending),
            ended.time,
            ended.why
        ));
    }
    let facts = session.facts(&host)?;
    if pending.targets.is_some() {
        let mut store = Store::write(lock, &facts)?;
        let why = "nobody confirmed it in time, and taking it back was interrupted";
        take_back(session, &dir, &mut pending, &mut host, &mut store, &facts, why)?;
        return nothing(format!("{} was taken back: {why}", name(&pending)));
    }
    whole(session, &facts, &pending)?;
    dir.clear()?;
    disarm(&host, &pending);
    let mut confirmed = json::runs::ConfirmedJson::of(&pending);
    let mut text = format!("{} stays", name(&pending));
    let mut exit = Exit::Fine;
    if let Some(kept) = &pending.persist {
        let mut store = Store::write(lock, &facts)?;
        let answer = persist::keep(session, &mut host, &mut store, &facts, kept)?;
        exit = answer.exit;
        confirmed.kept = Some(exit == Exit::Fine);
        confirmed.notes = answer.notes;
        confirmed
            .notes
            .extend(answer.rows.into_iter().flat_map(|r| r.reasons).map(|r| reasons::text(&r)));
        text.push_str(match exit {
            Exit::Fine => ", and comes back at every boot",
            _ => ", but will not come back at boot",
        });
    }
    session.report().confirmed(&confirmed, &text, &facts, exit)?;
    Ok(exit)
}

/// Somebody said no: what waits is taken back at once.
pub fn refuse(session: &Session, why: &str) -> Result<Exit> {
    let mut host = session.host()?;
    let dir = session.run_dir();
    let lock = Lock::take(&session.state_dir(), Duration::from_secs(5))?;
    let Some(mut pending) = dir.waiting(&host.boot_id())? else { return Ok(Exit::Fine) };
    let facts = session.facts(&host)?;
    let mut store = Store::write(lock, &facts)?;
    let back = take_back(session, &dir, &mut pending, &mut host, &mut store, &facts, why)?;
    session.report().say(&format!("{} was taken back: {why}", name(&pending)))?;
    back.notes.iter().try_for_each(|note| session.report().say(note))?;
    Ok(Exit::Failed.worst(back.exit))
}

/// What waits, for `status`.
pub fn waiting(session: &Session, facts: &Facts) -> Result<Option<json::runs::WaitingJson>> {
    let pending = match session.run_dir().load(&facts.node.boot_id) {
        Ok(Some(pending)) => pending,
        Ok(None) => return Ok(None),
        // Root alone may read it.
        Err(_) if !nix::unistd::geteuid().is_root() => return Ok(None),
        Err(e) => return Err(e),
    };
    let left = seconds_left(&pending)?;
    Ok(Some(json::runs::WaitingJson::of(&pending, left)))
}

/// The watchdog: waits for the deadline, then takes the run back, unless it was confirmed.
pub fn watch(session: &Session, run: &str) -> Result<Exit> {
    need_root()?;
    watchdog::detach()?;
    let mut failed = 0;
    loop {
        match attempt(session, run) {
            Ok(true) => return Ok(Exit::Fine),
            Ok(false) => {}
            Err(e) if failed >= TRIES => return Err(e),
            Err(_) => failed += 1,
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// True when there is nothing left to watch.
fn attempt(session: &Session, run: &str) -> Result<bool> {
    let dir = session.run_dir();
    let mut host = session.host()?;
    let boot = host.boot_id();
    let ours = || Ok::<_, anyhow::Error>(dir.waiting(&boot)?.filter(|p| p.run == run));
    let Some(pending) = ours()? else { return Ok(true) };
    if seconds_left(&pending)? > 0 {
        return Ok(false);
    }
    let begin = Instant::now();
    let lock = loop {
        match Lock::take(&session.state_dir(), Duration::from_secs(1)) {
            Ok(lock) => break lock,
            Err(e) if e.downcast_ref::<Refusal>().is_none_or(|r| r.exit != Exit::Busy) => {
                return Err(e);
            }
            Err(_) if begin.elapsed() > GRACE => watchdog::end(&pending.maker),
            Err(_) => {}
        }
    };
    // The run may have ended meanwhile, and its time begun anew.
    let Some(mut pending) = ours()? else { return Ok(true) };
    if seconds_left(&pending)? > 0 && pending.targets.is_none() {
        return Ok(false);
    }
    let facts = session.facts(&host)?;
    let mut store = Store::write(lock, &facts)?;
    let why = format!("nobody confirmed it within {} s", pending.seconds);
    take_back(session, &dir, &mut pending, &mut host, &mut store, &facts, &why)?;
    Ok(true)
}
