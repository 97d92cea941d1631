//! What a row says beside its name and status: one line for check, all of it for plan, -v and the verbs that write.

use super::reasons::{fix, text};
use super::text::clean;
use super::words;
use crate::engine::reason::Reason;
use crate::engine::row::{Row, Status};
use crate::model::{Change, Impact, Outcome};

/// A row of check: what would change, or why not and the next step. The rest is for those who ask.
pub fn short(row: &Row, more: &mut bool) -> Vec<String> {
    let made: Vec<&Change> =
        row.changes.iter().map(|(c, _)| c).filter(|c| !c.claim_only()).collect();
    let mut lines: Vec<String> = words::changes(&made).into_iter().collect();
    if let (Some(line), false) = (lines.first_mut(), row.impact == Impact::None) {
        line.push_str(&format!(" [{}]", row.impact));
    }
    let reasons: Vec<&Reason> =
        row.reasons.iter().filter(|r| !matches!(r, Reason::Held(_))).collect();
    let mut left = reasons.len();
    // What would change or holds says so; why a row cannot be had is its first reason, and what to do about it.
    if lines.is_empty() || matches!(row.status, Status::Drifted | Status::Blocked) {
        let first = match row.status {
            Status::Unsupported => reasons.first(),
            Status::Drifted => reasons.iter().find(|r| moved(r)).or(reasons.first()),
            _ => reasons.iter().find(|r| fix(r).is_some()).or(reasons.first()),
        };
        if let Some(reason) = first {
            lines.push(clean(&text(reason)));
            let step = fix(reason).filter(|_| row.status != Status::Unsupported);
            lines.extend(step.map(|fix| format!("-> {}", clean(&fix))));
            left -= 1;
        }
    }
    if lines.is_empty() {
        lines.push(match row.status {
            Status::Applied => "holds".to_string(),
            _ => String::new(),
        });
    }
    if left > 0 {
        *more = true;
        lines[0].push_str(" (+)");
    }
    lines
}

/// What somebody else did; a row may have more to say beside it.
fn moved(reason: &Reason) -> bool {
    matches!(reason, Reason::Drift { .. } | Reason::Lost { .. } | Reason::NoLonger { .. })
}

pub fn lines(row: &Row, verbose: bool, changing: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let made: Vec<&(Change, Outcome)> =
        row.changes.iter().filter(|(c, _)| !c.claim_only()).collect();
    if !verbose {
        lines.extend(summary(&made, changing));
    }
    for reason in &row.reasons {
        if matches!(reason, Reason::Held(_)) {
            continue;
        }
        lines.push(clean(&text(reason)));
        lines.extend(fix(reason).map(|fix| format!("-> {}", clean(&fix))));
    }
    if verbose {
        for need in &row.needs {
            if need.probe == crate::model::Probe::Met {
                lines.push(format!("need {}: met", need.name));
            }
        }
        lines.extend(super::cilium::sources(row));
        for (change, outcome) in &made {
            let (before, after) = change.resource.shown_both(&change.before, &change.after);
            let (resource, impact) = (&change.resource, change.impact);
            let text = format!("{resource}: {before} -> {after} [{impact}, {outcome}]");
            lines.push(clean(&text));
        }
    }
    if lines.is_empty() {
        lines.push(match row.status {
            Status::Ok => "nothing to change".to_string(),
            Status::Applied => "holds".to_string(),
            Status::Off if row.changes.iter().any(|(c, _)| c.back()) => {
                "was as before already: no more nettune's".to_string()
            }
            _ => String::new(),
        });
    }
    lines
}

/// The first change stands for the rest.
fn summary(made: &[&(Change, Outcome)], changing: bool) -> Option<String> {
    let count = |outcome: Outcome| made.iter().filter(|(_, o)| *o == outcome).count();
    match made {
        [] => None,
        [(change, outcome)] => Some(match (changing, outcome) {
            (true, Outcome::Written) | (false, _) => words::change(change),
            (true, other) => {
                format!("{} ({other})", words::change(change))
            }
        }),
        all => {
            let all: Vec<&Change> = all.iter().map(|(change, _)| change).collect();
            let mut text = words::changes(&all)?;
            if changing {
                for outcome in
                    [Outcome::Failed, Outcome::Undone, Outcome::Released, Outcome::Drifted]
                {
                    if count(outcome) > 0 {
                        text.push_str(&format!("; {} {outcome}", count(outcome)));
                    }
                }
            }
            Some(text)
        }
    }
}
