//! Nodes in memory and profiles for them.

use super::*;

/// A link with queues, vectors, a route of its own MTU and an IPv6 MTU set by hand.
pub fn world() -> Memory {
    let vector = |irq: u32, queue: u32| nettune::model::facts::Vector {
        irq,
        name: format!("eth0-TxRx-{queue}"),
        role: nettune::model::facts::Role::Both,
        queue: Some(queue),
        affinity: "0-7".into(),
    };
    let link = Link {
        name: "eth0".into(),
        index: 2,
        bus: Some("pci/0000:00:05.0".into()),
        permanent_mac: Some("02:00:00:00:00:01".into()),
        mtu: 1500,
        max_mtu: 9216,
        rx_queues: 4,
        tx_queues: 4,
        default_route: true,
        mtu_routes: vec!["2001:db8::/64 table 254 metric 1024".into()],
        vectors: Fact::Known((0..4).map(|q| vector(30 + q, q)).collect()),
        ..Link::default()
    };
    let mut facts = Facts { links: vec![link], ..Facts::default() };
    facts.node.boot_id = "boot-1".into();
    facts.node.netns = 4026531840;
    facts.node.first_netns = true;
    let mut host = Memory::new(facts, BTreeMap::new());
    for (resource, state) in [
        ("ethtool:eth0/channels", "rx=0 tx=0 other=0 combined=4"),
        ("ethtool:eth0/rings", "rx=1024 tx=1024"),
        ("rss:eth0", "hash=1 key=6d5a table=default"),
        ("mtu:eth0", "1500"),
        ("sysctl:net.ipv6.conf.eth0.mtu", "1400"),
        ("route-mtu:eth0/2001:db8::/64 table 254 metric 1024", "1300"),
        ("sysctl:net.core.somaxconn", "4096"),
        ("sysctl:net.core.rmem_max", "212992"),
        ("sysctl:net.ipv4.tcp_rmem", "4096 131072 6291456"),
        ("sysctl:net.core.default_qdisc", "fq_codel"),
        ("qdisc:eth0", "default mq fq_codel"),
        ("unit:irqbalance.service/active", "active"),
        ("sysfs:class/net/eth0/queues/tx-0/xps_cpus", "1"),
        ("sysfs:class/net/eth0/queues/tx-1/xps_cpus", "2"),
        ("sysfs:class/net/eth0/queues/tx-2/xps_cpus", "4"),
        ("sysfs:class/net/eth0/queues/tx-3/xps_cpus", "8"),
        ("irq:eth0/30", "0"),
        ("irq:eth0/31", "1"),
        ("irq:eth0/32", "0-3"),
        ("irq:eth0/33", "0-3"),
    ] {
        host.set(resource, state);
    }
    host
}

/// A macvlan on `lower`.
pub fn stacked(name: &str, index: u32, lower: &str, mtu: u32) -> Link {
    Link {
        name: name.into(),
        index,
        parent: Some(lower.into()),
        kind: Some("macvlan".into()),
        mtu,
        ..Link::default()
    }
}

/// Several tweaks over that world that share, disturb and depend.
pub fn profile_a() -> Vec<Selected> {
    profile_a_of("eth0")
}

pub fn profile_a_of(link: &str) -> Vec<Selected> {
    let of = |text: &str| text.replace("eth0", link);
    let field = |k: &str, v: &str| Want::field(k, Want::is(v));
    vec![
        selected(
            "nic",
            Some(Wants(vec![
                want(&of("ethtool:eth0/channels"), field("combined", "2")),
                want(&of("ethtool:eth0/rings"), Want::field("rx", Want::AtLeast("4096".into()))),
            ])),
        ),
        selected("mtu", Some(Wants(vec![want(&of("mtu:eth0"), Want::is("9000"))]))),
        selected(
            "irq",
            Some(Wants(vec![
                want("unit:irqbalance.service/active", Want::is("inactive")),
                want(&of("irq:eth0/30"), Want::is("2")),
                want(&of("irq:eth0/31"), Want::is("3")),
            ])),
        ),
        selected(
            "tcp",
            Some(Wants(vec![
                want("sysctl:net.core.somaxconn", Want::AtLeast("16384".into())),
                want("sysctl:net.core.rmem_max", Want::AtLeast("16777216".into())),
                want("sysctl:net.ipv4.tcp_rmem", Want::AtLeast("4096 87380 16777216".into())),
            ])),
        ),
        selected(
            "fq",
            Some(Wants(vec![
                want("sysctl:net.core.default_qdisc", Want::is("fq")),
                want("sysctl:net.core.somaxconn", Want::AtLeast("8192".into())),
                want(&of("qdisc:eth0"), Want::is("mq fq")),
            ])),
        ),
        selected("notrack", Some(Wants(vec![want("nft:nettune-notrack", Want::is("chain a\n"))]))),
    ]
}

/// Other values, other tweaks.
pub fn profile_b() -> Vec<Selected> {
    profile_b_of("eth0")
}

pub fn profile_b_of(link: &str) -> Vec<Selected> {
    let of = |text: &str| text.replace("eth0", link);
    vec![
        selected("nic", None),
        selected("mtu", Some(Wants(vec![want(&of("mtu:eth0"), Want::is("8000"))]))),
        selected("irq", Some(Wants(vec![want(&of("irq:eth0/30"), Want::is("4"))]))),
        selected(
            "tcp",
            Some(Wants(vec![
                want("sysctl:net.core.somaxconn", Want::AtLeast("2048".into())),
                want("sysctl:net.core.rmem_max", Want::is("4194304")),
            ])),
        ),
        selected("fq", None),
        selected("notrack", Some(Wants(vec![want("nft:nettune-notrack", Want::is("chain b\n"))]))),
    ]
}
