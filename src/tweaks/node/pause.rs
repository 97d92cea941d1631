//! Flow control of the uplinks: whether a NIC asks its switch to wait, and waits when asked.

use std::collections::BTreeMap;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::facts::Link;
use crate::model::{Context, Desired, Group, Impact, Need, Resource, Side, Tweak, Want};
use crate::tweaks::entry::{Doc, Entry, More, lever, no_uplink};

pub const ENTRY: Entry = Entry {
    name: "pause",
    side: Side::Node,
    summary: "Ethernet flow control of the uplinks, by hand",
    doc: Doc {
        what: "Sets whether the uplinks stop sending for a pause frame (rx), send one when their own rings \
               fill (tx), and agree on both with the other end (autoneg). RoCE without priority flow \
               control and storage want it on, so that no frame is lost; elsewhere off keeps one slow \
               receiver from holding up all that its switch has for it. A key that a driver refuses is \
               named and loses no other.",
        cost: "The link stops for a moment on many drivers, with loss of carrier. On: a receiver that \
               stalls may stop others behind the same switch. Off: what a full ring does not take is \
               dropped. With autoneg on some drivers (e1000e, igb, ixgbe) show for rx and tx what was \
               agreed on, not what was asked for.",
        needs: "an uplink that is a device whose driver has it; kernel 5.7. The switch must be told the \
                same. i40e and ice change autoneg only with the link's own",
        impact: "link-reset",
        source: "Linux networking/ethtool-netlink.rst (PAUSE_SET) and struct ethtool_pauseparam of \
                 uapi/linux/ethtool.h; IEEE 802.3 annex 31B",
    },
    lever: lever::<Pause>(),
    more: More { early: true, ..More::NONE },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Pause {
    /// Whether the two ends of the link agree on it: "on" or "off"; unset leaves it
    autoneg: Option<Switch>,
    /// Whether it stops sending for pause frames of the other end: "on" or "off"; unset leaves it
    rx: Option<Switch>,
    /// Whether it sends pause frames when its own rings fill: "on" or "off"; unset leaves it
    tx: Option<Switch>,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Switch {
    On,
    Off,
}

impl Pause {
    fn wants(&self) -> BTreeMap<String, Want> {
        let keys = [("autoneg", self.autoneg), ("rx", self.rx), ("tx", self.tx)];
        let want = |switch| Want::is(if switch == Switch::On { "1" } else { "0" });
        keys.into_iter().filter_map(|(key, s)| Some((key.to_string(), want(s?)))).collect()
    }
}

/// What is stacked on a device has none of its own.
fn devices<'a>(cx: &Context<'a>) -> Vec<&'a Link> {
    cx.uplinks().into_iter().filter(|l| l.bus.is_some()).collect()
}

impl Tweak for Pause {
    fn needs(&self, cx: &Context) -> Vec<Need> {
        if self.wants().is_empty() {
            return Vec::new();
        }
        if cx.uplinks().is_empty() {
            return vec![no_uplink(cx)];
        }
        if devices(cx).is_empty() {
            return vec![Need::unsupported("device", "no uplink is a device on a bus")];
        }
        vec![Need::met("device")]
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let wants = self.wants();
        if wants.is_empty() {
            return Ok(Vec::new());
        }
        let of = |link: &Link| {
            let resource = Resource::Ethtool { link: link.name.clone(), group: Group::Pause };
            Desired::new(resource, Want::Fields(wants.clone()), Impact::LinkReset)
        };
        Ok(devices(cx).into_iter().map(of).collect())
    }
}
