//! A pod device without the second trip through the backlog.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cilium_side::{ON_HOST_ROUTING, cilium, release};
use crate::model::facts::{Fact, Module};
use crate::model::features::Since;
use crate::model::helm;
use crate::model::helm::{DATAPATH_MODE, HelmValue};
use crate::model::{Context, Desired, Live, Need, Side, Tweak, Warning};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "netkit",
    side: Side::Cilium,
    summary: "bpf.datapathMode=netkit instead of veth",
    doc: Doc {
        what: "BPF programs run inside the pod's own device, so a packet leaves its namespace without a \
               second trip through the backlog.",
        cost: "Beta. A node with veth pods cannot change to it: the agent refuses to start, or old pods \
               lose their packets. Kata does not work on it.",
        needs: "kernel 6.8 with CONFIG_NETKIT; host routing; Cilium 1.16; no bpf.tproxy; a node without \
                veth pods",
        impact: "new-flows",
        source: "Cilium tuning guide (netkit); Linux drivers/net/netkit.c",
    },
    lever: lever::<Netkit>(),
    more: More {
        keys: &[&helm::DATAPATH_MODE],
        told: &[&["device-mode", "device-mode-configured", "datapath-mode", "enable-bpf-tproxy"]],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Netkit {
    /// "netkit", or "netkit-l2" for pods that need a MAC address of their own, such as KubeVirt's
    mode: Mode,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Netkit,
    NetkitL2,
}

/// Of Cilium, which asks for more than the first kernel that has netkit (`features::NETKIT`).
const FLOOR: Since = (6, 8);

impl Netkit {
    fn word(&self) -> &'static str {
        if self.mode == Mode::Netkit { "netkit" } else { "netkit-l2" }
    }
}

fn veth_pods(cx: &Context) -> usize {
    let pod = |l: &&crate::model::facts::Link| {
        l.name.starts_with("lxc") && l.name != "lxc_health" && l.is_a(&["veth"])
    };
    cx.facts.links.iter().filter(pod).count()
}

impl Tweak for Netkit {
    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        Ok(Vec::new())
    }

    fn stands_on(&self) -> &'static [&'static str] {
        ON_HOST_ROUTING
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        let facts = cx.facts;
        let mut needs = Vec::new();
        match facts.kernel.modules.get("netkit") {
            _ if facts.bpf.netkit.known() == Some(&false) => {
                let need = Need::unsupported("netkit", "this kernel is built without netkit");
                needs.push(if facts.kernel_version() < FLOOR { need.since(FLOOR) } else { need });
            }
            Some(Fact::Known(Module::Absent)) => {
                let need = Need::unsupported("netkit", "this kernel is built without netkit");
                needs.push(need.since(FLOOR));
            }
            Some(Fact::Unknown { unknown }) => {
                needs.push(Need::unknown("netkit", unknown.clone(), None));
            }
            None if facts.kernel.release.is_empty() => {
                let why = "the kernel's release could not be read";
                needs.push(Need::unknown("netkit", why, None));
            }
            _ if facts.kernel_version() < FLOOR => {
                let (major, minor) = FLOOR;
                let release = &facts.kernel.release;
                let why =
                    format!("Cilium asks for kernel {major}.{minor} for netkit, this is {release}");
                needs.push(Need::unsupported("netkit", why).since(FLOOR));
            }
            _ => needs.push(Need::met("netkit")),
        }
        if cilium(cx).is_some_and(|c| c.on("enable-bpf-tproxy")) {
            let why = "bpf.tproxy is on, with which an agent that starts on netkit stops";
            needs.push(Need::blocked("tproxy", why, "bpf.tproxy=false"));
        }
        if release(cx) < (1, 16) {
            let why = "Cilium before 1.16 has no netkit";
            needs.push(Need::blocked("cilium-version", why, "Cilium 1.16 or newer"));
        }
        needs
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        let live = cilium(cx).map(|c| &c.live);
        let now = live.and_then(|l| l.device_mode.clone());
        // "auto" takes netkit where it can: what it took is what counts.
        let asked = live
            .and_then(|l| l.device_mode_configured.as_deref())
            .filter(|a| now.as_deref().is_some_and(|now| now != *a && now != self.word()));
        let now = now.map(|now| match asked {
            Some(asked) => format!("{now} (configured {asked})"),
            None => now.clone(),
        });
        // Its L2 kind gains the same, and pods may need it.
        let wanted = if now.as_deref() == Some("netkit-l2") { "netkit-l2" } else { self.word() };
        Some(Live::new(now, wanted))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let veth = veth_pods(cx);
        let netkit = cx.facts.links.iter().filter(|l| l.is_a(&["netkit"])).count();
        if veth > 0 && netkit > 0 {
            let text =
                format!("pods on veth: {veth}, on netkit: {netkit}; the agent takes only one kind");
            let fix = "drain the node and reboot it";
            warnings.push(Warning::new("netkit-mixed", text).fix(fix));
        } else if veth > 0 {
            let text = format!("pods with a veth: {veth}; only a node without can change");
            let fix = "set it for new nodes by a CiliumNodeConfig";
            warnings.push(Warning::new("netkit-new-nodes", text).fix(fix));
        }
        if (FLOOR..=(6, 12)).contains(&cx.facts.kernel_version()) {
            let text = "a netkit of this kernel may not leave marks alone (scrub), on which policies stand";
            let fix = "kernel 6.13, or a stable kernel that has IFLA_NETKIT_SCRUB";
            warnings.push(Warning::new("netkit-scrub", text).fix(fix));
        }
        warnings
    }

    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        vec![DATAPATH_MODE.is(self.word())]
    }
}
