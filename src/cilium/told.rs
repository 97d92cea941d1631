//! Where each thing that a row of Cilium's says of Cilium is read, in which versions, and what it means
//! where it is left out. The readers go by this list, docs/cilium.md shows it, and what was read keeps
//! its source.
//!
//! The agent's server leaves out each field that is false, 0 or "": an object without the field says so,
//! where that version's object has the field at all. No object: this agent does not tell.

use std::collections::BTreeMap;

use serde_json::Value;

use super::version::Version;
use crate::model::facts::Said;
use crate::model::resource::valid_link;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// GET /v1/healthz on the agent's socket.
    Healthz,
    /// GET /v1/config there.
    Config,
    /// The agent's own configuration: `status.daemonConfigurationMap` of /v1/config, and the state file
    /// agent-runtime-config.json, in which 1.20 has some fields one level down.
    Own,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Flag,
    Number,
    Text,
    /// Any scalar or list, as cilium-config would have it.
    Plain,
    /// Names in a list, or by that field of its objects.
    Names(&'static str),
    /// Sizes of maps by their names.
    Maps,
    /// "10.0.0.0/8", or an object of IP and Mask.
    Cidr,
    Nanoseconds,
}

#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// What it tells: a word of its own, or the key of cilium-config that sets it. A key reaches
    /// `Cilium::key` by `CONFIG_KEYS`, a word of its own `CiliumLive` by `live()`.
    pub name: &'static str,
    pub place: Place,
    pub path: &'static str,
    pub kind: Kind,
    /// Versions of Cilium that have it: where it is there it is read whatever they are, where it is not
    /// this tells silence from absence.
    pub cilium: &'static str,
    /// What it means that its object is there and it is not.
    pub absent: Option<&'static str>,
}

const ALL: &str = ">=1.13";

const fn healthz(name: &'static str, path: &'static str, kind: Kind) -> Field {
    Field { name, place: Place::Healthz, path, kind, cilium: ALL, absent: None }
}

const fn flag(name: &'static str, path: &'static str) -> Field {
    Field { absent: Some("false"), ..healthz(name, path, Kind::Flag) }
}

const fn config(name: &'static str, path: &'static str, kind: Kind) -> Field {
    Field { place: Place::Config, ..healthz(name, path, kind) }
}

const fn own(name: &'static str, path: &'static str) -> Field {
    Field { place: Place::Own, ..healthz(name, path, Kind::Plain) }
}

const fn of(field: Field, cilium: &'static str) -> Field {
    Field { cilium, ..field }
}

