//! Verbs that only look: they need no root, say what they could not see without it, and change
//! nothing at all.

use anyhow::Result;

use super::{Session, accepted, confirm, scope};
use crate::cli::Choice;
use crate::engine::evaluate::Selection;
use crate::engine::verbs::{Ask, pending, preview, verify as engine_verify};
use crate::engine::{Exit, Refusal};
use crate::model::script::plan_script;
use crate::report::{Applied, View};

pub fn facts(session: &Session) -> Result<Exit> {
    let host = session.host()?;
    let facts = session.facts(&host)?;
    session.report().facts(&facts)?;
    Ok(Exit::Fine)
}

pub fn check(session: &Session, choice: &Choice) -> Result<Exit> {
    show_plan(session, choice, "check", false)
}

pub fn plan(session: &Session, choice: &Choice, script: bool) -> Result<Exit> {
    show_plan(session, choice, "plan", script)
}

pub fn show_plan(
    session: &Session,
    choice: &Choice,
    verb: &'static str,
    script: bool,
) -> Result<Exit> {
    let profile = session.profile(choice)?;
    let tweaks = profile.tweaks()?;
    let host = session.host_for(&profile)?;
    let facts = session.facts(&host)?;
    let store = session.reader(&facts)?;
    let links = profile.links();
    let ask = Ask {
        selection: Selection { tweaks: &tweaks, links: &links, cni: profile.cni() },
        scope: scope(choice, &facts)?,
        accept: accepted(choice, &profile, &facts)?,
        strict: choice.strict,
        atomic: false,
        meta: session.meta(verb, Some(profile.name.clone())),
    };
    let mut answer = preview(&host, &store, &facts, &ask)?;
    if store.unreadable {
        answer.notes.push("what is applied can be seen by root only".to_string());
    }
    if script {
        let mut changes = Vec::new();
        for (change, _) in answer.rows.iter().flat_map(|r| &r.changes) {
            if !changes.contains(change) {
                changes.push(change.clone());
            }
        }
        session.report().text(&plan_script(&changes))?;
        return Ok(answer.exit);
    }
    let view =
        View { verb, profile: Some(&profile), facts: &facts, store: &store, answer: &answer };
    session.report().answer(&view)?;
    Ok(answer.exit)
}

pub fn verify(session: &Session) -> Result<Exit> {
    let host = session.host()?;
    let facts = session.facts(&host)?;
    let store = session.reader(&facts)?;
    readable(store.unreadable)?;
    let answer = engine_verify(&host, &store);
    let view =
        View { verb: "verify", profile: None, facts: &facts, store: &store, answer: &answer };
    session.report().answer(&view)?;
    Ok(answer.exit)
}

pub fn status(session: &Session) -> Result<Exit> {
    let host = session.host()?;
    let facts = session.facts(&host)?;
    let store = session.reader(&facts)?;
    readable(store.unreadable)?;
    let applied = Applied::of(&store.ledger, pending(&store.ledger));
    let exit = if applied.tweaks.is_empty() && applied.pending.is_empty() {
        Exit::Nothing
    } else {
        Exit::Fine
    };
    let waiting = confirm::waiting(session, &facts)?;
    let exit = if waiting.as_ref().is_some_and(|w| w.ended.is_none()) { Exit::Fine } else { exit };
    session.report().status(&applied, waiting.as_ref(), &facts, exit)?;
    Ok(exit)
}

fn readable(unreadable: bool) -> Result<()> {
    if unreadable {
        let text = "what is applied can be read by root only: run it as root";
        return Err(Refusal::with(Exit::NeedsRoot, text));
    }
    Ok(())
}
