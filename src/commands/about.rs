//! Verbs about nettune itself: what there is and what it means.

use anyhow::Result;

use super::session::{Session, known_tweak};
use crate::cli::{Choice, Listed};
use crate::engine::Exit;
use crate::engine::plan::Scope;
use crate::engine::reason::Reason;
use crate::engine::row::{Row, Status};
use crate::engine::verbs::{Answer, preview, verify};
use crate::model::{Impact, Side};
use crate::persist::NAME;
use crate::profile::{Profile, names};
use crate::report::View;
use crate::tweaks::TWEAKS;

pub fn list(session: &Session, what: Listed) -> Result<Exit> {
    let rows: Vec<Vec<String>> = match what {
        Listed::Profiles => {
            let finder = session.finder();
            let mut rows = Vec::new();
            for (name, origin) in names(&finder)? {
                // A profile that cannot be read is still one that is there.
                let summary = match Profile::load(&finder, &name, &[]) {
                    Ok(profile) => profile.summary().to_string(),
                    Err(e) => format!("{e:#}"),
                };
                rows.push(vec![name, summary, origin]);
            }
            rows
        }
        Listed::Tweaks => TWEAKS
            .iter()
            .map(|t| {
                let side = format!("{:?}", t.side).to_lowercase();
                // "later" for one that is not in this version: none is.
                vec![t.name.to_string(), side, t.summary.to_string(), String::new()]
            })
            .collect(),
    };
    let (key, columns): (&str, &[&str]) = match what {
        Listed::Profiles => ("profiles", &["name", "summary", "origin"]),
        Listed::Tweaks => ("tweaks", &["name", "side", "summary", "state"]),
    };
    session.report().list(key, columns, &rows)?;
    Ok(Exit::Fine)
}

pub fn show(session: &Session, name: &str, sets: &[String]) -> Result<Exit> {
    let profile = Profile::load(&session.finder(), name, sets)?;
    // Also what only a built lever would notice.
    profile.tweaks()?;
    session.report().profile(&profile)?;
    Ok(Exit::Fine)
}

pub fn explain(session: &Session, name: &str) -> Result<Exit> {
    let entry = known_tweak(name)?;
    let profile = session.profile(&Choice::default())?;
    let wanted = profile.wanted()?;
    let host = session.host_for(&profile)?;
    let facts = session.facts(&host)?;
    let store = session.reader(&facts)?;
    let scope = Scope { tweaks: Some([name.to_string()].into()), links: None };
    let ask = session.ask("explain", &profile, &wanted, scope, Impact::ALL.into());
    let mut answer = preview(&host, &store, &facts, &ask)?;
    if name == NAME {
        answer.rows = kept(&verify(&host, &store, &facts));
    }
    let view = View {
        verb: "explain",
        profile: Some(&profile),
        facts: &facts,
        store: &store,
        answer: &answer,
    };
    session.report().explain(entry, &view)?;
    Ok(Exit::Fine)
}

/// What comes back at each boot here.
fn kept(verified: &Answer) -> Vec<Row> {
    let mine: Vec<Row> = verified.rows.iter().filter(|r| r.name == NAME).cloned().collect();
    if !mine.is_empty() {
        return mine;
    }
    let mut row = Row::new(NAME, Side::Node, Status::Off);
    row.reasons.push(Reason::NothingKept);
    vec![row]
}
