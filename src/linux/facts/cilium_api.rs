//! What the agent's answers mean. The forms are those of its public API description, of which older
//! agents have less; nothing here is required to be there.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::facts::Cilium;

/// The keys of cilium-config that some lever, check or `cilium diff` asks for.
pub const CONFIG_KEYS: &[&str] = &[
    "auto-direct-node-routes",
    "bpf-ct-global-any-max",
    "bpf-ct-global-tcp-max",
    "bpf-distributed-lru",
    "bpf-lb-acceleration",
    "bpf-lb-dsr-dispatch",
    "bpf-lb-mode",
    "bpf-lb-mode-annotation",
    "bpf-lb-sock",
    "bpf-lb-sock-hostns-only",
    "bpf-map-dynamic-size-ratio",
    "bpf-nat-global-max",
    "cni-chaining-mode",
    "datapath-mode",
    "devices",
    "direct-routing-device",
    "enable-auto-protect-node-port-range",
    "enable-bandwidth-manager",
    "enable-bbr",
    "enable-bbr-hostns-only",
    "enable-bpf-clock-probe",
    "enable-bpf-masquerade",
    "enable-egress-gateway",
    "enable-endpoint-routes",
    "enable-google-multi-nic",
    "enable-google-service-steering",
    "enable-host-legacy-routing",
    "enable-hubble",
    "enable-ip-masq-agent",
    "enable-ipsec",
    "enable-ipv4",
    "enable-ipv4-big-tcp",
    "enable-ipv4-egress-gateway",
    "enable-ipv4-masquerade",
    "enable-ipv6",
    "enable-ipv6-big-tcp",
    "enable-ipv6-masquerade",
    "enable-l2-announcements",
    "enable-tcx",
    "enable-tunnel-big-tcp",
    "enable-wireguard",
    "encrypt-node",
    "install-no-conntrack-iptables-rules",
    "ipam",
    "ipv4-native-routing-cidr",
    "kube-proxy-replacement",
    "monitor-aggregation-interval",
    "mtu",
    "node-port-range",
    "preallocate-bpf-maps",
    "routing-mode",
    "tunnel",
    "tunnel-protocol",
    "underlay-protocol",
];

/// Fields of the agent's own configuration, as /v1/config and its state file dump it, and the keys of
/// cilium-config that set them.
const FIELDS: &[(&str, &str)] = &[
    ("BPFMapsDynamicSizeRatio", "bpf-map-dynamic-size-ratio"),
    ("BPFSocketLBHostnsOnly", "bpf-lb-sock-hostns-only"),
    ("CTMapEntriesGlobalAny", "bpf-ct-global-any-max"),
    ("CTMapEntriesGlobalTCP", "bpf-ct-global-tcp-max"),
    ("DatapathMode", "datapath-mode"),
    ("EnableAutoDirectRouting", "auto-direct-node-routes"),
    ("EnableBPFClockProbe", "enable-bpf-clock-probe"),
    ("EnableBPFMasquerade", "enable-bpf-masquerade"),
    ("EnableEgressGateway", "enable-egress-gateway"),
    ("EnableEndpointRoutes", "enable-endpoint-routes"),
    ("EnableHostLegacyRouting", "enable-host-legacy-routing"),
    ("EnableIPMasqAgent", "enable-ip-masq-agent"),
    ("EnableIPv4", "enable-ipv4"),
    ("EnableIPv4Masquerade", "enable-ipv4-masquerade"),
    ("EnableIPv6", "enable-ipv6"),
    ("EnableIPv6Masquerade", "enable-ipv6-masquerade"),
    ("EnableL2Announcements", "enable-l2-announcements"),
    ("EnableTCX", "enable-tcx"),
    ("EncryptNode", "encrypt-node"),
    ("IPAM", "ipam"),
    ("InstallNoConntrackIptRules", "install-no-conntrack-iptables-rules"),
    ("NATMapEntriesGlobal", "bpf-nat-global-max"),
    ("NodePortAcceleration", "bpf-lb-acceleration"),
    ("PreAllocateMaps", "preallocate-bpf-maps"),
    ("RoutingMode", "routing-mode"),
];

/// A value as the map has it: text.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(256).collect(),
        Value::Null => String::new(),
        Value::Array(list) => list.iter().take(64).map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string().chars().take(256).collect(),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|t| !t.is_empty()).map(|t| t.chars().take(256).collect())
}

