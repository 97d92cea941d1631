//! The first line of what `check` and `plan` print: how many rows stand how, and what to do next.

use std::collections::BTreeSet;

use super::reasons::accept;
use super::text::{clean, wrap};
use super::view::View;
use crate::engine::reason::Reason;
use crate::engine::row::{Row, Status};
use crate::model::Impact;

const WORDS: [(&[Status], &str); 7] = [
    (&[Status::Ready], "would change"),
    (&[Status::Held], "held for your word"),
    (&[Status::Drifted], "changed by somebody else"),
    (&[Status::Blocked], "blocked"),
    (&[Status::Unknown], "unknown"),
    (&[Status::Unsupported], "cannot here"),
    (&[Status::Applied, Status::Ok], "as wanted"),
];

pub fn verdict(view: &View, rows: &[&Row], width: usize) -> Option<String> {
    let profile = view.profile.filter(|_| matches!(view.verb, "check" | "plan"))?;
    // Cilium's own stand in a group that says where they lead.
    let own: Vec<&&Row> = rows.iter().filter(|r| !r.ciliums).collect();
    let count = |of: &[Status]| own.iter().filter(|r| of.contains(&r.status)).count();
    let told = |(of, word): &(&[Status], &str)| match count(of) {
        0 => None,
        n => Some(format!("{n} {word}")),
    };
    let told: Vec<String> = WORDS.iter().filter_map(told).collect();
    if told.is_empty() {
        return None;
    }
    let apply = format!("sudo nettune apply -p {}", clean(&profile.name));
    let next = match (count(&[Status::Ready]), count(&[Status::Held])) {
        (0, 0) => String::new(),
        (0, _) => format!("\nnext: {apply} {}", held(view)),
        _ => format!("\nnext: {apply}"),
    };
    Some(format!("{}{next}\n", wrap(&told.join(", "), width, "")))
}

/// What the held rows wait for.
pub fn held(view: &View) -> String {
    let rows = view.answer.rows.iter().filter(|r| r.status == Status::Held);
    let held = rows.flat_map(|r| &r.reasons).filter_map(|reason| match reason {
        Reason::Held(impacts) => Some(impacts),
        _ => None,
    });
    let impacts: BTreeSet<Impact> = held.flatten().copied().collect();
    accept(&Vec::from_iter(impacts))
}
