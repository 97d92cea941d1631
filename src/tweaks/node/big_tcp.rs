//! GSO and GRO sizes above 64 KiB.

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::cilium::told;
use crate::model::facts::Link;
use crate::model::features;
use crate::model::helm;
use crate::model::helm::{BIG_TCP_V4, BIG_TCP_V6, HelmValue};
use crate::model::{Context, Desired, Impact, Live, Need, Resource, Side, Tweak, Want, Warning};
use crate::tweaks::cluster::cilium_side::{
    OLD_LIMIT, ON_HOST_ROUTING, cilium, devices, excludes_big_tcp, ipsec, on, release,
    tunnel_takes_more,
};
use crate::tweaks::entry::{Doc, Entry, More, lever, no_uplink};

pub const ENTRY: Entry = Entry {
    name: "big-tcp",
    side: Side::Both,
    summary: "GSO and GRO sizes above 64 KiB on uplinks",
    doc: Doc {
        what: "Lets the stack build and take TCP packets of up to 192 KiB, so that bulk flows cost fewer \
               trips through it. All sizes of a link are set in one message.",
        cost: "Captures and middleboxes on the node see packets whose length field says 0 (IPv4) or carry a \
               jumbo header (IPv6). Where the kernel itself forwards IPv6, larger aggregates are refused and \
               throughput collapses, so the IPv6 pair stays at 64 KiB there.",
        needs: "kernel 5.19 for IPv6, 6.3 for IPv4; uplinks whose tso_max_size is over 65536",
        impact: "new-flows",
        source: "Cilium tuning guide (BIG TCP); Linux include/linux/netdevice.h; net/ipv6/ip6_output.c",
    },
    lever: lever::<BigTcp>(),
    more: More {
        keys: &[&helm::BIG_TCP_V4, &helm::BIG_TCP_V6],
        told: &[
            told::BIG,
            told::DSR,
            told::NETWORK,
            told::DEVICES,
            &[
                "enable-ipv6",
                "enable-egress-gateway",
                "enable-ipv4-egress-gateway",
                "enable-tunnel-big-tcp",
            ],
        ],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BigTcp {
    /// Bytes; the smallest tso_max_size of the uplinks bounds it
    max_size: u32,
    /// "both", "ipv4" or "ipv6"
    families: Families,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Families {
    Both,
    Ipv4,
    Ipv6,
}

/// Cilium's own target (GSO_MAX_SIZE of its agent).
const TARGET: u32 = 196_608;

impl Default for BigTcp {
    fn default() -> Self {
        BigTcp { max_size: TARGET, families: Families::Both }
    }
}

impl BigTcp {
    fn v6(&self, cx: &Context) -> bool {
        self.families != Families::Ipv4 && !cx.facts.node.ipv6_forwarding
    }

    fn v4(&self, links: &[&Link]) -> bool {
        self.families != Families::Ipv6 && links.iter().all(|l| l.sizes.gso_v4.is_some())
    }

    /// Of Cilium, which takes it only where it has IPv6 at all.
    fn wants_v6(&self, cx: &Context) -> bool {
        // An agent that does not tell may have none.
        let has = cilium(cx).is_none_or(|c| match c.key("enable-ipv6") {
            Some(word) => word == "true",
            None => c.live.big_tcp_v6.is_some_and(|n| n > 0),
        });
        self.families != Families::Ipv4 && has
    }

    fn sizes(&self, cx: &Context, links: &[&Link]) -> Option<Need> {
        if links.iter().any(|l| l.sizes.tso_max.is_none()) {
            let why = format!("kernel {} has no sizes above 64 KiB", cx.facts.kernel.release);
            return Some(
                Need::unsupported("tso-max-size", why).since(features::TSO_MAX_SIZE.since),
            );
        }
        let (size, holding) = self.size(links);
        let link = holding.filter(|_| size <= OLD_LIMIT)?;
        let driver = link.driver.as_deref().unwrap_or("its driver");
        let why =
            format!("{} ({driver}) has tso_max_size {size}, which holds the node back", link.name);
        Some(Need::unsupported("tso-max-size", why))
    }

    /// Cilium pushes the sizes of the NIC to its tunnel device as well: an agent of 1.19.0 to 1.19.4
    /// loops where the kernel has no BIG TCP for tunnels.
    fn tunnel(&self, cx: &Context) -> Option<Need> {
        let agent = cilium(cx)?;
        let egress = on(cx, "enable-egress-gateway") || on(cx, "enable-ipv4-egress-gateway");
        let tunnel = agent.tunnel() == Some(true);
        if !tunnel && !egress {
            return None;
        }
        let fix = "native routing and no egress gateway";
        if tunnel && agent.before(19) {
            let why = "an agent before Cilium 1.19 that starts anew refuses BIG TCP with a tunnel";
            return Some(Need::blocked("tunnel-big-tcp", why, fix));
        }
        match tunnel_takes_more(cx) {
            Some(true) => return Some(Need::met("tunnel-big-tcp")),
            Some(false) => {}
            None => {
                let why = "no tunnel device is here to show whether it takes more than 64 KiB";
                return Some(Need::unknown("tunnel-big-tcp", why, None));
            }
        }
        let who = if egress { "the egress gateway's tunnel device" } else { "the tunnel device" };
        let patch = agent.version.as_deref()?.split('.').nth(2)?.split('-').next()?.parse::<u32>();
        let loops = release(cx) == (1, 19) && patch.is_ok_and(|p| p <= 4);
        let then = if loops { ", and this agent loops on it" } else { "" };
        let why = format!("{who} takes no more than 64 KiB with this kernel{then}");
        Some(Need::blocked("tunnel-big-tcp", why, fix))
    }

    /// What all the uplinks can take, and which of them holds the node back.
    fn size<'a>(&self, links: &[&'a Link]) -> (u32, Option<&'a Link>) {
        let tso = |l: &&&Link| l.sizes.tso_max.unwrap_or(OLD_LIMIT);
        let least = links.iter().min_by_key(tso);
        (least.as_ref().map_or(OLD_LIMIT, tso).min(self.max_size), least.copied())
    }
}

impl Tweak for BigTcp {
    fn validate(&self) -> Result<()> {
        if !(OLD_LIMIT + 1..=8 * 65_535).contains(&self.max_size) {
            bail!("max-size {} is not 65537 to 524280", self.max_size);
        }
        Ok(())
    }

    fn needs(&self, cx: &Context) -> Vec<Need> {
        let links = cx.uplinks();
        if links.is_empty() {
            return vec![no_uplink(cx)];
        }
        if let Some(need) = self.sizes(cx, &links) {
            return vec![need];
        }
        if !self.v6(cx) && !self.v4(&links) {
            let why = "neither family can have it here: no IPv4 sizes, and IPv6 is forwarded or not wanted";
            return vec![Need::unsupported("families", why).since(features::BIG_TCP_V4.since)];
        }
        vec![Need::met("tso-max-size")]
    }

    fn remarks(&self, cx: &Context) -> Vec<String> {
        let mut out = Vec::new();
        let links = cx.uplinks();
        if self.families != Families::Ipv4 && cx.facts.node.ipv6_forwarding {
            out.push(
                "IPv6 stays at 64 KiB: this node forwards IPv6 in the kernel, which refuses larger"
                    .into(),
            );
        }
        if self.families != Families::Ipv6 && !self.v4(&links) {
            out.push(
                "IPv4 is left out: this kernel has no sizes of its own for it (6.3 has)".into(),
            );
        }
        // Seen with Cilium: with one family alone these kernels aggregate no more than before.
        if self.v6(cx) != self.v4(&links) && cx.facts.kernel_version() >= (6, 7) {
            out.push("with one family alone a kernel from 6.7 on may gain nothing".into());
        }
        out
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let links = cx.uplinks();
        let (size, _) = self.size(&links);
        let mut fields = std::collections::BTreeMap::new();
        let mut want = |keys: [&str; 2]| {
            for key in keys {
                fields.insert(key.to_string(), Want::AtLeast(size.to_string()));
            }
        };
        if self.v6(cx) {
            want(["gso", "gro"]);
        }
        if self.v4(&links) {
            want(["gso_v4", "gro_v4"]);
        }
        let resource = |l: &&Link| Resource::LinkSizes { link: l.name.clone() };
        let desired = |l| Desired::new(resource(l), Want::Fields(fields.clone()), Impact::NewFlows);
        Ok(links.iter().map(desired).collect())
    }

    fn stands_on(&self) -> &'static [&'static str] {
        ON_HOST_ROUTING
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs = Vec::new();
        let links = devices(cx);
        needs.extend(self.sizes(cx, &links));
        // The agent looks at the word, whatever the mode of load balancing is.
        let dispatch = cilium(cx)
            .and_then(|c| c.live.dsr_dispatch.as_deref().or(c.key("bpf-lb-dsr-dispatch")));
        if let Some(dispatch) = dispatch.filter(|d| excludes_big_tcp(cx, d)) {
            let why = format!(
                "DSR by {dispatch} has a device that ends at 64 KiB here: the agent refuses both"
            );
            needs.push(Need::blocked("dsr-dispatch", why, "loadBalancer.dsrDispatch=opt"));
        }
        if ipsec(cx) {
            let why = "Cilium has no BIG TCP with IPsec";
            needs.push(Need::blocked("ipsec", why, "encryption by WireGuard, or none"));
        }
        needs.extend(self.tunnel(cx));
        needs
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        let links = devices(cx);
        let (size, holding) = self.size(&links);
        // What holds it back does not make less of what is wanted.
        let size = if size > OLD_LIMIT { size } else { self.max_size };
        let (v6, v4) = (self.wants_v6(cx), self.families != Families::Ipv6);
        let shown = |v4: Option<String>, v6: Option<String>| {
            let v4 = v4.map(|n| format!("IPv4 {n}"));
            let v6 = v6.map(|n| format!("IPv6 {n}"));
            v4.into_iter().chain(v6).collect::<Vec<_>>().join(", ")
        };
        let word = |n: u32| if n == 0 { "off".to_string() } else { n.to_string() };
        let live = cilium(cx).map(|c| &c.live);
        let (now_v4, now_v6) = (live.and_then(|l| l.big_tcp_v4), live.and_then(|l| l.big_tcp_v6));
        let known = (!v4 || now_v4.is_some()) && (!v6 || now_v6.is_some());
        let now = (known && live.is_some())
            .then(|| shown(now_v4.filter(|_| v4).map(word), now_v6.filter(|_| v6).map(word)));
        let wanted = size.to_string();
        let wanted = shown(v4.then(|| wanted.clone()), v6.then(|| wanted.clone()));
        // Enabled, and no larger than before: its status says only "Enabled".
        let quiet = [now_v4.filter(|_| v4), now_v6.filter(|_| v6)]
            .into_iter()
            .flatten()
            .any(|n| (1..=OLD_LIMIT).contains(&n));
        let small = |l: &&Link| l.sizes.tso_max.unwrap_or(OLD_LIMIT) <= OLD_LIMIT;
        let because = quiet.then(|| match holding.filter(small) {
            Some(link) => {
                let most = link.sizes.tso_max.unwrap_or(OLD_LIMIT);
                format!("it is on and gains nothing: {} has tso_max_size {most}", link.name)
            }
            None => "it is on and gains nothing, by no device that is seen here".to_string(),
        });
        Some(Live::new(now, wanted).because(because))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        let both = cilium(cx).and_then(|c| Some((c.live.big_tcp_v4? > 0, c.live.big_tcp_v6? > 0)));
        let keys = || (on(cx, "enable-ipv4-big-tcp"), on(cx, "enable-ipv6-big-tcp"));
        let (v4, v6) = both.unwrap_or_else(keys);
        let mut warnings = Vec::new();
        if v4 != v6 && self.wants_v6(cx) && cx.facts.kernel_version() >= (6, 7) {
            let text =
                "BIG TCP is on for one family, with which a kernel from 6.7 on gains nothing";
            let fix = "enableIPv4BIGTCP=true and enableIPv6BIGTCP=true";
            warnings.push(Warning::new("big-tcp-one-family", text).fix(fix));
        }
        warnings
    }

    fn advice(&self, cx: &Context) -> Vec<HelmValue> {
        let v6 = self.wants_v6(cx).then(|| BIG_TCP_V6.is("true"));
        let v4 = (self.families != Families::Ipv6).then(|| BIG_TCP_V4.is("true"));
        v6.into_iter().chain(v4).collect()
    }
}
