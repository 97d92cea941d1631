//! What a verb is asked, and what it answers.

use std::collections::BTreeSet;

use crate::engine::Exit;
use crate::engine::plan::{Options, Scope};
use crate::engine::reason::Reason;
use crate::engine::row::{Row, Selection, Status};
use crate::engine::run::Meta;
use crate::model::{Impact, Side};

pub struct Ask<'a> {
    pub selection: Selection<'a>,
    pub scope: Scope,
    pub accept: BTreeSet<Impact>,
    pub strict: bool,
    /// A failure undoes the whole run.
    pub atomic: bool,
    pub meta: Meta,
    /// What tells this profile from another, for the plan's id.
    pub profile: String,
}

#[derive(Debug)]
pub struct Answer {
    pub rows: Vec<Row>,
    pub notes: Vec<String>,
    pub exit: Exit,
}

pub fn options<'a>(scope: &'a Scope, accept: &'a BTreeSet<Impact>, force: bool) -> Options<'a> {
    Options { scope, accept, force }
}

/// What keeps a run that must have all from beginning.
pub fn blockers(rows: &[Row], strict: bool) -> Exit {
    let bad = |s: Status| {
        matches!(
            s,
            Status::Blocked | Status::Unsupported | Status::Unknown | Status::Held | Status::Failed
        )
    };
    // What only the cluster can set is no blocker of this node, unless the profile requires it.
    // But an agent that is starting will have an answer.
    let counts = |r: &Row| {
        r.required || (strict && (r.side != Side::Cilium || r.reasons.contains(&Reason::Starting)))
    };
    let found = rows.iter().any(|r| bad(r.status) && counts(r));
    if found { Exit::Blocked } else { Exit::Fine }
}
