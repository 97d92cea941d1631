//! Verbs that change the node: as root, under the lock.

use std::cell::OnceCell;

use anyhow::Result;

use super::confirm::Guard;
use super::persist::Asked;
use super::session::{Session, accepted, known_tweak, links, need_root, scope};
use super::{confirm, look, persist, prompt};
use crate::cli::{ApplyArgs, Boot, RollbackArgs};
use crate::engine::plan::Scope;
use crate::engine::store::Store;
use crate::engine::verbs::{
    Answer, Rollback, apply as engine_apply, rollback as engine_rollback, rollback_preview,
};
use crate::engine::{Exit, Refusal};
use crate::linux::Linux;
use crate::model::{Impact, Side};
use crate::report::View;
use crate::report::json::rows::plan_id;
use crate::{stop, tweaks, wait};

/// check shows cilium-max where nothing is said; nobody gets it applied unasked.
fn named(session: &Session, args: &ApplyArgs) -> Result<()> {
    let text = "apply needs a profile: -p PROFILE (nettune list profiles), or profile = \"NAME\" in \
                /etc/nettune/nettune.toml";
    let named = args.choice.profile.is_some() || session.node_profile()?.is_some();
    if named { Ok(()) } else { Err(Refusal::with(Exit::Usage, text)) }
}

pub fn apply(session: &Session, args: &ApplyArgs) -> Result<Exit> {
    named(session, args)?;
    if args.dry_run {
        return look::show_plan(session, &args.choice, "apply", false, args.persist);
    }
    let mut profile = session.profile(&args.choice)?;
    if args.boot.is_some() {
        profile.name = crate::persist::stem(&profile.name);
    }
    let mut wanted = profile.wanted()?;
    need_root()?;
    let lock = session.lock()?;
    stop::listen()?;
    let mut host = session.host_for(&profile)?.early(args.boot == Some(Boot::Early));
    let Some(facts) = persist::links_there(session, &host, args)? else {
        let why = "that link is not here, or has no device behind it";
        return session.report().say(why).map(|()| Exit::Fine);
    };
    let boot = persist::boot_run(args, &profile);
    wanted.links = boot.links;
    let mut scope = scope(&args.choice, &facts)?;
    scope.tweaks = boot.tweaks.or(scope.tweaks);
    let mut accept = accepted(&args.choice, &profile, &facts)?;
    accept.extend(args.boot.map(|_| Impact::LinkReset));
    let mut store = Store::write(lock, &facts)?;
    if let Some(why) = persist::left_to_late(args, &store.ledger) {
        return session.report().say(&why).map(|()| Exit::Fine);
    }
    let first = confirm::none_waiting(session, &mut host, &mut store, &facts)?;
    let facts = if first.is_empty() { facts } else { session.facts(&host)? };
    let (mut later, row) = (None, OnceCell::new());
    let mut ask = session.ask("apply", &profile, &wanted, scope, accept);
    (ask.strict, ask.atomic) = (args.choice.strict, args.atomic);
    let args = &prompt::guarded(session, args, &host, &store, &facts, &ask)?;
    match persist::asked(session, args, &profile, &host, &store, &facts, &ask)? {
        Asked::Nothing => {}
        Asked::Later(kept) => later = Some(kept),
        Asked::Now(made) => persist::beside(&mut ask, row.get_or_init(|| made)),
    }
    let mut guard =
        confirm::begin(session, &args.confirm, &host, &store, &facts, &ask.meta, later)?;
    let applies = || format!("applies {}", profile.name);
    let result = wait::during(applies, || engine_apply(&mut host, &mut store, &facts, &ask));
    if let (Some(guard), Ok(answer)) = (&mut guard, &result) {
        guard.planned(plan_id(Some(&profile), &answer.rows));
    }
    let mut answer = ended(session, &mut host, &mut store, guard, result, first)?;
    answer.notes.extend(look::unread(&facts.unread));
    if !args.persist && args.boot.is_none() {
        answer.notes.extend(persist::remark(&store, "apply --persist to make it follow"));
    }
    store.unlock();
    let (verb, profile) = ("apply", Some(&profile));
    let view = View { verb, profile, facts: &facts, store: &store, answer: &answer };
    session.report().answer(&view)?;
    prompt::keep(session, args, &facts, answer.exit)
}

pub fn rollback(session: &Session, args: &RollbackArgs) -> Result<Exit> {
    for name in &args.tweaks {
        known_tweak(name)?;
    }
    if !args.dry_run {
        need_root()?;
    }
    let lock = if args.dry_run { None } else { Some(session.lock()?) };
    if lock.is_some() {
        stop::listen()?;
    }
    let mut host = session.host()?;
    let facts = session.facts(&host)?;
    let side = |name: &str| tweaks::find(name).map_or(Side::Node, |t| t.side);
    let ask = Rollback {
        scope: Scope {
            tweaks: (!args.tweaks.is_empty()).then(|| args.tweaks.iter().cloned().collect()),
            links: links(&args.link, &facts)?,
        },
        gentle: args.gentle,
        force: args.force,
        meta: session.meta("rollback", None),
        side: &side,
    };
    let (store, answer) = if let Some(lock) = lock {
        let mut store = Store::write(lock, &facts)?;
        let first = confirm::none_waiting(session, &mut host, &mut store, &facts)?;
        let facts = if first.is_empty() { facts.clone() } else { session.facts(&host)? };
        let guard = confirm::begin(session, &args.confirm, &host, &store, &facts, &ask.meta, None)?;
        let rollback = || engine_rollback(&mut host, &mut store, &facts, &ask);
        let result = wait::during(|| "puts back".to_string(), rollback);
        let mut answer = ended(session, &mut host, &mut store, guard, result, first)?;
        answer.notes.extend(persist::remark(&store, "apply --persist what shall come back"));
        store.unlock();
        (store, answer)
    } else {
        let store = session.reader(&facts)?;
        look::readable(&store)?;
        let answer = rollback_preview(&host, &store, &facts, &ask)?;
        (store, answer)
    };
    let view =
        View { verb: "rollback", profile: None, facts: &facts, store: &store, answer: &answer };
    session.report().answer(&view)?;
    Ok(answer.exit)
}

/// After a run: what waits for a confirmation waits for it, and what is left of links that are gone, which is no
/// resource of any link, goes.
fn ended(
    session: &Session,
    host: &mut Linux,
    store: &mut Store,
    guard: Option<Guard>,
    result: Result<Answer>,
    first: Vec<String>,
) -> Result<Answer> {
    let mut answer = match guard {
        Some(guard) => guard.await_confirmation(session, host, store, result)?,
        None => result?,
    };
    if let Err(e) = host.tidy() {
        answer.notes.push(format!("BPF pins: {e:#}"));
    }
    answer.notes.splice(0..0, first);
    Ok(answer)
}
