//! Runs that wait for their confirmation.

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::confirm::{Pending, Watchdog};

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WaitingJson {
    /// The run's time, UTC.
    pub run: String,
    pub verb: String,
    pub profile: Option<String>,
    pub plan_id: Option<String>,
    /// 0 when its time is up.
    pub seconds_left: u64,
    /// What must still answer.
    pub probes: Vec<String>,
    /// "systemd" or "process".
    pub watchdog: String,
    /// It was taken back; null while it waits.
    pub ended: Option<EndedJson>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EndedJson {
    pub why: String,
    pub time: String,
    pub notes: Vec<String>,
}

impl WaitingJson {
    pub fn of(pending: &Pending, seconds_left: u64) -> Self {
        let ended = pending.ended.as_ref().map(|e| EndedJson {
            why: e.why.clone(),
            time: e.time.clone(),
            notes: e.notes.clone(),
        });
        WaitingJson {
            run: pending.run.clone(),
            verb: pending.verb.clone(),
            profile: pending.profile.clone(),
            plan_id: pending.plan_id.clone(),
            seconds_left: if ended.is_some() { 0 } else { seconds_left },
            probes: pending.probes.iter().map(|p| p.reach.to_string()).collect(),
            watchdog: match pending.watchdog {
                Watchdog::Unit(_) => "systemd".into(),
                _ => "process".into(),
            },
            ended,
        }
    }
}

/// `confirm`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConfirmedJson {
    pub run: String,
    /// The verb that was confirmed.
    pub verb: String,
    pub profile: Option<String>,
    pub plan_id: Option<String>,
    /// Whether it comes back at boot; null when that was not asked for.
    pub kept: Option<bool>,
    pub notes: Vec<String>,
}

impl ConfirmedJson {
    pub fn of(pending: &Pending) -> Self {
        ConfirmedJson {
            run: pending.run.clone(),
            verb: pending.verb.clone(),
            profile: pending.profile.clone(),
            plan_id: pending.plan_id.clone(),
            kept: None,
            notes: Vec::new(),
        }
    }
}
