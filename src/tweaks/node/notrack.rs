//! Packets of pods go around connection tracking, by an nf_tables table of our own.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::host_routing::FLOW_TABLE;
use crate::cilium::told;
use crate::model::facts::{Fact, Module};
use crate::model::helm;
use crate::model::helm::{HelmValue, NO_CONNTRACK};
use crate::model::{
    Context, Desired, Impact, Live, Need, Probe, Resource, Side, Tweak, Want, Warning,
};
use crate::tweaks::cluster::cilium_side::{cilium, host_routing_needs, no_chaining, on, routed};
use crate::tweaks::entry::{Doc, Entry, More, lever};
use crate::tweaks::unseen;

pub const ENTRY: Entry = Entry {
    name: "notrack",
    side: Side::Both,
    summary: "pod packets around conntrack, by a table of our own at raw priority",
    doc: Doc {
        what: "Marks packets from and to the pod networks as not to be tracked, IPv4 and IPv6, in \
               prerouting and output: no connection table entry, no lock, no limit to run into.",
        cost: "Rules that look at connections no longer see these packets: NAT, masquerade, hostPort, \
               `ct state` filters. Useless where host routing takes the packets past netfilter anyway.",
        needs: "pod networks known; direct routing, no overlay; no NAT or ct-state rule that these \
                packets would meet, or the operator's signature (bypass-netfilter)",
        impact: "bypass",
        source: "Cilium tuning guide (installNoConntrackIptablesRules); Linux net/netfilter",
    },
    lever: lever::<Notrack>(),
    more: More {
        keys: &[&helm::NO_CONNTRACK],
        told: &[
            told::ROUTED,
            told::NETWORK,
            told::KPR,
            told::MASQUERADE,
            told::ENCRYPTION,
            told::CHAINING,
            &[
                "install-no-conntrack-iptables-rules",
                "ipv4-native-routing-cidr",
                "node-pods",
                "no-conntrack-rules",
                "enable-ipv4",
            ],
        ],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Notrack {
    /// Pod networks, such as ["10.244.0.0/16"]; default: those in the CNI's configuration
    cidrs: Option<Vec<String>>,
    /// The operator's signature: rules that these packets would no longer meet may be passed by
    bypass_netfilter: bool,
}

const OVERLAYS: [&str; 3] = ["vxlan", "geneve", "ipip"];
impl Notrack {
    fn cidrs<'a>(&'a self, cx: &Context<'a>) -> &'a [String] {
        self.cidrs.as_deref().unwrap_or(&cx.facts.agents.pod_cidrs)
    }
}

impl Tweak for Notrack {
    fn validate(&self) -> Result<()> {
        self.cidrs.iter().flatten().try_for_each(|c| network(c).map(drop))
    }

    fn needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs = Vec::new();
        let facts = cx.facts;
        if self.cidrs(cx).is_empty() {
            let why = "the pod networks are not known";
            needs.push(Need::blocked("pod-cidrs", why, "set notrack.cidrs = [\"10.244.0.0/16\"]"));
        }
        match facts.kernel.modules.get("nf_tables") {
            Some(Fact::Known(Module::Absent)) => {
                needs.push(Need::unsupported("nf-tables", "this kernel has no nf_tables"));
            }
            Some(Fact::Unknown { unknown }) => {
                needs.push(Need::unknown("nf-tables", unknown.clone(), None));
            }
            _ => {}
        }
        if facts.kernel.config.get("NF_TABLES_INET").is_some_and(|v| v == "n") {
            needs.push(Need::unsupported("nf-tables-inet", "nf_tables here has no family inet"));
        }
        if let Some(link) = facts.links.iter().find(|l| l.up && l.is_a(&OVERLAYS)) {
            let why = format!("pods may be reached through the overlay {}", link.name);
            needs.push(Need::blocked(
                "direct-routing",
                why,
                "use native routing, or leave notrack off",
            ));
        }
        if !self.bypass_netfilter {
            needs.extend(unseen::tracking(cx, self.cidrs(cx), "notrack.bypass-netfilter"));
        }
        needs
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let networks: Result<Vec<_>> = self.cidrs(cx).iter().map(|c| network(c)).collect();
        let resource = Resource::Nft { table: "nettune-notrack".into() };
        Ok(vec![Desired::new(resource, Want::is(table(&networks?)), Impact::Bypass)])
    }

    /// A flowtable takes its flows from conntrack, which never sees packets that are not to be tracked.
    fn gives_way(&self, others: &[Desired]) -> Option<Warning> {
        let flow =
            |d: &Desired| matches!(&d.resource, Resource::Nft { table } if table == FLOW_TABLE);
        let text = "host-routing takes tracked flows here (established), which excludes notrack";
        others.iter().any(flow).then(|| Warning::new("host-routing", text))
    }

    fn stands_on(&self) -> &'static [&'static str] {
        &["kube-proxy-replacement", "bpf-masquerade", "native-routing"]
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        if passed_by(cx) {
            return Vec::new();
        }
        let mut needs = Vec::new();
        needs.extend(no_chaining(cx));
        if cx.facts.kernel.config.get("NETFILTER_XT_TARGET_CT").is_some_and(|v| v == "n") {
            let why = "this kernel is built without the CT target of iptables";
            needs.push(Need::unsupported("xt-ct", why));
        }
        let Some(cilium) = cilium(cx) else { return needs };
        if cilium.tunnel() == Some(true) {
            let why = "with a tunnel the agent refuses it";
            needs.push(Need::blocked("direct-routing", why, "routingMode=native"));
        }
        if let Some(ipam @ ("eni" | "azure")) = cilium.key("ipam") {
            let why = format!("with IPAM {ipam} the chart turns it off");
            needs.push(Need::blocked(
                "chart-forbids",
                why,
                "host routing passes conntrack as well",
            ));
        }
        needs
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        let configured = cilium(cx).and_then(|c| c.key("install-no-conntrack-iptables-rules"));
        let quiet = quiet(cx);
        let now = configured.map(|v| if v == "true" && quiet.is_none() { "on" } else { "off" });
        if passed_by(cx) {
            let why = match routed(cx) {
                Some(true) => "host routing takes pods' packets past conntrack",
                _ => "host routing, which is to be had, takes pods' packets past conntrack",
            };
            return Some(Live::new(now, "off").because(Some(why)));
        }
        Some(Live::new(now, "on").because(quiet))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        if let Some(why) = quiet(cx).filter(|_| passed_by(cx)) {
            let text = format!("no-conntrack rules are off: {why}");
            return vec![Warning::new("no-conntrack-quiet", text)];
        }
        let v6 = on(cx, "enable-ipv6") && !passed_by(cx) && cilium(cx).is_some();
        let text = "Cilium's rules cover IPv4 alone: IPv6 pods' packets stay tracked";
        if v6 { vec![Warning::new("ipv4-only", text)] } else { Vec::new() }
    }

    fn advice(&self, cx: &Context) -> Vec<HelmValue> {
        if passed_by(cx) { Vec::new() } else { vec![NO_CONNTRACK.is("true")] }
    }
}

