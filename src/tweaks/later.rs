//! Levers of the map that this version does not have: they are shown as `later` and never pretend.

use super::{Doc, Entry};
use crate::model::Side;

const fn later(
    name: &'static str,
    side: Side,
    summary: &'static str,
    impact: &'static str,
    what: &'static str,
    source: &'static str,
) -> Entry {
    let cost = "not in this version of nettune, which neither checks nor sets it";
    Entry { name, side, summary, doc: Doc { what, cost, needs: "-", impact, source }, lever: None }
}

const GUIDE: &str = "Cilium tuning guide";

pub const HOST_ROUTING: Entry = later(
    "host-routing",
    Side::Both,
    "pod packets routed by BPF past the host's stack",
    "bypass",
    "A FIB lookup and a redirect at tc instead of the stack and its hooks.",
    GUIDE,
);
pub const XDP: Entry = later(
    "xdp",
    Side::Both,
    "programs in the driver: filter, forwarding, Cilium's acceleration",
    "link-reset",
    "Packets are decided on before the kernel makes a buffer for them.",
    "Cilium tuning guide (XDP acceleration); Linux networking/af_xdp.rst",
);
pub const NATIVE_ROUTING: Entry = later(
    "native-routing",
    Side::Cilium,
    "routingMode=native: no overlay between nodes",
    "path",
    "Pod packets travel as they are, without encapsulation.",
    GUIDE,
);
pub const KUBE_PROXY_REPLACEMENT: Entry = later(
    "kube-proxy-replacement",
    Side::Cilium,
    "kubeProxyReplacement=true: services in BPF",
    "bypass",
    "Service lookups in a hash map instead of rule lists.",
    GUIDE,
);
pub const BPF_MASQUERADE: Entry = later(
    "bpf-masquerade",
    Side::Cilium,
    "bpf.masquerade=true",
    "bypass",
    "Masquerading without iptables; host routing stands on it.",
    GUIDE,
);
pub const DSR: Entry = later(
    "dsr",
    Side::Cilium,
    "loadBalancer.mode=dsr",
    "path",
    "A backend answers the client directly.",
    GUIDE,
);
pub const HUBBLE: Entry = later(
    "hubble",
    Side::Cilium,
    "what observing flows costs",
    "none",
    "Hubble costs 1 to 15 % by the guide; it is never switched off unasked.",
    GUIDE,
);
pub const BPF_MAPS: Entry = later(
    "bpf-maps",
    Side::Cilium,
    "sizes of Cilium's connection and NAT maps",
    "bypass",
    "Maps that are large enough for the node's connections.",
    GUIDE,
);
pub const NETKIT: Entry = later(
    "netkit",
    Side::Cilium,
    "bpf.datapathMode=netkit instead of veth",
    "new-flows",
    "A pod device without the second trip through the backlog.",
    "Cilium tuning guide (netkit); Linux 6.7",
);
