//! Cilium on this node: from its agent's own socket, from its state files where the agent does not
//! answer, from its pins and devices where nothing can be read.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::fcntl::OFlag;
use serde_json::Value;

use super::cilium_api::{self, CONFIG_KEYS};
use super::unix_http::{Deadline, get};
use crate::linux::root::{Root, is_absent};
use crate::model::facts::{Chain, Cilium, CiliumLive, Fact, Link, Netfilter};
use crate::yaml;

pub const SOCKET: &str = "/var/run/cilium/cilium.sock";
/// For all that is asked of the agent together.
const PATIENCE: Duration = Duration::from_millis(500);
const MOST_STATE: u64 = 4 << 20;
const STATE: [&str; 2] = ["run/cilium/state", "var/run/cilium/state"];
const PINS: &str = "sys/fs/bpf/cilium/devices";
/// As the kernel keeps the name of a program.
const NAME: usize = 15;

/// Of an image, where no agent runs: what its CNI configuration says.
pub fn of_image(cni: Option<&str>) -> Option<Cilium> {
    cni.filter(|name| name.contains("cilium"))
        .map(|_| Cilium { seen_by: "CNI configuration".into(), ..Cilium::default() })
}

pub fn gather(root: &Root, socket: &str, links: &[Link], cni: Option<&str>) -> Option<Cilium> {
    let device = links.iter().any(|l| l.name == "cilium_host" || l.name == "cilium_net");
    let state = STATE.into_iter().find(|path| root.exists(path));
    // A socket that cannot even be looked at is asked all the same: the refusal has a name then.
    let looked = root.openat(socket, OFlag::O_PATH, 0);
    let there = looked.as_ref().map_or_else(|e| !is_absent(e), |_| true);
    let configured = cni.is_some_and(|name| name.contains("cilium"));
    let seen_by = match (there, device, state, configured) {
        (true, _, _, _) => "socket",
        (_, true, _, _) => "devices",
        (_, _, Some(_), _) => "state",
        (_, _, _, true) => "CNI configuration",
        _ => return None,
    };
    let mut cilium = Cilium { seen_by: seen_by.into(), ..Cilium::default() };
    let mut config = BTreeMap::new();
    if there {
        ask(root, socket, &mut cilium, &mut config);
    }
    if let Some(state) = state {
        read_state(root, state, &mut cilium, &mut config);
    }
    cilium.config =
        if config.is_empty() { Fact::unknown(unread(&cilium)) } else { Fact::Known(config) };
    pins(root, &mut cilium);
    from_config(&mut cilium);
    from_links(links, &mut cilium);
    let live = &cilium.live;
    cilium.host_routing = live.host_routing.as_deref().map(|mode| mode == "BPF");
    cilium.bandwidth_manager = live.bandwidth_manager;
    cilium.managed = managed(root, &cilium);
    Some(cilium)
}

fn unread(cilium: &Cilium) -> String {
    match &cilium.unread[..] {
        [] => "no agent answers here and there are no state files".into(),
        all => all.join("; "),
    }
}

fn ask(root: &Root, socket: &str, cilium: &mut Cilium, config: &mut BTreeMap<String, String>) {
    let deadline = Deadline::after(PATIENCE);
    let json = |path: &str| -> anyhow::Result<Value> {
        let body = get(root, socket, path, &deadline)?;
        serde_json::from_slice(&body)
            .map_err(|e| anyhow::anyhow!("ask {} for {path}: not JSON: {e}", root.full(socket)))
    };
    match json("/v1/healthz") {
        Ok(status) => {
            cilium.agent_up = true;
            cilium_api::status(&status, cilium);
        }
        Err(e) => return cilium.unread.push(format!("{e:#}")),
    }
    match json("/v1/config") {
        Ok(answer) => cilium_api::configuration(&answer, cilium, config),
        Err(e) => cilium.unread.push(format!("{e:#}")),
    }
}

