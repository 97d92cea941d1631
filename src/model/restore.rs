//! Whether an old value still fits when its time comes to be put back.

use super::cpulist;
use super::facts::{Facts, Link};
use super::typed::qdisc::Qdisc;
use super::uplinks::above;
use super::{Resource, State, typed};

/// None when `baseline` may be written; else why the resource is released as it is instead.
/// `goes_too` are resources that go back in the same run.
pub fn no_longer_fits(
    resource: &Resource,
    baseline: &State,
    facts: &Facts,
    goes_too: impl Fn(&Resource) -> bool,
) -> Option<String> {
    let number = || baseline.text().and_then(|t| t.parse::<u64>().ok());
    match resource {
        Resource::Sysctl { key } if key == "net/netfilter/nf_conntrack_max" => {
            let live = facts.netfilter.conntrack.as_ref()?.count;
            let old = number()?;
            (old < live)
                .then(|| format!("{live} connections are tracked, more than the old limit {old}"))
        }
        // The kernel takes no vector to CPUs that are all offline.
        Resource::Irq { .. } => {
            let old = cpulist::parse(baseline.text()?)?;
            let online = cpulist::parse(&facts.cpus.online)?;
            (!online.is_empty() && old.is_disjoint(&online))
                .then(|| format!("its old CPUs {baseline} are offline"))
        }
        // A pod whose interface is larger than the uplink would send what no longer leaves the node.
        Resource::Mtu { link } => {
            let old = number()?;
            let uplink = facts.link(link)?;
            // An ipvlan has its lower link's MTU, whatever that is.
            let larger = |l: &&&Link| {
                let own = Resource::Mtu { link: l.name.clone() };
                u64::from(l.mtu) > old && !l.is_a(&["ipvlan", "ipvtap"]) && !goes_too(&own)
            };
            if let Some(upper) = above(facts, link).iter().find(larger) {
                return Some(format!(
                    "{} stands on it and uses {}, more than the old {old}",
                    upper.name, upper.mtu
                ));
            }
            if !uplink.default_route {
                return None;
            }
            let pod =
                facts.links.iter().filter(|l| l.other_netns && l.is_a(&["veth", "netkit"]) && l.up);
            let largest = pod.max_by_key(|l| l.mtu)?;
            (facts.live() && u64::from(largest.mtu) > old).then(|| {
                format!("pod link {} uses {}, more than the old {old}", largest.name, largest.mtu)
            })
        }
        Resource::Qdisc { .. } | Resource::Sysctl { .. } => {
            let theirs = matches!(resource, Resource::Qdisc { .. })
                || *resource == Resource::sysctl("net.core.default_qdisc")
                || *resource == Resource::sysctl("net.ipv4.tcp_congestion_control");
            let manager = facts.agents.cilium.as_ref()?.bandwidth_manager;
            (theirs && manager == Some(true))
                .then(|| "Cilium's bandwidth manager has taken it over meanwhile".to_string())
        }
        _ => None,
    }
}

/// The CPU that a file of its own or of its frequency policy went offline with. On older kernels (5.10) the
/// files of a policy without a CPU still answer what they were, and take nothing.
pub fn went_offline(resource: &Resource, now: &State, facts: &Facts) -> Option<String> {
    let Resource::Sysfs { path } = resource else { return None };
    let rest = path.strip_prefix("devices/system/cpu/")?;
    let policy = rest.strip_prefix("cpufreq/policy");
    let cpu: u32 = policy.or_else(|| rest.strip_prefix("cpu"))?.split('/').next()?.parse().ok()?;
    let online = cpulist::parse(&facts.cpus.online).filter(|all| !all.is_empty())?;
    // A policy lives on in the other CPUs that it has.
    let alive = facts.cpus.cpufreq.iter().any(|p| p.name == format!("policy{cpu}"));
    let dead = *now == State::Absent || (policy.is_some() && !alive);
    (dead && !online.contains(cpu)).then(|| format!("CPU {cpu} is offline"))
}

/// The CPU without which a value cannot be what it was, and why that is nobody's change: its files went
/// with it, or the kernel moved a vector that had no other.
pub fn offline(resource: &Resource, wrote: &State, now: &State, facts: &Facts) -> Option<String> {
    if let Some(why) = went_offline(resource, now, facts) {
        return Some(why);
    }
    let online = cpulist::parse(&facts.cpus.online).filter(|all| !all.is_empty())?;
    match resource {
        // virtio_net spreads its queues anew over the CPUs that are left.
        Resource::Sysfs { path } if path.ends_with("/xps_cpus") || path.ends_with("/rps_cpus") => {
            let was = cpulist::from_mask(wrote.text()?).filter(|cpus| !cpus.is_empty())?;
            let gone = || format!("CPU {} is offline", cpulist::format(was.iter()));
            was.is_disjoint(&online).then(gone)
        }
        Resource::Irq { .. } => {
            let (was, is) = (cpulist::parse(wrote.text()?)?, cpulist::parse(now.text()?)?);
            // With the last of its CPUs gone it went to all that were left, and nobody takes it back.
            let pushed = was.is_disjoint(&is) && was.or(&is) == online;
            let cpus = || cpulist::format(was.iter());
            match was.is_disjoint(&online) {
                true => Some(format!("CPU {} is offline", cpus())),
                false => pushed.then(|| format!("CPU {} was offline", cpus())),
            }
        }
        _ => None,
    }
}

/// What a boot under our sysctl drop-in makes of a value that was `wrote` in the boot before it: None
/// where it makes nothing of it. A link gets by default the qdisc that is now the default.
pub fn at_boot(resource: &Resource, baseline: &State, wrote: &State) -> Option<State> {
    match resource {
        Resource::Sysctl { .. } => Some(wrote.clone()),
        Resource::Qdisc { .. } if typed::of::<Qdisc>(baseline)?.by_default => {
            Some(Qdisc { by_default: true, ..typed::of(wrote)? }.into())
        }
        _ => None,
    }
}

/// What stays behind when `before` has gone back: said, because nettune cannot take it back.
pub fn outlives(resource: &Resource, before: &State) -> Option<&'static str> {
    let text = before.text()?;
    match resource {
        Resource::Sysctl { key } if key == "net/ipv4/tcp_congestion_control" && text == "bbr" => {
            Some(
                "network namespaces born meanwhile keep bbr, tcp_bbr stays loaded, and bbr stays in \
             tcp_allowed_congestion_control",
            )
        }
        Resource::Sysctl { key } if key == "net/core/default_qdisc" && text == "fq" => {
            Some("links made meanwhile keep fq, and sch_fq stays loaded")
        }
        Resource::Sysctl { key } if key.starts_with("net/ipv6/conf/default/") => {
            Some("links made meanwhile keep what net.ipv6.conf.default was")
        }
        Resource::Sysctl { key } if key == "net/core/rps_default_mask" => {
            Some("links made meanwhile keep what rps_default_mask was")
        }
        _ => None,
    }
}
