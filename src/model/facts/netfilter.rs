//! Everybody's rules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fact::Fact;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Netfilter {
    /// Chains of nf_tables and of registered legacy tables, which are called "filter (legacy)".
    pub chains: Fact<Vec<Chain>>,
    /// Registered tables of legacy iptables, such as "ip nat": reading any other would register it.
    pub legacy: Fact<Vec<String>>,
    /// Connections tracked now and their limit; null without conntrack.
    pub conntrack: Option<Conntrack>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Conntrack {
    pub count: u64,
    pub max: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Chain {
    pub family: String,
    pub table: String,
    pub chain: String,
    /// filter, nat or route.
    pub kind: String,
    pub hook: String,
    pub priority: i32,
    /// Its policy is not to accept.
    pub drops: bool,
    /// Rules in it; those of the chains that it jumps to are theirs.
    pub rules: u32,
    /// Kinds of expressions in those rules: "dnat", "ct state", "masq", "fib", ...
    pub expressions: Vec<String>,
    /// The rules one by one; null where its table has too many to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Vec<Rule>>,
}

/// What a rule does, and to which packets. Links are names ("eth0", "lxc*") or indexes ("#3"); a
/// "!" before one of these means all but that.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Rule {
    /// As those of its chain, connection states told: "ct state established,related".
    pub expressions: Vec<String>,
    /// A network such as "10.0.0.0/8".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// It asks for more than these four.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub further: bool,
    /// The chain that it jumps or goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}
