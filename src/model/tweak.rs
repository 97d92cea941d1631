//! A tweak says what should be true. It never writes and never undoes: the engine reads what is,
//! and the difference is the plan.

use serde::Serialize;

use super::facts::{Facts, Link};
use super::need::HelmValue;
use super::placement::Placement;
use super::uplinks::uplinks;
use super::{Desired, Need, Proof};

/// What a tweak may look at besides its own settings.
pub struct Context<'a> {
    pub facts: &'a Facts,
    /// The profile's `links`; empty means the uplinks that the routes show.
    pub links: &'a [String],
    /// Where queues go, as `irq` has it: its defaults where the profile does not want it.
    pub placement: Placement,
    /// The tweaks that the profile wants.
    pub enabled: Vec<&'static str>,
}

impl<'a> Context<'a> {
    pub fn uplinks(&self) -> Vec<&'a Link> {
        uplinks(self.facts, self.links)
    }

    pub fn enabled(&self, tweak: &str) -> bool {
        self.enabled.contains(&tweak)
    }
}

/// A tweak is its settings: the table of the profile, deserialized.
pub trait Tweak {
    /// What can be wrong with the settings on any node: an error is a bad profile (exit 78).
    fn validate(&self) -> anyhow::Result<()> {
        Ok(())
    }

    fn needs(&self, _: &Context) -> Vec<Need> {
        Vec::new()
    }

    /// Called only where every need is met.
    fn desired(&self, cx: &Context) -> anyhow::Result<Vec<Desired>>;

    /// What the reader should know besides: settings that this node cannot take while it takes the
    /// rest, or who else a value reaches.
    fn remarks(&self, _: &Context) -> Vec<String> {
        Vec::new()
    }

    /// How it places queues on CPUs, for others to follow.
    fn placement(&self) -> Option<Placement> {
        None
    }

    fn proofs(&self, _: &Context) -> Vec<Proof> {
        Vec::new()
    }

    /// What the cluster must set; nothing for purely local levers.
    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        Vec::new()
    }
}

/// Whose the lever is on a node where Cilium runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The node's alone.
    Node,
    /// Cilium's where it runs, the node's elsewhere.
    Both,
    Cilium,
}
