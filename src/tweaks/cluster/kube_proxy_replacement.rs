//! Services in BPF instead of kube-proxy's rules.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cilium_side::{cilium, floor, on};
use crate::cilium::told;
use crate::model::facts::{Chain, Cilium, Fact};
use crate::model::helm;
use crate::model::helm::{HelmValue, KPR, KPR_WORD, SOCKET_LB_HOST};
use crate::model::{Context, Desired, Live, Need, Side, Tweak, Warning};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "kube-proxy-replacement",
    side: Side::Cilium,
    summary: "kubeProxyReplacement=true: services in BPF, and socket LB with it",
    doc: Doc {
        what: "A service is one lookup in a hash map, at connect() already where the client is on the \
               node (socket LB), instead of a walk through rule lists.",
        cost: "Rules that kube-proxy left behind stay until they are removed. Changing it on a live \
               cluster cuts connections to services. The agent must reach the API server without \
               kube-proxy (k8sServiceHost, k8sServicePort).",
        needs: "the kernel floor of the Cilium release; cgroup2 and CONFIG_CGROUP_BPF; a NodePort range \
                below the end of ip_local_port_range; BPF JIT",
        impact: "bypass",
        source: "Cilium kubeproxy-free.rst, system_requirements.rst",
    },
    lever: lever::<KubeProxyReplacement>(),
    more: More {
        keys: &[&helm::KPR_WORD, &helm::KPR, &helm::SOCKET_LB_HOST],
        told: &[
            told::KPR,
            &[
                "socket-lb",
                "socket-lb-host",
                "bpf-lb-sock-hostns-only",
                "node-port-range",
                "enable-auto-protect-node-port-range",
                "enable-ipv6",
            ],
        ],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct KubeProxyReplacement {
    /// "full", or "host": not for the sockets of pods, as Istio, KubeVirt, Kata and gVisor need it
    socket_lb: SocketLb,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum SocketLb {
    #[default]
    Full,
    Host,
}

/// Cilium's own default; its key is enable-node-port's node-port-range.
const NODE_PORTS: (u32, u32) = (30_000, 32_767);

fn node_ports(cx: &Context) -> (u32, u32) {
    let own = cilium(cx).and_then(|c| c.key("node-port-range"));
    let numbers = own.and_then(|text| text.split_once([',', ' ', '-']));
    let parsed = numbers.and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    parsed.unwrap_or(NODE_PORTS)
}

impl KubeProxyReplacement {
    fn ports(cx: &Context) -> Option<Need> {
        let (first, last) = node_ports(cx);
        let (low, high) = cx.facts.preflight.local_ports?;
        if first > high {
            let why = format!(
                "NodePorts {first}-{last} lie above ip_local_port_range {low}-{high}, \
                               with which the agent does not start"
            );
            let fix = format!("raise the end of net.ipv4.ip_local_port_range over {last}");
            return Some(Need::blocked("port-range", why, fix));
        }
        let reserved = cx.facts.preflight.reserved_ports.as_deref().unwrap_or_default();
        let covers = |r: &str| {
            let (a, b) = r.split_once('-').unwrap_or((r, r));
            a.parse().is_ok_and(|a: u32| a <= first) && b.parse().is_ok_and(|b: u32| b >= last)
        };
        let protected = reserved.split(',').any(covers);
        let protects = cilium(cx)
            .and_then(|c| c.key("enable-auto-protect-node-port-range"))
            .is_none_or(|v| v == "true");
        if low <= last && !protected && !protects {
            let why = format!(
                "NodePorts {first}-{last} overlap ip_local_port_range {low}-{high} \
                               and are not reserved, with which the agent does not start"
            );
            let fix = format!("net.ipv4.ip_local_reserved_ports = {first}-{last}");
            return Some(Need::blocked("port-range", why, fix));
        }
        None
    }
}

/// A table of each kind, where both have some: iptables over nf_tables calls its tables and chains as
/// the legacy one does.
fn both_iptables<'a>(cx: &Context<'a>) -> Option<(&'a str, &'a str)> {
    let netfilter = &cx.facts.netfilter;
    let own = |c: &&Chain| {
        let named = ["filter", "nat", "mangle", "raw", "security"].contains(&c.table.as_str());
        named
            && c.rules > 0
            && matches!(c.family.as_str(), "ip" | "ip6")
            && c.chain.chars().all(|x| x.is_ascii_uppercase())
    };
    let nft = netfilter.chains.known()?.iter().find(own)?;
    Some((netfilter.legacy.known()?.first()?, &nft.table))
}

impl Tweak for KubeProxyReplacement {
    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        Ok(Vec::new())
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs = vec![floor(cx)];
        let config = &cx.facts.kernel.config;
        for (option, name, what) in [
            ("CGROUP_BPF", "cgroup-bpf", "BPF programs on cgroups"),
            ("BPF_SYSCALL", "bpf-syscall", "the bpf() call"),
            ("BPF_JIT", "bpf-jit", "a BPF JIT"),
            ("NET_CLS_BPF", "cls-bpf", "BPF classifiers"),
            ("NET_SCH_INGRESS", "sch-ingress", "the ingress qdisc"),
        ] {
            match config.get(option) {
                Some(v) if v == "n" => {
                    needs.push(Need::unsupported(
                        name,
                        format!("this kernel is built without {what}"),
                    ));
                }
                Some(_) => needs.push(Need::met(name)),
                None => {}
            }
        }
        match &cx.facts.preflight.filesystems {
            Fact::Known(known) if known.is_empty() => {}
            Fact::Known(known) => {
                for name in ["cgroup2", "bpf"] {
                    if !known.iter().any(|k| k == name) {
                        let why = format!("this kernel has no {name} file system");
                        needs.push(Need::unsupported("filesystem", why));
                    }
                }
            }
            Fact::Unknown { unknown } => {
                needs.push(Need::unknown("filesystem", unknown.clone(), None));
            }
        }
        needs.extend(Self::ports(cx));
        if on(cx, "enable-ipv6") && !cx.facts.preflight.inet6 {
            let why =
                "Cilium is to have IPv6, and this node has no /proc/net/if_inet6: the agent stops";
            let fix = "boot without ipv6.disable=1, or ipv6.enabled=false";
            needs.push(Need::blocked("inet6", why, fix));
        }
        needs
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        let cilium = cilium(cx);
        let now = cilium.and_then(|c| match c.kpr() {
            // The old word for it means the same.
            Some(true) => Some("true".to_string()),
            _ => c.live.kube_proxy_replacement.clone(),
        });
        let host = cilium.and_then(|c| c.live.socket_lb.as_deref()) == Some("host");
        Some(match (self.socket_lb, host, now) {
            (SocketLb::Host, true, now) => {
                Live::new(now.map(|n| n + ", socket LB of the host"), "true, socket LB of the host")
            }
            (SocketLb::Host, false, now) => Live::new(now, "true, socket LB of the host"),
            (SocketLb::Full, _, now) => Live::new(now, "true"),
        })
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let live = cilium(cx).and_then(Cilium::kpr) == Some(true);
        if live && cx.facts.agents.kube_proxy_rules.known() == Some(&true) {
            let text = "rules of kube-proxy are still there and are not removed for you";
            let fix = "remove kube-proxy and reboot, or run its --cleanup once";
            warnings.push(Warning::new("kube-proxy-rules", text).fix(fix));
        }
        if cx.facts.agents.firewalld.pid.is_some() {
            let text = "firewalld runs: its forward policy drops pods' packets in a table of its own, \
                        which no rule of Cilium's can undo";
            let fix = "stop and mask firewalld";
            warnings.push(Warning::new("firewalld", text).fix(fix));
        }
        if let Some((legacy, nft)) = both_iptables(cx) {
            let text = format!(
                "iptables is in use in both its kinds, legacy (table {legacy}) and nf_tables (table \
                                {nft}): an agent that meets rules of the other kind can stop"
            );
            let fix = "let all use one kind: iptables-save and iptables-legacy-save show whose rules they are";
            warnings.push(Warning::new("iptables-both", text).fix(fix));
        }
        let istio = cx.facts.preflight.istio.is_some();
        if istio && self.socket_lb == SocketLb::Full {
            let text = "Istio must see service addresses, which socket LB replaces in the pod";
            let fix = "kube-proxy-replacement.socket-lb = \"host\"";
            warnings.push(Warning::new("istio-socket-lb", text).fix(fix));
        }
        let diag = cx.facts.kernel.config.get("INET_DIAG_DESTROY");
        if diag.is_some_and(|v| v == "n") {
            let text =
                "without CONFIG_INET_DIAG_DESTROY sockets to a backend that is gone stay open";
            warnings.push(Warning::new("inet-diag-destroy", text));
        }
        warnings
    }

    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        let mut values = vec![KPR_WORD.is("strict"), KPR.is("true")];
        if self.socket_lb == SocketLb::Host {
            values.push(SOCKET_LB_HOST.is("true"));
        }
        values
    }
}