/// In the order of trust: of two that tell the same the first one holds.
#[rustfmt::skip]
pub const FIELDS: &[Field] = &[
    healthz("message", "cilium.msg", Kind::Text),
    of(healthz("network", "routing.inter-host-routing-mode", Kind::Text), ">=1.16"),
    of(healthz("tunnel-protocol", "routing.tunnel-protocol", Kind::Text), ">=1.16"),
    of(healthz("host-routing", "routing.intra-host-routing-mode", Kind::Text), ">=1.16"),
    of(healthz("host-routing", "host-routing.mode", Kind::Text), ">=1.13 <1.16"),
    flag("masquerade", "masquerading.enabled"),
    flag("masquerade-v4", "masquerading.enabledProtocols.ipv4"),
    flag("masquerade-v6", "masquerading.enabledProtocols.ipv6"),
    healthz("masquerade-mode", "masquerading.mode", Kind::Text),
    healthz("kpr", "kube-proxy-replacement.mode", Kind::Text),
    healthz("device-list", "kube-proxy-replacement.deviceList", Kind::Names("name")),
    healthz("device-list", "kube-proxy-replacement.devices", Kind::Names("")),
    healthz("direct-routing", "kube-proxy-replacement.directRoutingDevice", Kind::Text),
    flag("node-port", "kube-proxy-replacement.features.nodePort.enabled"),
    healthz("lb-mode", "kube-proxy-replacement.features.nodePort.mode", Kind::Text),
    healthz("dsr-dispatch", "kube-proxy-replacement.features.nodePort.dsrMode", Kind::Text),
    healthz("acceleration", "kube-proxy-replacement.features.nodePort.acceleration", Kind::Text),
    flag("socket-lb", "kube-proxy-replacement.features.socketLB.enabled"),
    flag("socket-lb", "kube-proxy-replacement.features.hostReachableServices.enabled"),
    flag("socket-lb-host", "kube-proxy-replacement.features.bpfSocketLBHostnsOnly"),
    flag("bandwidth-manager", "bandwidth-manager.enabled"),
    healthz("congestion-control", "bandwidth-manager.congestionControl", Kind::Text),
    flag("big-tcp-v4", "ipv4-big-tcp.enabled"),
    healthz("big-tcp-v4-gso", "ipv4-big-tcp.maxGSO", Kind::Number),
    healthz("big-tcp-v4-gro", "ipv4-big-tcp.maxGRO", Kind::Number),
    flag("big-tcp-v6", "ipv6-big-tcp.enabled"),
    healthz("big-tcp-v6-gso", "ipv6-big-tcp.maxGSO", Kind::Number),
    healthz("big-tcp-v6-gro", "ipv6-big-tcp.maxGRO", Kind::Number),
    healthz("device-mode", "datapath-mode", Kind::Text),
    config("device-mode", "status.datapathMode", Kind::Text),
    of(healthz("device-mode-configured", "configured-datapath-mode", Kind::Text), ">=1.20"),
    healthz("attach-mode", "attach-mode", Kind::Text),
    healthz("hubble", "hubble.state", Kind::Text),
    healthz("clock", "clock-source.mode", Kind::Text),
    healthz("encryption", "encryption.mode", Kind::Text),
    healthz("chaining", "cni-chaining.mode", Kind::Text),
    Field { absent: Some("0"), ..healthz("map-ratio", "bpf-maps.dynamic-size-ratio", Kind::Number) },
    healthz("maps", "bpf-maps.maps", Kind::Maps),
    config("device-mtu", "status.deviceMTU", Kind::Number),
    config("node-pods", "status.addressing.ipv4.alloc-range", Kind::Text),
    config("ipam", "status.ipam-mode", Kind::Text),
    Field { absent: Some("false"), ..of(config("enable-bbr-hostns-only", "status.enableBBRHostNamespaceOnly", Kind::Flag), ">=1.18") },
    of(own("bpf-distributed-lru", "BPFDistributedLRU"), ">=1.18"),
    own("bpf-map-dynamic-size-ratio", "BPFMapsDynamicSizeRatio"),
    own("bpf-lb-sock-hostns-only", "BPFSocketLBHostnsOnly"),
    of(own("cni-chaining-mode", "CNIChainingMode"), ">=1.13 <1.14"),
    own("bpf-ct-global-any-max", "CTMapEntriesGlobalAny"),
    own("bpf-ct-global-tcp-max", "CTMapEntriesGlobalTCP"),
    own("datapath-mode", "DatapathMode"),
    own("auto-direct-node-routes", "EnableAutoDirectRouting"),
    of(own("enable-bbr", "EnableBBR"), ">=1.13 <1.14"),
    own("enable-bpf-clock-probe", "EnableBPFClockProbe"),
    own("enable-bpf-masquerade", "EnableBPFMasquerade"),
    own("enable-bpf-tproxy", "EnableBPFTProxy"),
    of(own("enable-bandwidth-manager", "EnableBandwidthManager"), ">=1.13 <1.14"),
    own("enable-egress-gateway", "EnableEgressGateway"),
    own("enable-endpoint-routes", "EnableEndpointRoutes"),
    own("host-legacy", "EnableHostLegacyRouting"),
    of(own("enable-hubble", "EnableHubble"), ">=1.13 <1.19"),
    own("enable-ip-masq-agent", "EnableIPMasqAgent"),
    of(own("enable-ipsec", "EnableIPSec"), ">=1.13 <1.19"),
    own("enable-ipv4", "EnableIPv4"),
    of(own("enable-ipv4-egress-gateway", "EnableIPv4EgressGateway"), ">=1.13 <1.19"),
    own("enable-ipv4-masquerade", "EnableIPv4Masquerade"),
    own("enable-ipv6", "EnableIPv6"),
    own("enable-ipv6-masquerade", "EnableIPv6Masquerade"),
    own("enable-l2-announcements", "EnableL2Announcements"),
    own("enable-tcx", "EnableTCX"),
    of(own("enable-wireguard", "EnableWireguard"), ">=1.13 <1.19"),
    own("encrypt-node", "EncryptNode"),
    own("ipam", "IPAM"),
    Field { kind: Kind::Cidr, ..own("ipv4-native-routing-cidr", "IPv4NativeRoutingCIDR") },
    own("install-no-conntrack-iptables-rules", "InstallNoConntrackIptRules"),
    of(own("kube-proxy-replacement", "KubeProxyReplacement"), ">=1.13 <1.19"),
    of(own("bpf-lb-dsr-dispatch", "LoadBalancerDSRDispatch"), ">=1.13 <1.19"),
    Field { kind: Kind::Nanoseconds, ..own("monitor-aggregation-interval", "MonitorAggregationInterval") },
    own("bpf-nat-global-max", "NATMapEntriesGlobal"),
    own("bpf-lb-acceleration", "NodePortAcceleration"),
    of(own("bpf-lb-mode", "NodePortMode"), ">=1.13 <1.19"),
    own("preallocate-bpf-maps", "PreAllocateMaps"),
    own("routing-mode", "RoutingMode"),
];

