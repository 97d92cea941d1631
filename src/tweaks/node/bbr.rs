//! BBR as the congestion control of new sockets.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::cilium::told;
use crate::model::facts::{Fact, Module};
use crate::model::features;
use crate::model::helm;
use crate::model::helm::{BANDWIDTH_MANAGER, BBR, BBR_HOST_ONLY, HelmValue};
use crate::model::{
    Context, Desired, Impact, Live, Need, Probe, Resource, Side, Tweak, Want, Warning,
};
use crate::tweaks::cluster::cilium_side::{cilium, helper, on, release, routed};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "bbr",
    side: Side::Both,
    summary: "tcp_congestion_control=bbr",
    doc: Doc {
        what: "New TCP sockets use BBR, which keeps queues short and throughput up on long or lossy \
               paths.",
        cost: "More retransmissions than CUBIC, and little gain inside one data centre. Every network \
               namespace born after inherits it, so pods do too, and they keep it after a rollback.",
        needs: "tcp_bbr; on a node with pods kernel 5.18 and BPF host routing, without which pacing \
                timestamps are lost on the way out of the pod, or bbr.pods = \"inherit\"",
        impact: "new-flows",
        source: "Cilium tuning guide (BBR for pods); Linux ip-sysctl.rst",
    },
    lever: lever::<Bbr>(),
    more: More {
        modules: &["tcp_bbr"],
        keys: &[&helm::BBR, &helm::BBR_HOST_ONLY],
        told: &[
            told::ROUTED,
            &["bandwidth-manager", "congestion-control", "enable-bbr", "enable-bbr-hostns-only"],
        ],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Bbr {
    /// On a node with pods, which inherit it: "routed" (only with BPF host routing), "inherit" (in any
    /// case) or "off" (not on such a node)
    pods: Pods,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Pods {
    #[default]
    Routed,
    Inherit,
    Off,
}

/// Pods keep cubic.
const HOST_ONLY: &str = "bbr for the node alone";

impl Tweak for Bbr {
    fn needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs = module(cx);
        let facts = cx.facts;
        if !facts.kubernetes() || self.pods == Pods::Inherit {
            return needs;
        }
        let routed = facts.agents.cilium.as_ref().and_then(|c| c.host_routing) == Some(true);
        let tstamp = tstamp(cx);
        if self.pods == Pods::Off {
            let why = "pods would inherit it, and bbr.pods is \"off\"";
            needs.push(Need::blocked("pods", why, "set bbr.pods = \"inherit\" to let them"));
        } else if tstamp.probe != Probe::Met {
            needs.push(tstamp);
        } else if !routed {
            let why = "pods would inherit it, and without BPF host routing their pacing is lost";
            needs.push(Need::blocked(
                "pods",
                why,
                "get host routing, or set bbr.pods = \"inherit\"",
            ));
        }
        needs
    }

    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        let resource = Resource::sysctl("net.ipv4.tcp_congestion_control");
        Ok(vec![Desired::new(resource, Want::is("bbr"), Impact::NewFlows)])
    }

    fn stands_on(&self) -> &'static [&'static str] {
        match self.pods {
            Pods::Routed => {
                &["bandwidth-manager", "host-routing", "kube-proxy-replacement", "bpf-masquerade"]
            }
            _ => &["bandwidth-manager"],
        }
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs = module(cx);
        needs.push(tstamp(cx));
        if self.pods == Pods::Off && release(cx) < (1, 18) {
            let why = "Cilium before 1.18 has no BBR for the node alone";
            needs.push(Need::blocked("cilium-version", why, "Cilium 1.18 or newer"));
        }
        needs
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        let now = cilium(cx).and_then(|c| match c.live.bandwidth_manager? {
            false => Some("off".to_string()),
            true => c.live.congestion_control.clone(),
        });
        let host_only = cilium(cx).and_then(|c| c.key("enable-bbr-hostns-only"));
        let now = match (now.as_deref(), host_only) {
            (Some("bbr"), Some("true")) => Some(HOST_ONLY.to_string()),
            // From 1.18 on it may be for the node alone, and this agent did not say.
            (Some("bbr"), None) if cilium(cx).is_some_and(|c| !c.before(18)) => None,
            (_, _) => now,
        };
        Some(Live::new(now, if self.pods == Pods::Off { HOST_ONLY } else { "bbr" }))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let live = cilium(cx).and_then(|c| c.live.congestion_control.as_deref()) == Some("bbr");
        let pods = (live || on(cx, "enable-bbr")) && !on(cx, "enable-bbr-hostns-only");
        if pods && routed(cx) == Some(false) {
            let text =
                "BBR for pods is on, and host routing is Legacy: an agent that starts anew stops";
            let fix = "get host routing first, or bandwidthManager.bbr=false";
            warnings.push(Warning::new("bbr-legacy-routing", text).fix(fix));
        }
        warnings
    }

    fn advice(&self, cx: &Context) -> Vec<HelmValue> {
        let mut values = vec![BANDWIDTH_MANAGER.is("true"), BBR.is("true")];
        if self.pods == Pods::Off {
            values.push(BBR_HOST_ONLY.is("true"));
        } else if on(cx, "enable-bbr-hostns-only") {
            values.push(BBR_HOST_ONLY.is("false"));
        }
        values
    }
}

fn tstamp(cx: &Context) -> Need {
    helper(cx, "skb-set-tstamp", &cx.facts.bpf.skb_set_tstamp, &features::SKB_SET_TSTAMP)
}

fn module(cx: &Context) -> Vec<Need> {
    let kernel = &cx.facts.kernel;
    let listed = kernel.congestion_controls.iter().any(|c| c == "bbr");
    match kernel.modules.get("tcp_bbr") {
        _ if listed => vec![Need::met("tcp-bbr")],
        Some(Fact::Known(Module::Absent)) => {
            vec![Need::unsupported("tcp-bbr", "this kernel is built without tcp_bbr")]
        }
        Some(Fact::Unknown { unknown }) => {
            vec![Need::unknown("tcp-bbr", unknown.clone(), None)]
        }
        _ => vec![Need::met("tcp-bbr")],
    }
}
