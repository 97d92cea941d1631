//! The first line of what `check` and `plan` print: how many rows stand how, and what to do next.

use std::collections::BTreeSet;

use super::reasons::accept;
use super::text::{clean, wrap};
use super::view::{Manner, View};
use crate::engine::reason::Reason;
use crate::engine::row::{Row, Status};
use crate::model::Impact;
use crate::model::script::quote;

const WORDS: [(&[Status], &str); 7] = [
    (&[Status::Ready], "would change"),
    (&[Status::Held], "held for your word"),
    (&[Status::Drifted], "changed by somebody else"),
    (&[Status::Blocked], "blocked"),
    (&[Status::Unknown], "unknown"),
    (&[Status::Unsupported], "cannot here"),
    (&[Status::Applied, Status::Ok], "as wanted"),
];

pub fn verdict(view: &View, rows: &[&Row], width: usize, manner: &Manner) -> Option<String> {
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
    // Whole, with the options of this one: it is pasted.
    let next = |waits: bool| {
        let name = word(&profile.name);
        let named = match profile.name.starts_with('-') {
            true => format!("--profile={name}"),
            false => format!("-p {name}"),
        };
        let mut words = vec![format!("sudo nettune apply {named}")];
        words.extend(manner.options.iter().map(|option| word(option)));
        let mut accept: BTreeSet<&str> = manner.accepted.iter().map(String::as_str).collect();
        accept.extend(waiting(view).iter().filter(|_| waits).map(|impact| impact.name()));
        if !accept.is_empty() {
            words.extend(["--accept".to_string(), Vec::from_iter(accept).join(",")]);
        }
        format!("\nnext: {}", words.join(" "))
    };
    let next = match (count(&[Status::Ready]), count(&[Status::Held])) {
        (0, 0) => String::new(),
        (ready, _) => next(ready == 0),
    };
    Some(format!("{}{next}\n", wrap(&told.join(", "), width, "")))
}

/// One word of a shell, quoted where it needs that.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=@%+".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_string(),
        false => quote(&clean(text)),
    }
}

/// What the held rows wait for, as an option.
pub fn held(view: &View) -> String {
    accept(&Vec::from_iter(waiting(view)))
}

fn waiting(view: &View) -> BTreeSet<Impact> {
    let rows = view.answer.rows.iter().filter(|r| r.status == Status::Held);
    let held = rows.flat_map(|r| &r.reasons).filter_map(|reason| match reason {
        Reason::Held(impacts) => Some(impacts),
        _ => None,
    });
    held.flatten().copied().collect()
}
