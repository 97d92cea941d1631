//! What a route lookup sees and does not see.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fact::Fact;

/// What a route lookup by BPF does not see, and what it starts from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Routing {
    /// Rules by mark, user or tunnel: "ip rule 100 fwmark".
    pub rules: Fact<Vec<String>>,
    pub xfrm_policies: Fact<u32>,
    /// Virtual services of IPVS.
    pub ipvs: Fact<u32>,
    /// The node's own IPv4 addresses but loopback.
    pub addresses: Vec<String>,
    /// net.ipv4.conf.all.forwarding.
    pub forwarding: bool,
}
