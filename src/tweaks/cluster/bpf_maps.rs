//! Sizes of Cilium's connection and NAT maps.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::Deserialize;

use super::cilium_side::{cilium, floor, release};
use crate::model::helm;
use crate::model::helm::{CLOCK_PROBE, DISTRIBUTED_LRU, HelmValue, MAP_RATIO, MAP_RATIO_NO_LRU};
use crate::model::{Context, Desired, Live, Need, Side, Tweak, Warning};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "bpf-maps",
    side: Side::Cilium,
    summary: "sizes of Cilium's connection and NAT maps, their LRU and their clock",
    doc: Doc {
        what: "Maps large enough for the node's connections: a full map forgets the oldest, and their \
               packets are dropped. A distributed LRU has a list for each CPU and no common lock; jiffies \
               are a cheaper clock for the entries.",
        cost: "Memory of the node, in proportion to the ratio. Changing a size makes the maps anew, so \
               every connection that is open is forgotten; flipping the clock reinterprets the ages of \
               entries: new nodes only.",
        needs: "distributed LRU: Cilium 1.17.2 and a dynamic ratio; clock probe: CONFIG_SCHEDSTATS",
        impact: "bypass",
        source: "Cilium ebpf/maps.rst, Cilium tuning guide (ratio 0.08 with distributed LRU)",
    },
    lever: lever::<BpfMaps>(),
    more: More {
        keys: &[
            &helm::MAP_RATIO_NO_LRU,
            &helm::MAP_RATIO,
            &helm::DISTRIBUTED_LRU,
            &helm::CLOCK_PROBE,
        ],
        told: &[&[
            "map-ratio",
            "bpf-map-dynamic-size-ratio",
            "maps",
            "bpf-distributed-lru",
            "clock",
        ]],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BpfMaps {
    /// Share of memory; default: what this node's connections need four times over, at least 0.0025,
    /// and 0.08 with distributed-lru
    ratio: Option<f64>,
    /// A list for each CPU instead of a common one; new nodes only
    distributed_lru: bool,
    /// Jiffies as the clock of entries; new nodes only
    clock_probe: bool,
}

/// Cilium's own numbers: default ratio, default entries and bytes an entry of each map that grows
/// with the ratio.
const RATIO: f64 = 0.0025;
const LRU_RATIO: f64 = 0.08;
const CT_TCP: f64 = 524_288.0;
const BYTES: f64 =
    CT_TCP * 94.0 + 262_144.0 * 94.0 + CT_TCP * 94.0 + CT_TCP * 24.0 + 262_144.0 * 52.0;
const LEAST: f64 = 131_072.0;
const MOST: f64 = 16_777_216.0;
/// So many times the connections of now must fit.
const HEADROOM: f64 = 4.0;

/// Entries of the TCP connection map at a ratio.
fn ct_tcp(ratio: f64, memory_kib: u64) -> f64 {
    (CT_TCP * ratio * memory_kib as f64 * 1024.0 / BYTES).clamp(LEAST, MOST).floor()
}

impl BpfMaps {
    fn wanted(&self, cx: &Context) -> f64 {
        if self.ratio.is_none() && self.distributed_lru && self.lru(cx) {
            return LRU_RATIO;
        }
        self.common(cx)
    }

    /// With lists that all CPUs share.
    fn common(&self, cx: &Context) -> f64 {
        if let Some(ratio) = self.ratio {
            return ratio;
        }
        let live = cx.facts.netfilter.conntrack.as_ref().map_or(0.0, |c| c.count as f64) * HEADROOM;
        let bytes = cx.facts.memory_kib as f64 * 1024.0;
        if live <= ct_tcp(RATIO, cx.facts.memory_kib) || bytes < 1.0 {
            return RATIO;
        }
        // Up to the next ten-thousandth, and never over what the guide's largest setting takes.
        let need = live.min(MOST) * BYTES / (CT_TCP * bytes);
        ((need * 10_000.0).ceil() / 10_000.0).min(LRU_RATIO)
    }

    fn lru(&self, cx: &Context) -> bool {
        release(cx) >= (1, 17)
    }
}

impl Tweak for BpfMaps {
    fn validate(&self) -> Result<()> {
        if let Some(ratio) = self.ratio {
            ensure!(ratio > 0.0 && ratio <= 1.0, "ratio {ratio} is not above 0 and at most 1");
        }
        Ok(())
    }

    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        Ok(Vec::new())
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs = vec![floor(cx)];
        if self.clock_probe && !cx.facts.preflight.schedstat {
            let why =
                "there is no /proc/schedstat (CONFIG_SCHEDSTATS), which the clock probe reads";
            let fix = "bpf-maps.clock-probe = false, or a kernel with CONFIG_SCHEDSTATS";
            needs.push(Need::blocked("schedstat", why, fix));
        }
        needs
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        let memory = cx.facts.memory_kib;
        let shown = |ratio: f64| format!("ratio {ratio}");
        let ratio = self.wanted(cx);
        let live = cilium(cx).map(|c| &c.live);
        let now = live.and_then(|l| l.map_ratio);
        // A larger one is as good.
        let enough = now.is_some_and(|n| n >= ratio - 1e-9);
        let lru = cilium(cx).and_then(|c| c.key("bpf-distributed-lru")).map(|v| v == "true");
        let jiffies = live.and_then(|l| l.clock.as_deref()).map(|c| c == "jiffies");
        let mut wanted = if enough { now.map_or_else(String::new, shown) } else { shown(ratio) };
        let mut is = now.map(shown);
        let mut also = |on: bool, word: &str, now: Option<bool>| {
            if on {
                wanted.push_str(&format!(", {word}"));
                if let (Some(is), Some(true)) = (&mut is, now) {
                    is.push_str(&format!(", {word}"));
                }
            }
        };
        also(self.distributed_lru && self.lru(cx), "distributed LRU", lru);
        also(self.clock_probe, "jiffies", jiffies);
        let count = cx.facts.netfilter.conntrack.as_ref().map(|c| c.count);
        let because = count.filter(|_| memory > 0 && !enough).map(|count| {
            format!("{count} connections now; CT TCP {} with it", ct_tcp(ratio, memory))
        });
        Some(Live::new(is, wanted).because(because))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let Some(maps) = cilium(cx).map(|c| &c.live.maps) {
            let size = |name: &str| maps.get(name).copied().unwrap_or(0);
            let (tcp, any) = (size("TCP connection tracking"), size("Non-TCP connection tracking"));
            let nat = size("NAT");
            if tcp > 0 && nat * 3 > (tcp + any) * 2 {
                let text = format!(
                    "NAT map {nat} is over two thirds of the connection maps {tcp} + {any}"
                );
                warnings.push(Warning::new("nat-size", text).fix("bpf.natMax"));
            }
            let count = cx.facts.netfilter.conntrack.as_ref().map_or(0, |c| c.count);
            if tcp > 0 && count * 10 > tcp * 8 {
                let text =
                    format!("{count} connections on this node, and room for {tcp} in Cilium's map");
                warnings.push(Warning::new("ct-full", text));
            }
        }
        if self.distributed_lru && !self.lru(cx) {
            let text = "Cilium before 1.17.2 has no distributed LRU: left out";
            warnings.push(Warning::new("cilium-version", text));
        }
        warnings
    }

    fn advice(&self, cx: &Context) -> Vec<HelmValue> {
        let live = cilium(cx).and_then(|c| c.live.map_ratio);
        let larger = |wanted: f64| live.filter(|l| *l >= wanted).unwrap_or(wanted).to_string();
        let mut values = vec![
            MAP_RATIO_NO_LRU.is(larger(self.common(cx))),
            MAP_RATIO.is(larger(self.wanted(cx))),
        ];
        if self.distributed_lru {
            values.push(DISTRIBUTED_LRU.is("true"));
        }
        if self.clock_probe {
            values.push(CLOCK_PROBE.is("true"));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_of_a_machine_of_64_gib_at_the_default_ratio() {
        // 64 GiB * 0.0025 = 171.8 MB over 149.4 MB of default maps: 1.14976 times the default entries.
        assert_eq!(ct_tcp(RATIO, 64 << 20) as u64, 602_802);
        assert_eq!(ct_tcp(RATIO, 1 << 20) as u64, 131_072);
        assert_eq!(ct_tcp(1.0, 1 << 40) as u64, 16_777_216);
    }
}
