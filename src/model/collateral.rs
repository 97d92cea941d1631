//! What a change disturbs besides what it sets. Seen on real kernels: docs/quirks.md has the list.

use super::bpf::Hook;
use super::facts::{Facts, Link};
use super::group::Disturbs;
use super::uplinks::above;
use super::{Change, Group, Resource, State};

/// Resources whose value the kernel may change when `changed` is written. The engine reads them
/// before and puts them back after, so a name too many costs a read and a name too few a value.
pub fn disturbs(changed: &Resource, facts: &Facts) -> Vec<Resource> {
    match changed {
        Resource::Ethtool { link, group } => match group.row().disturbs {
            Disturbs::Queues => queues(link, facts),
            Disturbs::Rss => vec![Resource::Rss { link: link.clone() }],
            Disturbs::Nothing => Vec::new(),
        },
        // Some drivers make all of their queues anew for a first program (ena, mlx5, ice, virtio_net).
        Resource::Bpf { link, hook: Hook::Xdp } => queues(link, facts),
        // The kernel writes the new MTU into the link's IPv6 MTU and into every route of it, and no
        // link that stands on it keeps a larger one.
        Resource::Mtu { link } => {
            let of = |name: &str| Resource::Mtu { link: name.to_string() };
            let rss = Resource::Rss { link: link.clone() };
            // A default fq_codel keeps the quantum of the MTU that it was made under.
            let qdisc = Resource::Qdisc { link: link.clone() };
            let default = Resource::sysctl("net.core.default_qdisc");
            let above = above(facts, link);
            let uppers = above.iter().map(|l| of(&l.name));
            let told =
                facts.link(link).into_iter().chain(above.iter().copied()).flat_map(told_of_mtu);
            // What a link above has goes back before what the kernel writes with it.
            [rss, qdisc, default].into_iter().chain(uppers).chain(told).collect()
        }
        // The kernel makes the new default by today's default_qdisc, so the old one may have to be
        // set for the moment of the delete.
        Resource::Qdisc { .. } => vec![Resource::sysctl("net.core.default_qdisc")],
        // Every policy is made anew, with the driver's own governor and limits.
        Resource::Sysfs { .. } if changed.pstate() => {
            const FILES: [&str; 4] = [
                "scaling_governor",
                "energy_performance_preference",
                "scaling_min_freq",
                "scaling_max_freq",
            ];
            let path = |policy: &str, file| {
                Resource::sysfs(format!("devices/system/cpu/cpufreq/{policy}/{file}"))
            };
            let policies = facts.cpus.cpufreq.iter();
            policies.flat_map(|p| FILES.map(|file| path(&p.name, file))).collect()
        }
        // With governor performance the driver fixes the EPP.
        Resource::Sysfs { path } if path.ends_with("/scaling_governor") => {
            let epp = path.replace("/scaling_governor", "/energy_performance_preference");
            vec![Resource::sysfs(epp)]
        }
        // Its boot loader plugin keeps boot arguments there, and does not take all of them back.
        Resource::Tuned => vec![Resource::File { path: "/etc/tuned/bootcmdline".into() }],
        Resource::Sysctl { .. }
        | Resource::Sysfs { .. }
        | Resource::Irq { .. }
        | Resource::IrqDefault
        | Resource::Rss { .. }
        | Resource::RouteMtu { .. }
        | Resource::LinkSizes { .. }
        | Resource::Bpf { hook: Hook::Ingress, .. }
        | Resource::Nft { .. }
        | Resource::Flow { .. }
        | Resource::File { .. }
        | Resource::Unit { .. }
        | Resource::IrqbalanceBans => Vec::new(),
    }
}

/// New queues come up with RPS and XPS at 0 and with vectors where the driver likes them.
fn queues(link: &str, facts: &Facts) -> Vec<Resource> {
    let Some(facts) = facts.link(link) else { return Vec::new() };
    let queue = |dir: &str, n: u32, file: &str| {
        Resource::sysfs(format!("class/net/{link}/queues/{dir}-{n}/{file}"))
    };
    let rx = (0..facts.rx_queues)
        .flat_map(|n| [queue("rx", n, "rps_cpus"), queue("rx", n, "rps_flow_cnt")]);
    let tx =
        (0..facts.tx_queues).flat_map(|n| [queue("tx", n, "xps_cpus"), queue("tx", n, "xps_rxqs")]);
    let irqs = facts.vectors.known().into_iter().flatten();
    let irqs = irqs.map(|v| Resource::Irq { link: link.to_string(), vector: v.irq });
    let coalesce = Resource::Ethtool { link: link.to_string(), group: Group::Coalesce };
    let rss = Resource::Rss { link: link.to_string() };
    // A default qdisc made under fewer channels has pfifo_fast for the queues beyond them.
    let qdisc = Resource::Qdisc { link: link.to_string() };
    let default = Resource::sysctl("net.core.default_qdisc");
    rx.chain(tx).chain(irqs).chain([coalesce, rss, qdisc, default]).collect()
}

/// Whether what is disturbed belongs to the change while it stands, and goes back with it.
pub fn belongs(cause: &Resource) -> bool {
    *cause == Resource::Tuned
}

/// What the kernel writes a link's new MTU into.
fn told_of_mtu(link: &Link) -> impl Iterator<Item = Resource> {
    let conf = Resource::Sysctl { key: format!("net/ipv6/conf/{}/mtu", link.name) };
    let route = |r: &String| Resource::RouteMtu { link: link.name.clone(), route: r.clone() };
    [conf].into_iter().chain(link.mtu_routes.iter().map(route))
}

/// Whether what is disturbed only follows the change: an IPv6 MTU that was the link's MTU becomes
/// the link's MTU, and putting the old one back would be the disturbance. An ipvlan has no MTU of its
/// own in the same way.
pub fn follows(change: &Change, disturbed: &Resource, state: &State, facts: &Facts) -> bool {
    let Resource::Mtu { link: lower } = &change.resource else { return false };
    let is_mtu_of = |link: &Link| *state == State::is(link.mtu.to_string());
    match disturbed {
        Resource::Sysctl { .. } => match disturbed.link().filter(|name| name != lower) {
            None => *state == change.before,
            Some(upper) => facts.link(upper).is_some_and(is_mtu_of),
        },
        Resource::Mtu { link } => {
            let upper = facts.link(link);
            upper.is_some_and(|l| l.is_a(&["ipvlan", "ipvtap"])) && *state == change.before
        }
        _ => false,
    }
}
