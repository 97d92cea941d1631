//! Channels, rings, coalescing and offloads of the uplinks.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::drivers::driver;
use crate::model::facts::{Fact, Link};
use crate::model::features;
use crate::model::xdp_limits::{self, Queues};
use crate::model::{
    AUTO, Context, Desired, Group, Impact, Need, Resource, Side, State, Tweak, Want,
};
use crate::tweaks::entry::{Doc, Entry, More, lever, no_uplink};

pub const ENTRY: Entry = Entry {
    name: "nic",
    side: Side::Node,
    summary: "channels, rings, coalescing and offloads of the uplinks",
    doc: Doc {
        what: "A channel for each CPU that may serve one, receive rings deep enough for a burst, and \
               coalescing and offloads as the profile says. A key that a driver refuses is named and \
               loses no other. RSS table and key stay as they are.",
        cost: "The link or its queues stop for a moment, on some drivers with loss of carrier; members \
               of a bond one at a time. Deep rings cost memory and, under overload, latency.",
        needs: "a device with channels or rings. Channels stay as they are where something depends on \
                them: an RSS table set by hand, RSS contexts, ntuple rules, AF_XDP sockets, VFs",
        impact: "link-reset",
        source: "Linux networking/ethtool-netlink.rst and networking/scaling.rst; per driver the table \
                 in src/model/drivers.rs, which names its sources",
    },
    lever: lever::<Nic>(),
    more: More { early: true, drivers: true, ..More::NONE },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Nic {
    /// "auto" (one for each CPU that irq may use, within the driver's maximum, its vectors and what
    /// XDP leaves), a number, or "leave"
    channels: Channels,
    /// Entries that the rings have at least, within the driver's maximum: a number, "max" or "leave"
    rings: Rings,
    /// "driver" (as it is), "adaptive", or fixed values by ethtool's names, which end adaptive mode:
    /// { rx-usecs = 8, rx-frames = 32 }
    coalesce: Coalesce,
    /// Offloads to set, by ethtool's short names or the kernel's: { lro = false, rx-gro-hw = true };
    /// the others stay the driver's own
    offloads: BTreeMap<String, bool>,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(untagged, expecting = "it is \"auto\", \"leave\" or a number")]
enum Channels {
    Number(u32),
    Word(ChannelWord),
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum ChannelWord {
    Auto,
    Leave,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(untagged, expecting = "it is \"max\", \"leave\" or a number")]
enum Rings {
    Entries(u32),
    Word(RingWord),
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum RingWord {
    Max,
    Leave,
}

#[derive(Deserialize, JsonSchema, Clone, PartialEq)]
#[serde(
    untagged,
    expecting = "it is \"driver\", \"adaptive\" or numbers for some of rx-usecs, rx-frames, tx-usecs, tx-frames"
)]
enum Coalesce {
    Word(CoalesceWord),
    Fixed(Fixed),
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum CoalesceWord {
    Driver,
    Adaptive,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Fixed {
    rx_usecs: Option<u32>,
    rx_frames: Option<u32>,
    tx_usecs: Option<u32>,
    tx_frames: Option<u32>,
}

type OneSide = (&'static str, [(&'static str, Option<u32>); 2]);

impl Fixed {
    fn sides(&self) -> [OneSide; 2] {
        [
            ("rx", [("rx-usecs", self.rx_usecs), ("rx-frames", self.rx_frames)]),
            ("tx", [("tx-usecs", self.tx_usecs), ("tx-frames", self.tx_frames)]),
        ]
    }
}

impl Default for Channels {
    fn default() -> Self {
        Channels::Word(ChannelWord::Auto)
    }
}

impl Default for Rings {
    fn default() -> Self {
        Rings::Entries(4096)
    }
}

impl Default for Coalesce {
    fn default() -> Self {
        Coalesce::Word(CoalesceWord::Driver)
    }
}

/// What ethtool calls for short, and the kernel's names of it.
const SHORT: [(&str, &[&str]); 8] = [
    ("gro", &["rx-gro"]),
    ("gso", &["tx-generic-segmentation"]),
    ("lro", &["rx-lro"]),
    ("ntuple", &["rx-ntuple-filter"]),
    ("rxhash", &["rx-hashing"]),
    ("rx", &["rx-checksum"]),
    ("sg", &["tx-scatter-gather"]),
    ("tso", &["tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp6-segmentation"]),
];

/// Many drivers build their queues anew for these.
const RESETS: [&str; 3] = ["rx-lro", "rx-gro-hw", "rx-hashing"];

/// What `offload` is on this link, of what can be set.
fn changeable<'a>(link: &Link, offload: &'a str) -> Vec<&'a str> {
    let names = match SHORT.iter().find(|(short, _)| *short == offload) {
        Some((_, names)) => names.to_vec(),
        None => vec![offload],
    };
    let has = |name: &&str| {
        link.features.as_ref().is_some_and(|f| f.changeable.iter().any(|c| c == name))
    };
    names.into_iter().filter(has).collect()
}

