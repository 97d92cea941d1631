//! Verbs that change the node: as root, under the lock.

use anyhow::Result;

use super::{Session, accepted, confirm, known_tweak, links, look, need_root, scope};
use crate::cli::{ApplyArgs, RollbackArgs};
use crate::engine::evaluate::Selection;
use crate::engine::plan::Scope;
use crate::engine::store::Store;
use crate::engine::verbs::{
    Ask, Rollback, apply as engine_apply, rollback as engine_rollback, rollback_preview,
};
use crate::engine::{Exit, Refusal};
use crate::model::Side;
use crate::report::View;
use crate::report::json::plan_id;
use crate::tweaks;

pub fn apply(session: &Session, args: &ApplyArgs) -> Result<Exit> {
    if args.choice.profile.is_none() && session.node_profile().is_none() {
        let text = "apply needs a profile: -p PROFILE (nettune list profiles), or profile = \"NAME\" in \
                    /etc/nettune/nettune.toml";
        return Err(Refusal::with(Exit::Usage, text));
    }
    if args.dry_run {
        return look::show_plan(session, &args.choice, "apply", false);
    }
    let profile = session.profile(&args.choice)?;
    let tweaks = profile.tweaks()?;
    need_root()?;
    let lock = session.lock()?;
    let mut host = session.host_for(&profile)?;
    let facts = session.facts(&host)?;
    let links = profile.links();
    let ask = Ask {
        selection: Selection { tweaks: &tweaks, links: &links, cni: profile.cni() },
        scope: scope(&args.choice, &facts)?,
        accept: accepted(&args.choice, &profile, &facts)?,
        strict: args.choice.strict,
        atomic: args.atomic,
        meta: session.meta("apply", Some(profile.name.clone())),
    };
    let mut store = Store::write(lock, &facts)?;
    let first = confirm::none_waiting(session, &mut host, &mut store, &facts)?;
    let facts = if first.is_empty() { facts } else { session.facts(&host)? };
    let guard = confirm::begin(session, &args.confirm, &host, &store, &facts, &ask.meta, None)?;
    let mut result = engine_apply(&mut host, &mut store, &facts, &ask);
    if let Some(mut guard) = guard {
        if let Ok(answer) = &result {
            guard.planned(plan_id(Some(&profile), &answer.rows));
        }
        result = guard.conclude(session, &mut host, &mut store, result);
    }
    let mut answer = result?;
    answer.notes.splice(0..0, first);
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
            result = guard.conclude(session, &mut host, &mut store, result);
        }
        let mut answer = result?;
        answer.notes.splice(0..0, first);
        store.unlock();
        (store, answer)
    } else {
        let store = session.reader(&facts)?;
        if store.unreadable {
            return Err(Refusal::with(Exit::NeedsRoot, "what is applied can be read by root only"));
        }
        let answer = rollback_preview(&host, &store, &facts, &ask)?;
        (store, answer)
    };
    let view =
        View { verb: "rollback", profile: None, facts: &facts, store: &store, answer: &answer };
    session.report().answer(&view)?;
    Ok(answer.exit)
}
