//! What packets that go around the stack would no longer meet: what no signature waives, and what the
//! operator may sign for.

mod packets;
mod rules;
#[cfg(test)]
mod tests;

use crate::model::Context;
use crate::model::facts::{Attached, Bpf, Chain, Fact, Facts, Link};
use crate::model::features::Feature;
use crate::model::need::Need;
use packets::Packets;
use rules::{Lost, find};

const ROOT: Option<&str> = Some("sudo nettune check");

/// IPsec, rules by what the packet itself does not tell, IPVS, hooks of netdev and bridge.
pub fn never_waived(facts: &Facts) -> Vec<Need> {
    let mut needs = Vec::new();
    let count = |needs: &mut Vec<Need>, name, fact: &Fact<u32>, what: &str, fix: &str| match fact {
        Fact::Known(0) => {}
        Fact::Known(n) => {
            let why = format!("{n} {what}, which these packets would go around");
            needs.push(Need::blocked(name, why, fix));
        }
        Fact::Unknown { unknown } => needs.push(Need::unknown(name, unknown.clone(), ROOT)),
    };
    let routing = &facts.routing;
    let fix = "leave this off where IPsec protects traffic: no signature waives it";
    count(&mut needs, "xfrm", &routing.xfrm_policies, "IPsec policies", fix);
    let fix = "use kube-proxy's iptables or nftables mode, or leave this off";
    count(&mut needs, "ipvs", &routing.ipvs, "IPVS services", fix);
    match &routing.rules {
        Fact::Known(rules) => {
            if let [first, rest @ ..] = &rules[..] {
                let why = format!("{first}{}: a lookup by BPF does not know it", more(rest.len()));
                let fix = "route by address, port or interface instead, or leave this off";
                needs.push(Need::blocked("policy-rules", why, fix));
            }
        }
        Fact::Unknown { unknown } => {
            needs.push(Need::unknown("policy-rules", unknown.clone(), ROOT));
        }
    }
    if let Fact::Known(chains) = &facts.netfilter.chains {
        let early = |c: &&Chain| {
            let device = matches!(c.family.as_str(), "netdev" | "bridge")
                || (c.family == "inet" && c.hook == "hook 5");
            device && !c.hook.is_empty() && (c.rules > 0 || c.drops)
        };
        let found: Vec<&Chain> = chains.iter().filter(early).collect();
        if let [first, rest @ ..] = &found[..] {
            let why = format!("chain {}{} decides before routing", named(first), more(rest.len()));
            let fix = "move its rules to a chain of family inet, or leave this off";
            needs.push(Need::blocked("device-hooks", why, fix));
        }
    }
    needs
}

/// Rules that packets between these links meet; `key` is the setting that signs for them.
pub fn rules<'a>(cx: &Context<'a>, links: Vec<&'a Link>, key: &str) -> Vec<Need> {
    let uplinks = cx.uplinks();
    let is = |all: &[&Link], link: &Link| all.iter().any(|l| l.index == link.index);
    let mut pods = cx.pod_links();
    pods.retain(|p| is(&links, p) && !is(&uplinks, p));
    let packets = Packets::between(cx.facts, links, pods);
    let why = |first: &str, by: Option<&str>| {
        let by = by.map(|by| format!(" (`{by}`)")).unwrap_or_default();
        format!("rules of chain {first} would no longer be met{by}")
    };
    needs(cx.facts, &packets, Lost::Chains, key, why)
}

/// Rules that need the connections of packets from and to these networks.
pub fn tracking(cx: &Context, networks: &[String], key: &str) -> Vec<Need> {
    let packets = Packets::of(cx.facts, networks, cx.pod_links());
    let why = |first: &str, by: Option<&str>| {
        let by = by.map(|by| format!(": rules by `{by}`")).unwrap_or_default();
        format!("connection tracking is needed by chain {first}{by}")
    };
    needs(cx.facts, &packets, Lost::Tracking, key, why)
}

/// Whether pods' packets meet rules that need their connections.
pub fn stateful(cx: &Context) -> Fact<bool> {
    let facts = cx.facts;
    let packets = Packets::of(facts, &facts.agents.pod_cidrs, cx.pod_links());
    match &facts.netfilter.chains {
        Fact::Unknown { unknown } => Fact::unknown(unknown.clone()),
        Fact::Known(chains) if !find(chains, &packets, Lost::Tracking).is_empty() => {
            Fact::Known(true)
        }
        Fact::Known(_) => match unread(facts) {
            Some(Fact::Unknown { unknown }) => Fact::unknown(unknown),
            Some(Fact::Known(table)) => {
                Fact::unknown(format!("rules of legacy table {table} were not read"))
            }
            None => Fact::Known(false),
        },
    }
}

