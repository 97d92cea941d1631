//! What a node is: plain data, gathered once. `nettune facts --json` prints it and a test case
//! reads it, so a bug report is a test case.

mod agents;
mod cpus;
mod fact;
mod kernel;
mod links;
mod netfilter;
mod routing;
mod setting;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::cilium::{Cilium, CiliumLive, Preflight, Said};
pub use agents::{Agent, AgentConfig, Agents};
pub use cpus::{CpuPolicy, Cpus, Pstate};
pub use fact::Fact;
pub use kernel::{Bpf, Kernel, Module, Node, Preempt};
pub use links::{
    Attached, BondPort, Features, Gateway, Link, LinkId, LostRoute, Role, Rss, Sizes, Vector, Xdp,
};
pub use netfilter::{Chain, Conntrack, Netfilter, Rule};
pub use routing::Routing;
pub use setting::Setting;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Facts {
    pub node: Node,
    pub kernel: Kernel,
    pub cpus: Cpus,
    /// KiB.
    pub memory_kib: u64,
    pub links: Vec<Link>,
    pub agents: Agents,
    /// What others will set by their own files.
    pub settings: Vec<Setting>,
    /// The same of TuneD's profiles: the active one and those that a profile may ask for.
    pub tuned_profiles: BTreeMap<String, Vec<Setting>>,
    pub netfilter: Netfilter,
    /// What Cilium's levers ask of a node besides.
    pub preflight: Preflight,
    pub routing: Routing,
    pub bpf: Bpf,
    /// Files and folders of configuration that are there and could not be read, and why.
    pub unread: BTreeMap<String, String>,
}

impl Facts {
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|l| l.name == name)
    }

    /// Pods are running, or it could not be told whether.
    pub fn live(&self) -> bool {
        self.agents.pods.known() != Some(&0)
    }

    /// A kubelet on disk means a Kubernetes node, also before its first start.
    pub fn kubernetes(&self) -> bool {
        self.agents.kubelet.installed || self.agents.kubelet.pid.is_some()
    }

    /// (major, minor) of the kernel's release.
    pub fn kernel_version(&self) -> (u32, u32) {
        let mut parts = self.kernel.release.split(['.', '-']).map(|p| p.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// Who a link is, so that it is found again under another name and not mistaken for another.
    pub fn identity(&self, name: &str) -> Option<LinkId> {
        self.link(name).map(|l| LinkId {
            name: l.name.clone(),
            index: l.index,
            mac: l.permanent_mac.clone(),
            bus: l.bus.clone(),
        })
    }
}
