//! The fair queue on uplinks: pacing for TCP, and what a bandwidth limit for pods stands on.

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::cilium::told;
use crate::model::facts::{Fact, Link, Module};
use crate::model::helm;
use crate::model::helm::{BANDWIDTH_MANAGER, HelmValue};
use crate::model::typed::qdisc::{Options, Qdisc};
use crate::model::{Context, Desired, Impact, Live, Need, Resource, Side, Tweak, Want, Warning};
use crate::tweaks::cluster::cilium_side::{cilium, floor, ipsec, on, routed};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "bandwidth-manager",
    side: Side::Both,
    summary: "fq as default qdisc and on uplinks, mq over it where there are several queues",
    doc: Doc {
        what: "Sets net.core.default_qdisc to fq and gives the uplinks fq, one leaf a queue. It paces \
               each flow, which BBR and earliest-departure-time limits need.",
        cost: "What is queued at that moment is dropped. On a node that forwards pods through the \
               host's stack it can add latency.",
        needs: "sch_fq; uplinks with the kernel's default qdisc or with fq",
        impact: "link-reset",
        source: "Cilium tuning guide (bandwidth manager); tc-fq(8); Cilium's own figures: horizon 2 s, \
                 32768 buckets",
    },
    lever: lever::<BandwidthManager>(),
    more: More {
        modules: &["sch_fq"],
        keys: &[&helm::BANDWIDTH_MANAGER],
        told: &[told::ROUTED, told::ENCRYPTION, &["bandwidth-manager", "enable-bandwidth-manager"]],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BandwidthManager {
    /// How far ahead fq takes a packet's departure time, in seconds; default: the kernel's, 10
    horizon: Option<u32>,
    /// Hash buckets of each fq, a power of two; default: the kernel's, 1024
    buckets: Option<u32>,
}

impl BandwidthManager {
    /// As linux/qdisc.rs reads it back: the kernel's own options are left out.
    fn fq(&self) -> Qdisc {
        Qdisc::fq(Options {
            quantum: None,
            horizon_us: self.horizon.filter(|s| *s != 10).map(|s| s.saturating_mul(1_000_000)),
            buckets_log: self.buckets.filter(|b| *b != 1024).map(|b| b.max(1).ilog2()),
        })
    }

    /// What the link's qdisc shall be; None where it has no queue to manage.
    fn want(&self, link: &Link) -> Option<String> {
        let now = link.qdisc.as_deref()?;
        if now == "default noqueue" {
            return None;
        }
        let plain = self.fq().options == Options::default();
        let is_fq = |q: Qdisc| q.kind == "fq" && q.options == Options::default();
        if plain && now.parse().is_ok_and(is_fq) {
            return Some(now.to_string());
        }
        Some(Qdisc { multi: link.tx_queues > 1, ..self.fq() }.to_string())
    }
}

impl Tweak for BandwidthManager {
    fn validate(&self) -> Result<()> {
        if let Some(buckets) = self.buckets.filter(|b| !b.is_power_of_two()) {
            bail!("buckets {buckets} is not a power of two");
        }
        if let Some(horizon) = self.horizon.filter(|s| *s == 0 || *s > 4000) {
            bail!("horizon {horizon} is not 1 to 4000 seconds");
        }
        Ok(())
    }

    fn needs(&self, cx: &Context) -> Vec<Need> {
        fair_queue(cx).into_iter().collect()
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let default = Resource::sysctl("net.core.default_qdisc");
        let mut desired = vec![Desired::new(default, Want::is("fq"), Impact::NewFlows)];
        for link in cx.uplinks() {
            if let Some(want) = self.want(link) {
                let resource = Resource::Qdisc { link: link.name.clone() };
                desired.push(Desired::new(resource, Want::is(want), Impact::LinkReset));
            }
        }
        Ok(desired)
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs: Vec<Need> = fair_queue(cx).into_iter().collect();
        needs.push(floor(cx));
        if !cx.facts.node.first_netns {
            let why = "net.core.default_qdisc does not exist in this network namespace, as in kind: \
                       Cilium leaves it off";
            needs.push(Need::unsupported("default-qdisc", why));
        }
        if ipsec(cx) {
            let why = "with IPsec Cilium leaves it off, with a line in its log";
            needs.push(Need::blocked("ipsec", why, "encryption by WireGuard"));
        }
        needs
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        let now = cilium(cx).and_then(|c| c.live.bandwidth_manager.or(c.bandwidth_manager));
        let now = now.map(|on| if on { "on" } else { "off" });
        let configured = on(cx, "enable-bandwidth-manager") && now == Some("off");
        let why = "it is configured, and the agent left it off: see its log";
        Some(Live::new(now, "on").because(configured.then_some(why)))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        let text = "with legacy host routing fq sees a pod's packets without their socket: latency and \
                    throughput suffer";
        let legacy = routed(cx) == Some(false);
        let warning = || Warning::new("legacy-routing", text).fix("get host routing first");
        legacy.then(warning).into_iter().collect()
    }

    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        vec![BANDWIDTH_MANAGER.is("true")]
    }
}

fn fair_queue(cx: &Context) -> Option<Need> {
    match cx.facts.kernel.modules.get("sch_fq") {
        Some(Fact::Known(Module::Absent)) => {
            Some(Need::unsupported("sch-fq", "this kernel is built without sch_fq"))
        }
        Some(Fact::Unknown { unknown }) => Some(Need::unknown("sch-fq", unknown.clone(), None)),
        _ => None,
    }
}
