//! The one list of what is fuzzed, and a test for each.

use super::{Target, config, kernel, node, own, seeds};

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
    profile false own texts("profile.txt");
    profile_set false own texts("profile_set.txt");
    journal false own journals();
    pending false own texts("pending.txt");
    states false own texts("states.txt");
    names false own texts("names.txt");
    cpu_lists false own texts("cpus.txt");
    sysctl_values false own texts("sysctl_values.txt");
    nft_words false own texts("nft_words.txt");
    manifest false own texts("manifest.txt");
    node_report false own texts("node_report.txt");
    configmap false own texts("configmap.txt");

    sysctl_d false config texts("sysctl_d.txt");
    networkd false config texts("networkd.txt");
    netplan false config texts("netplan.txt");
    ifupdown false config texts("ifupdown.txt");
    ifcfg false config texts("ifcfg.txt");
    network_manager false config texts("network_manager.txt");
    tuned false config texts("tuned.txt");
    nftables_conf false config texts("nftables_conf.txt");
    kubelet false config texts("kubelet.txt");
    cni false config texts("cni.txt");
    agents false config texts("agents.txt");

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
