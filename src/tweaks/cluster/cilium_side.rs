//! What several levers ask of Cilium and of the node for it, and the cluster's side of host routing.
//! Pure, from facts alone.

use crate::model::facts::{Attached, Cilium, Fact, Link};
use crate::model::features::{self, Feature};
use crate::model::helm::{HOST_LEGACY, HelmValue, TCX};
use crate::model::{Context, Live, Need, Probe, Warning};

/// The newest released Cilium whose documents were read.
pub const NEWEST: (u32, u32) = (1, 20);

pub fn cilium<'a>(cx: &Context<'a>) -> Option<&'a Cilium> {
    cx.facts.agents.cilium.as_ref()
}

/// (major, minor) of the Cilium here, else of the newest: for what is asked of it. What an agent that is here
/// does or refuses goes by `Cilium::before`, which takes no version for granted.
pub fn release(cx: &Context) -> (u32, u32) {
    cilium(cx).and_then(Cilium::release).unwrap_or(NEWEST)
}

pub fn on(cx: &Context, key: &str) -> bool {
    cilium(cx).is_some_and(|c| c.on(key))
}

/// The devices that Cilium uses: those it names, else the uplinks.
pub fn devices<'a>(cx: &Context<'a>) -> Vec<&'a Link> {
    let named: Vec<&Link> = cilium(cx)
        .map(|c| c.live.devices.iter().filter_map(|name| cx.facts.link(name)).collect())
        .unwrap_or_default();
    if named.is_empty() { cx.uplinks() } else { named }
}

/// The agent refuses to start on an older kernel. Levers that stand on one that asks this need not
/// ask it again.
pub fn floor(cx: &Context) -> Need {
    let since = match release(cx) {
        (1, 0..=15) => (4, 19),
        (1, 16..=17) => (5, 4),
        _ => (5, 10),
    };
    let release = &cx.facts.kernel.release;
    if release.is_empty() {
        return Need::unknown("kernel-floor", "the kernel's release could not be read", None);
    }
    // Red Hat brings what Cilium probes for to its 4.18.
    if release.contains(".el8") || cx.facts.kernel_version() >= since {
        return Need::met("kernel-floor");
    }
    let why = format!("this Cilium needs kernel {}.{}, this is {release}", since.0, since.1);
    Need::unsupported("kernel-floor", why).since(since)
}

/// What the kernel answered. Who may not ask it (an ordinary user) has its release to go by: what is
/// as new as `since` has it, what is older may have it from its distribution.
pub fn helper(cx: &Context, name: &'static str, answer: &Fact<bool>, feature: &Feature) -> Need {
    let Feature { what, since, .. } = *feature;
    let release = &cx.facts.kernel.release;
    match answer {
        Fact::Known(true) => Need::met(name),
        Fact::Known(false) => {
            let why = format!("kernel {release} does not have {what}");
            Need::unsupported(name, why).since(since)
        }
        Fact::Unknown { .. } if cx.facts.kernel_version() >= since => Need::met(name),
        Fact::Unknown { unknown } => {
            let why = format!("whether kernel {release} has {what}: {unknown}");
            Need::unknown(name, why, Some("sudo nettune check"))
        }
    }
}

pub fn no_chaining(cx: &Context) -> Option<Need> {
    let plugins = &cx.facts.preflight.cni_plugins;
    // Its own configuration begins with its own plugin.
    let chained = plugins.iter().any(|p| p == "cilium-cni")
        && plugins.first().is_some_and(|p| p != "cilium-cni");
    if !chained && !cilium(cx).is_some_and(Cilium::chained) {
        return None;
    }
    let who = plugins.first().filter(|p| *p != "cilium-cni").map_or("another CNI", |p| p);
    let why = format!("Cilium is chained behind {who}, and its chart then forces this off");
    Some(Need::blocked("cni-chaining", why, "let Cilium be the only CNI (cni.exclusive)"))
}

pub fn ipsec(cx: &Context) -> bool {
    cilium(cx).is_some_and(Cilium::ipsec)
}

/// Whether tunnel devices take more than 64 KiB here: by one that is there, or by BIG TCP that the agent has
/// beside one.
pub fn tunnel_takes_more(cx: &Context) -> Option<bool> {
    let devices = ["cilium_vxlan", "cilium_geneve"];
    let device = devices.iter().find_map(|name| cx.facts.link(name));
    if let Some(device) = device {
        return Some(device.sizes.tso_max.is_some_and(|n| n > OLD_LIMIT));
    }
    let live = &cilium(cx)?.live;
    live.big_tcp_v4.max(live.big_tcp_v6).is_some_and(|n| n > OLD_LIMIT).then_some(true)
}

