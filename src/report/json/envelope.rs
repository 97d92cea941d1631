//! What stands around the result of each verb.

use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Serialize;

use crate::VERSION;
use crate::engine::Exit;
use crate::model::Facts;

pub const SCHEMA: u32 = 1;

/// What every verb prints.
#[derive(Serialize, JsonSchema)]
pub struct Envelope<T> {
    pub schema: u32,
    pub command: String,
    pub version: &'static str,
    /// UTC, RFC 3339.
    pub time: String,
    #[serde(flatten)]
    pub body: T,
    /// The exit code.
    pub exit: u8,
}

pub fn envelope<T>(command: &str, body: T, exit: Exit) -> Envelope<T> {
    Envelope {
        schema: SCHEMA,
        command: command.to_string(),
        version: VERSION,
        time: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        body,
        exit: exit as u8,
    }
}

#[derive(Serialize, JsonSchema)]
pub struct NodeJson {
    pub name: String,
    pub kubernetes_name: Option<String>,
    pub machine_type: Option<String>,
    pub kernel: String,
    pub boot_id: String,
    /// The version of its Cilium, and the cloud that owns that.
    pub cilium: Option<String>,
    pub managed: Option<String>,
}

pub fn node(facts: &Facts) -> NodeJson {
    NodeJson {
        name: facts.node.name.clone(),
        kubernetes_name: facts.node.kubernetes_name.clone(),
        machine_type: facts.node.machine_type.clone(),
        kernel: facts.kernel.release.clone(),
        boot_id: facts.node.boot_id.clone(),
        cilium: facts.agents.cilium.as_ref().and_then(|c| c.version.clone()),
        managed: facts.agents.cilium.as_ref().and_then(|c| c.managed.clone()),
    }
}
