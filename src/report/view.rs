//! What the forms of a result are made of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::ledger::Ledger;
use crate::engine::store::Store;
use crate::engine::verbs::Answer;
use crate::model::Facts;
use crate::model::bpf::Coverage;
use crate::profile::Profile;

/// What a verb that works on tweaks has to say.
pub struct View<'a> {
    pub verb: &'static str,
    pub profile: Option<&'a Profile>,
    pub facts: &'a Facts,
    pub store: &'a Store,
    pub answer: &'a Answer,
}

/// What is applied, for `status` and the first line of `check`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Applied {
    /// The profile that was applied last; null when nothing is applied.
    pub profile: Option<String>,
    pub since: Option<String>,
    /// Tweak -> how many resources it holds.
    pub tweaks: BTreeMap<String, usize>,
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
        let held = ledger.owned.values().filter(|o| !o.claims.is_empty());
        let mut newest = "";
        for owned in held {
            for tweak in owned.claims.keys() {
                *applied.tweaks.entry(tweak.clone()).or_default() += 1;
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
}
