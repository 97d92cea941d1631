//! `check --deep`: the one look that touches a link.

use anyhow::Result;

use super::session::{Session, need_root};
use crate::cli::Choice;
use crate::engine::journal::known;
use crate::engine::{Exit, Refusal};

pub fn check(session: &Session, choice: &Choice) -> Result<Exit> {
    let [link] = &choice.link[..] else {
        let text = "check --deep asks one link: --link NAME";
        return Err(Refusal::with(Exit::Usage, text));
    };
    if !choice.accept.iter().any(|a| a == "link-reset") {
        let text = format!("check --deep may stop {link} for a moment: --accept link-reset");
        return Err(Refusal::with(Exit::Usage, text));
    }
    need_root()?;
    let _lock = session.lock()?;
    let mut host = session.host()?;
    let facts = session.facts(&host)?;
    known(&facts.node.boot_id, facts.node.netns)?;
    if facts.link(link).is_none() {
        return Err(Refusal::with(Exit::Usage, format!("there is no link {link}")));
    }
    let deep = host.deep(&facts, link)?;
    session.report().deep(&deep, &facts)?;
    Ok(Exit::Fine)
}