/// What node_config.h proves by a macro that is there; one that is not proves nothing.
pub const MACROS: &[(&str, &[(&str, &str)])] = &[
    ("ENABLE_HOST_ROUTING", &[("host-routing", "BPF")]),
    ("TUNNEL_MODE", &[("network", "Tunnel")]),
    ("ENABLE_BANDWIDTH_MANAGER", &[("bandwidth-manager", "true")]),
    ("ENABLE_NODEPORT", &[("node-port", "true")]),
    ("ENABLE_NODEPORT_ACCELERATION", &[("acceleration", "on")]),
    ("ENABLE_SOCKET_LB_FULL", &[("socket-lb", "true"), ("socket-lb-host", "false")]),
    ("ENABLE_SOCKET_LB_HOST_ONLY", &[("socket-lb", "true"), ("socket-lb-host", "true")]),
    ("ENABLE_MASQUERADE_IPV4", &[("masquerade", "true"), ("masquerade-mode", "BPF")]),
    ("ENABLE_MASQUERADE_IPV6", &[("masquerade", "true"), ("masquerade-mode", "BPF")]),
];

/// What is seen without the agent: by pins, links and nf_tables.
pub const SEEN: &[(&str, &str)] = &[
    ("attach-mode", "pins under /sys/fs/bpf/cilium/devices/LINK/links: only tcx has links to pin"),
    ("xdp-attached", "pins cil_xdp_entry there"),
    ("device-mode", "kinds of the links lxc*"),
    ("network", "links cilium_vxlan, cilium_geneve"),
    ("no-conntrack-rules", "nf_tables: chain CILIUM_PRE_raw"),
];

/// Names that several levers go by together.
pub const NETWORK: &[&str] = &["network", "tunnel-protocol", "routing-mode", "tunnel"];
pub const MASQUERADE: &[&str] = &[
    "masquerade",
    "masquerade-v4",
    "masquerade-v6",
    "masquerade-mode",
    "enable-bpf-masquerade",
    "enable-ipv4-masquerade",
    "enable-ipv6-masquerade",
];
pub const ROUTED: &[&str] = &["host-routing", "host-legacy", "enable-host-legacy-routing"];
pub const ENCRYPTION: &[&str] = &["encryption", "enable-ipsec", "enable-wireguard", "encrypt-node"];
pub const CHAINING: &[&str] = &["chaining", "cni-chaining-mode"];
pub const KPR: &[&str] = &["kpr", "kube-proxy-replacement"];
pub const DEVICES: &[&str] = &["device-list"];
pub const BIG: &[&str] = &[
    "big-tcp-v4",
    "big-tcp-v4-gso",
    "big-tcp-v4-gro",
    "big-tcp-v6",
    "big-tcp-v6-gso",
    "big-tcp-v6-gro",
];
pub const DSR: &[&str] =
    &["node-port", "lb-mode", "dsr-dispatch", "bpf-lb-mode", "bpf-lb-dsr-dispatch"];
pub const XDP: &[&str] = &["node-port", "acceleration", "bpf-lb-acceleration"];

/// What was read, each by the first that told it.
pub type AllSaid = BTreeMap<String, Said>;

