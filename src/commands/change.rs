//! Verbs that change the node: as root, under the lock.

use std::cell::OnceCell;

use anyhow::Result;

use super::session::{Session, accepted, known_tweak, links, need_root, scope};
use super::{confirm, look, persist};
use crate::cli::{ApplyArgs, Boot, RollbackArgs};
use crate::engine::plan::Scope;
use crate::engine::store::Store;
use crate::engine::verbs::{
    Answer, Rollback, apply as engine_apply, rollback as engine_rollback, rollback_preview,
};
use crate::engine::{Exit, Refusal};
use crate::model::{Impact, Side};
use crate::report::View;
use crate::report::json::rows::plan_id;
use crate::tweaks;

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
    let mut host = session.host_for(&profile)?.early(args.boot == Some(Boot::Early));
    let Some(facts) = persist::links_there(session, &host, args)? else {
        session.report().say("that link is not here, or has no device behind it")?;
        return Ok(Exit::Fine);
    };
    let boot = persist::boot_run(args, &profile);
    wanted.links = boot.links;
    let mut scope = scope(&args.choice, &facts)?;
    scope.tweaks = boot.tweaks.or(scope.tweaks);
    let mut accept = accepted(&args.choice, &profile, &facts)?;
    accept.extend(args.boot.map(|_| Impact::LinkReset));
    let mut store = Store::write(lock, &facts)?;
    if let Some(why) = persist::left_to_late(args, &store.ledger) {
        session.report().say(&why)?;
        return Ok(Exit::Fine);
    }
    let first = confirm::none_waiting(session, &mut host, &mut store, &facts)?;
    let facts = if first.is_empty() { facts } else { session.facts(&host)? };
    let (mut kept, row) = (None, OnceCell::new());
    let mut ask = session.ask("apply", &profile, &wanted, scope, accept);
    (ask.strict, ask.atomic) = (args.choice.strict, args.atomic);
    if args.persist {
        let narrowed = persist::narrowed(session, &profile, &ask.scope, &args.choice.accept)?;
        let made = persist::row(session, &host, &store, &facts, &narrowed, &ask)?;
        if args.confirm.confirm.is_some() {
            kept = Some(persist::for_later(&narrowed, &made, &facts)?);
        } else {
            persist::beside(&mut ask, row.get_or_init(|| made));
        }
    }
    let guard = confirm::begin(session, &args.confirm, &host, &store, &facts, &ask.meta, kept)?;
    let mut result = engine_apply(&mut host, &mut store, &facts, &ask);
    if let Some(mut guard) = guard {
        if let Ok(answer) = &result {
            guard.planned(plan_id(Some(&profile), &answer.rows));
        }
        result = guard.await_confirmation(session, &mut host, &mut store, result);
    }
    let mut answer = result?;
    tidy(&mut host, &mut answer);
    answer.notes.splice(0..0, first);
    answer.notes.extend(look::unread(&facts.unread));
    if !args.persist && args.boot.is_none() {
        answer.notes.extend(persist::remark(&store, "apply --persist to make it follow"));
    }
    store.unlock();
    let view = View {
        verb: "apply",
        profile: Some(&profile),
        facts: &facts,
        store: &store,
        answer: &answer,
    };
    session.report().answer(&view)?;
    Ok(answer.exit)
}

pub fn rollback(session: &Session, args: &RollbackArgs) -> Result<Exit> {
    for name in &args.tweaks {
        known_tweak(name)?;
    }
    if !args.dry_run {
        need_root()?;
    }
    let lock = if args.dry_run { None } else { Some(session.lock()?) };
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
        let mut result = engine_rollback(&mut host, &mut store, &facts, &ask);
        if let Some(guard) = guard {
            result = guard.await_confirmation(session, &mut host, &mut store, result);
        }
        let mut answer = result?;
        tidy(&mut host, &mut answer);
        answer.notes.splice(0..0, first);
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

/// What is left of links that are gone is no resource of any link: it is said when it stays.
fn tidy(host: &mut crate::linux::Linux, answer: &mut Answer) {
    if let Err(e) = host.tidy() {
        answer.notes.push(format!("BPF pins: {e:#}"));
    }
}
