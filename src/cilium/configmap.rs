//! The `cilium-config` map as `kubectl get cm -o yaml` or `-o json` prints it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::model::facts::Cilium;
use crate::yaml;

pub const MOST_BYTES: u64 = 4 << 20;

pub type Config = BTreeMap<String, String>;

/// JSON is YAML as well, so one parser reads both; a list of maps, or all that a chart renders, is
/// searched for cilium-config.
pub fn parse(text: &[u8]) -> Result<Config> {
    let documents: Vec<Value> = yaml::all(text).context("neither YAML nor JSON")?;
    let mut maps: Vec<&Value> = Vec::new();
    let mut alone = true;
    for document in documents.iter().filter(|d| !d.is_null()) {
        match (document, &document["items"]) {
            (Value::Array(items), _) | (_, Value::Array(items)) => {
                alone = false;
                maps.extend(items);
            }
            _ => maps.push(document),
        }
    }
    let map = match &maps[..] {
        [] => bail!("no ConfigMap: nothing is there"),
        [one] if alone => *one,
        _ => named(&maps)?,
    };
    let Some(object) = map.as_object() else { bail!("no ConfigMap: not an object") };
    if let Some(kind) = map["kind"].as_str().filter(|kind| *kind != "ConfigMap") {
        bail!("no ConfigMap: this is a {kind}");
    }
    let data = match object.get("data") {
        Some(data) => data.as_object().context("no ConfigMap: its data is no map")?,
        // Its data alone.
        None if !object.contains_key("kind") => object,
        None => bail!("this ConfigMap has no data"),
    };
    let mut config = Config::new();
    for (key, value) in data {
        let text = match value {
            Value::String(text) => text.trim(),
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::Number(number) => &number.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => continue,
        };
        // As the agent reads a switch.
        let word = match text {
            "1" | "t" | "T" | "TRUE" | "True" if switch(key) => "true",
            "0" | "f" | "F" | "FALSE" | "False" if switch(key) => "false",
            text => text,
        };
        config.insert(key.clone(), word.to_string());
    }
    let known = ["routing-mode", "tunnel", "kube-proxy-replacement", "enable-ipv4", "ipam"];
    let theirs = known.iter().any(|k| config.contains_key(*k));
    ensure!(theirs, "this is not the configuration of Cilium: it has none of {}", known.join(", "));
    Ok(config)
}

/// The map of that name; of several that of kube-system.
fn named<'a>(maps: &[&'a Value]) -> Result<&'a Value> {
    let is = |map: &&&Value| {
        map["metadata"]["name"] == "cilium-config"
            && map["kind"].as_str().is_none_or(|kind| kind == "ConfigMap")
    };
    let found: Vec<&Value> = maps.iter().filter(is).copied().collect();
    let system = |map: &&&Value| map["metadata"]["namespace"] == "kube-system";
    match &found[..] {
        [] => bail!("no ConfigMap cilium-config among these"),
        [one] => Ok(one),
        all => {
            let several = "several ConfigMaps cilium-config: give that of the agents alone";
            all.iter().find(system).copied().context(several)
        }
    }
}

/// A setting that is on or off.
fn switch(key: &str) -> bool {
    let others = [
        "auto-direct-node-routes",
        "bpf-distributed-lru",
        "bpf-lb-mode-annotation",
        "bpf-lb-sock",
        "bpf-lb-sock-hostns-only",
        "encrypt-node",
        "install-no-conntrack-iptables-rules",
        "preallocate-bpf-maps",
    ];
    key.starts_with("enable-") || others.contains(&key)
}

/// What the local agent told. It tells some settings by what they do alone: those are put back into
/// the words of the map. What it does not tell is not there, which says nothing of how it is set.
pub fn of_agent(cilium: &Cilium) -> Result<Config> {
    let live = &cilium.live;
    let unread =
        || cilium.unread.first().cloned().unwrap_or_else(|| "the agent tells too little".into());
    ensure!(!cilium.starting, "the agent is still starting: ask again");
    let Some(known) = cilium.config.known().filter(|_| live.kube_proxy_replacement.is_some())
    else {
        bail!("the configuration of Cilium cannot be read here: {}", unread());
    };
    let mut config = known.clone();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            config.entry(key.to_string()).or_insert(value);
        }
    };
    let flag = |on: Option<bool>| on.map(|on| on.to_string());
    put("kube-proxy-replacement", live.kube_proxy_replacement.clone());
    put("bpf-lb-mode", live.lb_mode.clone().filter(|m| m != "off"));
    put("bpf-lb-dsr-dispatch", live.dsr_dispatch.clone());
    put("enable-bandwidth-manager", flag(live.bandwidth_manager));
    put("enable-bbr", flag(live.congestion_control.as_deref().map(|c| c == "bbr")));
    put("enable-ipv4-big-tcp", flag(live.big_tcp_v4.map(|n| n > 0)));
    put("enable-ipv6-big-tcp", flag(live.big_tcp_v6.map(|n| n > 0)));
    put("enable-ipsec", flag(live.encryption.as_deref().map(|e| e == "IPsec")));
    put("enable-wireguard", flag(live.encryption.as_deref().map(|e| e == "Wireguard")));
    put("enable-hubble", flag(live.hubble));
    // Legacy routing that nothing explains was asked for.
    let legacy = match cilium.said.get("host-legacy").map(|s| s.value == "true") {
        Some(true) => cilium.legacy_by_hand().then_some(true),
        other => other,
    };
    put("enable-host-legacy-routing", flag(legacy));
    put("datapath-mode", live.device_mode_configured.clone().or(live.device_mode.clone()));
    put("ipv4-native-routing-cidr", live.native_cidr.clone());
    put("bpf-lb-acceleration", live.xdp.as_ref().map(|x| x.replace("none", "disabled")));
    put("bpf-map-dynamic-size-ratio", live.map_ratio.map(|r| r.to_string()));
    let network = live.network.as_deref();
    put("routing-mode", network.map(|n| if n == "native" { n } else { "tunnel" }.to_string()));
    let protocol = network.and_then(|n| n.strip_prefix("tunnel "));
    put("tunnel-protocol", protocol.map(str::to_string));
    // Where nothing is masqueraded it does not tell by what.
    let by = live.masquerading.as_deref().filter(|m| *m != "off");
    put("enable-bpf-masquerade", flag(by.map(|m| m == "BPF")));
    put("enable-ipv4-masquerade", flag(live.masquerading.as_deref().map(|m| m != "off")));
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_json_and_what_is_neither() {
        let yaml =
            "apiVersion: v1\nkind: ConfigMap\ndata:\n  routing-mode: native\n  mtu: \"9000\"\n";
        assert_eq!(parse(yaml.as_bytes()).unwrap()["mtu"], "9000");
        let json = br#"{"kind":"List","items":[{"metadata":{"name":"cilium-config"},"data":{"ipam":"eni"}}]}"#;
        assert_eq!(parse(json).unwrap()["ipam"], "eni");
        assert_eq!(
            parse(b"tunnel: vxlan\nenable-hubble: true\n").unwrap()["enable-hubble"],
            "true"
        );
        for bad in ["", "[1, 2]", "kind: ConfigMap\n", "a: b\n", "a: [\n", "kind: Pod\nspec: {}\n"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