/// GET /v1/healthz.
pub fn status(status: &Value, cilium: &mut Cilium) {
    // "1.18.4 (v1.18.4-afda2aa9)"; an agent that is not well says so instead.
    let version = status["cilium"]["msg"].as_str().and_then(|m| m.split_whitespace().next());
    let digit = |v: &&str| v.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
    cilium.version = version.filter(digit).map(|v| v.trim_start_matches('v').to_string());
    let live = &mut cilium.live;
    let routing = &status["routing"];
    live.network = match routing["inter-host-routing-mode"].as_str() {
        Some(mode) if mode.eq_ignore_ascii_case("native") => Some("native".into()),
        Some(_) => Some(match routing["tunnel-protocol"].as_str() {
            Some(protocol) => format!("tunnel {}", protocol.to_ascii_lowercase()),
            None => "tunnel".into(),
        }),
        None => None,
    };
    // 1.13 to 1.15 have it in a place of its own.
    live.host_routing =
        text(&routing["intra-host-routing-mode"]).or_else(|| text(&status["host-routing"]["mode"]));
    masquerading(&status["masquerading"], cilium);
    let live = &mut cilium.live;
    let kpr = &status["kube-proxy-replacement"];
    live.kube_proxy_replacement = text(&kpr["mode"]).map(|m| m.to_ascii_lowercase());
    let names = |list: &Value, field: &str| -> Vec<String> {
        let name = |v: &Value| if field.is_empty() { text(v) } else { text(&v[field]) };
        list.as_array().map(|l| l.iter().take(256).filter_map(name).collect()).unwrap_or_default()
    };
    live.devices = names(&kpr["deviceList"], "name");
    if live.devices.is_empty() {
        live.devices = names(&kpr["devices"], "");
    }
    live.direct_routing_device = text(&kpr["directRoutingDevice"]);
    let node_port = &kpr["features"]["nodePort"];
    if node_port["enabled"] == false {
        live.lb_mode = Some("off".into());
    }
    if node_port["enabled"] == true {
        live.lb_mode = text(&node_port["mode"]).map(|m| m.to_ascii_lowercase());
        live.dsr_dispatch = text(&node_port["dsrMode"]).map(|m| match m.as_str() {
            "IP Option/Extension" => "opt".into(),
            other => other.to_ascii_lowercase(),
        });
        let word = text(&node_port["acceleration"]).map(|m| m.to_ascii_lowercase());
        live.xdp = word.map(|w| if w == "disabled" { "none".into() } else { w });
    }
    // Called hostReachableServices before 1.14.
    let socket = [&kpr["features"]["socketLB"], &kpr["features"]["hostReachableServices"]];
    live.socket_lb = socket.iter().find_map(|s| s["enabled"].as_bool()).map(|on| {
        let host = kpr["features"]["bpfSocketLBHostnsOnly"] == true;
        match (on, host) {
            (false, _) => "off".into(),
            (true, true) => "host".into(),
            (true, false) => "full".into(),
        }
    });
    let bandwidth = &status["bandwidth-manager"];
    live.bandwidth_manager = bandwidth["enabled"].as_bool();
    live.congestion_control = text(&bandwidth["congestionControl"]);
    live.big_tcp_v4 = big_tcp(&status["ipv4-big-tcp"]);
    live.big_tcp_v6 = big_tcp(&status["ipv6-big-tcp"]);
    live.device_mode = text(&status["datapath-mode"]);
    live.attach_mode = text(&status["attach-mode"]);
    live.hubble = status["hubble"]["state"].as_str().map(|s| s != "Disabled");
    live.clock = text(&status["clock-source"]["mode"]);
    live.encryption =
        text(&status["encryption"]["mode"]).map(|m| if m == "Disabled" { "off".into() } else { m });
    live.chaining = text(&status["cni-chaining"]["mode"]);
    let maps = &status["bpf-maps"];
    live.map_ratio = maps["dynamic-size-ratio"].as_f64();
    let sized = ["TCP connection tracking", "Non-TCP connection tracking", "NAT", "Neighbor table"];
    for map in maps["maps"].as_array().into_iter().flatten().take(256) {
        if let (Some(name), Some(size)) = (map["name"].as_str(), map["size"].as_u64())
            && sized.contains(&name)
        {
            live.maps.insert(name.to_string(), size);
        }
    }
}

fn masquerading(answer: &Value, cilium: &mut Cilium) {
    let live = &mut cilium.live;
    let Some(enabled) = answer["enabled"].as_bool() else { return };
    let protocols = &answer["enabledProtocols"];
    let any = match protocols.as_object() {
        Some(_) => protocols["ipv4"] == true || protocols["ipv6"] == true,
        None => enabled,
    };
    live.masquerading = match (any, answer["mode"].as_str()) {
        (false, _) => Some("off".into()),
        (true, Some("BPF")) => Some("BPF".into()),
        (true, Some(_)) => Some("iptables".into()),
        (true, None) => None,
    };
    live.native_cidr =
        text(&answer["snat-exclusion-cidr-v4"]).or_else(|| text(&answer["snat-exclusion-cidr"]));
}

fn big_tcp(answer: &Value) -> Option<u32> {
    if !answer["enabled"].as_bool()? {
        return Some(0);
    }
    let size = |key: &str| answer[key].as_u64().and_then(|n| u32::try_from(n).ok());
    size("maxGSO").into_iter().chain(size("maxGRO")).min()
}

/// GET /v1/config.
pub fn configuration(answer: &Value, cilium: &mut Cilium, config: &mut BTreeMap<String, String>) {
    let status = &answer["status"];
    let mtu = status["deviceMTU"].as_u64().and_then(|n| u32::try_from(n).ok());
    cilium.live.device_mtu = mtu.filter(|n| *n > 0);
    if cilium.live.device_mode.is_none() {
        cilium.live.device_mode = text(&status["datapathMode"]);
    }
    if let Some(ipam) = text(&status["ipam-mode"]) {
        config.insert("ipam".into(), ipam);
    }
    runtime(&status["daemonConfigurationMap"], config);
}

/// The agent's own configuration, flat or with what changes at run time one level down.
pub fn runtime(json: &Value, config: &mut BTreeMap<String, String>) {
    let Some(map) = json.as_object() else { return };
    let nested = map.values().filter_map(Value::as_object);
    for fields in std::iter::once(map).chain(nested) {
        for (field, key) in FIELDS {
            if let Some(value) = fields.get(*field) {
                config.entry(key.to_string()).or_insert_with(|| plain(value));
            }
        }
    }
}
