//! The keys of Cilium's chart that some lever asks for: how each is spelled, in which versions, and
//! which key of the `cilium-config` map it becomes.

use serde::Serialize;

/// One key of the chart.
#[derive(Debug, PartialEq, Eq)]
pub struct HelmKey {
    pub helm: &'static str,
    /// Key of the cilium-config map.
    pub config: &'static str,
    /// Versions of Cilium whose chart knows the key, such as ">=1.14" or ">=1.13 <1.14".
    pub cilium: &'static str,
    pub why: &'static str,
    /// Only a node that has no pods yet may take it.
    pub new_node_only: bool,
    /// Changing it on a live cluster breaks connections that are open.
    pub drops: bool,
    /// It switches a lever on.
    pub switch: bool,
    pub merge: Merge,
    /// What suits nodes that can and nodes that cannot together, and the versions that know it.
    pub mixed: Option<(&'static str, &'static str)>,
}

/// What becomes of different values that several nodes ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// They must agree.
    Same,
    /// One thing of the whole cluster: nodes that differ tell something of their own.
    Cluster,
    Max,
    Min,
}

impl HelmKey {
    pub fn is(&'static self, value: impl Into<String>) -> HelmValue {
        HelmValue {
            key: self.helm,
            value: value.into(),
            cilium: self.cilium,
            config: self.config,
            why: self.why,
            new_node_only: self.new_node_only,
            drops: self.drops,
            live: None,
        }
    }

    pub fn find(helm: &str) -> Option<&'static HelmKey> {
        KEYS.iter().copied().find(|k| k.helm == helm)
    }
}

/// A Helm value that the cluster, not this node, must set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct HelmValue {
    pub key: &'static str,
    pub value: String,
    /// Versions of Cilium whose chart knows the key, such as ">=1.13".
    pub cilium: &'static str,
    /// The key of the cilium-config map that it becomes.
    pub config: &'static str,
    pub why: &'static str,
    /// Only a node that has no pods yet may take it.
    pub new_node_only: bool,
    /// Changing it on a live cluster breaks connections that are open.
    pub drops: bool,
    /// Whether Cilium's configuration here has this value; null where that is not known.
    pub live: Option<bool>,
}

impl HelmValue {
    /// Whether what cilium-config has is this value: numbers are compared as numbers.
    pub fn matches(&self, now: &str) -> bool {
        let numbers = (now.parse::<f64>(), self.value.parse::<f64>());
        match numbers {
            (Ok(now), Ok(value)) => (now - value).abs() < 1e-9,
            _ => now == self.value,
        }
    }
}

const fn key(
    helm: &'static str,
    config: &'static str,
    cilium: &'static str,
    why: &'static str,
) -> HelmKey {
    let (new_node_only, drops, switch, merge) = (false, false, false, Merge::Same);
    HelmKey { helm, config, cilium, why, new_node_only, drops, switch, merge, mixed: None }
}

const fn drops(key: HelmKey) -> HelmKey {
    HelmKey { drops: true, ..key }
}

const fn new_node(key: HelmKey) -> HelmKey {
    HelmKey { new_node_only: true, ..key }
}

const fn switch(key: HelmKey) -> HelmKey {
    HelmKey { switch: true, ..key }
}

macro_rules! keys {
    ($($name:ident = $key:expr;)*) => {
        $(pub static $name: HelmKey = $key;)*
        /// All of them: no other key is ever taken from a node's report.
        pub static KEYS: &[&HelmKey] = &[$(&$name),*];
    };
}

