//! A stage under way: what became of each change so far, and why one was not made.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{Collateral, Done};
use crate::model::{Change, Outcome, Resource, State};

#[derive(Debug, Clone)]
pub struct Failure {
    pub tweak: String,
    pub text: String,
    /// It was not the kernel that refused: the value had moved since the plan.
    pub moved: bool,
    /// The one that is lost alone: the tweak's others stand without it.
    pub only: Option<Resource>,
}

#[derive(Debug, Default)]
pub struct Ran {
    pub done: Vec<Done>,
    pub failures: Vec<Failure>,
    /// What could not be put back as it was.
    pub stuck: Vec<String>,
    pub notes: Vec<String>,
    /// What it did is done, and could not be written down as ended: nothing may follow.
    pub unclosed: bool,
    /// It was told to end before all was made.
    pub interrupted: bool,
}

/// Of a tweak that the end came before.
const INTERRUPTED: &str = "interrupted before all of it was made";

impl Ran {
    /// This tweak is not made whole, as the run was told to end.
    pub fn fall(&mut self, tweak: String) {
        let text = INTERRUPTED.to_string();
        if !self.failures.iter().any(|f| f.tweak == tweak && f.only.is_none()) {
            self.failures.push(Failure { tweak, text, moved: false, only: None });
        }
    }

    pub fn add(&mut self, part: Ran) {
        self.unclosed |= part.unclosed;
        self.interrupted |= part.interrupted;
        self.done.extend(part.done);
        self.failures.extend(part.failures);
        self.stuck.extend(part.stuck);
        self.notes.extend(part.notes);
    }
}

pub struct Work {
    pub changes: Vec<Change>,
    pub collateral: Vec<Collateral>,
    /// Places in `collateral`, by what disturbs them.
    pub by_cause: BTreeMap<Resource, Vec<usize>>,
    pub outcomes: BTreeMap<usize, Done>,
    /// What is not as it was while its cause stands, in words, by the cause.
    pub left: BTreeMap<Resource, BTreeSet<String>>,
    /// Links that are there no more.
    pub gone: BTreeSet<String>,
    pub ran: Ran,
}

impl Work {
    pub fn new(changes: Vec<Change>, collateral: Vec<Collateral>) -> Self {
        let mut by_cause: BTreeMap<Resource, Vec<usize>> = BTreeMap::new();
        for (at, disturbed) in collateral.iter().enumerate() {
            by_cause.entry(disturbed.cause.clone()).or_default().push(at);
        }
        Work {
            changes,
            collateral,
            by_cause,
            outcomes: BTreeMap::new(),
            left: BTreeMap::new(),
            gone: BTreeSet::new(),
            ran: Ran::default(),
        }
    }

    pub fn set(&mut self, at: usize, outcome: Outcome, state: Option<State>, why: Option<String>) {
        let resource = self.changes[at].resource.clone();
        self.outcomes.insert(at, Done { resource, outcome, state, refused: None, why });
    }

    /// Remembered until the next boot, so that an apply does not try it each time.
    pub fn refused(&mut self, at: usize) {
        let change = &self.changes[at];
        if let Some(done) = self.outcomes.get_mut(&at).filter(|_| !change.back()) {
            done.refused = Some(change.after.clone());
        }
    }

    /// All that this tweak wants are keys, each a wish of its own: one that the kernel does not take
    /// loses no other.
    pub fn keys_alone(&self, tweak: &String) -> bool {
        let mine = |c: &&Change| c.tweaks.contains(tweak);
        self.changes.iter().filter(mine).all(|c| matches!(c.resource, Resource::Sysctl { .. }))
    }

    /// What is not made yet is not made any more, and the tweaks that want it fall; what was to go back stays ours.
    pub fn stop(&mut self) {
        self.ran.interrupted = true;
        for at in 0..self.changes.len() {
            if self.outcomes.contains_key(&at) || self.changes[at].back() {
                continue;
            }
            for tweak in self.changes[at].tweaks.clone() {
                self.ran.fall(tweak);
            }
        }
    }

    pub fn failed_all(&self, change: &Change) -> bool {
        let takes = |f: &Failure| f.only.as_ref().is_none_or(|only| *only == change.resource);
        change.tweaks.iter().all(|t| self.ran.failures.iter().any(|f| f.tweak == *t && takes(f)))
    }

    /// Not reached, because every tweak that wants it has failed. Giving back always goes on.
    pub fn skipped(&mut self, at: usize) -> bool {
        let change = self.changes[at].clone();
        let skip = !change.back() && self.failed_all(&change);
        if skip && !self.outcomes.contains_key(&at) {
            self.set(at, Outcome::Undone, None, None);
        }
        skip
    }

    pub fn left_alone(&mut self, disturbed: &Collateral, now: State) {
        let text = format!("{} was {} and is {now}", disturbed.resource, disturbed.before);
        self.left.entry(disturbed.cause.clone()).or_default().insert(text);
    }

    /// Hundreds of queues go with a link's channels: one line a cause.
    pub fn say_left(&mut self) {
        for (cause, left) in std::mem::take(&mut self.left) {
            let more = match left.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more,"),
            };
            let first = left.first().map(String::as_str).unwrap_or_default();
            self.ran.notes.push(format!("{first}{more} while {cause} stands"));
        }
    }
}

/// Why one change was not made.
pub struct Failed {
    pub text: String,
    pub moved: bool,
    /// A write was begun.
    pub tried: bool,
}

impl Failed {
    pub fn refused(error: anyhow::Error) -> Self {
        Failed { text: format!("{error:#}"), moved: false, tried: true }
    }

    pub fn unread(error: anyhow::Error) -> Self {
        Failed { tried: false, ..Failed::refused(error) }
    }

    pub fn bent(text: String) -> Self {
        Failed { text, moved: false, tried: true }
    }

    pub fn moved(text: &str) -> Self {
        Failed { text: text.to_string(), moved: true, tried: false }
    }
}
