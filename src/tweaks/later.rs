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
