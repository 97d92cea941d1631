//! Which CPUs send on a transmit queue (XPS), take over what a receive queue brings (RPS, RFS), and
//! how they poll for it.

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::cpulist::{self, CpuSet};
use crate::model::facts::{Cpus, Link};
use crate::model::{Context, Desired, Impact, Need, Resource, Side, Tweak, Want};
use crate::tweaks::entry::{Doc, Entry, More, lever, no_uplink};

pub const ENTRY: Entry = Entry {
    name: "steering",
    side: Side::Node,
    summary: "XPS one CPU a transmit queue as irq places them; RPS, RFS and polling where asked",
    doc: Doc {
        what: "XPS gives each transmit queue of the uplinks the CPU that its vector goes to, so that a \
               packet is sent and completed on one core and cores do not share a queue. RPS spreads \
               what few receive queues bring over all CPUs, and RFS sends it to the core whose process \
               reads it. Busy polling, threaded NAPI and deferred interrupts trade CPU for latency.",
        cost: "CPUs without a queue of their own still share all of them. RPS costs an interrupt \
               between cores a packet, and gains nothing where there is a receive queue a CPU: it is \
               off by default. Busy polling burns the core of whoever waits.",
        needs: "an uplink with more than one transmit queue (XPS), or with fewer receive queues than \
                CPUs (RPS); a CPU that is not isolated; kernel 5.10 for deferred interrupts, 5.12 for \
                threaded NAPI, 6.4 for the default mask",
        impact: "none; busy polling reaches new sockets",
        source: "Linux networking/scaling.rst and networking/napi.rst; ABI sysfs-class-net and \
                 sysfs-class-net-queues",
    },
    lever: lever::<Steering>(),
    more: More { early: true, ..More::NONE },
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Steering {
    /// Receive packet steering: "off" (rps_cpus stay as they are) or "auto" (where there are fewer
    /// receive queues than CPUs, all CPUs that irq may use)
    rps: Mode,
    /// RPS of links that come later, pods' among them: "off" or "auto" (all CPUs that irq may use)
    rps_default_mask: Mode,
    /// Receive flow steering, beside RPS: 0 (off), or flows to remember on the node, a power of two
    rfs: u32,
    /// Transmit packet steering: "auto" (queue n gets the n-th CPU in irq's order) or "off"
    /// (xps_cpus stay as they are)
    xps: Mode,
    /// Microseconds that a socket polls its queue before it sleeps; unset leaves both sysctls
    busy_poll_us: Option<u32>,
    /// Whether the uplinks' NAPI runs in kernel threads; unset leaves it
    threaded_napi: Option<bool>,
    /// Polls that may find nothing before interrupts are on again; unset leaves it
    napi_defer_hard_irqs: Option<u32>,
    /// Nanoseconds until the next such poll; unset leaves it
    gro_flush_timeout: Option<u64>,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Auto,
    Off,
}

impl Default for Steering {
    fn default() -> Self {
        Steering {
            rps: Mode::Off,
            rps_default_mask: Mode::Off,
            rfs: 0,
            xps: Mode::Auto,
            busy_poll_us: None,
            threaded_napi: None,
            napi_defer_hard_irqs: None,
            gro_flush_timeout: None,
        }
    }
}

/// As wide as the kernel prints it: up to the highest CPU that it may ever have.
fn mask(cpus: &Cpus, of: &CpuSet) -> String {
    cpulist::to_mask(of, cpus.bits())
}

/// Queues in use: those that are only allocated have no folder in /sys.
fn queues(link: &Link, side: &str, allocated: u32) -> u32 {
    link.queues(side).map_or(allocated, |used| used.min(allocated))
}

/// It has NAPI and queues of its own: what is stacked on a device sends on that one's, and a bond
/// chooses among its own without XPS.
fn device(link: &&Link) -> bool {
    link.bus.is_some() || link.is_a(&["veth"])
}

impl Steering {
    /// (link, transmit queues) of the devices with several.
    fn xps_links<'a>(&self, cx: &Context<'a>) -> Vec<(&'a Link, u32)> {
        let with = |l: &'a Link| (l, queues(l, "tx", l.tx_queues));
        let several = |(_, n): &(&Link, u32)| self.xps == Mode::Auto && *n > 1;
        cx.uplinks().into_iter().filter(device).map(with).filter(several).collect()
    }

    /// (link, receive queues) of the devices that have fewer than there are CPUs: what is stacked on
    /// one gets its packets where that has steered them.
    fn rps_links<'a>(&self, cx: &Context<'a>) -> Vec<(&'a Link, u32)> {
        let cpus = cx.placement.usable(&cx.facts.cpus).len();
        let with = |l: &'a Link| (l, queues(l, "rx", l.rx_queues));
        let few = |(l, n): &(&Link, u32)| {
            self.rps == Mode::Auto && l.bus.is_some() && (*n as usize) < cpus
        };
        cx.uplinks().into_iter().map(with).filter(few).collect()
    }

    /// Values of each uplink, and of the node.
    fn polling(&self, cx: &Context) -> Vec<Desired> {
        let mut desired = Vec::new();
        let each = [
            ("threaded", self.threaded_napi.map(u64::from)),
            ("napi_defer_hard_irqs", self.napi_defer_hard_irqs.map(u64::from)),
            ("gro_flush_timeout", self.gro_flush_timeout),
        ];
        for link in cx.uplinks().into_iter().filter(device) {
            for (file, value) in each.iter().filter_map(|(file, v)| Some((file, (*v)?))) {
                let resource = Resource::sysfs(format!("class/net/{}/{file}", link.name));
                desired.push(Desired::new(resource, Want::is(value.to_string()), Impact::None));
            }
        }
        for key in ["net.core.busy_poll", "net.core.busy_read"] {
            if let Some(us) = self.busy_poll_us {
                let want = Want::is(us.to_string());
                desired.push(Desired::new(Resource::sysctl(key), want, Impact::NewFlows));
            }
        }
        desired
    }

    /// Asks for something that needs no queues.
    fn more(&self, cx: &Context) -> bool {
        self.rps_default_mask == Mode::Auto || !self.polling(cx).is_empty()
    }
}

