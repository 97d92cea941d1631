//! Where values are written, as far as they are files: places that a container often has read-only. And which
//! of them are the whole machine's, whatever network namespace writes them.

use super::Resource;
use super::facts::Facts;

/// Each may be a mount of its own; what lies below two belongs to the longer.
pub const PLACES: [&str; 12] = [
    "/etc",
    "/proc/irq",
    "/proc/sys",
    "/proc/sys/kernel",
    "/proc/sys/net",
    "/proc/sys/net/core",
    "/proc/sys/net/ipv4",
    "/proc/sys/net/ipv6",
    "/proc/sys/vm",
    "/sys",
    "/sys/fs/bpf",
    "/sys/kernel/debug",
];

/// The place that a write of the resource would need, and that is mounted read-only here.
pub fn read_only(resource: &Resource, facts: &Facts) -> Option<&'static str> {
    let path = file(resource)?;
    let beneath = |place: &&&str| {
        path.strip_prefix(**place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let nearest = PLACES.iter().filter(beneath).max_by_key(|place| place.len())?;
    let closed = |place: &&&str| facts.node.read_only.iter().any(|p| p == **place);
    // Of one mount all places below it are told: the uppermost is its name.
    let named = PLACES.iter().filter(beneath).filter(closed).min_by_key(|place| place.len());
    closed(&nearest).then_some(*named?)
}

/// One value for all network namespaces: in another than the first the kernel refuses it, or changes it for
/// everybody. What D-Bus and files of the node hold is of the root that is looked at.
pub fn machine_wide(resource: &Resource) -> bool {
    match resource {
        Resource::Sysctl { key } => sysctl_of_the_machine(key),
        Resource::Sysfs { path } => !path.starts_with("class/net/"),
        Resource::IrqDefault => true,
        Resource::File { .. }
        | Resource::Unit { .. }
        | Resource::Tuned
        | Resource::IrqbalanceBans
        | Resource::Ethtool { .. }
        | Resource::Rss { .. }
        | Resource::Mtu { .. }
        | Resource::RouteMtu { .. }
        | Resource::LinkSizes { .. }
        | Resource::Qdisc { .. }
        | Resource::Irq { .. }
        | Resource::Nft { .. }
        | Resource::Flow { .. }
        | Resource::Bpf { .. } => false,
    }
}

fn sysctl_of_the_machine(key: &str) -> bool {
    const OF_A_NAMESPACE: [&str; 5] =
        ["optmem_max", "rps_default_mask", "somaxconn", "tstamp_allow_data", "txrehash"];
    let parts: Vec<&str> = key.split('/').collect();
    match parts[..] {
        ["net", "core", name] => !OF_A_NAMESPACE.contains(&name),
        ["net", "ipv4", "tcp_allowed_congestion_control" | "tcp_mem" | "udp_mem"] => true,
        ["net", "netfilter", "nf_conntrack_buckets" | "nf_conntrack_expect_max"] => true,
        ["net", ..] => false,
        _ => true,
    }
}

fn file(resource: &Resource) -> Option<String> {
    match resource {
        Resource::File { path } => Some(path.clone()),
        Resource::Sysctl { key } => Some(format!("/proc/sys/{key}")),
        Resource::Sysfs { path } => Some(format!("/sys/{path}")),
        Resource::Irq { .. } | Resource::IrqDefault => Some("/proc/irq".to_string()),
        Resource::Bpf { .. } => Some("/sys/fs/bpf".to_string()),
        // An enablement is a link below /etc; systemd writes it, which may see another /etc.
        Resource::Unit { .. }
        | Resource::Tuned
        | Resource::IrqbalanceBans
        | Resource::Ethtool { .. }
        | Resource::Rss { .. }
        | Resource::Mtu { .. }
        | Resource::RouteMtu { .. }
        | Resource::LinkSizes { .. }
        | Resource::Qdisc { .. }
        | Resource::Nft { .. }
        | Resource::Flow { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_below_a_read_only_one_is_its_own() {
        let mut facts = Facts::default();
        let beneath = PLACES.iter().filter(|place| place.starts_with("/proc/sys"));
        facts.node.read_only = beneath.chain(&["/sys"]).map(|place| place.to_string()).collect();
        let of = |text: &str| read_only(&text.parse().unwrap(), &facts);
        assert_eq!(of("sysctl:net.core.somaxconn"), Some("/proc/sys"));
        assert_eq!(of("sysfs:class/net/eth0/queues/tx-0/xps_cpus"), Some("/sys"));
        assert_eq!(of("sysfs:kernel/debug/sched/preempt"), None);
        assert_eq!(of("irq:default"), None);
        assert_eq!(of("file:/etcetera/x"), None);
        assert_eq!(of("mtu:eth0"), None);
        facts.node.read_only = vec!["/proc/sys/net".into(), "/proc/sys/net/core".into()];
        let of = |text: &str| read_only(&text.parse().unwrap(), &facts);
        assert_eq!(of("sysctl:net.core.somaxconn"), Some("/proc/sys/net"));
        assert_eq!(of("sysctl:net.ipv4.tcp_rmem"), None);
        assert_eq!(of("sysctl:vm.swappiness"), None);
    }
}