/// GSO and GRO end here without BIG TCP.
pub const OLD_LIMIT: u32 = 65_536;

/// Whether the agent refuses BIG TCP for that way of telling a backend of the client: up to 1.20 by the word
/// alone, from 1.21 geneve only where the kernel has no BIG TCP for tunnels.
pub fn excludes_big_tcp(cx: &Context, dispatch: &str) -> bool {
    match dispatch {
        "ipip" => true,
        "geneve" => release(cx) < (1, 21) || tunnel_takes_more(cx) == Some(false),
        _ => false,
    }
}

/// Host routing as it is, where that is known.
pub fn routed(cx: &Context) -> Option<bool> {
    let cilium = cilium(cx)?;
    cilium.live.host_routing.as_deref().map(|m| m == "BPF").or(cilium.host_routing)
}

/// What the node must have for BPF host routing, apart from the levers it stands on.
pub fn host_routing_needs(cx: &Context) -> Vec<Need> {
    let bpf = &cx.facts.bpf;
    let mut needs = vec![
        helper(cx, "redirect-peer", &bpf.redirect_peer, &features::REDIRECT_PEER),
        helper(cx, "redirect-neigh", &bpf.redirect_neigh, &features::REDIRECT_NEIGH),
    ];
    needs.dedup_by(|a, b| a.probe != Probe::Met && b.probe != Probe::Met);
    needs.extend(no_chaining(cx));
    if let Some(why) = &cx.facts.preflight.istio {
        let why = format!("Istio's rules in netfilter would be passed by: {why}");
        let fix = "keep bpf.hostLegacyRouting=true on nodes with Istio";
        needs.push(Need::blocked("istio", why, fix));
    }
    if cilium(cx).is_some_and(|c| c.ipsec() && c.before(19)) {
        let why = "with IPsec Cilium before 1.19 falls back to legacy routing";
        needs.push(Need::blocked("ipsec", why, "Cilium 1.19, or encryption by WireGuard"));
    }
    needs
}

pub const HOST_ROUTING_STONES: &[&str] = &["kube-proxy-replacement", "bpf-masquerade"];
/// For what stands on host routing, whether that lever is in this version or not.
pub const ON_HOST_ROUTING: &[&str] = &["host-routing", "kube-proxy-replacement", "bpf-masquerade"];

pub fn host_routing_live(cx: &Context) -> Live {
    let now = routed(cx).map(|bpf| if bpf { "BPF" } else { "Legacy" });
    Live::new(now, "BPF").because(legacy_because(cx).filter(|_| now == Some("Legacy")))
}

/// Why the agent fell back, as far as it tells.
pub fn legacy_because(cx: &Context) -> Option<String> {
    let cilium = cilium(cx)?;
    let told = cilium.said.contains_key("host-legacy") || cilium.key(LEGACY).is_some();
    match cilium.falls_back() {
        Some(why) => Some(why),
        None if cilium.legacy_by_hand() => Some(format!("{LEGACY} is set")),
        None if told => Some(
            "nothing in its configuration says why: the agent was not restarted since it changed"
                .into(),
        ),
        None => None,
    }
}

const LEGACY: &str = "enable-host-legacy-routing";

pub fn host_routing_advice() -> Vec<HelmValue> {
    vec![HOST_LEGACY.is("false"), TCX.is("true")]
}

pub fn host_routing_warnings(cx: &Context) -> Vec<Warning> {
    let live = cilium(cx).map(|c| &c.live);
    let mut warnings = Vec::new();
    let tc = live.and_then(|l| l.attach_mode.as_deref()) == Some("tc");
    if tc && cx.facts.bpf.tcx.known() == Some(&true) {
        let text = "programs are attached by tc filters, which tcx of this kernel would not need";
        warnings.push(Warning::new("tcx", text).fix("bpf.enableTCX=true"));
    }
    warnings.extend(misplaced(cx));
    warnings
}

