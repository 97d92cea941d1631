//! Cilium on this node: from its agent's own socket, from its state files where the agent does not
//! answer, from its pins and devices where nothing can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nix::fcntl::OFlag;
use serde_json::Value;

use super::unix_http::{Deadline, get};
use crate::cilium::live::{CONFIG_KEYS, conclude, configuration, healthz};
use crate::cilium::told;
use crate::linux::root::{Root, is_absent};
use crate::model::facts::{Chain, Cilium, Fact, Link, Netfilter};
use crate::yaml;

pub const SOCKET: &str = "/var/run/cilium/cilium.sock";
/// For all that is asked of the agent together.
const PATIENCE: Duration = Duration::from_millis(500);
const MOST_STATE: u64 = 4 << 20;
const STATE: [&str; 2] = ["run/cilium/state", "var/run/cilium/state"];
const RUNTIME: &str = "agent-runtime-config.json";
const FLAGS: &str = "viper-agent-config.yaml";
const HEADER: &str = "globals/node_config.h";
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
    if there {
        ask(root, socket, &mut cilium);
    }
    // What an agent that is starting will make of it is not what the one before has left.
    if let Some(state) = state.filter(|_| !cilium.starting) {
        read_state(root, state, &mut cilium);
    }
    pins(root, &mut cilium);
    from_links(links, &mut cilium);
    conclude(&mut cilium, unread);
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

fn ask(root: &Root, socket: &str, cilium: &mut Cilium) {
    let deadline = Deadline::after(PATIENCE);
    let json = |path: &str| -> anyhow::Result<Value> {
        let body = get(root, socket, path, &deadline)?;
        serde_json::from_slice(&body)
            .map_err(|e| anyhow::anyhow!("ask {} for {path}: not JSON: {e}", root.full(socket)))
    };
    match json("/v1/healthz") {
        Ok(status) => healthz(&status, cilium),
        Err(e) => return cilium.unread.push(format!("{e:#}")),
    }
    match json("/v1/config") {
        Ok(answer) => configuration(&answer, cilium),
        Err(e) => cilium.unread.push(format!("{e:#}")),
    }
}

/// What the agent said already is not overwritten: files are older than an answer. What it runs with
/// comes before what it was told.
pub(crate) fn read_state(root: &Root, state: &str, cilium: &mut Cilium) {
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
    let runtime = file(RUNTIME);
    let flags = file(FLAGS);
    let header = file(HEADER);
    let mut bad = Vec::new();
    if let Some(bytes) = runtime {
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(json) => told::read_own(&format!("{RUNTIME} "), &json, None, &mut cilium.said),
            Err(e) => bad.push(format!("read {RUNTIME}: {e}")),
        }
    }
    if let Some(bytes) = flags {
        match yaml::read::<BTreeMap<String, Value>>(&bytes) {
            Ok(all) => {
                for (key, value) in
                    all.iter().filter(|(key, _)| CONFIG_KEYS.contains(&key.as_str()))
                {
                    told::tell(&mut cilium.said, key, told::plain(value), format!("{FLAGS} {key}"));
                }
            }
            Err(e) => bad.push(format!("read {FLAGS}: {e}")),
        }
    }
    cilium.unread.extend(bad);
    if let Some(bytes) = header {
        from_header(&String::from_utf8_lossy(&bytes), cilium);
    }
}

/// node_config.h is what the datapath was compiled with.
fn from_header(text: &str, cilium: &mut Cilium) {
    let defined: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("#define")).then(|| words.next())?
        })
        .collect();
    // What it runs with says it better than what it was compiled with.
    let said = |name: &str| cilium.said.contains_key(name);
    let better: BTreeMap<&str, bool> = [
        ("host-routing", said("host-legacy")),
        ("network", said("routing-mode") || said("tunnel")),
        ("masquerade", said("enable-bpf-masquerade")),
        ("masquerade-mode", said("enable-bpf-masquerade")),
    ]
    .into();
    for (name, tells) in told::MACROS.iter().filter(|(name, _)| defined.contains(name)) {
        for (what, value) in tells.iter().filter(|(what, _)| better.get(what) != Some(&true)) {
            told::tell(&mut cilium.said, what, *value, format!("{HEADER} {name}"));
        }
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
    if programs.iter().any(|p| !p.starts_with("cil_xdp")) {
        told::tell(&mut cilium.said, "attach-mode", "tcx", format!("pins under /{PINS}"));
    }
    programs.sort();
    programs.dedup();
    cilium.programs = Fact::Known(programs);
    if cilium.programs.known().is_some_and(|p| !p.is_empty()) {
        let source = format!("pins under /{PINS}");
        told::tell(&mut cilium.said, "xdp-attached", attached.join(" "), source);
        cilium.live.xdp_attached = Some(attached);
    }
}

/// The devices themselves say how pods are attached and whether there is a tunnel.
fn from_links(links: &[Link], cilium: &mut Cilium) {
    let pods = |kind: &str| links.iter().any(|l| l.name.starts_with("lxc") && l.is_a(&[kind]));
    match (pods("netkit"), pods("veth")) {
        (true, false) => told::tell(&mut cilium.said, "device-mode", "netkit", "links lxc*"),
        (false, true) => told::tell(&mut cilium.said, "device-mode", "veth", "links lxc*"),
        _ => {}
    }
    // Native routing has such a link as well, for DSR by geneve or an egress gateway.
    let configured = ["network", "routing-mode", "tunnel"];
    if configured.iter().any(|name| cilium.said.contains_key(*name)) {
        return;
    }
    for protocol in ["vxlan", "geneve"] {
        let device = format!("cilium_{protocol}");
        if links.iter().any(|l| l.name == device) {
            let source = format!("link {device}");
            told::tell(&mut cilium.said, "network", "Tunnel", &*source);
            told::tell(&mut cilium.said, "tunnel-protocol", protocol, source);
            return;
        }
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
        told::tell(&mut cilium.said, "no-conntrack-rules", "false", "nf_tables: CILIUM_PRE_raw");
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
    use crate::model::facts::CiliumLive;

    #[test]
    fn a_define_is_a_whole_word_and_one_that_is_not_there_proves_nothing() {
        let read = |text: &str| {
            let mut cilium = Cilium::default();
            from_header(text, &mut cilium);
            conclude(&mut cilium, |_| String::new());
            cilium.live
        };
        let live = read("#define ENABLE_HOST_ROUTING_X 1\n#define TUNNEL_MODE 1\n");
        assert_eq!(live, CiliumLive { network: Some("tunnel".into()), ..CiliumLive::default() });
        let live = read("#define ENABLE_HOST_ROUTING 1\n");
        assert_eq!(live.host_routing.as_deref(), Some("BPF"));
    }
}
