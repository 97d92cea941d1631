//! Desired state against observed state: what differs is the plan, the plan is journaled before the
//! first write, and the journal is what undo needs. Knows no Linux: a `Host` is whatever can be read
//! and written by resource. Uses the model alone.
//! `evaluate.rs` makes rows of levers, `plan.rs` changes of rows, `run.rs` carries one stage out, `ledger.rs` is
//! what is owned by the journal, `recover.rs` and `revert.rs` what a run that died or ran out of time left.
//! Begin with `verbs/apply.rs`.

mod aside;
mod collateral;
pub mod confirm;
pub mod evaluate;
mod expect;
pub mod folder;
pub mod history;
pub mod journal;
mod layers;
pub mod ledger;
pub mod lines;
mod met;
pub mod order;
pub mod plan;
pub mod reason;
pub mod record;
pub mod recorded;
pub mod recover;
pub mod repair;
pub mod revert;
pub mod row;
pub mod run;
pub mod seen;
pub mod share;
pub mod store;
pub mod undo;
pub mod verbs;
mod work;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;

use crate::model::facts::LinkId;
use crate::model::{Facts, Proof, Resource, State};

pub trait Observe {
    fn facts(&self) -> Result<Facts>;

    /// The states that gathering these facts has read besides.
    fn told(&self, _: &Facts) -> BTreeMap<Resource, State> {
        BTreeMap::new()
    }

    /// One answer a resource, in order. A resource whose link, file or feature is not there is
    /// `Absent`; an error means that it could not be told.
    fn read_many(&self, resources: &[Resource]) -> Vec<Result<State>>;

    fn read(&self, resource: &Resource) -> Result<State> {
        match self.read_many(std::slice::from_ref(resource)).pop() {
            Some(state) => state,
            None => anyhow::bail!("read {resource}: no answer"),
        }
    }
}

/// What became of a write that was no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrote {
    Yes,
    /// The kernel keeps some or all of it to itself (a managed IRQ, a ring size that the driver
    /// refuses), and why: not a failure of the tweak.
    KernelKeeps {
        why: String,
        /// Trying again before the next boot is of no use.
        lasting: bool,
    },
    /// What was ours has become others' too (a folder with their files in it): let go as it is.
    LeftToOthers(String),
}

pub trait Host: Observe {
    /// Whether the link is there still, by whatever name.
    fn has(&self, _: &LinkId) -> bool {
        true
    }

    fn write(&mut self, resource: &Resource, state: &State) -> Result<Wrote>;

    /// Once after the writes of a stage: what need not be done after each.
    fn stage_ends(&mut self) -> Result<()> {
        Ok(())
    }

    fn prove(&mut self, proof: &Proof) -> Result<()>;

    /// Whether `peer` answers a small packet now.
    fn answers(&mut self, peer: &str) -> bool;

    /// Somebody wants the run to end: it does after the change at hand.
    fn interrupted(&self) -> bool {
        false
    }
}

/// The exit codes, the same for every verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    /// Failed, and what this run did was undone.
    Failed = 1,
    Usage = 2,
    /// Nothing is applied or pending.
    Nothing = 3,
    /// Drift, or the node differs from what was applied.
    Drift = 4,
    /// `--strict` or a required tweak found blockers.
    Blocked = 5,
    /// Something could not be put back.
    NotPutBack = 6,
    /// Applied in part.
    Part = 7,
    /// Asked for: something would change.
    Changes = 10,
    /// Another nettune holds the lock.
    Busy = 11,
    NeedsRoot = 77,
    /// Bad profile or configuration, or a journal that cannot be read.
    Config = 78,
}

impl Exit {
    /// The one that is reported when several hold.
    pub fn worst(self, other: Exit) -> Exit {
        const ORDER: [Exit; 6] =
            [Exit::NotPutBack, Exit::Failed, Exit::Part, Exit::Drift, Exit::Blocked, Exit::Nothing];
        ORDER.into_iter().find(|e| *e == self || *e == other).unwrap_or(if self == Exit::Fine {
            other
        } else {
            self
        })
    }
}

/// An error that has an exit code of its own.
#[derive(Debug)]
pub struct Refusal {
    pub exit: Exit,
    pub text: String,
}

impl Refusal {
    pub fn with(exit: Exit, text: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Refusal { exit, text: text.into() })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}