/// Programs of Cilium that are twice at a hook, and filters of others that come too late.
fn misplaced(cx: &Context) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let seen = |l: &&Link| l.programs.known().is_some_and(|all| !all.is_empty());
    let devices: Vec<&str> = devices(cx).iter().map(|l| l.name.as_str()).collect();
    let (mut twice, mut late) = (Vec::new(), Vec::new());
    for link in cx.facts.links.iter().filter(seen) {
        let all = link.programs.known().map_or(&[][..], Vec::as_slice);
        let own = |p: &Attached| p.owner.as_deref() == Some("Cilium");
        let same = |a: &Attached| all.iter().filter(|b| *b == a).count() > 1;
        twice.extend(all.iter().find(|p| own(p) && same(p)).map(|p| (link, p)));
        let tcx = all.iter().any(|p| own(p) && p.hook == "tcx ingress");
        let theirs = |p: &&Attached| !own(p) && p.hook == "tc ingress";
        if tcx && devices.contains(&link.name.as_str()) {
            late.extend(all.iter().find(theirs).map(|p| (link, p)));
        }
    }
    let more =
        |n: usize| if n > 1 { format!(" (and on {} more links)", n - 1) } else { String::new() };
    if let Some((link, program)) = twice.first() {
        let (name, hook) = (&program.name, &program.hook);
        let text = format!(
            "{}: {name} is there twice at {hook}, left by an agent that stopped{}",
            link.name,
            more(twice.len())
        );
        let fix = "bpftool link detach id N of the older one, or reboot the node";
        warnings.push(Warning::new("tcx-twice", text).fix(fix));
    }
    if let Some((link, program)) = late.first() {
        let text = format!(
            "{}: {} at tc ingress comes after Cilium's tcx program and misses what that takes{}",
            link.name,
            program.name,
            more(late.len())
        );
        let fix = "attach it by tcx before Cilium's, or bpf.enableTCX=false";
        warnings.push(Warning::new("tc-after-tcx", text).fix(fix));
    }
    warnings
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::model::Facts;
    use crate::model::facts::CiliumLive;

    pub fn facts(kernel: &str) -> Facts {
        let mut facts = Facts::default();
        facts.kernel.release = kernel.into();
        facts
    }

    pub fn with(kernel: &str, config: &[(&str, &str)], live: CiliumLive) -> Facts {
        let mut facts = facts(kernel);
        let config = config.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let version = Some("1.18.4".to_string());
        facts.agents.cilium =
            Some(Cilium { version, live, config: Fact::Known(config), ..Cilium::default() });
        facts
    }

    pub fn codes(needs: &[Need]) -> Vec<&str> {
        let unmet = needs.iter().filter(|n| n.probe != crate::model::Probe::Met);
        unmet.map(|n| n.name).collect()
    }

    #[test]
    fn why_host_routing_is_legacy() {
        let live = |kpr: &str, masq: &str| CiliumLive {
            host_routing: Some("Legacy".into()),
            kube_proxy_replacement: Some(kpr.into()),
            masquerading: Some(masq.into()),
            ..CiliumLive::default()
        };
        for (config, live, why) in [
            (&[][..], live("false", "iptables"), "kube-proxy replacement is off"),
            (&[], live("true", "iptables"), "masquerading is by iptables"),
            (
                &[("enable-host-legacy-routing", "true")],
                live("true", "BPF"),
                "enable-host-legacy-routing is set",
            ),
            (
                &[("enable-ipsec", "true")],
                live("true", "BPF"),
                "IPsec forces it before Cilium 1.19",
            ),
        ] {
            let facts = with("6.12.40", config, live);
            let cx = Context::new(&facts, &[]);
            assert_eq!(host_routing_live(&cx).because.as_deref(), Some(why));
        }
    }

    #[test]
    fn what_host_routing_needs_of_the_node() {
        let mut facts = facts("4.19.300");
        facts.bpf.redirect_peer = Fact::Known(false);
        facts.bpf.redirect_neigh = Fact::Known(false);
        let of = |f: &Facts| {
            codes(&host_routing_needs(&Context::new(f, &[])))
                .into_iter()
                .map(str::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&facts), ["redirect-peer"]);
        // A distribution brought it back.
        facts.bpf.redirect_peer = Fact::Known(true);
        facts.bpf.redirect_neigh = Fact::Known(true);
        assert!(of(&facts).is_empty());
        // An ordinary user cannot ask.
        facts.bpf = crate::model::facts::Bpf::default();
        assert_eq!(of(&facts), ["redirect-peer"]);
        facts.kernel.release = "6.12.40".into();
        assert!(of(&facts).is_empty());
        facts.preflight.istio = Some("x".into());
        facts.preflight.cni_plugins = vec!["aws-cni".into(), "cilium-cni".into()];
        assert_eq!(of(&facts), ["cni-chaining", "istio"]);
    }
}
