//! The one list of what is fuzzed, and a test for each.

use super::{Form, Target, config, kernel, node, own, seeds};

macro_rules! targets {
    ($($name:ident $form:ident $in:ident $make:ident($($file:literal),*);)*) => {
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            form: Form::$form,
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
    profile Text own texts("profile.txt");
    profile_set Text own texts("profile_set.txt");
    journal Text own journals();
    pending Text own texts("pending.txt");
    states Text own texts("states.txt");
    names Text own texts("names.txt");
    cpu_lists Text own texts("cpus.txt");
    sysctl_values Text own texts("sysctl_values.txt");
    nft_words Text own texts("nft_words.txt");
    manifest Text own texts("manifest.txt");
    node_report Text own texts("node_report.txt");
    configmap Text own texts("configmap.txt");

    sysctl_d Text config texts("sysctl_d.txt");
    networkd Text config texts("networkd.txt");
    netplan Text config texts("netplan.txt");
    ifupdown Text config texts("ifupdown.txt");
    ifcfg Text config texts("ifcfg.txt");
    network_manager Text config texts("network_manager.txt");
    tuned Text config texts("tuned.txt");
    nftables_conf Text config texts("nftables_conf.txt");
    kubelet Text config texts("kubelet.txt");
    cni Text config texts("cni.txt");
    agents Text config texts("agents.txt");

    cilium_healthz Text node texts("../../../tests/cilium/1.18-all-on/healthz.json");
    cilium_config Text node texts("../../../tests/cilium/1.18-all-on/config.json");
    cilium_state Text node texts("cilium_state.txt");
    cilium_http Text kernel http("cilium_http.txt");

    proc_files Text node texts("proc.txt");
    cpu_files Text node texts("cpu_files.txt");
    modules Text node texts("modules.txt");
    kernel_config Text node texts("kernel_config.txt");
    kernel_config_gz Binary node packed("kernel_config.txt");
    irq_names Text node texts("irq_names.txt");
    places Text node texts("places.txt");

    netlink_links Binary kernel dump("links.hex");
    netlink_qdiscs Binary kernel dump("qdiscs.hex");
    netlink_routes Binary kernel dump("routes.hex");
    netlink_nexthops Binary kernel dump("nexthops.hex");
    netlink_filters Binary kernel dump("filters.hex");
    netlink_ethtool Binary kernel dump("ethtool.hex");
    netlink_nft Binary kernel dump("nft.hex");
    legacy_v4 Binary kernel table("../../linux/legacy/blob/ip-filter.hex");
    legacy_v6 Binary kernel table("../../linux/legacy/blob/ip6-nat.hex");
    bpf_object Object kernel objects();

    boot Text node texts("boot.txt");
    selinux Text node texts("selinux.txt");
}
