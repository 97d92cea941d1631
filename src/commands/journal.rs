//! `journal`: whether it is whole, and what can still be had of it where it is not.

use anyhow::Result;

use super::session::{Session, need_root};
use crate::cli::JournalCommand;
use crate::engine::folder::Folder;
use crate::engine::repair::Repair;
use crate::engine::{Exit, Refusal};
use crate::report::journal::RepairJson;

pub fn journal(session: &Session, what: Option<&JournalCommand>) -> Result<Exit> {
    if let Some(JournalCommand::Repair { write: true }) = what {
        return repair(session);
    }
    let dir = session.state_dir();
    let host = session.host()?;
    let facts = session.facts(&host)?;
    let Some(folder) = Folder::open(&dir, nix::unistd::geteuid().is_root())? else {
        let text = format!("{}: there is no journal", dir.display());
        return Err(Refusal::with(Exit::Nothing, text));
    };
    let repair = Repair::of(&folder, &facts)?;
    let exit = if repair.damaged() { Exit::Config } else { Exit::Fine };
    session.report().repair(&RepairJson::of(&folder, &repair, None), exit)?;
    Ok(exit)
}

fn repair(session: &Session) -> Result<Exit> {
    need_root()?;
    let lock = session.lock()?;
    let host = session.host()?;
    let facts = session.facts(&host)?;
    let repair = Repair::of(&lock.folder, &facts)?;
    let copies = match repair.damaged() {
        true => repair.write(&lock.folder, &session.meta("journal", None).time)?,
        false => Vec::new(),
    };
    session.report().repair(&RepairJson::of(&lock.folder, &repair, Some(copies)), Exit::Fine)?;
    Ok(Exit::Fine)
}
