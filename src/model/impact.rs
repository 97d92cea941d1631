//! What making a change does to traffic.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What making a change does to traffic, the mildest first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Impact {
    /// Nothing that a packet could notice.
    None,
    /// Only new sockets or pods see it.
    NewFlows,
    /// The scheduling of the whole machine.
    Node,
    /// The link or its queues stop for a moment.
    LinkReset,
    /// The fabric must agree.
    Path,
    /// Packets go around netfilter.
    Bypass,
}

impl Impact {
    pub const ALL: [Impact; 6] = [
        Impact::None,
        Impact::NewFlows,
        Impact::Node,
        Impact::LinkReset,
        Impact::Path,
        Impact::Bypass,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Impact::None => "none",
            Impact::NewFlows => "new-flows",
            Impact::Node => "node",
            Impact::LinkReset => "link-reset",
            Impact::Path => "path",
            Impact::Bypass => "bypass",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|i| i.name() == name)
    }
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