/// Host routing is on, or is to be had with Cilium: then there is no conntrack to go around.
fn passed_by(cx: &Context) -> bool {
    let could = || host_routing_needs(cx).iter().all(|n| n.probe == Probe::Met);
    routed(cx) == Some(true) || could()
}

/// Configured, and without a word not done.
fn quiet(cx: &Context) -> Option<&'static str> {
    let cilium = cilium(cx).filter(|c| c.on("install-no-conntrack-iptables-rules"))?;
    // One that is not told may be set.
    if cilium.key("ipv4-native-routing-cidr") == Some("") {
        return Some(
            "it is configured, and without ipv4-native-routing-cidr the agent makes no rules",
        );
    }
    let none = cilium.live.no_conntrack_rules == Some(false);
    none.then_some("it is configured, and there is no such rule in the raw table")
}

/// Address and prefix length, host bits cleared.
fn network(cidr: &str) -> Result<(IpAddr, u8)> {
    let wrong = || format!("{cidr:?} is not a network: write it as ADDRESS/LENGTH");
    let (address, length) = cidr.split_once('/').with_context(wrong)?;
    let address: IpAddr = address.trim().parse().with_context(wrong)?;
    let length: u8 = length.trim().parse().with_context(wrong)?;
    Ok(match address {
        IpAddr::V4(a) => {
            anyhow::ensure!(length <= 32, "{cidr}: prefix length over 32");
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            (IpAddr::from((u32::from(a) & mask).to_be_bytes()), length)
        }
        IpAddr::V6(a) => {
            anyhow::ensure!(length <= 128, "{cidr}: prefix length over 128");
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            (IpAddr::from((u128::from(a) & mask).to_be_bytes()), length)
        }
    })
}

/// The canonical text of the table: as the kernel's answer is read back.
fn table(networks: &[(IpAddr, u8)]) -> String {
    let chains = ["prerouting", "output"];
    let mut text = String::new();
    for chain in chains {
        text += &format!("chain {chain} hook {chain} priority -300\n");
    }
    for chain in chains {
        for (address, length) in networks {
            let family = if address.is_ipv4() { "ip" } else { "ip6" };
            for field in ["saddr", "daddr"] {
                text += &format!("rule {chain} {family} {field} {address}/{length} notrack\n");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_lose_their_host_bits() {
        let text = |c: &str| network(c).map(|(a, l)| format!("{a}/{l}")).unwrap();
        assert_eq!(text("10.244.1.7/16"), "10.244.0.0/16");
        assert_eq!(text("0.0.0.0/0"), "0.0.0.0/0");
        assert_eq!(text("fd00::1/64"), "fd00::/64");
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "fd00::/129"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