fn needs(
    facts: &Facts,
    packets: &Packets,
    lost: Lost,
    key: &str,
    why: impl Fn(&str, Option<&str>) -> String,
) -> Vec<Need> {
    let mut needs = Vec::new();
    let sign = format!("move these rules, or sign with {key} = true");
    match &facts.netfilter.chains {
        Fact::Unknown { unknown } => {
            needs.push(Need::unknown("netfilter-rules", unknown.clone(), ROOT));
        }
        Fact::Known(chains) => {
            if let [first, rest @ ..] = &find(chains, packets, lost)[..] {
                let name = format!("{}{}", first.chain, more(rest.len()));
                let why = why(&name, first.by.as_deref());
                needs.push(Need::blocked("netfilter-rules", why, sign.clone()));
            }
        }
    }
    match unread(facts) {
        Some(Fact::Unknown { unknown }) => {
            needs.push(Need::unknown("iptables-legacy", unknown, ROOT));
        }
        Some(Fact::Known(table)) => {
            let why = format!("legacy iptables has table {table}, whose rules were not read");
            needs.push(Need::blocked("iptables-legacy", why, sign));
        }
        None => {}
    }
    needs
}

/// A legacy table that is registered and has no row among the chains: read, it has its base chains.
fn unread(facts: &Facts) -> Option<Fact<String>> {
    let tables = match &facts.netfilter.legacy {
        Fact::Unknown { unknown } => return Some(Fact::unknown(unknown.clone())),
        Fact::Known(tables) => tables,
    };
    let chains = facts.netfilter.chains.known();
    let read = |table: &String| {
        let is = |c: &Chain| format!("{} {}", c.family, c.table) == format!("{table} (legacy)");
        chains.is_some_and(|all| all.iter().any(is))
    };
    tables.iter().find(|t| !read(t)).map(|t| Fact::Known(t.clone()))
}

/// Programs of others that would no longer see these packets.
pub fn programs<'a>(links: impl Iterator<Item = &'a Link>, hooks: &[&str]) -> Vec<Need> {
    for link in links {
        match &link.programs {
            Fact::Unknown { unknown } => {
                let error = format!("{}: {unknown}", link.name);
                return vec![Need::unknown("programs", error, ROOT)];
            }
            Fact::Known(all) => {
                let passed = |p: &&Attached| p.behind || hooks.contains(&p.hook.as_str());
                if let Some(found) = all.iter().find(passed) {
                    let owner =
                        found.owner.as_ref().map(|o| format!(" of {o}")).unwrap_or_default();
                    let why = format!(
                        "{}{owner} at {} of {} would no longer see these packets",
                        found.name, found.hook, link.name
                    );
                    let fix = match found.behind {
                        // Ours is put behind all that are there.
                        true => "sudo nettune rollback, then apply again",
                        false => "take it away with the tool that made it, or leave this off",
                    };
                    return vec![Need::blocked("programs", why, fix)];
                }
            }
        }
    }
    Vec::new()
}

/// A thing that the kernel was asked for.
pub fn able(name: &'static str, fact: &Fact<bool>, feature: &Feature) -> Option<Need> {
    match fact {
        Fact::Known(true) => None,
        Fact::Known(false) => {
            let why = format!("this kernel has no {}", feature.what);
            Some(Need::unsupported(name, why).since(feature.since))
        }
        Fact::Unknown { unknown } => Some(Need::unknown(name, unknown.clone(), ROOT)),
    }
}

pub fn file_system(bpf: &Bpf) -> Option<Need> {
    let name = "bpf-fs";
    match &bpf.fs {
        Fact::Known(true) => None,
        Fact::Known(false) => {
            let why = "no BPF file system is mounted at /sys/fs/bpf";
            Some(Need::blocked(name, why, "mount -t bpf bpf /sys/fs/bpf"))
        }
        Fact::Unknown { unknown } => Some(Need::unknown(name, unknown.clone(), ROOT)),
    }
}

fn named(chain: &Chain) -> String {
    format!("{} {} {}", chain.family, chain.table, chain.chain)
}

fn more(rest: usize) -> String {
    if rest == 0 { String::new() } else { format!(" and {rest} more") }
}
