//! Masquerading in BPF instead of iptables.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cilium_side::{cilium, no_chaining};
use crate::cilium::told;
use crate::model::helm;
use crate::model::helm::{BPF_MASQUERADE, HelmValue};
use crate::model::{Context, Desired, Live, Need, Side, Tweak, Warning};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "bpf-masquerade",
    side: Side::Cilium,
    summary: "bpf.masquerade=true",
    doc: Doc {
        what: "Pods' packets to the world get the node's address in BPF, at the device, without iptables \
               and conntrack. Host routing stands on it.",
        cost: "Connections that are masqueraded when it changes are cut. TCP, UDP and some ICMP only; the \
               IPv6 variant is beta.",
        needs: "kube-proxy replacement; devices that Cilium selects; no masquerade-interfaces and no \
                masquerading to the route's source",
        impact: "bypass",
        source: "Cilium concepts/masquerading.rst",
    },
    lever: lever::<BpfMasquerade>(),
    more: More {
        keys: &[&helm::BPF_MASQUERADE],
        told: &[told::MASQUERADE, told::CHAINING, told::DEVICES, &["enable-ipv6"]],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BpfMasquerade {}

impl Tweak for BpfMasquerade {
    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        Ok(Vec::new())
    }

    fn stands_on(&self) -> &'static [&'static str] {
        &["kube-proxy-replacement"]
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs = Vec::new();
        needs.extend(no_chaining(cx));
        if cx.uplinks().is_empty() && cilium(cx).is_none_or(|c| c.live.devices.is_empty()) {
            let why = "there is no default route, so no device to masquerade on";
            needs.push(Need::blocked(
                "uplink",
                why,
                "name the devices in Cilium's values: devices",
            ));
        }
        needs
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        let now = cilium(cx).and_then(|c| c.live.masquerading.clone());
        // Nothing to masquerade is as good.
        let wanted = if now.as_deref() == Some("off") { "off" } else { "BPF" };
        Some(Live::new(now, wanted))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        let v6 = cilium(cx).is_some_and(|c| c.on("enable-ipv6") && c.on("enable-ipv6-masquerade"));
        let text = "masquerading of IPv6 by BPF is beta in Cilium";
        if v6 { vec![Warning::new("ipv6-beta", text)] } else { Vec::new() }
    }

    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        vec![BPF_MASQUERADE.is("true")]
    }
}