const NO_XPS: &str = "no uplink has more than one transmit queue in use";
const NO_RPS: &str = "no uplink is a device with fewer receive queues than CPUs";

impl Tweak for Steering {
    fn validate(&self) -> Result<()> {
        if self.rfs != 0 && !self.rfs.is_power_of_two() {
            bail!("rfs {} is no power of two: the kernel would round it", self.rfs);
        }
        Ok(())
    }

    fn needs(&self, cx: &Context) -> Vec<Need> {
        if self.rps == Mode::Off && self.xps == Mode::Off && !self.more(cx) {
            return Vec::new();
        }
        if cx.uplinks().is_empty() {
            return vec![no_uplink(cx)];
        }
        if cx.placement.usable(&cx.facts.cpus).is_empty() {
            let why = "every CPU is isolated";
            let fix = "leave a CPU out of isolcpus and nohz_full";
            return vec![Need::blocked("cpus", why, fix)];
        }
        if self.xps_links(cx).is_empty() && self.rps_links(cx).is_empty() && !self.more(cx) {
            let why = if self.xps == Mode::Auto { NO_XPS } else { NO_RPS };
            return vec![Need::unsupported("queues", why)];
        }
        vec![Need::met("queues")]
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let cpus = &cx.facts.cpus;
        let usable = cx.placement.usable(cpus);
        let file = |link: &Link, queue: String, value: String| {
            let resource = Resource::sysfs(format!("class/net/{}/queues/{queue}", link.name));
            Desired::new(resource, Want::is(value), Impact::None)
        };
        let mut desired = Vec::new();
        let rps = self.rps_links(cx);
        let flows = self.rfs.checked_div(rps.iter().map(|(_, queues)| queues).sum()).unwrap_or(0);
        if flows > 0 {
            let key = Resource::sysctl("net.core.rps_sock_flow_entries");
            desired.push(Desired::new(key, Want::AtLeast(self.rfs.to_string()), Impact::None));
        }
        for (link, count) in rps {
            let all = mask(cpus, &usable);
            desired.extend((0..count).map(|n| file(link, format!("rx-{n}/rps_cpus"), all.clone())));
            if flows > 0 {
                // The kernel rounds up to a power of two.
                let each = flows.next_power_of_two().to_string();
                let of = |n| file(link, format!("rx-{n}/rps_flow_cnt"), each.clone());
                desired.extend((0..count).map(of));
            }
        }
        let uplinks = cx.uplinks();
        for (link, count) in self.xps_links(cx) {
            // More queues than CPUs begin again with the first.
            let order = cx.placement.of_link(cpus, &uplinks, link);
            for (n, cpu) in (0..count).zip(order.iter().cycle()) {
                let one = mask(cpus, &CpuSet::from_iter([*cpu]));
                desired.push(file(link, format!("tx-{n}/xps_cpus"), one));
            }
        }
        if self.rps_default_mask == Mode::Auto {
            let key = Resource::sysctl("net.core.rps_default_mask");
            desired.push(Desired::new(key, Want::is(mask(cpus, &usable)), Impact::None));
        }
        desired.extend(self.polling(cx));
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
        if self.rfs > 0 && self.rps == Mode::Off {
            left.push("steering.rfs: chooses among the CPUs of rps, which is off".to_string());
        }
        left
    }
}
