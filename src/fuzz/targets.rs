//! The one list of what is fuzzed, and a test for each.

use super::{Target, kernel, node, seeds};

macro_rules! targets {
    ($($name:ident $binary:literal $in:ident $make:ident($($file:literal),*);)*) => {
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            binary: $binary,
            seeds: || -> Vec<Vec<u8>> { seeds::$make($(include_str!(concat!("seeds/", $file))),*) },
            run: $in::$name,
        }),*];

        mod each {
            $(#[test]
            fn $name() {
                crate::fuzz::fuzz(stringify!($name));
            })*
        }
    };
}

targets! {
    profile false node texts("profile.txt");
    profile_set false node texts("profile_set.txt");
    journal false node journals();
    pending false node texts("pending.txt");
    states false node texts("states.txt");
    names false node texts("names.txt");
    cpu_lists false node texts("cpus.txt");
    sysctl_values false node texts("sysctl_values.txt");
    nft_words false node texts("nft_words.txt");
    manifest false node texts("manifest.txt");
    node_report false node texts("node_report.txt");
    configmap false node texts("configmap.txt");

    sysctl_d false node texts("sysctl_d.txt");
    networkd false node texts("networkd.txt");
    netplan false node texts("netplan.txt");
    ifupdown false node texts("ifupdown.txt");
    ifcfg false node texts("ifcfg.txt");
    network_manager false node texts("network_manager.txt");
    tuned false node texts("tuned.txt");
    nftables_conf false node texts("nftables_conf.txt");
    kubelet false node texts("kubelet.txt");
    cni false node texts("cni.txt");
    agents false node texts("agents.txt");

    cilium_healthz false node texts("../../../tests/cilium/1.18-all-on-healthz.json");
    cilium_config false node texts("../../../tests/cilium/1.18-all-on-config.json");
    cilium_state false node texts("cilium_state.txt");
    cilium_http false kernel http("cilium_http.txt");

    proc_files false node texts("proc.txt");
    cpu_files false node texts("cpu_files.txt");
    modules false node texts("modules.txt");
    kernel_config false node texts("kernel_config.txt");
    kernel_config_gz true node packed("kernel_config.txt");
    irq_names false node texts("irq_names.txt");
    places false node texts("places.txt");

    netlink_links true kernel dump("links.hex");
    netlink_qdiscs true kernel dump("qdiscs.hex");
    netlink_routes true kernel dump("routes.hex");
    netlink_nexthops true kernel dump("nexthops.hex");
    netlink_filters true kernel dump("filters.hex");
    netlink_ethtool true kernel dump("ethtool.hex");
    netlink_nft true kernel dump("nft.hex");
    legacy_v4 true kernel table("../../linux/legacy/blob/ip-filter.hex");
    legacy_v6 true kernel table("../../linux/legacy/blob/ip6-nat.hex");

    boot false node texts("boot.txt");
    selinux false node texts("selinux.txt");
}