keys! {
    TUNNEL = drops(key("tunnel", "tunnel", ">=1.13 <1.14", "no overlay: pod packets travel as they are"));
    ROUTING_MODE = switch(drops(key("routingMode", "routing-mode", ">=1.14", "no overlay: pod packets travel as they are")));
    TUNNEL_PROTOCOL = drops(key("tunnelProtocol", "tunnel-protocol", ">=1.14", "DSR by geneve needs the protocol named, also with native routing"));
    NATIVE_CIDR = drops(HelmKey { merge: Merge::Cluster, ..key("ipv4NativeRoutingCIDR", "ipv4-native-routing-cidr", ">=1.13", "what is not masqueraded; from 1.18 native routing does not render without it") });
    AUTO_DIRECT_ROUTES = key("autoDirectNodeRoutes", "auto-direct-node-routes", ">=1.13", "nodes on one L2 network tell each other's pod networks to the kernel");
    KPR_WORD = drops(HelmKey { cilium: ">=1.13 <1.14", ..key("kubeProxyReplacement", "kube-proxy-replacement", "", "services in BPF; host routing stands on it") });
    KPR = switch(drops(key("kubeProxyReplacement", "kube-proxy-replacement", ">=1.14", "services in BPF; host routing stands on it")));
    SOCKET_LB_HOST = key("socketLB.hostNamespaceOnly", "bpf-lb-sock-hostns-only", ">=1.13", "pods' sockets keep the service address, as a service mesh needs it");
    BPF_MASQUERADE = switch(drops(key("bpf.masquerade", "enable-bpf-masquerade", ">=1.13", "masquerading without iptables; host routing stands on it")));
    LB_MODE = switch(drops(key("loadBalancer.mode", "bpf-lb-mode", ">=1.13", "a backend answers the client directly")));
    DSR_DISPATCH = drops(key("loadBalancer.dsrDispatch", "bpf-lb-dsr-dispatch", ">=1.13", "how the client's address reaches the backend"));
    NO_CONNTRACK = switch(drops(key("installNoConntrackIptablesRules", "install-no-conntrack-iptables-rules", ">=1.13", "pod packets around conntrack; for legacy host routing only")));
    HOST_LEGACY = drops(key("bpf.hostLegacyRouting", "enable-host-legacy-routing", ">=1.13", "pod packets routed by BPF past the host's stack"));
    TCX = key("bpf.enableTCX", "enable-tcx", ">=1.16", "links of kernel 6.6 instead of tc filters");
    DATAPATH_MODE = switch(new_node(HelmKey { mixed: Some(("auto", ">=1.20")), ..key("bpf.datapathMode", "datapath-mode", ">=1.16", "a pod device without the second trip through the backlog") }));
    BIG_TCP_V6 = switch(new_node(key("enableIPv6BIGTCP", "enable-ipv6-big-tcp", ">=1.13", "TCP packets of up to 192 KiB inside the node")));
    BIG_TCP_V4 = switch(new_node(key("enableIPv4BIGTCP", "enable-ipv4-big-tcp", ">=1.14", "TCP packets of up to 192 KiB inside the node")));
    HUBBLE = key("hubble.enabled", "enable-hubble", ">=1.13", "observing flows costs 1 to 15 % by Cilium's tuning guide");
    MONITOR_INTERVAL = key("bpf.monitorInterval", "monitor-aggregation-interval", ">=1.13", "fewer flow events for Hubble");
    MTU = drops(key("MTU", "mtu", ">=1.13", "the MTU of pods, where detection would take a smaller one"));
    BANDWIDTH_MANAGER = switch(key("bandwidthManager.enabled", "enable-bandwidth-manager", ">=1.13", "fair queueing and pacing; BBR stands on it"));
    BBR = switch(new_node(key("bandwidthManager.bbr", "enable-bbr", ">=1.13", "BBR for pods; needs host routing")));
    BBR_HOST_ONLY = new_node(key("bandwidthManager.bbrHostNamespaceOnly", "enable-bbr-hostns-only", ">=1.18", "BBR for the node, cubic for pods"));
    ACCELERATION_NATIVE = drops(HelmKey { cilium: ">=1.13 <1.15", ..key("loadBalancer.acceleration", "bpf-lb-acceleration", "", "services in the driver") });
    ACCELERATION = switch(drops(key("loadBalancer.acceleration", "bpf-lb-acceleration", ">=1.15", "services in the driver, where the driver can")));
    MAP_RATIO_NO_LRU = drops(HelmKey { merge: Merge::Max, ..key("bpf.mapDynamicSizeRatio", "bpf-map-dynamic-size-ratio", ">=1.13 <1.17.2", "share of memory for connection and NAT maps") });
    MAP_RATIO = drops(HelmKey { merge: Merge::Max, ..key("bpf.mapDynamicSizeRatio", "bpf-map-dynamic-size-ratio", ">=1.17.2", "share of memory for connection and NAT maps") });
    DISTRIBUTED_LRU = new_node(drops(key("bpf.distributedLRU.enabled", "bpf-distributed-lru", ">=1.17.2", "no common list to lock in the maps")));
    CLOCK_PROBE = new_node(drops(key("bpfClockProbe", "enable-bpf-clock-probe", ">=1.13", "jiffies as the clock of connection entries; flipping it reinterprets their ages")));
}
