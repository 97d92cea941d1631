//! What packets that go around the stack would no longer meet: what no signature waives, and what the
//! operator may sign for.

use crate::model::facts::{Attached, Bpf, Chain, Fact, Facts, Link};
use crate::model::need::Need;

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

/// Rules that forwarded packets meet; `key` is the setting that signs for them.
pub fn rules(facts: &Facts, key: &str) -> Vec<Need> {
    let mut needs = Vec::new();
    let sign = format!("move these rules, or sign with {key} = true");
    match &facts.netfilter.chains {
        Fact::Unknown { unknown } => {
            needs.push(Need::unknown("netfilter-rules", unknown.clone(), ROOT));
        }
        Fact::Known(chains) => {
            let found: Vec<&Chain> = chains.iter().filter(|c| meets(c)).collect();
            if let [first, rest @ ..] = &found[..] {
                let why = format!(
                    "rules of chain {}{} would no longer be met",
                    named(first),
                    more(rest.len())
                );
                needs.push(Need::blocked("netfilter-rules", why, sign.clone()));
            }
        }
    }
    match &facts.netfilter.legacy {
        Fact::Unknown { unknown } => {
            needs.push(Need::unknown("iptables-legacy", unknown.clone(), ROOT));
        }
        Fact::Known(tables) => {
            if let Some(first) = tables.first() {
                let why =
                    format!("legacy iptables has table {first}, whose rules nettune does not read");
                needs.push(Need::blocked("iptables-legacy", why, sign));
            }
        }
    }
    needs
}

/// A hook on the way through the node, with something to say.
fn meets(chain: &Chain) -> bool {
    let ours = chain.table.starts_with("nettune-");
    let way = matches!(chain.hook.as_str(), "prerouting" | "forward" | "postrouting");
    let family = matches!(chain.family.as_str(), "ip" | "ip6" | "inet");
    !ours && way && family && (chain.rules > 0 || chain.drops)
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
pub fn able(name: &'static str, fact: &Fact<bool>, what: &str, since: &str) -> Option<Need> {
    match fact {
        Fact::Known(true) => None,
        Fact::Known(false) => {
            Some(Need::unsupported(name, format!("this kernel has no {what}")).since(since))
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
