//! What Cilium is and does on a node, and what its levers ask of a node besides.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::Fact;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Cilium {
    /// How it was seen: "devices", "state", "socket", "pins", "CNI configuration".
    pub seen_by: String,
    pub agent_up: bool,
    /// It answers, and has nothing to say yet.
    pub starting: bool,
    /// BPF host routing is on; null when that could not be read.
    pub host_routing: Option<bool>,
    pub bandwidth_manager: Option<bool>,
    /// As the agent reports it: "1.18.4".
    pub version: Option<String>,
    /// The keys of cilium-config that some lever asks for, as the agent or its state files have them.
    pub config: Fact<BTreeMap<String, String>>,
    pub live: CiliumLive,
    /// All that was told, by the names of docs/cilium.md, each with where it was read.
    pub said: BTreeMap<String, Said>,
    /// Pinned programs of Cilium, cut at 15 characters as the kernel keeps names.
    pub programs: Fact<Vec<String>>,
    /// The cloud that owns the chart: "GKE Dataplane V2", "AKS", "EKS Auto Mode".
    pub managed: Option<String>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

/// One thing that was told, and by whom: "/v1/healthz bandwidth-manager.enabled, left out".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Said {
    pub value: String,
    pub source: String,
}

/// What the datapath does; null where that is not known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct CiliumLive {
    /// "native", "tunnel vxlan".
    pub network: Option<String>,
    /// "BPF" or "Legacy".
    pub host_routing: Option<String>,
    /// "BPF", "iptables" or "off".
    pub masquerading: Option<String>,
    pub native_cidr: Option<String>,
    /// "true", "false", or the old "strict", "partial", "probe".
    pub kube_proxy_replacement: Option<String>,
    pub devices: Vec<String>,
    pub direct_routing_device: Option<String>,
    pub bandwidth_manager: Option<bool>,
    pub congestion_control: Option<String>,
    /// What load balancing runs on: "none", "native", "best-effort", "generic".
    pub xdp: Option<String>,
    /// Devices with an XDP program of Cilium; null when its pins could not be listed.
    pub xdp_attached: Option<Vec<String>>,
    /// Bytes; 0 is off.
    pub big_tcp_v4: Option<u32>,
    pub big_tcp_v6: Option<u32>,
    /// "veth", "netkit", "netkit-l2".
    pub device_mode: Option<String>,
    /// These, or "auto".
    pub device_mode_configured: Option<String>,
    /// "tcx" or "tc".
    pub attach_mode: Option<String>,
    /// "off", "snat", "dsr" or "hybrid".
    pub lb_mode: Option<String>,
    /// "opt", "geneve" or "ipip".
    pub dsr_dispatch: Option<String>,
    /// "full", "host" or "off".
    pub socket_lb: Option<String>,
    pub hubble: Option<bool>,
    /// "ktime" or "jiffies".
    pub clock: Option<String>,
    pub map_ratio: Option<f64>,
    /// Sizes of the maps that grow with the ratio, by the agent's names.
    pub maps: BTreeMap<String, u64>,
    pub device_mtu: Option<u32>,
    /// "IPsec", "Wireguard", "Ztunnel" or "off".
    pub encryption: Option<String>,
    /// "none", or the mode of CNI chaining.
    pub chaining: Option<String>,
    /// Cilium's own no-conntrack rules; null when nf_tables could not be read or legacy iptables is
    /// in use.
    pub no_conntrack_rules: Option<bool>,
}

impl Cilium {
    /// A key of cilium-config, where the configuration is known.
    pub fn key(&self, key: &str) -> Option<&str> {
        self.config.known()?.get(key).map(String::as_str)
    }

    pub fn on(&self, key: &str) -> bool {
        self.key(key) == Some("true")
    }

    /// (major, minor) of its version.
    pub fn release(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.as_ref()?.trim_start_matches('v').split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    pub fn tunnel(&self) -> Option<bool> {
        self.live.network.as_ref().map(|n| n.starts_with("tunnel"))
    }

    pub fn kpr(&self) -> Option<bool> {
        let mode = self.live.kube_proxy_replacement.as_deref()?;
        Some(matches!(mode, "true" | "strict"))
    }

    /// It does, or is told to.
    pub fn ipsec(&self) -> bool {
        self.live.encryption.as_deref() == Some("IPsec") || self.on("enable-ipsec")
    }

    /// Whether it is older than that release of 1.x: by its version, else by what only an older one tells.
    pub fn before(&self, minor: u32) -> bool {
        match self.release() {
            Some(release) => release < (1, minor),
            None => {
                minor >= 19 && self.said.values().any(|said| said.source.ends_with(".EnableIPSec"))
            }
        }
    }

    /// Why an agent takes legacy host routing by itself, whatever its configuration asks: it says so in one
    /// line of its log at most, and then writes down that it is configured so.
    pub fn falls_back(&self) -> Option<String> {
        let why = if self.kpr() == Some(false) {
            match self.live.kube_proxy_replacement.as_deref() {
                Some(mode @ ("partial" | "probe")) => {
                    return Some(format!("kube-proxy replacement is {mode}"));
                }
                _ => "kube-proxy replacement is off",
            }
        } else if self.live.masquerading.as_deref() == Some("iptables") {
            "masquerading is by iptables"
        } else if self.chained() {
            "CNI chaining forces it"
        } else if self.ipsec() && self.before(19) {
            "IPsec forces it before Cilium 1.19"
        } else if self.before(14)
            && (self.on("enable-endpoint-routes") || self.on("enable-wireguard"))
        {
            "endpoint routes or WireGuard force it before Cilium 1.14"
        } else {
            return None;
        };
        Some(why.to_string())
    }

    /// It says that it is configured for legacy host routing, and nothing else explains it.
    pub fn legacy_by_hand(&self) -> bool {
        let says = self.said.get("host-legacy").is_some_and(|s| s.value == "true");
        (says || self.on("enable-host-legacy-routing")) && self.falls_back().is_none()
    }

    pub fn chained(&self) -> bool {
        let chaining = self.live.chaining.as_deref().or_else(|| self.key("cni-chaining-mode"));
        chaining.is_some_and(|mode| mode != "none" && !mode.is_empty())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Preflight {
    /// File systems that the kernel knows, of those asked for: "cgroup2", "bpf".
    pub filesystems: Fact<Vec<String>>,
    /// /proc/schedstat is there: the clock probe needs it.
    pub schedstat: bool,
    /// /proc/net/if_inet6 is there.
    pub inet6: bool,
    /// net.ipv4.ip_local_port_range.
    pub local_ports: Option<(u32, u32)>,
    /// net.ipv4.ip_local_reserved_ports.
    pub reserved_ports: Option<String>,
    pub tcp_fastopen: Option<u32>,
    /// net.ipv4.conf.X.rp_filter of "all", "default" and the first pod link with one that is not 0.
    pub rp_filter: BTreeMap<String, u32>,
    /// Types of the plugins in the first CNI configuration.
    pub cni_plugins: Vec<String>,
    /// Istio's CNI plugin or its ambient mode is on the node.
    pub istio: Option<String>,
    /// networkd may remove routes, rules that it did not make; null without networkd.
    pub networkd_routes: Option<bool>,
    pub networkd_rules: Option<bool>,
}
