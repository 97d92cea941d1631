//! Settings of Cilium that do not go together, and what the agent makes of them.

use super::contradictions::Rule;

const NO_CT: &str = "install-no-conntrack-iptables-rules";
pub const CIDR: &str = "ipv4-native-routing-cidr";

pub const RULES: &[Rule] = &[
    Rule {
        code: "dsr-dispatch-big-tcp",
        keys: &["bpf-lb-dsr-dispatch", "enable-ipv4-big-tcp", "enable-ipv6-big-tcp"],
        // Asked of the word alone, whatever the mode; from 1.21 geneve goes by what the kernel can.
        when: |s| {
            let excluded = s.dispatch() == "ipip" || (s.dispatch() == "geneve" && s.before(21));
            excluded && s.big_tcp()
        },
        consequence: "DSR by geneve or ipip has devices that end at 64 KiB: an agent that starts anew refuses BIG TCP",
    },
    Rule {
        code: "bbr-without-host-routing",
        keys: &["enable-bbr", "enable-host-legacy-routing"],
        when: |s| s.on("enable-bbr") && !s.on("enable-bbr-hostns-only") && !s.host_routing(),
        consequence: "BBR for pods needs host routing, and this configuration gives legacy routing: an agent that starts anew stops",
    },
    Rule {
        code: "bbr-without-bandwidth-manager",
        keys: &["enable-bbr", "enable-bandwidth-manager"],
        when: |s| s.on("enable-bbr") && !s.on("enable-bandwidth-manager"),
        consequence: "BBR is part of the bandwidth manager, which is off: nothing paces",
    },
    Rule {
        code: "bbr-host-only-without-bbr",
        keys: &["enable-bbr-hostns-only", "enable-bbr"],
        when: |s| s.on("enable-bbr-hostns-only") && !s.on("enable-bbr"),
        consequence: "BBR for the node alone needs enable-bbr as well: the node keeps cubic",
    },
    Rule {
        code: "no-conntrack-tunnel",
        keys: &[NO_CT, "routing-mode"],
        when: |s| s.on(NO_CT) && s.tunnel(),
        consequence: "no-conntrack rules need native routing: an agent that starts anew stops",
    },
    Rule {
        code: "no-conntrack-ipv4-off",
        keys: &[NO_CT, "enable-ipv4"],
        when: |s| s.on(NO_CT) && s.get("enable-ipv4") == "false",
        consequence: "no-conntrack rules are for IPv4, which is off: an agent that starts anew stops",
    },
    Rule {
        code: "no-conntrack-kpr",
        keys: &[NO_CT, "kube-proxy-replacement"],
        when: |s| s.on(NO_CT) && !s.kpr(),
        consequence: "without kube-proxy replacement services need conntrack: an agent that starts anew stops",
    },
    Rule {
        code: "no-conntrack-iptables-masquerade",
        keys: &[NO_CT, "enable-bpf-masquerade"],
        when: |s| s.on(NO_CT) && s.by_iptables(),
        consequence: "masquerading by iptables needs conntrack: an agent that starts anew stops",
    },
    Rule {
        code: "no-conntrack-without-cidr",
        keys: &[NO_CT, CIDR],
        when: |s| s.on(NO_CT) && !s.tunnel() && s.get(CIDR).is_empty(),
        consequence: "without the native CIDR the agent makes no such rule, and says nothing",
    },
    Rule {
        code: "no-conntrack-useless",
        keys: &[NO_CT, "enable-host-legacy-routing"],
        when: |s| s.on(NO_CT) && !s.tunnel() && s.host_routing(),
        consequence: "host routing takes pods' packets past conntrack already: the rules match nothing of theirs",
    },
    Rule {
        code: "dsr-opt-tunnel",
        keys: &["bpf-lb-mode", "bpf-lb-dsr-dispatch", "routing-mode"],
        when: |s| s.dsr() && s.dispatch() == "opt" && s.tunnel(),
        consequence: "DSR by IP option needs native routing: an agent that starts anew stops",
    },
    Rule {
        code: "dsr-geneve-protocol",
        keys: &["bpf-lb-dsr-dispatch", "tunnel-protocol"],
        when: |s| s.dsr() && s.dispatch() == "geneve" && s.get("tunnel-protocol") != "geneve",
        consequence: "DSR by geneve needs tunnel-protocol geneve, also with native routing: an agent that starts anew stops",
    },
    Rule {
        code: "dsr-ipip-without-xdp",
        keys: &["bpf-lb-dsr-dispatch", "bpf-lb-acceleration"],
        when: |s| s.dsr() && s.dispatch() == "ipip" && !s.xdp() && s.before(19),
        consequence: "before Cilium 1.19 DSR by ipip needs XDP acceleration: an agent that starts anew stops",
    },
    Rule {
        code: "dsr-ipip-xdp",
        keys: &["bpf-lb-dsr-dispatch", "bpf-lb-acceleration"],
        when: |s| s.dsr() && s.dispatch() == "ipip" && s.xdp(),
        consequence: "packets of protocols that it does not know are dropped",
    },
    Rule {
        code: "dsr-without-kpr",
        keys: &["bpf-lb-mode", "kube-proxy-replacement"],
        when: |s| s.dsr() && !s.kpr(),
        consequence: "without kube-proxy replacement there is no load balancing to answer directly from",
    },
    Rule {
        code: "lb-annotation-hybrid",
        keys: &["bpf-lb-mode-annotation", "bpf-lb-mode"],
        when: |s| s.on("bpf-lb-mode-annotation") && s.get("bpf-lb-mode") == "hybrid",
        consequence: "the mode by annotation is rejected with mode hybrid: an agent that starts anew stops",
    },
    Rule {
        code: "masquerade-without-kpr",
        keys: &["enable-bpf-masquerade", "kube-proxy-replacement"],
        when: |s| s.on("enable-bpf-masquerade") && s.masquerades() && !s.kpr(),
        consequence: "BPF masquerading stands on BPF NodePort: masquerading fails or an agent that starts anew stops",
    },
    Rule {
        code: "legacy-routing-forced",
        keys: &["enable-host-legacy-routing"],
        when: |s| s.on("enable-host-legacy-routing") && s.kpr() && !s.by_iptables(),
        consequence: "all that host routing stands on is there, and it is switched off by hand",
    },
    Rule {
        code: "legacy-routing-quiet",
        keys: &["enable-host-legacy-routing", "kube-proxy-replacement", "enable-bpf-masquerade"],
        when: |s| s.get("enable-host-legacy-routing") == "false" && !s.host_routing(),
        consequence: "host routing is asked for, and the agent falls back to legacy, with one line in its log at most",
    },
    Rule {
        code: "netkit-legacy-routing",
        keys: &["datapath-mode", "enable-host-legacy-routing"],
        when: |s| s.netkit() && !s.host_routing(),
        consequence: "netkit needs host routing: from 1.20 an agent that starts anew stops, before it gains nothing",
    },
    Rule {
        code: "netkit-tproxy",
        keys: &["datapath-mode", "enable-bpf-tproxy"],
        when: |s| s.netkit() && s.on("enable-bpf-tproxy"),
        consequence: "netkit and bpf.tproxy exclude each other: an agent that starts anew stops",
    },
    Rule {
        code: "datapath-auto",
        keys: &["datapath-mode"],
        when: |s| s.get("datapath-mode") == "auto" && s.before(20),
        consequence: "agents before Cilium 1.20 do not know the mode auto",
    },
    Rule {
        code: "big-tcp-legacy-routing",
        keys: &["enable-ipv4-big-tcp", "enable-ipv6-big-tcp", "enable-host-legacy-routing"],
        when: |s| s.big_tcp() && !s.host_routing(),
        consequence: "BIG TCP needs host routing: an agent that starts anew stops",
    },
    Rule {
        code: "big-tcp-tunnel",
        keys: &["enable-ipv4-big-tcp", "enable-ipv6-big-tcp", "routing-mode"],
        when: |s| {
            let flag = s.version.within(">=1.19 <1.19.3") && !s.on("enable-tunnel-big-tcp");
            s.big_tcp() && s.tunnel() && (s.before(19) || flag)
        },
        consequence: "BIG TCP with a tunnel: before 1.19 an agent that starts anew stops, 1.19.0 to 1.19.2 want enable-tunnel-big-tcp",
    },
    Rule {
        code: "big-tcp-one-family",
        keys: &["enable-ipv4-big-tcp", "enable-ipv6-big-tcp"],
        when: |s| s.on("enable-ipv6") && s.on("enable-ipv4-big-tcp") != s.on("enable-ipv6-big-tcp"),
        consequence: "with one family alone a kernel from 6.7 on gains nothing",
    },
    Rule {
        code: "big-tcp-egress-gateway",
        keys: &["enable-ipv4-big-tcp", "enable-ipv6-big-tcp", "enable-egress-gateway"],
        when: |s| {
            s.big_tcp() && (s.on("enable-egress-gateway") || s.on("enable-ipv4-egress-gateway"))
        },
        consequence: "the egress gateway has a tunnel device, which takes 64 KiB on most kernels: agents 1.19.0 to 1.19.4 loop",
    },
    Rule {
        code: "big-tcp-ipsec",
        keys: &["enable-ipv4-big-tcp", "enable-ipv6-big-tcp", "enable-ipsec"],
        when: |s| s.big_tcp() && s.on("enable-ipsec"),
        consequence: "BIG TCP is not had with IPsec: an agent that starts anew stops",
    },
    Rule {
        code: "bandwidth-manager-ipsec",
        keys: &["enable-bandwidth-manager", "enable-ipsec"],
        when: |s| s.on("enable-bandwidth-manager") && s.on("enable-ipsec"),
        consequence: "with IPsec the agent leaves the bandwidth manager off, with a warning in its log",
    },
    Rule {
        code: "direct-routes-tunnel",
        keys: &["auto-direct-node-routes", "routing-mode"],
        when: |s| s.on("auto-direct-node-routes") && s.tunnel(),
        consequence: "routes to other nodes' pods exclude a tunnel: an agent that starts anew stops",
    },
    Rule {
        code: "native-without-cidr",
        keys: &["routing-mode", CIDR],
        when: |s| {
            let cloud = matches!(s.get("ipam"), "eni" | "alibabacloud" | "azure");
            let cidr = s.get(CIDR);
            let agent = s.on("enable-ip-masq-agent");
            !s.tunnel() && s.masquerades_v4() && cidr.is_empty() && !cloud && !agent
        },
        consequence: "the chart from 1.18 on does not render; before, what pods send to pods of other nodes is masqueraded",
    },
    Rule {
        code: "distributed-lru-without-ratio",
        keys: &["bpf-distributed-lru", "bpf-map-dynamic-size-ratio"],
        when: |s| {
            let ratio = s.get("bpf-map-dynamic-size-ratio").parse::<f64>().unwrap_or(0.0);
            s.on("bpf-distributed-lru") && ratio <= 0.0
        },
        consequence: "a distributed LRU needs a dynamic size ratio: an agent that starts anew stops",
    },
    Rule {
        code: "xdp-without-kpr",
        keys: &["bpf-lb-acceleration", "kube-proxy-replacement"],
        when: |s| s.xdp() && !s.kpr(),
        consequence: "there are no services in BPF to accelerate",
    },
    Rule {
        code: "xdp-ipv6-underlay",
        keys: &["bpf-lb-acceleration", "underlay-protocol"],
        when: |s| s.xdp() && s.tunnel() && s.get("underlay-protocol") == "ipv6",
        consequence: "XDP with a tunnel over IPv6: an agent that starts anew stops",
    },
    Rule {
        code: "xdp-l2-announcements",
        keys: &["bpf-lb-acceleration", "enable-l2-announcements"],
        when: |s| s.xdp() && s.on("enable-l2-announcements"),
        consequence: "ARP answers of L2 announcements may be lost behind XDP",
    },
    Rule {
        code: "xdp-wireguard",
        keys: &["bpf-lb-acceleration", "enable-wireguard", "encrypt-node"],
        when: |s| s.xdp() && s.on("enable-wireguard") && s.on("encrypt-node"),
        consequence: "packets from outside that XDP sends on leave the node unencrypted",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cilium::version::Version;

    fn codes(version: &str, pairs: &[(&str, &str)]) -> Vec<&'static str> {
        let config = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let version = Version::parse(version).unwrap();
        RULES.iter().filter(|r| r.holds(&config, version)).map(|r| r.code).collect()
    }

    const GOOD: [(&str, &str); 6] = [
        ("routing-mode", "native"),
        ("ipv4-native-routing-cidr", "10.244.0.0/16"),
        ("kube-proxy-replacement", "true"),
        ("enable-ipv4-masquerade", "true"),
        ("enable-bpf-masquerade", "true"),
        ("enable-ipv4", "true"),
    ];

    fn with(version: &str, more: &[(&str, &str)]) -> Vec<&'static str> {
        codes(version, &[&GOOD[..], more].concat())
    }

    #[test]
    fn a_configuration_that_agrees_with_itself() {
        assert!(with("1.18", &[]).is_empty());
        let all = [
            ("enable-bandwidth-manager", "true"),
            ("enable-bbr", "true"),
            ("enable-ipv6", "true"),
            ("enable-ipv4-big-tcp", "true"),
            ("enable-ipv6-big-tcp", "true"),
            ("datapath-mode", "netkit"),
            ("bpf-lb-mode", "dsr"),
            ("bpf-lb-acceleration", "best-effort"),
            ("bpf-distributed-lru", "true"),
            ("bpf-map-dynamic-size-ratio", "0.08"),
        ];
        assert!(with("1.20", &all).is_empty());
    }

    #[test]
    fn every_rule_finds_its_pair_and_has_a_code_of_its_own() {
        let tunnel = ("routing-mode", "tunnel");
        let no_ct = (NO_CT, "true");
        let legacy = ("enable-host-legacy-routing", "true");
        let no_kpr = ("kube-proxy-replacement", "false");
        let big = ("enable-ipv4-big-tcp", "true");
        type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
        let cases: &[Case] = &[
            (
                "dsr-dispatch-big-tcp",
                "1.18",
                &[("bpf-lb-mode", "dsr"), ("bpf-lb-dsr-dispatch", "geneve"), big],
            ),
            ("bbr-without-host-routing", "1.18", &[("enable-bbr", "true"), legacy]),
            ("bbr-without-bandwidth-manager", "1.18", &[("enable-bbr", "true")]),
            ("bbr-host-only-without-bbr", "1.18", &[("enable-bbr-hostns-only", "true")]),
            ("no-conntrack-tunnel", "1.18", &[no_ct, tunnel]),
            ("no-conntrack-ipv4-off", "1.18", &[no_ct, ("enable-ipv4", "false")]),
            ("no-conntrack-kpr", "1.18", &[no_ct, no_kpr]),
            (
                "no-conntrack-iptables-masquerade",
                "1.18",
                &[no_ct, ("enable-bpf-masquerade", "false")],
            ),
            ("no-conntrack-without-cidr", "1.15", &[no_ct, ("ipv4-native-routing-cidr", "")]),
            ("no-conntrack-useless", "1.18", &[no_ct]),
            ("dsr-opt-tunnel", "1.18", &[("bpf-lb-mode", "dsr"), tunnel]),
            (
                "dsr-geneve-protocol",
                "1.18",
                &[("bpf-lb-mode", "dsr"), ("bpf-lb-dsr-dispatch", "geneve")],
            ),
            (
                "dsr-ipip-without-xdp",
                "1.18",
                &[("bpf-lb-mode", "dsr"), ("bpf-lb-dsr-dispatch", "ipip")],
            ),
            (
                "dsr-ipip-xdp",
                "1.18",
                &[
                    ("bpf-lb-mode", "dsr"),
                    ("bpf-lb-dsr-dispatch", "ipip"),
                    ("bpf-lb-acceleration", "native"),
                ],
            ),
            ("dsr-without-kpr", "1.18", &[("bpf-lb-mode", "hybrid"), no_kpr]),
            (
                "lb-annotation-hybrid",
                "1.18",
                &[("bpf-lb-mode", "hybrid"), ("bpf-lb-mode-annotation", "true")],
            ),
            ("masquerade-without-kpr", "1.18", &[no_kpr]),
            ("legacy-routing-forced", "1.18", &[legacy]),
            ("legacy-routing-quiet", "1.18", &[("enable-host-legacy-routing", "false"), no_kpr]),
            ("netkit-legacy-routing", "1.18", &[("datapath-mode", "netkit"), legacy]),
            (
                "netkit-tproxy",
                "1.20",
                &[("datapath-mode", "netkit"), ("enable-bpf-tproxy", "true")],
            ),
            ("datapath-auto", "1.19", &[("datapath-mode", "auto")]),
            ("big-tcp-legacy-routing", "1.18", &[big, legacy]),
            ("big-tcp-tunnel", "1.18", &[big, tunnel]),
            ("big-tcp-one-family", "1.18", &[big, ("enable-ipv6", "true")]),
            ("big-tcp-egress-gateway", "1.19", &[big, ("enable-egress-gateway", "true")]),
            ("big-tcp-ipsec", "1.19", &[big, ("enable-ipsec", "true")]),
            (
                "bandwidth-manager-ipsec",
                "1.19",
                &[("enable-bandwidth-manager", "true"), ("enable-ipsec", "true")],
            ),
            ("direct-routes-tunnel", "1.18", &[("auto-direct-node-routes", "true"), tunnel]),
            ("native-without-cidr", "1.18", &[("ipv4-native-routing-cidr", "")]),
            ("distributed-lru-without-ratio", "1.18", &[("bpf-distributed-lru", "true")]),
            ("xdp-without-kpr", "1.18", &[("bpf-lb-acceleration", "native"), no_kpr]),
            (
                "xdp-ipv6-underlay",
                "1.18",
                &[("bpf-lb-acceleration", "native"), tunnel, ("underlay-protocol", "ipv6")],
            ),
            (
                "xdp-l2-announcements",
                "1.18",
                &[("bpf-lb-acceleration", "native"), ("enable-l2-announcements", "true")],
            ),
            (
                "xdp-wireguard",
                "1.18",
                &[
                    ("bpf-lb-acceleration", "native"),
                    ("enable-wireguard", "true"),
                    ("encrypt-node", "true"),
                ],
            ),
        ];
        for (code, version, pairs) in cases {
            assert!(with(version, pairs).contains(code), "{code}: {:?}", with(version, pairs));
        }
        let tested: Vec<&str> = cases.iter().map(|c| c.0).collect();
        let all: Vec<&str> = RULES.iter().map(|r| r.code).collect();
        assert_eq!(tested, all, "each rule once, in its order");
    }

    #[test]
    fn what_only_one_family_or_version_makes_one() {
        let v6 = [
            ("enable-ipv4", "false"),
            ("enable-ipv6", "true"),
            ("ipv4-native-routing-cidr", ""),
            ("enable-bpf-masquerade", "false"),
            ("enable-bbr", "true"),
            ("enable-bandwidth-manager", "true"),
        ];
        assert!(with("1.19", &v6).is_empty(), "nothing is masqueraded: {:?}", with("1.19", &v6));
        let tunnel = [("routing-mode", "tunnel"), ("enable-ipv4-big-tcp", "true")];
        assert!(with("1.19.2", &tunnel).contains(&"big-tcp-tunnel"));
        assert!(!with("1.19.3", &tunnel).contains(&"big-tcp-tunnel"));
        assert!(!with("1.20", &[("datapath-mode", "auto")]).contains(&"datapath-auto"));
        let old = [("enable-endpoint-routes", "true"), ("enable-bbr", "true")];
        assert!(with("1.13", &old).contains(&"bbr-without-host-routing"));
        assert!(!with("1.14", &old).contains(&"bbr-without-host-routing"));
    }

    #[test]
    fn ipsec_and_host_routing_by_version() {
        let ipsec = [
            ("enable-ipsec", "true"),
            ("enable-bbr", "true"),
            ("enable-bandwidth-manager", "true"),
        ];
        assert!(with("1.18", &ipsec).contains(&"bbr-without-host-routing"));
        assert!(!with("1.19", &ipsec).contains(&"bbr-without-host-routing"));
    }
}
