//! What observing flows costs.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cilium_side::cilium;
use crate::model::helm;
use crate::model::helm::{HUBBLE, HelmValue, MONITOR_INTERVAL};
use crate::model::{Context, Desired, Live, Side, Tweak, Warning};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "hubble",
    side: Side::Cilium,
    summary: "what observing flows costs; never switched off unasked",
    doc: Doc {
        what: "Hubble copies an event for new flows from the datapath to the agent. Off it costs nothing; \
               a longer monitor interval is the middle way.",
        cost: "Off, nobody sees the cluster's flows any more: no Hubble UI, no flow metrics.",
        needs: "-",
        impact: "none",
        source: "Cilium tuning guide (1 to 15 % by workload)",
    },
    lever: lever::<Hubble>(),
    more: More {
        keys: &[&helm::HUBBLE, &helm::MONITOR_INTERVAL],
        told: &[&["hubble", "enable-hubble", "monitor-aggregation-interval"]],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Hubble {
    /// true or false; default: as it is
    enabled: Option<bool>,
    /// How long events of one flow are gathered, such as "10s"; default: as it is (5s)
    monitor_interval: Option<String>,
}

fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

impl Tweak for Hubble {
    fn validate(&self) -> Result<()> {
        if let Some(text) = &self.monitor_interval {
            let seconds = text.strip_suffix('s').and_then(|n| n.parse::<u32>().ok());
            anyhow::ensure!(seconds.is_some_and(|s| s > 0), "monitor-interval is like \"10s\"");
        }
        Ok(())
    }

    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        Ok(Vec::new())
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        let now = cilium(cx).and_then(|c| c.live.hubble).map(word);
        let wanted = self.enabled.map(word).or(now).unwrap_or("Hubble as it is");
        Some(Live::new(now, wanted))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        let live = cilium(cx).and_then(|c| c.live.hubble) == Some(true);
        let on = live && self.enabled != Some(false);
        let text = "observing flows costs 1 to 15 % by Cilium's tuning guide";
        let fix = "hubble.monitor-interval = \"10s\", or hubble.enabled = false";
        if on { vec![Warning::new("hubble-cost", text).fix(fix)] } else { Vec::new() }
    }

    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        let enabled = self.enabled.map(|on| HUBBLE.is(on.to_string()));
        let interval = self.monitor_interval.as_ref().map(|i| MONITOR_INTERVAL.is(i));
        enabled.into_iter().chain(interval).collect()
    }
}
