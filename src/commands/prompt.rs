//! Where a run stops the link that a login comes by: it is taken back unless somebody presses Enter, as routers have it. Only a person at
//! a terminal is asked.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Read, stderr, stdin};
use std::path::Path;

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, tcflush};

use super::confirm::{confirm, refuse, seconds_left};
use super::session::Session;
use crate::cli::{ApplyArgs, ConfirmArgs};
use crate::engine::row::Status;
use crate::engine::store::Store;
use crate::engine::verbs::{Answer, Ask, preview};
use crate::engine::{Exit, Observe};
use crate::linux::session::link;
use crate::model::facts::Facts;
use crate::model::uplinks::{under, uplinks};
use crate::model::{Change, Impact};
use crate::{stop, wait};

const SECONDS: u32 = 60;

/// The run as it is to be made: with a confirmation, where it would cut off who asks for it.
pub fn guarded(
    session: &Session,
    args: &ApplyArgs,
    host: &impl Observe,
    store: &Store,
    facts: &Facts,
    ask: &Ask,
) -> Result<ApplyArgs> {
    let mut args = args.clone();
    let live = session.cli.global.host == Path::new("/");
    let asks = args.confirm.confirm.is_none() && args.boot.is_none() && !args.yes && live;
    if !asks || !stdin().is_terminal() || !stderr().is_terminal() {
        return Ok(args);
    }
    let stopped = stopped(&preview(host, store, facts, ask)?);
    if stopped.is_empty() {
        return Ok(args);
    }
    let own = link();
    let mine: BTreeSet<&str> = match &own {
        Some(name) => under(facts, name).into_iter().map(|l| l.name.as_str()).collect(),
        None => uplinks(facts, &[]).into_iter().map(|l| l.name.as_str()).collect(),
    };
    let cut: Vec<&String> = stopped.iter().filter(|name| mine.contains(name.as_str())).collect();
    if let Some(first) = cut.first() {
        let how = if own.is_some() { "comes" } else { "may come" };
        let text = format!(
            "{first}, by which this session {how}, will be disturbed: press Enter within {SECONDS} s after \
             it to keep it, else it is taken back (--yes never asks)"
        );
        session.report().say(&text)?;
        args.confirm = ConfirmArgs { confirm: Some(SECONDS), prompt: true, ..args.confirm };
    }
    Ok(args)
}

/// Links that this run stops, or whose path it changes.
fn stopped(answer: &Answer) -> BTreeSet<String> {
    let made = answer.rows.iter().filter(|row| row.status != Status::Held);
    let stops =
        |c: &&Change| !c.claim_only() && matches!(c.impact, Impact::LinkReset | Impact::Path);
    let changes = made.flat_map(|row| row.changes.iter().map(|(c, _)| c)).filter(stops);
    changes.filter_map(|c| c.resource.link().map(str::to_string)).collect()
}

/// After the run, which ended with `exit`.
pub fn keep(session: &Session, args: &ApplyArgs, facts: &Facts, exit: Exit) -> Result<Exit> {
    if !args.confirm.prompt {
        return Ok(exit);
    }
    let dir = session.run_dir();
    // What was typed before the question is no answer to it.
    let _ = tcflush(stdin(), FlushArg::TCIFLUSH);
    while let Some(pending) = dir.waiting(&facts.node.boot_id)? {
        let left = seconds_left(&pending)?;
        if left == 0 {
            break;
        }
        if stop::asked() {
            stop::heeded();
            return refused(session);
        }
        wait::line(&format!("press Enter to keep it: {left} s left"));
        let input = stdin();
        let mut waits = [PollFd::new(std::os::fd::AsFd::as_fd(&input), PollFlags::POLLIN)];
        if poll(&mut waits, PollTimeout::from(250u16)).unwrap_or(0) == 0 {
            continue;
        }
        let mut typed = [0; 256];
        let read = input.lock().read(&mut typed).unwrap_or(0);
        if read == 0 {
            return refused(session);
        }
        wait::line("");
        return Ok(exit.worst(confirm(session)?));
    }
    wait::line("");
    if dir.waiting(&facts.node.boot_id)?.is_none() {
        return Ok(exit);
    }
    session.report().say("nobody kept it: it is taken back (nettune status)")?;
    Ok(Exit::Failed)
}

fn refused(session: &Session) -> Result<Exit> {
    wait::line("");
    refuse(session, "it was refused at the terminal")
}
