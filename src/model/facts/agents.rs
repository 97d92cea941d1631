//! Who else works on this node: daemons, a kubelet, a CNI.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fact::Fact;
use crate::model::cilium::Cilium;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Agents {
    /// systemd is the init of this node.
    pub systemd: bool,
    pub tuned: Agent,
    /// Its active profile, as it wrote it down.
    pub tuned_profile: Option<String>,
    pub irqbalance: Agent,
    /// It takes orders over its socket.
    pub irqbalance_socket: bool,
    /// It is left to the run after the network: in the one before it is only being started.
    #[serde(skip)]
    pub irqbalance_later: bool,
    /// Where its unit takes its arguments from.
    pub irqbalance_config: Option<AgentConfig>,
    pub network_manager: Agent,
    pub networkd: Agent,
    pub firewalld: Agent,
    pub kubelet: Agent,
    /// Pods that run now.
    pub pods: Fact<u32>,
    pub cilium: Option<Cilium>,
    /// Chains of kube-proxy are in nf_tables, whoever runs it.
    pub kube_proxy_rules: Fact<bool>,
    /// The first CNI configuration file by name, if there is one.
    pub cni: Option<String>,
    /// Pod CIDRs named in the CNI configuration.
    pub pod_cidrs: Vec<String>,
    /// A container runtime's mark on this process.
    pub container: Option<String>,
    /// Hypervisor, if the CPU says that there is one.
    pub vm: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Agent {
    pub installed: bool,
    pub pid: Option<u32>,
    /// It may run: there are more processes than are asked, and nobody who keeps track of services.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct AgentConfig {
    pub path: String,
    /// The variable in it that holds the arguments: IRQBALANCE_ARGS, or OPTIONS of older Debian.
    pub variable: String,
    /// The file as nettune compares it; null when there is none.
    pub state: Option<String>,
}

impl Agents {
    /// What is known of the pods' networks: the cluster's, or this node's own alone.
    pub fn pod_networks(&self) -> Vec<String> {
        let mut networks = self.pod_cidrs.clone();
        if let Some(cilium) = &self.cilium {
            let keys = ["ipv4-native-routing-cidr", "ipv6-native-routing-cidr"];
            networks.extend(keys.iter().filter_map(|key| cilium.key(key)).map(str::to_string));
            networks.extend(cilium.live.native_cidr.clone());
        }
        networks
    }
}
