//! What a change disturbs besides what it sets. Seen on real kernels: docs/quirks.md has the list.

use super::bpf::Hook;
use super::facts::Facts;
use super::{Change, Group, Resource, State};

/// Resources whose value the kernel may change when `changed` is written. The engine reads them
/// before and puts them back after, so a name too many costs a read and a name too few a value.
pub fn disturbs(changed: &Resource, facts: &Facts) -> Vec<Resource> {
    match changed {
        // New queues come up with RPS and XPS at 0 and with vectors where the driver likes them; some
        // drivers make all of theirs anew for a first XDP program (ena, mlx5, ice, virtio_net).
        Resource::Ethtool { link, group: Group::Channels }
        | Resource::Bpf { link, hook: Hook::Xdp } => {
            let Some(facts) = facts.link(link) else { return Vec::new() };
            let queue = |dir: &str, n: u32, file: &str| {
                Resource::sysfs(format!("class/net/{link}/queues/{dir}-{n}/{file}"))
            };
            let rx = (0..facts.rx_queues)
                .flat_map(|n| [queue("rx", n, "rps_cpus"), queue("rx", n, "rps_flow_cnt")]);
            let tx = (0..facts.tx_queues).map(|n| queue("tx", n, "xps_cpus"));
            let irqs = facts.vectors.known().into_iter().flatten();
            let irqs = irqs.map(|v| Resource::Irq { link: link.clone(), vector: v.irq });
            let coalesce = Resource::Ethtool { link: link.clone(), group: Group::Coalesce };
            let rss = Resource::Rss { link: link.clone() };
            // A default qdisc made under fewer channels has pfifo_fast for the queues beyond them.
            let qdisc = Resource::Qdisc { link: link.clone() };
            let default = Resource::sysctl("net.core.default_qdisc");
            rx.chain(tx).chain(irqs).chain([coalesce, rss, qdisc, default]).collect()
        }
        // vmxnet3 makes its RSS table anew with its rings, and its rings for a new MTU.
        Resource::Ethtool { link, group: Group::Rings } => {
            vec![Resource::Rss { link: link.clone() }]
        }
        // The kernel writes the new MTU into the link's IPv6 MTU and into every route of it.
        Resource::Mtu { link } => {
            let conf = Resource::Sysctl { key: format!("net/ipv6/conf/{link}/mtu") };
            let routes = facts.link(link).into_iter().flat_map(|l| &l.mtu_routes);
            let route = |r: &String| Resource::RouteMtu { link: link.clone(), route: r.clone() };
            let rss = Resource::Rss { link: link.clone() };
            // A default fq_codel keeps the quantum of the MTU that it was made under.
            let qdisc = Resource::Qdisc { link: link.clone() };
            let default = Resource::sysctl("net.core.default_qdisc");
            [conf, rss, qdisc, default].into_iter().chain(routes.map(route)).collect()
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
        _ => Vec::new(),
    }
}

/// Whether what is disturbed belongs to the change while it stands, and goes back with it.
pub fn belongs(cause: &Resource) -> bool {
    *cause == Resource::Tuned
}

/// Whether what is disturbed only follows the change: an IPv6 MTU that was the link's MTU becomes
/// the link's MTU, and putting the old one back would be the disturbance.
pub fn follows(change: &Change, disturbed: &Resource, state: &State) -> bool {
    matches!((&change.resource, disturbed), (Resource::Mtu { .. }, Resource::Sysctl { .. }))
        && *state == change.before
}
