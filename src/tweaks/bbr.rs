//! BBR as the congestion control of new sockets.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Doc, Entry, lever};
use crate::model::facts::{Fact, Module};
use crate::model::need::HelmValue;
use crate::model::{Context, Desired, Impact, Need, Resource, Side, Tweak, Want};

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
    lever: Some(lever::<Bbr>()),
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

impl Tweak for Bbr {
    fn needs(&self, cx: &Context) -> Vec<Need> {
        let facts = cx.facts;
        let mut needs = Vec::new();
        let listed = facts.kernel.congestion_controls.iter().any(|c| c == "bbr");
        match facts.kernel.modules.get("tcp_bbr") {
            _ if listed => needs.push(Need::met("tcp-bbr")),
            Some(Fact::Known(Module::Absent)) => {
                needs.push(Need::unsupported("tcp-bbr", "this kernel is built without tcp_bbr"));
            }
            Some(Fact::Unknown { unknown }) => {
                needs.push(Need::unknown("tcp-bbr", unknown.clone(), None));
            }
            _ => needs.push(Need::met("tcp-bbr")),
        }
        if !facts.kubernetes() || self.pods == Pods::Inherit {
            return needs;
        }
        let routed = facts.agents.cilium.as_ref().and_then(|c| c.host_routing) == Some(true);
        if self.pods == Pods::Off {
            let why = "pods would inherit it, and bbr.pods is \"off\"";
            needs.push(Need::blocked("pods", why, "set bbr.pods = \"inherit\" to let them"));
        } else if facts.kernel_version() < (5, 18) {
            let why = format!("for pods it needs kernel 5.18, this is {}", facts.kernel.release);
            needs.push(Need::unsupported("pods", why).since("5.18"));
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

    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        let key = "bandwidthManager.bbr";
        vec![HelmValue { key, value: "true".into(), cilium: ">=1.13" }]
    }
}