/// A number of a group's text, such as "rx=4 rx-max=8".
fn number(group: &Option<String>, key: &str) -> Option<u32> {
    State::is(group.as_deref()?).field(key)?.parse().ok()
}

impl Nic {
    fn links<'a>(&self, cx: &Context<'a>) -> Vec<&'a Link> {
        let has = |l: &&Link| l.channels.is_some() || l.rings.is_some() || l.coalesce.is_some();
        cx.uplinks().into_iter().filter(has).collect()
    }

    /// (kind, how many it has, how many it shall have), of the kinds that the link uses.
    fn channels(&self, cx: &Context, link: &Link) -> Vec<(&'static str, u32, u32)> {
        let at = |key: &str| number(&link.channels, key);
        let most = |key: &str| at(&format!("{key}-max")).unwrap_or(0);
        // A driver with both kinds is left with the one it runs with.
        let combined = most("combined") > 0 && (at("combined") > Some(0) || most("rx") == 0);
        let kinds: &[&'static str] = if combined { &["combined"] } else { &["rx", "tx"] };
        let shall = |kind: &&'static str| {
            let (now, most) = (at(kind)?, most(kind));
            let wanted = match self.channels {
                Channels::Number(n) => n,
                Channels::Word(ChannelWord::Auto) => self.auto(cx, link, most),
                Channels::Word(ChannelWord::Leave) => return None,
            };
            (most > 0).then_some((*kind, now, wanted))
        };
        kinds.iter().filter_map(shall).collect()
    }

    fn auto(&self, cx: &Context, link: &Link, most: u32) -> u32 {
        let driver = driver(link);
        let cpus = cx.placement.usable(&cx.facts.cpus).len() as u32;
        let mut count = most.min(cpus);
        // Beyond its vectors virtio makes queues share one. One vector is for the configuration.
        let vectors = link.vectors.known().map_or(0, |v| v.len() as u32);
        if let Some(each) = driver.vectors_per_channel.filter(|_| vectors > 0) {
            count = count.min((vectors - 1) / each);
        }
        let limits = xdp_limits::of(link);
        if limits.is_some_and(|l| l.queues == Queues::Half) && xdp(cx, link) {
            count = count.min(most / 2);
        }
        count.max(1)
    }

    fn rings(&self, link: &Link) -> BTreeMap<String, Want> {
        let shall = |key: &&str| {
            let most = number(&link.rings, &format!("{key}-max")).filter(|most| *most > 0)?;
            let entries = match self.rings {
                Rings::Entries(n) => n.min(most),
                Rings::Word(RingWord::Max) => most,
                Rings::Word(RingWord::Leave) => return None,
            };
            number(&link.rings, key)?;
            Some((key.to_string(), Want::AtLeast(entries.to_string())))
        };
        ["rx", "tx"].iter().filter_map(shall).collect()
    }

    fn coalesce(&self, link: &Link) -> BTreeMap<String, Want> {
        let state = State::is(link.coalesce.clone().unwrap_or_default());
        let has = |key: &str| state.field(key).is_some();
        let one = |key: &str, value: u32| (key.to_string(), Want::is(value.to_string()));
        match &self.coalesce {
            Coalesce::Word(CoalesceWord::Driver) => BTreeMap::new(),
            Coalesce::Word(CoalesceWord::Adaptive) => {
                let keys = ["adaptive-rx", "adaptive-tx"];
                keys.into_iter().filter(|k| has(k)).map(|k| one(k, 1)).collect()
            }
            Coalesce::Fixed(fixed) => {
                let mut wants = BTreeMap::new();
                for (side, keys) in fixed.sides() {
                    let given = keys.into_iter().filter_map(|(k, v)| Some((k, v?)));
                    let mine: Vec<_> = given.filter(|(k, _)| has(k)).collect();
                    let adaptive = format!("adaptive-{side}");
                    if !mine.is_empty() && has(&adaptive) {
                        wants.extend([one(&adaptive, 0)]);
                    }
                    wants.extend(mine.into_iter().map(|(k, v)| one(k, v)));
                }
                wants
            }
        }
    }

    /// What would be the driver's choice once adaptive mode ends, and so nobody's.
    fn open_values(&self, link: &Link) -> Vec<&'static str> {
        let Coalesce::Fixed(fixed) = &self.coalesce else { return Vec::new() };
        let state = State::is(link.coalesce.clone().unwrap_or_default());
        let mut open = Vec::new();
        for (_, keys) in fixed.sides() {
            if keys.iter().any(|(_, value)| value.is_some()) {
                let unset = |(key, value): &(&'static str, Option<u32>)| {
                    value.is_none() && state.field(key) == Some(AUTO)
                };
                open.extend(keys.into_iter().filter(unset).map(|(key, _)| key));
            }
        }
        open
    }

    /// Those that the link lets be set, by the kernel's names; what keeps a driver from taking our XDP
    /// program goes off, unless the profile says on.
    fn offloads(&self, cx: &Context, link: &Link) -> BTreeMap<&str, bool> {
        let all = self.offloads.iter();
        let named = all.flat_map(|(n, on)| changeable(link, n).into_iter().map(|n| (n, *on)));
        let hinders = cx.own_xdp().is_some() && xdp_limits::of(link).is_some_and(|l| l.no_lro);
        let off = ["rx-lro", "rx-gro-hw"].into_iter().filter(|_| hinders);
        let can = |name: &&str| !changeable(link, name).is_empty();
        off.filter(can).map(|name| (name, false)).chain(named).collect()
    }

    /// What keeps the channels of a link as they are.
    fn keeps_channels(link: &Link) -> Vec<Need> {
        let name = &link.name;
        let mut needs = Vec::new();
        let mut block = |code, why: String, fix: &str| needs.push(Need::blocked(code, why, fix));
        if let Some(Some(rss)) =
            link.rss.known().filter(|r| r.as_ref().is_some_and(|r| r.by_hand()))
        {
            let entries = rss.table.split(',').count();
            let why = format!("{name} has an RSS table of {entries} entries set by hand");
            block(
                "rss-table",
                why,
                &format!("ethtool -X {name} default, or nic.channels = \"leave\""),
            );
        }
        let counts = [
            ("rss-contexts", link.rss_contexts.unwrap_or(0), "RSS contexts"),
            ("ntuple", link.ntuple_rules.known().copied().unwrap_or(0), "ntuple rules"),
            ("af-xdp", link.xdp_sockets.known().copied().unwrap_or(0), "AF_XDP sockets"),
            ("vfs", link.virtual_functions, "virtual functions"),
        ];
        for (code, count, what) in counts.into_iter().filter(|(_, count, _)| *count > 0) {
            let why = format!("a change of channels may lose the {what} of {name} ({count})");
            block(code, why, "take them away first, or nic.channels = \"leave\"");
        }
        let unknown = |fact: Option<&String>, code| {
            fact.map(|why| Need::unknown(code, why.clone(), Some("sudo nettune check")))
        };
        needs.extend(unknown(why(&link.rss), "rss-table"));
        needs.extend(unknown(why(&link.ntuple_rules), "ntuple"));
        needs.extend(unknown(why(&link.xdp_sockets), "af-xdp"));
        needs
    }
}

