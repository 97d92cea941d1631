//! Forwarded packets past most of the host's stack: established flows by the kernel's flowtable, or
//! all of them by a BPF program of our own.

use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::cilium::told;
use crate::model::bpf::{Hook, tag};
use crate::model::facts::{Attached as Theirs, Fact, Facts, Link, Module};
use crate::model::features;
use crate::model::helm;
use crate::model::hex;
use crate::model::need::HelmValue;
use crate::model::typed::attached::{Attached, Via};
use crate::model::{Context, Desired, Impact, Live, Need, Resource, Side, Tweak, Want, Warning};
use crate::tweaks::cluster::cilium_side;
use crate::tweaks::entry::{Doc, Entry, More, lever};
use crate::tweaks::unseen;

pub const FLOW_TABLE: &str = "nettune-flow";

pub const ENTRY: Entry = Entry {
    name: "host-routing",
    side: Side::Both,
    summary: "forwarded packets past the host's stack, by flowtable or by BPF",
    doc: Doc {
        what: "established: flows that conntrack knows to be established are forwarded by the kernel's \
               flowtable (nf_tables table nettune-flow), after every rule has accepted their first \
               packets. full: a BPF program at ingress of uplinks and of pods' host sides looks up the \
               route and hands the packet on, IPv4 and IPv6; whatever is unusual goes up the stack.",
        cost: "established: what is counted, limited, marked or given a DSCP per packet is not for \
               packets of these flows; it needs conntrack, so notrack is off. full: no rule, no NAT and \
               no conntrack entry for these packets.",
        needs: "full: redirect_peer and redirect_neigh (5.10); no IPsec policy, rule by fwmark, user or \
                tunnel, IPVS, netdev or bridge chain; no rule that the packets would meet, or the \
                operator's signature (bypass-netfilter). established: nf_flow_table (4.16)",
        impact: "bypass (full), new-flows (established)",
        source: "Cilium tuning guide (eBPF host routing); Linux networking/nf_flowtable.rst",
    },
    lever: lever::<HostRouting>(),
    more: More {
        keys: &[&helm::HOST_LEGACY, &helm::TCX],
        told: &[
            told::ROUTED,
            told::KPR,
            told::MASQUERADE,
            told::ENCRYPTION,
            told::CHAINING,
            told::DEVICES,
            &["enable-endpoint-routes", "attach-mode"],
        ],
        ..More::NONE
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Established,
    Full,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HostRouting {
    /// "established" (flows that netfilter has accepted, by flowtable) or "full" (all forwarded packets, by BPF); default: established where rules look at connections, else nothing
    mode: Option<Mode>,
    /// The operator's signature for mode "full": rules that these packets would no longer meet may be passed by
    bypass_netfilter: bool,
}

/// After every filter, so that what it takes has been accepted. The links are resources of their own.
const FLOWTABLE: &str = "flowtable f hook ingress priority 0\nchain forward hook forward priority \
                         1000\nrule forward ct state established flow add @f\n";

/// The kernel takes no more in one message (NFT_NETDEVICE_MAX), and lists them in one.
const MOST_DEVICES: usize = 256;
/// Attaching and detaching that many at tcx takes under a second each.
const MANY_PODS: usize = 64;

impl HostRouting {
    fn mode(&self) -> Mode {
        self.mode.unwrap_or(Mode::Established)
    }

    /// Uplinks first.
    fn links<'a>(&self, cx: &Context<'a>) -> Vec<(&'a Link, bool)> {
        let uplinks = cx.routed_uplinks();
        let pods =
            cx.pod_links().into_iter().filter(|p| uplinks.iter().all(|u| u.index != p.index));
        let pods: Vec<(&Link, bool)> = pods.map(|l| (l, true)).collect();
        uplinks.into_iter().map(|l| (l, false)).chain(pods).collect()
    }

    fn full(&self, cx: &Context) -> Vec<Need> {
        let facts = cx.facts;
        let bpf = &facts.bpf;
        let able = [
            unseen::able("bpf-tc", &bpf.tc, &features::TC),
            unseen::able("fib-lookup", &bpf.fib_lookup, &features::FIB_LOOKUP),
            unseen::able("redirect-neigh", &bpf.redirect_neigh, &features::REDIRECT_NEIGH),
            unseen::able("redirect-peer", &bpf.redirect_peer, &features::REDIRECT_PEER),
            unseen::file_system(bpf),
        ];
        let mut needs: Vec<Need> = able.into_iter().flatten().collect();
        needs.extend(unseen::never_waived(facts));
        let links = self.links(cx);
        needs.extend(unseen::programs(links.iter().map(|(l, _)| *l), &["tc ingress"]));
        if !self.bypass_netfilter {
            let links = links.iter().map(|(l, _)| *l).collect();
            needs.extend(unseen::rules(cx, links, "host-routing.bypass-netfilter"));
        }
        needs
    }

    fn established(&self, cx: &Context) -> Vec<Need> {
        let facts = cx.facts;
        let mut needs = Vec::new();
        for (name, option, what) in [
            ("nf-tables", "NF_TABLES", "nf_tables"),
            ("flowtable", "NF_FLOW_TABLE", "flowtables"),
            ("conntrack", "NF_CONNTRACK", "connection tracking"),
        ] {
            if facts.kernel.config.get(option).is_some_and(|v| v == "n") {
                needs.push(Need::unsupported(name, format!("this kernel has no {what}")));
            }
        }
        if let Some(Fact::Known(Module::Absent)) = facts.kernel.modules.get("nf_tables") {
            needs.push(Need::unsupported("nf-tables-module", "this kernel has no nf_tables"));
        }
        let unread = facts.netfilter.chains.known().is_none();
        match unseen::stateful(cx) {
            Fact::Unknown { unknown } if unread || self.mode.is_none() => {
                let fix = Some("sudo nettune check");
                needs.push(Need::unknown("netfilter-rules", unknown, fix));
            }
            Fact::Known(false) if self.mode.is_none() => {
                let why = "no rule here looks at connections of these packets: they need none";
                let fix = "use notrack, or set host-routing.mode = \"full\" or \"established\"";
                needs.push(Need::blocked("stateful-rules", why, fix));
            }
            _ => {}
        }
        needs
    }
}

impl Tweak for HostRouting {
    fn validate(&self) -> Result<()> {
        anyhow::ensure!(
            !self.bypass_netfilter || self.mode != Some(Mode::Established),
            "bypass-netfilter signs for mode = \"full\" alone"
        );
        Ok(())
    }

    fn needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs = Vec::new();
        let links = self.links(cx);
        if links.len() < 2 {
            let why =
                "there are no two links to route between (an uplink and a pod's, or two uplinks)";
            needs.push(Need::blocked("links", why, "set links and pod-links in the profile"));
        }
        if !cx.facts.routing.forwarding && !cx.facts.node.ipv6_forwarding {
            let why = "this node forwards nothing: net.ipv4.ip_forward is 0";
            needs.push(Need::blocked("forwarding", why, "sysctl -w net.ipv4.ip_forward=1"));
        }
        needs.extend(match self.mode() {
            Mode::Full => self.full(cx),
            Mode::Established => self.established(cx),
        });
        needs
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let links = self.links(cx);
        if self.mode() == Mode::Established {
            let table = Resource::Nft { table: FLOW_TABLE.into() };
            let mut all = vec![Desired::new(table, Want::is(FLOWTABLE), Impact::NewFlows)];
            all.extend(links.iter().take(MOST_DEVICES).map(|(link, _)| {
                let resource = Resource::Flow { link: link.name.clone() };
                Desired::new(resource, Want::is(FLOW_TABLE), Impact::NewFlows)
            }));
            return Ok(all);
        }
        let tag = tag("nettune_route").context("no tag of nettune_route in this build")?;
        let ways: Vec<Via> = ways(cx.facts, &links).collect();
        let locals = digest(&cx.facts.routing.addresses);
        let old = cx.facts.kernel_version() < features::CHECK_MTU.since;
        let wants = links.into_iter().zip(ways).map(|((link, pod), via)| {
            // Before 5.12 the lookup knows no size at all.
            let mtu = match (old, link.route_mtu) {
                (true, Some(route)) => route.min(link.mtu),
                (true, None) => link.mtu,
                (false, Some(route)) => route,
                (false, None) => 0,
            };
            let route = Attached::Route {
                via,
                to_pod: pod && to_peer(link),
                rp_filter: link.rp_filter,
                mtu,
                locals: locals.clone(),
                tag: tag.to_string(),
            };
            let resource = Resource::Bpf { link: link.name.clone(), hook: Hook::Ingress };
            Desired::new(resource, Want::is(route.to_string()), Impact::Bypass)
        });
        Ok(wants.collect())
    }

    fn remarks(&self, cx: &Context) -> Vec<String> {
        let links = self.links(cx);
        let mut remarks = Vec::new();
        match self.mode() {
            Mode::Full => {
                remarks.push(format!(
                    "{} links; one that comes later goes up the stack until the next apply",
                    links.len()
                ));
                let tcx = cx.facts.bpf.tcx.known() == Some(&true);
                let filters = ways(cx.facts, &links).filter(|via| *via == Via::Clsact).count();
                if filters > 0 && tcx {
                    remarks.push(format!(
                        "{filters} of them by a filter of clsact: at tcx each would take the kernel 13 ms"
                    ));
                }
                if cx.facts.kernel_version() < features::CHECK_MTU.since {
                    let text = "a lookup of this kernel knows no MTU: it is checked as it is now (5.12 asks)";
                    remarks.push(text.to_string());
                }
            }
            Mode::Established => {
                let text = "rate limits, quotas, counters, marks and DSCP rules see only a flow's first packets";
                remarks.push(text.to_string());
                if links.len() > MOST_DEVICES {
                    remarks.push(format!(
                        "a flowtable takes {MOST_DEVICES} links: {} are left out",
                        links.len() - MOST_DEVICES
                    ));
                }
            }
        }
        remarks
    }

    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        cilium_side::host_routing_advice()
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        cilium_side::host_routing_needs(cx)
    }

    fn stands_on(&self) -> &'static [&'static str] {
        cilium_side::HOST_ROUTING_STONES
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        Some(cilium_side::host_routing_live(cx))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        cilium_side::host_routing_warnings(cx)
    }
}

