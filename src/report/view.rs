//! What the forms of a result are made of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::history::{Run, standing};
use crate::engine::ledger::Ledger;
use crate::engine::store::Store;
use crate::engine::verbs::Answer;
use crate::model::bpf::Coverage;
use crate::model::{Facts, Resource, State};
use crate::profile::Profile;

/// What a verb that works on tweaks has to say.
pub struct View<'a> {
    pub verb: &'static str,
    pub profile: Option<&'a Profile>,
    pub facts: &'a Facts,
    pub store: &'a Store,
    pub answer: &'a Answer,
}

/// How much is said, and what was given on the command line.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    pub verbose: bool,
    /// Each row of Cilium's is wanted, also on a node that has nothing of it.
    pub cilium: bool,
    /// Some tweaks were asked for by name: all is said of them.
    pub only: bool,
    /// The options that were given, and what was accepted, for the next command.
    pub options: Vec<String>,
    pub accepted: Vec<String>,
}

/// What is applied, for `status` and the first line of `check`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Applied {
    /// The profile that was applied last; null when nothing is applied.
    pub profile: Option<String>,
    /// The first run of those in a row that applied it, UTC.
    pub since: Option<String>,
    /// The last run that applied it, as log names it, its plan, and the profile as it was resolved then; null where no
    /// run is known of, or an earlier version wrote it.
    pub run: Option<String>,
    pub plan_id: Option<String>,
    pub profile_hash: Option<String>,
    /// Tweak -> how many resources it holds.
    pub tweaks: BTreeMap<String, usize>,
    /// The values themselves, for people who ask for them.
    #[serde(skip)]
    pub values: Vec<(String, Resource, State)>,
    /// Runs that died and will be finished by the next apply or rollback.
    pub pending: Vec<String>,
    /// Why the journal cannot be read; then the rest says nothing. Null where it was read.
    pub unknown: Option<String>,
    /// Where our BPF programs are and what they did; null where there are none.
    pub bpf: Option<Coverage>,
}

impl Applied {
    pub fn of(ledger: &Ledger, pending: Vec<String>) -> Self {
        let mut applied = Applied { pending, ..Applied::default() };
        let held = ledger.owned.iter().filter(|(_, o)| !o.claims.is_empty());
        let mut newest = "";
        for (resource, owned) in held {
            for tweak in owned.claims.keys() {
                *applied.tweaks.entry(tweak.clone()).or_default() += 1;
                let value = (tweak.clone(), resource.clone(), owned.present().clone());
                applied.values.push(value);
            }
            if owned.time.as_str() >= newest {
                newest = &owned.time;
                applied.profile = owned.profile.clone();
            }
            if applied.since.as_ref().is_none_or(|s| owned.time < *s) {
                applied.since = Some(owned.time.clone());
            }
        }
        applied
    }

    /// What is known of the runs that led here.
    pub fn led_by(&mut self, runs: &[Run]) {
        let mine = |run: &&Run| run.first().verb == "apply" && run.first().profile == self.profile;
        let row: Vec<&Run> = standing(runs).into_iter().map(|at| &runs[at]).collect();
        let Some(last) = row.iter().rfind(|run| mine(run)) else { return };
        let in_a_row = row.iter().rev().skip_while(|run| !mine(run)).take_while(|run| mine(run));
        self.since = in_a_row.last().map(|run| run.time.clone()).or(self.since.take());
        let by = last.by();
        (self.run, self.plan_id, self.profile_hash) =
            (Some(last.id()), by.plan_id, by.profile_hash);
    }
}