fn why<T>(fact: &Fact<T>) -> Option<&String> {
    match fact {
        Fact::Unknown { unknown } => Some(unknown),
        Fact::Known(_) => None,
    }
}

/// A program is on the link, or the profile wants one there.
fn xdp(cx: &Context, link: &Link) -> bool {
    cx.native_xdp.is_some() || link.native_xdp()
}

impl Tweak for Nic {
    fn validate(&self) -> Result<()> {
        if self.channels == Channels::Number(0) {
            bail!("channels: a link has at least one");
        }
        if self.rings == Rings::Entries(0) {
            bail!("rings: at least 0 asks for nothing; \"leave\" says so");
        }
        let empty =
            |f: &Fixed| f.sides().iter().all(|(_, keys)| keys.iter().all(|k| k.1.is_none()));
        if matches!(&self.coalesce, Coalesce::Fixed(fixed) if empty(fixed)) {
            bail!("coalesce names no value; \"driver\" leaves it as it is");
        }
        Ok(())
    }

    fn needs(&self, cx: &Context) -> Vec<Need> {
        let links = self.links(cx);
        if cx.uplinks().is_empty() {
            return vec![no_uplink(cx)];
        }
        if links.is_empty() {
            let why = "no uplink has channels, rings or coalescing that ethtool can set";
            return vec![Need::unsupported("ethtool", why).since(features::ETHTOOL_NETLINK.since)];
        }
        let mut needs = vec![Need::met("ethtool")];
        for link in links {
            let channels = self.channels(cx, link);
            for (kind, _, wanted) in &channels {
                let most = number(&link.channels, &format!("{kind}-max")).unwrap_or(0);
                if *wanted > most {
                    let why =
                        format!("{} has at most {most} {kind} channels, not {wanted}", link.name);
                    needs.push(Need::blocked("channels", why, "set nic.channels = \"auto\""));
                }
            }
            if channels.iter().any(|(_, now, wanted)| now != wanted) {
                needs.extend(Self::keeps_channels(link));
            }
            let open = self.open_values(link);
            if !open.is_empty() {
                let why =
                    format!("{} is in adaptive mode, which hides {}", link.name, open.join(", "));
                needs.push(Need::blocked("coalesce", why, "name them in nic.coalesce too"));
            }
        }
        needs
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let mut desired = Vec::new();
        for link in self.links(cx) {
            let mut add = |group, wants: BTreeMap<String, Want>, impact| {
                if !wants.is_empty() {
                    let resource = Resource::Ethtool { link: link.name.clone(), group };
                    desired.push(Desired::new(resource, Want::Fields(wants), impact));
                }
            };
            let channels = self.channels(cx, link).into_iter();
            let channels =
                channels.map(|(kind, _, count)| (kind.to_string(), Want::is(count.to_string())));
            add(Group::Channels, channels.collect(), Impact::LinkReset);
            add(Group::Rings, self.rings(link), Impact::LinkReset);
            add(Group::Coalesce, self.coalesce(link), Impact::None);
            let mine = self.offloads(cx, link);
            let reset = mine.keys().any(|name| RESETS.contains(name));
            let word = |on| if on { "on" } else { "off" };
            let wants = mine.into_iter().map(|(name, on)| (name.to_string(), Want::is(word(on))));
            let impact = if reset { Impact::LinkReset } else { Impact::None };
            add(Group::Features, wants.collect(), impact);
        }
        Ok(desired)
    }

    fn remarks(&self, cx: &Context) -> Vec<String> {
        let mut remarks = Vec::new();
        let mut drivers = Vec::new();
        for link in self.links(cx) {
            let name = &link.name;
            for offload in self.offloads.keys().filter(|o| changeable(link, o).is_empty()) {
                remarks.push(format!("nic.offloads: {name} has no {offload} that can be set"));
            }
            if self.coalesce != Coalesce::default() && self.coalesce(link).is_empty() {
                remarks.push(format!("nic.coalesce: {name} has no such setting"));
            }
            drivers.extend(driver(link).how());
        }
        drivers.sort();
        drivers.dedup();
        remarks.extend(drivers);
        remarks
    }
}
