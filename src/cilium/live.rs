//! What was told of Cilium, as what it does and how it is configured.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rules::CIDR;
use super::told::{self, AllSaid, Place};
use super::version::Version;
use crate::model::facts::{Cilium, CiliumLive, Fact};

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
    "enable-bpf-tproxy",
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

/// "1.18.4 (v1.18.4-afda2aa9)".
fn version_in(message: &str) -> Option<&str> {
    message.split_whitespace().next()
}

/// GET /v1/healthz.
pub fn healthz(status: &Value, cilium: &mut Cilium) {
    cilium.agent_up = true;
    let message = status["cilium"]["msg"].as_str();
    let version = message.and_then(version_in).and_then(|v| Version::parse(v).ok());
    told::read(Place::Healthz, "GET /v1/healthz ", status, version, &mut cilium.said);
    // Before its first round of probes is through it says so; its objects come one by one.
    let state = &status["cilium"]["state"];
    let alone = cilium.said.keys().all(|name| name == "message");
    let probing = message.is_some_and(|m| m.starts_with("Not all probes"));
    cilium.starting = state == "Warning" && (alone || probing);
    if alone && !cilium.starting {
        let words = [state.as_str(), message].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let words = told::plain(&Value::String(words));
        cilium.unread.push(format!("the agent says no more than {words:?}"));
    }
}

/// GET /v1/config.
pub fn configuration(answer: &Value, cilium: &mut Cilium) {
    let message = cilium.said.get("message").and_then(|m| version_in(&m.value));
    let version = message.and_then(|v| Version::parse(v).ok());
    told::read(Place::Config, "GET /v1/config ", answer, version, &mut cilium.said);
    let map = &answer["status"]["daemonConfigurationMap"];
    let at = "GET /v1/config status.daemonConfigurationMap.";
    told::read_own(at, map, version, &mut cilium.said);
}

/// From all that was said; `unread` is why nothing of the configuration is known, where nothing is.
pub fn conclude(cilium: &mut Cilium, unread: impl FnOnce(&Cilium) -> String) {
    // An agent that is not well says so instead of its version.
    let said = &cilium.said;
    let version = said.get("message").and_then(|m| version_in(&m.value));
    let digit = |v: &&str| v.starts_with(|c: char| c.is_ascii_digit());
    cilium.version = version.map(|v| v.trim_start_matches('v')).filter(digit).map(str::to_string);
    let config: BTreeMap<String, String> = CONFIG_KEYS
        .iter()
        .filter_map(|key| Some((key.to_string(), said.get(*key)?.value.clone())))
        .collect();
    cilium.live = live(said, &config, &cilium.live);
    cilium.config = match config.is_empty() {
        true => Fact::unknown(unread(cilium)),
        false => Fact::Known(config),
    };
}

/// What the datapath does, by the words of the agent; where it has none, what is configured, if only of
/// what it cannot quietly fall back from: BIG TCP and XDP at best effort are not among that, and host
/// routing by what the agent wrote down of it alone.
fn live(said: &AllSaid, config: &BTreeMap<String, String>, seen: &CiliumLive) -> CiliumLive {
    let word = |name: &str| said.get(name).map(|s| s.value.as_str());
    let text = |name: &str| word(name).map(str::to_string);
    let lower = |name: &str| word(name).map(str::to_ascii_lowercase);
    let on = |name: &str| word(name).map(|w| w == "true");
    let number = |name: &str| word(name)?.parse::<u32>().ok();
    let set = |key: &str| config.get(key).filter(|v| !v.is_empty()).cloned();
    let node_port = on("node-port");
    let masquerading = masquerading(said, config);
    let kpr = lower("kpr")
        .or_else(|| set("kube-proxy-replacement").map(|mode| mode.to_ascii_lowercase()));
    let off = matches!(kpr.as_deref(), Some("false" | "disabled"));
    CiliumLive {
        network: network(said, config),
        host_routing: text("host-routing").or_else(|| {
            // The agent writes down what it made of it, its falling back too.
            let legacy = on("host-legacy")? || off || masquerading.as_deref() == Some("iptables");
            Some(if legacy { "Legacy" } else { "BPF" }.to_string())
        }),
        // The allocation of a node is no network of the cluster, whoever wrote it there.
        native_cidr: set(CIDR).filter(|cidr| Some(cidr.as_str()) != word("node-pods")),
        kube_proxy_replacement: kpr,
        masquerading,
        devices: word("device-list").map(names).unwrap_or_default(),
        direct_routing_device: text("direct-routing"),
        bandwidth_manager: on("bandwidth-manager"),
        congestion_control: text("congestion-control"),
        xdp: match (node_port, lower("acceleration")) {
            // Without NodePort there is nothing to accelerate.
            (Some(false), _) => Some("none".into()),
            (_, None) if off => Some("none".into()),
            // A macro says that it is on, and not how; best effort that is only configured may be nothing.
            (_, told) => {
                let proved =
                    told.is_some() || seen.xdp_attached.as_ref().is_some_and(|l| !l.is_empty());
                let asked = set("bpf-lb-acceleration").filter(|w| proved || w != "best-effort");
                let told = told.filter(|word| word != "on");
                told.or(asked).or_else(|| text("acceleration")).map(|word| acceleration(&word))
            }
        },
        xdp_attached: seen.xdp_attached.clone(),
        big_tcp_v4: big_tcp(on("big-tcp-v4"), number("big-tcp-v4-gso"), number("big-tcp-v4-gro")),
        big_tcp_v6: big_tcp(on("big-tcp-v6"), number("big-tcp-v6-gso"), number("big-tcp-v6-gro")),
        device_mode: text("device-mode").or_else(|| {
            // "auto" is what it is to choose, not what it chose.
            set("datapath-mode").filter(|mode| mode != "auto")
        }),
        device_mode_configured: text("device-mode-configured").or_else(|| set("datapath-mode")),
        attach_mode: text("attach-mode"),
        lb_mode: match node_port {
            Some(false) => Some("off".into()),
            _ => lower("lb-mode").or_else(|| set("bpf-lb-mode")),
        },
        dsr_dispatch: match node_port {
            Some(false) => None,
            _ => text("dsr-dispatch")
                .map(|m| match m.as_str() {
                    "IP Option/Extension" => "opt".into(),
                    other => other.to_ascii_lowercase(),
                })
                .or_else(|| set("bpf-lb-dsr-dispatch")),
        },
        socket_lb: on("socket-lb").map(|enabled| {
            match (enabled, on("socket-lb-host") == Some(true)) {
                (false, _) => "off".into(),
                (true, true) => "host".into(),
                (true, false) => "full".into(),
            }
        }),
        hubble: word("hubble")
            .map(|state| state != "Disabled")
            .or_else(|| set("enable-hubble").map(|v| v == "true")),
        clock: text("clock"),
        map_ratio: word("map-ratio")
            .and_then(|w| w.parse().ok())
            .or_else(|| set("bpf-map-dynamic-size-ratio")?.parse().ok()),
        maps: word("maps").map(maps).unwrap_or_default(),
        device_mtu: number("device-mtu").filter(|n| *n > 0),
        encryption: text("encryption").map(|m| if m == "Disabled" { "off".into() } else { m }),
        chaining: text("chaining"),
        no_conntrack_rules: seen.no_conntrack_rules,
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(' ').map(str::to_string).collect()
}

fn acceleration(word: &str) -> String {
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "disabled" => "none".into(),
        "testing-only" => "generic".into(),
        _ => word,
    }
}