/// What the agent said already is not overwritten: files are older than an answer.
pub(crate) fn read_state(
    root: &Root,
    state: &str,
    cilium: &mut Cilium,
    config: &mut BTreeMap<String, String>,
) {
    let mut file = |name: &str| {
        let path = format!("{state}/{name}");
        match root.bytes_within(&path, MOST_STATE) {
            Ok(bytes) => Some(bytes),
            Err(e) if is_absent(&e) => None,
            Err(e) => {
                cilium.unread.push(format!("read {}: {e}", root.full(&path)));
                None
            }
        }
    };
    let flags = file("viper-agent-config.yaml");
    let runtime = file("agent-runtime-config.json");
    let header = file("globals/node_config.h");
    let mut bad = Vec::new();
    if let Some(bytes) = flags {
        match yaml::read::<BTreeMap<String, Value>>(&bytes) {
            Ok(all) => {
                for (key, value) in all {
                    if let Some(key) = CONFIG_KEYS.iter().find(|k| **k == key) {
                        config.entry(key.to_string()).or_insert(cilium_api::plain(&value));
                    }
                }
            }
            Err(e) => bad.push(format!("read viper-agent-config.yaml: {e}")),
        }
    }
    if let Some(bytes) = runtime {
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(json) => cilium_api::runtime(&json, config),
            Err(e) => bad.push(format!("read agent-runtime-config.json: {e}")),
        }
    }
    cilium.unread.extend(bad);
    if let Some(bytes) = header {
        from_header(&String::from_utf8_lossy(&bytes), &mut cilium.live);
    }
}

/// node_config.h is what the datapath was compiled with.
fn from_header(text: &str, live: &mut CiliumLive) {
    let defines = |name: &str| {
        text.lines().any(|l| {
            let mut words = l.split_whitespace();
            words.next() == Some("#define") && words.next() == Some(name)
        })
    };
    let routed = if defines("ENABLE_HOST_ROUTING") { "BPF" } else { "Legacy" };
    live.host_routing.get_or_insert_with(|| routed.into());
    live.bandwidth_manager.get_or_insert(defines("ENABLE_BANDWIDTH_MANAGER"));
    if live.network.is_none() {
        live.network = Some(if defines("TUNNEL_MODE") { "tunnel".into() } else { "native".into() });
    }
}

/// Names of the programs by their pins: what bpf() would tell of others' programs wants more rights.
fn pins(root: &Root, cilium: &mut Cilium) {
    let devices = match root.list(PINS) {
        Ok(devices) => devices,
        Err(e) if is_absent(&e) => Vec::new(),
        Err(e) => {
            cilium.programs = Fact::unknown(format!("read {}: {e}", root.full(PINS)));
            return;
        }
    };
    let mut programs = Vec::new();
    let mut attached = Vec::new();
    for device in devices.iter().take(1024) {
        for name in root.list(&format!("{PINS}/{device}/links")).unwrap_or_default() {
            if name.starts_with("cil_xdp_entry") {
                attached.push(device.clone());
            }
            programs.push(name.chars().take(NAME).collect::<String>());
        }
    }
    // Only what is attached by tcx has a link to pin.
    if cilium.live.attach_mode.is_none() && programs.iter().any(|p| !p.starts_with("cil_xdp")) {
        cilium.live.attach_mode = Some("tcx".into());
    }
    programs.sort();
    programs.dedup();
    cilium.programs = Fact::Known(programs);
    if cilium.programs.known().is_some_and(|p| !p.is_empty()) {
        cilium.live.xdp_attached = Some(attached);
    }
}

/// What is configured, where the agent did not say what it made of it. Only what the agent cannot
/// quietly fall back from: host routing, BIG TCP and XDP are not among them.
pub(crate) fn from_config(cilium: &mut Cilium) {
    let Fact::Known(config) = &cilium.config else { return };
    let get = |key: &str| config.get(key).filter(|v| !v.is_empty()).cloned();
    let live = &mut cilium.live;
    let network = match (get("routing-mode"), get("tunnel")) {
        (Some(mode), _) if mode == "native" => Some("native".to_string()),
        (Some(_), _) => Some(match get("tunnel-protocol") {
            Some(protocol) => format!("tunnel {protocol}"),
            None => "tunnel".to_string(),
        }),
        (None, Some(tunnel)) if tunnel == "disabled" => Some("native".to_string()),
        (None, Some(tunnel)) => Some(format!("tunnel {tunnel}")),
        _ => None,
    };
    live.network = match (live.network.take(), network) {
        // The header says only that there is one.
        (Some(known), Some(found)) if found.starts_with(&known) => Some(found),
        (Some(known), _) => Some(known),
        (None, found) => found,
    };
    let fill = |slot: &mut Option<String>, key: &str| {
        if slot.is_none() {
            *slot = get(key);
        }
    };
    fill(&mut live.lb_mode, "bpf-lb-mode");
    fill(&mut live.dsr_dispatch, "bpf-lb-dsr-dispatch");
    fill(&mut live.device_mode, "datapath-mode");
    fill(&mut live.native_cidr, "ipv4-native-routing-cidr");
    fill(&mut live.kube_proxy_replacement, "kube-proxy-replacement");
    if live.masquerading.is_none() {
        let on = |key: &str| get(key).as_deref() == Some("true");
        live.masquerading = get("enable-ipv4-masquerade").map(|v4| {
            match (v4 == "true" || on("enable-ipv6-masquerade"), on("enable-bpf-masquerade")) {
                (false, _) => "off".to_string(),
                (true, true) => "BPF".to_string(),
                (true, false) => "iptables".to_string(),
            }
        });
    }
    if live.hubble.is_none() {
        live.hubble = get("enable-hubble").map(|v| v == "true");
    }
    if live.map_ratio.is_none() {
        live.map_ratio = get("bpf-map-dynamic-size-ratio").and_then(|v| v.parse().ok());
    }
}