/// Reads all that `place` has of `answer`; `at` is what people find a path of it by.
pub fn read(place: Place, at: &str, answer: &Value, version: Option<Version>, said: &mut AllSaid) {
    for field in FIELDS.iter().filter(|f| f.place == place) {
        let Some((value, left_out)) = field.look(answer, version) else { continue };
        let left_out = if left_out { ", left out" } else { "" };
        tell(said, field.name, value, format!("{at}{}{left_out}", field.path));
    }
}

/// The agent's own configuration, of which newer agents have some fields one level down.
pub fn read_own(at: &str, map: &Value, version: Option<Version>, said: &mut AllSaid) {
    read(Place::Own, at, map, version, said);
    for (name, nested) in map.as_object().into_iter().flatten().filter(|(_, v)| v.is_object()) {
        read(Place::Own, &format!("{at}{name}."), nested, version, said);
    }
}

pub fn tell(said: &mut AllSaid, name: &str, value: impl Into<String>, source: impl Into<String>) {
    let new = || Said { value: value.into(), source: source.into() };
    said.entry(name.to_string()).or_insert_with(new);
}

impl Field {
    /// Its value, and whether that is what its absence means.
    fn look(&self, answer: &Value, version: Option<Version>) -> Option<(String, bool)> {
        let (parents, last) = self.path.rsplit_once('.').unwrap_or(("", self.path));
        let mut parents = parents.split('.').filter(|p| !p.is_empty());
        let object = parents.try_fold(answer, |at, name| at.get(name))?.as_object()?;
        let empty = |v: &&Value| !v.is_null() && *v != "";
        // An unset network is told as such, and no absence.
        if let Some(value) = object.get(last).filter(|v| empty(v) || self.kind == Kind::Cidr) {
            return Some((self.kind.word(value)?, false));
        }
        let known = version.map_or(self.cilium == ALL, |v| v.within(self.cilium));
        self.absent.filter(|_| known).map(|word| (word.to_string(), true))
    }
}

impl Kind {
    fn word(self, value: &Value) -> Option<String> {
        match self {
            Kind::Flag => value.as_bool().map(|b| b.to_string()),
            Kind::Number => value.is_number().then(|| value.to_string()),
            Kind::Text => value.as_str().map(cut),
            Kind::Plain => Some(plain(value)),
            Kind::Names(field) => {
                let name = |v: &Value| {
                    let name = if field.is_empty() { v.as_str() } else { v[field].as_str() };
                    name.filter(|name| valid_link(name).is_ok()).map(str::to_string)
                };
                let names: Vec<String> =
                    value.as_array()?.iter().take(256).filter_map(name).collect();
                (!names.is_empty()).then(|| names.join(" "))
            }
            Kind::Maps => {
                let size = |map: &Value| {
                    Some(format!("{}={}", cut(map["name"].as_str()?), map["size"].as_u64()?))
                };
                let all: Vec<String> =
                    value.as_array()?.iter().take(256).filter_map(size).collect();
                (!all.is_empty()).then(|| all.join("; "))
            }
            Kind::Cidr => cidr(value),
            Kind::Nanoseconds => match value.as_u64() {
                Some(n) if n % 1_000_000_000 == 0 => Some(format!("{}s", n / 1_000_000_000)),
                Some(n) => Some(format!("{}ms", n / 1_000_000)),
                None => value.as_str().map(cut),
            },
        }
    }
}

/// A value as cilium-config has it: text.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        Value::Null => String::new(),
        Value::Array(list) => list.iter().take(64).map(plain).collect::<Vec<_>>().join(" "),
        other => cut(&other.to_string()),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(256).collect()
}

/// A string in newer models, before it Go's IPNet: an address and the mask's bytes in base64. Null and ""
/// are unset.
fn cidr(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(cut(text)),
        Value::Object(net) => {
            let ip = net.get("IP").and_then(Value::as_str).unwrap_or_default();
            let mask = net.get("Mask").and_then(Value::as_str).unwrap_or_default();
            if ip.is_empty() {
                return Some(String::new());
            }
            let digit = |c: u8| {
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
                    .iter()
                    .position(|d| *d == c)
            };
            let digits: Option<Vec<usize>> =
                mask.trim_end_matches('=').bytes().map(digit).collect();
            let length: u32 = digits?.iter().map(|d| d.count_ones()).sum();
            Some(format!("{}/{length}", cut(ip)))
        }
        _ => None,
    }
}