fn network(said: &AllSaid, config: &BTreeMap<String, String>) -> Option<String> {
    let get = |key: &str| config.get(key).filter(|v| !v.is_empty()).cloned();
    let tunnel = |protocol: Option<String>| match protocol {
        Some(protocol) => format!("tunnel {}", protocol.to_ascii_lowercase()),
        None => "tunnel".to_string(),
    };
    let known = said.get("network").map(|s| s.value.to_ascii_lowercase());
    let mode = known.or_else(|| get("routing-mode").map(|m| m.to_ascii_lowercase()));
    match (mode, get("tunnel")) {
        (Some(mode), _) if mode == "native" => Some("native".into()),
        (Some(_), old) => {
            let old = old.filter(|t| t != "disabled");
            Some(tunnel(get("tunnel-protocol").or(old)))
        }
        (None, Some(old)) if old == "disabled" => Some("native".into()),
        (None, Some(old)) => Some(tunnel(Some(old))),
        (None, None) => None,
    }
}

fn masquerading(said: &AllSaid, config: &BTreeMap<String, String>) -> Option<String> {
    let on = |name: &str| said.get(name).map(|s| s.value == "true");
    if let Some(enabled) = on("masquerade") {
        let any = match (on("masquerade-v4"), on("masquerade-v6")) {
            (None, None) => enabled,
            (v4, v6) => v4 == Some(true) || v6 == Some(true),
        };
        return match (any, said.get("masquerade-mode").map(|s| s.value.as_str())) {
            (false, _) => Some("off".into()),
            (true, Some("BPF")) => Some("BPF".into()),
            (true, Some(_)) => Some("iptables".into()),
            (true, None) => None,
        };
    }
    let set = |key: &str| config.get(key).map(|v| v == "true");
    let (v4, v6) = (set("enable-ipv4-masquerade"), set("enable-ipv6-masquerade"));
    match (v4 == Some(true) || v6 == Some(true), set("enable-bpf-masquerade")) {
        (true, Some(true)) => Some("BPF".into()),
        (true, Some(false)) => Some("iptables".into()),
        (true, None) => None,
        (false, _) => (v4 == Some(false) && v6 != Some(true)).then(|| "off".into()),
    }
}

/// The smaller of both sizes is what is gained.
fn big_tcp(enabled: Option<bool>, gso: Option<u32>, gro: Option<u32>) -> Option<u32> {
    if !enabled? {
        return Some(0);
    }
    gso.into_iter().chain(gro).min()
}

fn maps(list: &str) -> BTreeMap<String, u64> {
    let sized = ["TCP connection tracking", "Non-TCP connection tracking", "NAT", "Neighbor table"];
    let one = |pair: &str| {
        let (name, size) = pair.split_once('=')?;
        Some((name.to_string(), size.parse().ok()?))
    };
    list.split("; ").filter_map(one).filter(|(name, _)| sized.contains(&name.as_str())).collect()
}
