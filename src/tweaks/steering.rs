//! Which CPUs send on a transmit queue (XPS) and take over what a receive queue brings (RPS).

use std::collections::BTreeSet;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Doc, Entry, lever};
use crate::model::cpulist;
use crate::model::facts::{Cpus, Link};
use crate::model::{Context, Desired, Impact, Need, Resource, Side, State, Tweak, Want};

pub const ENTRY: Entry = Entry {
    name: "steering",
    side: Side::Node,
    summary: "XPS one CPU a transmit queue as irq places them, RPS where asked",
    doc: Doc {
        what: "XPS gives each transmit queue of the uplinks the CPU that its vector goes to, so that a \
               packet is sent and completed on one core and cores do not share a queue. RPS spreads \
               what few receive queues bring over all CPUs.",
        cost: "CPUs without a queue of their own still share all of them. RPS costs an interrupt \
               between cores a packet, and gains nothing where there is a receive queue a CPU: it is \
               off by default.",
        needs: "an uplink with more than one transmit queue (XPS), or with fewer receive queues than \
                CPUs (RPS); a CPU that is not isolated",
        impact: "none",
        source: "Linux networking/scaling.rst; ABI sysfs-class-net-queues",
    },
    lever: Some(lever::<Steering>()),
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Steering {
    /// Receive packet steering: "off" (rps_cpus stay as they are) or "auto" (where there are fewer
    /// receive queues than CPUs, all CPUs that are not isolated)
    rps: Mode,
    /// Transmit packet steering: "auto" (queue n gets the n-th CPU that is not isolated) or "off"
    /// (xps_cpus stay as they are)
    xps: Mode,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Auto,
    Off,
}

impl Default for Steering {
    fn default() -> Self {
        Steering { rps: Mode::Off, xps: Mode::Auto }
    }
}

/// Those that `irq` takes by default.
fn usable(cpus: &Cpus) -> BTreeSet<u32> {
    let parse = |list: &str| cpulist::parse(list).unwrap_or_default();
    let kept = &parse(&cpus.isolated) | &parse(&cpus.nohz_full);
    &parse(&cpus.online) - &kept
}

/// As wide as the kernel prints it: up to the highest CPU that it may ever have.
fn mask(cpus: &Cpus, of: &BTreeSet<u32>) -> String {
    let last = |list: &str| cpulist::parse(list).and_then(|c| c.last().copied());
    let highest = last(&cpus.possible).or_else(|| last(&cpus.online)).unwrap_or(0);
    cpulist::to_mask(of, highest + 1)
}

/// Queues in use: those that are only allocated have no folder in /sys.
fn queues(link: &Link, side: &str, allocated: u32) -> u32 {
    let Some(channels) = &link.channels else { return allocated };
    let state = State::is(channels.as_str());
    let number = |key| state.field(key).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    match number(side) + number("combined") {
        0 => allocated,
        used => used.min(allocated),
    }
}

impl Steering {
    /// (link, transmit queues) of those with several.
    fn xps_links<'a>(&self, cx: &Context<'a>) -> Vec<(&'a Link, u32)> {
        let with = |l: &'a Link| (l, queues(l, "tx", l.tx_queues));
        let several = |(_, n): &(&Link, u32)| self.xps == Mode::Auto && *n > 1;
        cx.uplinks().into_iter().map(with).filter(several).collect()
    }

    /// (link, receive queues) of the devices that have fewer than there are CPUs: what is stacked on
    /// one gets its packets where that has steered them.
    fn rps_links<'a>(&self, cx: &Context<'a>) -> Vec<(&'a Link, u32)> {
        let cpus = usable(&cx.facts.cpus).len();
        let with = |l: &'a Link| (l, queues(l, "rx", l.rx_queues));
        let few = |(l, n): &(&Link, u32)| {
            self.rps == Mode::Auto && l.bus.is_some() && (*n as usize) < cpus
        };
        cx.uplinks().into_iter().map(with).filter(few).collect()
    }
}

const NO_XPS: &str = "no uplink has more than one transmit queue in use";
const NO_RPS: &str = "no uplink is a device with fewer receive queues than CPUs";

impl Tweak for Steering {
    fn needs(&self, cx: &Context) -> Vec<Need> {
        if self.rps == Mode::Off && self.xps == Mode::Off {
            return Vec::new();
        }
        if cx.uplinks().is_empty() {
            let why = "there is no default route, so no uplink";
            let fix = "name the links in the profile: links = [...]";
            return vec![Need::blocked("uplink", why, fix)];
        }
        if usable(&cx.facts.cpus).is_empty() {
            let why = "every CPU is isolated";
            let fix = "leave a CPU out of isolcpus and nohz_full";
            return vec![Need::blocked("cpus", why, fix)];
        }
        if self.xps_links(cx).is_empty() && self.rps_links(cx).is_empty() {
            let why = if self.xps == Mode::Auto { NO_XPS } else { NO_RPS };
            return vec![Need::unsupported("queues", why)];
        }
        vec![Need::met("queues")]
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let cpus = &cx.facts.cpus;
        let usable = usable(cpus);
        let order: Vec<u32> = usable.iter().copied().collect();
        let want = |link: &Link, queue: String, of: &BTreeSet<u32>| {
            let resource = Resource::sysfs(format!("class/net/{}/queues/{queue}", link.name));
            Desired::new(resource, Want::is(mask(cpus, of)), Impact::None)
        };
        let mut desired = Vec::new();
        for (link, count) in self.rps_links(cx) {
            desired.extend((0..count).map(|n| want(link, format!("rx-{n}/rps_cpus"), &usable)));
        }
        for (link, count) in self.xps_links(cx) {
            // More queues than CPUs begin again with the first.
            for (n, cpu) in (0..count).zip(order.iter().cycle()) {
                desired.push(want(link, format!("tx-{n}/xps_cpus"), &BTreeSet::from([*cpu])));
            }
        }
        Ok(desired)
    }

    fn remarks(&self, cx: &Context) -> Vec<String> {
        let mut left = Vec::new();
        if self.xps == Mode::Auto && self.xps_links(cx).is_empty() {
            left.push(format!("steering.xps: {NO_XPS}"));
        }
        if self.rps == Mode::Auto && self.rps_links(cx).is_empty() {
            left.push(format!("steering.rps: {NO_RPS}"));
        }
        left
    }
}
