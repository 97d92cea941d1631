//! GSO and GRO sizes above 64 KiB.

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Doc, Entry, lever};
use crate::model::facts::Link;
use crate::model::need::HelmValue;
use crate::model::{Context, Desired, Impact, Need, Resource, Side, Tweak, Want};

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
    lever: Some(lever::<BigTcp>()),
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
const OLD_LIMIT: u32 = 65_536;

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
            let why = "there is no default route, so no uplink";
            return vec![Need::blocked(
                "uplink",
                why,
                "name the links in the profile: links = [...]",
            )];
        }
        if links.iter().any(|l| l.sizes.tso_max.is_none()) {
            let why = format!("kernel {} has no sizes above 64 KiB", cx.facts.kernel.release);
            return vec![Need::unsupported("tso-max-size", why).since("5.19")];
        }
        let (size, holding) = self.size(&links);
        if let Some(link) = holding.filter(|_| size <= OLD_LIMIT) {
            let driver = link.driver.as_deref().unwrap_or("its driver");
            let why = format!(
                "{} ({driver}) has tso_max_size {size}, which holds the node back",
                link.name
            );
            return vec![Need::unsupported("tso-max-size", why)];
        }
        if !self.v6(cx) && !self.v4(&links) {
            let why = "neither family can have it here: no IPv4 sizes, and IPv6 is forwarded or not wanted";
            return vec![Need::unsupported("families", why).since("6.3")];
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

    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        let value = |key, cilium| HelmValue { key, value: "true".into(), cilium };
        vec![value("enableIPv6BIGTCP", ">=1.13"), value("enableIPv4BIGTCP", ">=1.14")]
    }
}
