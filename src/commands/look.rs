//! Verbs that only look: they need no root, say what they could not see without it, and change
//! nothing at all.

use std::collections::BTreeMap;

use anyhow::Result;

use super::session::{Session, accepted, scope};
use super::{confirm, persist};
use crate::cli::{CheckArgs, Choice, Command, Format, Output};
use crate::engine::history::runs;
use crate::engine::ledger::Ledger;
use crate::engine::row::{Row, Status};
use crate::engine::store::Store;
use crate::engine::undo::plan_script;
use crate::engine::verbs::{pending, preview, verify as engine_verify};
use crate::engine::{Exit, Refusal};
use crate::linux::Linux;
use crate::model::Resource;
use crate::model::bpf::Coverage;
use crate::model::facts::{Facts, Link};
use crate::model::uplinks::{pod_links, pods_leave_elsewhere};
use crate::report::{Applied, View};

pub fn facts(session: &Session) -> Result<Exit> {
    let host = session.host()?;
    let facts = session.facts(&host)?;
    session.report().facts(&facts)?;
    Ok(Exit::Fine)
}

pub fn check(session: &Session, args: &CheckArgs) -> Result<Exit> {
    let nfd = session.cli.global.format == Format::Nfd;
    looked(session, &args.choice, "check", false, |_, view| match nfd {
        true => session.report().nfd(view, args.output.output.as_deref()),
        false => session.report().answer(view),
    })
}

pub fn plan(session: &Session, choice: &Choice, script: bool) -> Result<Exit> {
    show_plan(session, choice, "plan", script, false)
}

pub fn show_plan(
    session: &Session,
    choice: &Choice,
    verb: &'static str,
    script: bool,
    kept: bool,
) -> Result<Exit> {
    looked(session, choice, verb, kept, |host, view| match script {
        false => session.report().plan(view),
        true => {
            let rows = &view.answer.rows;
            session.report().text(&plan_script(host, &view.store.ledger, view.facts, rows))
        }
    })
}

/// The plan for this node, with what would make it last where that is asked for, handed to who shows
/// it.
pub fn looked(
    session: &Session,
    choice: &Choice,
    verb: &'static str,
    kept: bool,
    show: impl FnOnce(&Linux, &View) -> Result<()>,
) -> Result<Exit> {
    let profile = session.profile(choice)?;
    let wanted = profile.wanted()?;
    let host = session.host_for(&profile)?;
    let facts = session.facts(&host)?;
    let store = session.reader(&facts)?;
    let accept = accepted(choice, &profile, &facts)?;
    let row;
    let mut ask = session.ask(verb, &profile, &wanted, scope(choice, &facts)?, accept);
    ask.strict = choice.strict;
    if kept {
        let narrowed = persist::narrowed(session, &profile, &ask.scope, &choice.accept)?;
        row = persist::row(session, &host, &store, &facts, &narrowed, &ask)?;
        persist::beside(&mut ask, &row);
    }
    let mut answer = preview(&host, &store, &facts, &ask)?;
    answer.notes.extend(pods_leave_elsewhere(&facts, &wanted.links));
    if store.trouble.is_some() {
        answer.notes.push("what is applied is unknown".to_string());
    } else if store.unreadable {
        answer.notes.push("what is applied can be seen by root only".to_string());
    }
    answer.notes.extend(unread(&facts.unread));
    let would = |row: &Row| matches!(row.status, Status::Ready | Status::Held);
    if let Command::Check(CheckArgs { exit_code: true, .. }) = session.cli.command
        && answer.exit == Exit::Fine
        && answer.rows.iter().any(would)
    {
        answer.exit = Exit::Changes;
    }
    let view =
        View { verb, profile: Some(&profile), facts: &facts, store: &store, answer: &answer };
    show(&host, &view)?;
    Ok(answer.exit)
}

/// What could not be read leaves unknown, in one line.
pub fn unread(unread: &BTreeMap<String, String>) -> Option<String> {
    const SHOWN: usize = 4;
    let shown = unread.iter().take(SHOWN).map(|(path, why)| format!("{path} ({why})"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    let more = match unread.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!unread.is_empty())
        .then(|| format!("could not be read, what it says is not known: {shown}{more}"))
}

pub fn verify(session: &Session) -> Result<Exit> {
    let host = session.host()?;
    let facts = session.facts(&host)?;
    let store = session.reader(&facts)?;
    readable(&store)?;
    let answer = engine_verify(&host, &store, &facts);
    let view =
        View { verb: "verify", profile: None, facts: &facts, store: &store, answer: &answer };
    session.report().answer(&view)?;
    Ok(answer.exit)
}

/// A journal that is longer is not read twice: the next run makes it short.
const MOST_RECORDS: usize = 5000;

pub fn status(session: &Session, output: &Output) -> Result<Exit> {
    let host = session.host()?;
    let facts = session.facts(&host)?;
    let store = session.reader(&facts)?;
    if store.trouble.is_none() {
        readable(&store)?;
    }
    let mut applied = Applied::of(&store.ledger, pending(&store.ledger));
    applied.bpf = coverage(&host, &facts, &store.ledger)?;
    applied.unknown = store.trouble.clone();
    if applied.unknown.is_none() && store.journal.count <= MOST_RECORDS {
        applied.led_by(&runs(&store.journal)?.0);
    }
    let exit = if applied.tweaks.is_empty() && applied.pending.is_empty() {
        Exit::Nothing
    } else {
        Exit::Fine
    };
    let waiting = confirm::waiting(session, &facts)?;
    let exit = if waiting.as_ref().is_some_and(|w| w.ended.is_none()) { Exit::Fine } else { exit };
    let exit = if applied.unknown.is_some() { Exit::Config } else { exit };
    let report = session.report();
    if session.cli.global.format == Format::Prometheus {
        let verified = engine_verify(&host, &store, &facts);
        report.prometheus(&applied, &verified, output.output.as_deref())?;
        return Ok(if applied.unknown.is_some() { exit } else { Exit::Fine });
    }
    report.status(&applied, waiting.as_ref(), &facts, exit)?;
    Ok(exit)
}

/// Asked only where the journal says that programs of ours are attached.
fn coverage(host: &Linux, facts: &Facts, ledger: &Ledger) -> Result<Option<Coverage>> {
    if !ledger.owned.keys().any(|r| matches!(r, Resource::Bpf { .. })) {
        return Ok(None);
    }
    let mut coverage = host.coverage()?;
    let pods = pod_links(facts, &[]);
    coverage.pod_links = pods.len();
    let covered = |l: &&&Link| coverage.host_routing.contains(&l.name);
    coverage.covered_pod_links = pods.iter().filter(covered).count();
    Ok(Some(coverage))
}

/// For verbs that have nothing to say without the journal.
pub fn readable(store: &Store) -> Result<()> {
    if let Some(why) = &store.trouble {
        let text = format!("what is applied is unknown: {why}");
        return Err(Refusal::with(Exit::Config, text));
    }
    if store.unreadable {
        let text = "what is applied can be read by root only: run it as root";
        return Err(Refusal::with(Exit::NeedsRoot, text));
    }
    Ok(())
}