/// At tcx the kernel waits for all CPUs after each program that comes or goes, some 13 ms, whoever asks; at clsact it
/// does not. What is attached stays as it is: a change of the program costs nothing either way.
fn ways<'a>(facts: &'a Facts, links: &'a [(&'a Link, bool)]) -> impl Iterator<Item = Via> + 'a {
    let tcx = facts.bpf.tcx.known() == Some(&true);
    let many = links.iter().filter(|(_, pod)| *pod).count() > MANY_PODS;
    let in_order = |l: &Link| {
        let others = |p: &Theirs| p.hook == "tcx ingress";
        l.programs.known().is_some_and(|all| all.iter().any(others))
    };
    links.iter().map(move |(link, pod)| match link.own_ingress {
        _ if !tcx => Via::Clsact,
        Some(via) => via,
        None if many && *pod && !in_order(link) => Via::Clsact,
        None => Via::Tcx,
    })
}

/// The other end must be in another namespace; a qdisc that somebody gave the link (the bandwidth
/// plugin's tbf) and programs at its egress would be passed by.
fn to_peer(link: &Link) -> bool {
    let pair = link.other_netns && link.is_a(&["veth", "netkit"]);
    let qdisc = link.qdisc.as_deref().is_none_or(|q| q.starts_with("default"));
    let seen = |p: &Theirs| p.hook.ends_with("egress");
    pair && qdisc && link.programs.known().is_some_and(|all| !all.iter().any(seen))
}

/// Short and the same for the same addresses, so that a new address of the node is a change.
pub fn digest(addresses: &[String]) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(addresses.join(" ").as_bytes());
    hex(&hash[..4])
}
