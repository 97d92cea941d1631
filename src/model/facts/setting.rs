//! What others will set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One line of somebody's configuration that sets something which nettune could set too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Setting {
    /// Who writes it: "systemd-sysctl", "TuneD", ...
    pub agent: String,
    pub file: String,
    /// Counted from 1; 0 means the file as a whole.
    pub line: u32,
    /// The resource by its name in JSON; `*` stands for any characters.
    pub resource: String,
    /// Key of a resource that holds several, such as `rx` of rings.
    pub key: Option<String>,
    /// Null where it chooses by itself.
    pub value: Option<String>,
}

impl Setting {
    /// A line of sysctl.d or sysctl.conf, and not what an agent chooses while it runs.
    pub fn in_sysctl_file(&self) -> bool {
        matches!(self.agent.as_str(), "systemd-sysctl" | "sysctl --system")
    }
}