/// The devices themselves say how pods are attached and whether there is a tunnel.
fn from_links(links: &[Link], cilium: &mut Cilium) {
    let live = &mut cilium.live;
    let pods = |kind: &str| links.iter().any(|l| l.name.starts_with("lxc") && l.is_a(&[kind]));
    if live.device_mode.is_none() {
        live.device_mode = match (pods("netkit"), pods("veth")) {
            (true, false) => Some("netkit".into()),
            (false, true) => Some("veth".into()),
            _ => None,
        };
    }
    let has = |name: &str| links.iter().any(|l| l.name == name);
    if live.network.is_none() {
        live.network = match (has("cilium_vxlan"), has("cilium_geneve")) {
            (true, _) => Some("tunnel vxlan".into()),
            (_, true) => Some("tunnel geneve".into()),
            _ => None,
        };
    }
}

/// Cilium's rules in the raw table, as nf_tables shows them. A rule of the proxy or the tunnel looks
/// the same from here, so that there is one says nothing; that there is none does.
pub fn no_conntrack(cilium: &mut Cilium, netfilter: &Netfilter) {
    let (Fact::Known(chains), Fact::Known(legacy)) = (&netfilter.chains, &netfilter.legacy) else {
        return;
    };
    let tracks = |c: &Chain| c.chain == "CILIUM_PRE_raw" && c.rules > 0;
    if !chains.iter().any(tracks) && !legacy.iter().any(|t| t == "ip raw") {
        cilium.live.no_conntrack_rules = Some(false);
    }
}

/// A cloud's own Cilium, whose chart nobody else may set.
fn managed(root: &Root, cilium: &Cilium) -> Option<String> {
    let gke = ["enable-google-multi-nic", "enable-google-service-steering"];
    if gke.iter().any(|key| cilium.key(key).is_some())
        || cilium.version.as_ref().is_some_and(|v| v.contains("-gke."))
    {
        return Some("GKE Dataplane V2".into());
    }
    // The labels that the clouds have their kubelets register.
    let places = [
        "etc/default/kubelet",
        "etc/kubernetes/kubelet/config.json",
        "etc/kubernetes/kubelet/kubelet-config.json",
        "etc/systemd/system/kubelet.service",
        "etc/systemd/system/kubelet.service.d/exec-start.conf",
    ];
    let labels = |label: &str| places.iter().any(|p| root.read(p).is_ok_and(|t| t.contains(label)));
    if labels("kubernetes.azure.com/ebpf-dataplane=cilium") {
        return Some("AKS".into());
    }
    if labels("eks.amazonaws.com/compute-type=auto") {
        return Some("EKS Auto Mode".into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_define_is_a_whole_word() {
        let mut live = CiliumLive::default();
        from_header("#define ENABLE_HOST_ROUTING_X 1\n#define TUNNEL_MODE 1\n", &mut live);
        assert_eq!(live.host_routing.as_deref(), Some("Legacy"));
        assert_eq!(live.network.as_deref(), Some("tunnel"));
        let mut live = CiliumLive::default();
        from_header("#define ENABLE_HOST_ROUTING 1\n", &mut live);
        assert_eq!(live.host_routing.as_deref(), Some("BPF"));
    }
}
