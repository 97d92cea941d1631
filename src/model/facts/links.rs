//! Links, their queues and vectors.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fact::Fact;
use crate::model::typed::attached::Via;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Link {
    pub name: String,
    pub index: u32,
    /// veth, bond, vlan, bridge, ...; null for a device of a driver of its own.
    pub kind: Option<String>,
    pub driver: Option<String>,
    /// Where it is on its bus, such as "pci/0000:00:05.0".
    pub bus: Option<String>,
    pub mac: Option<String>,
    pub permanent_mac: Option<String>,
    pub numa_node: Option<u32>,
    pub up: bool,
    pub carrier: bool,
    pub loopback: bool,
    pub mtu: u32,
    pub min_mtu: u32,
    /// 0: the driver names no limit.
    pub max_mtu: u32,
    /// Queues allocated for it; the channels in use are in `channels`.
    pub rx_queues: u32,
    pub tx_queues: u32,
    /// ethtool groups as nettune compares them: "rx=1024 rx-max=4096 ...".
    pub channels: Option<String>,
    pub rings: Option<String>,
    pub coalesce: Option<String>,
    /// Of pod links thousands have the same.
    pub features: Option<Arc<Features>>,
    pub vectors: Fact<Vec<Vector>>,
    /// How received packets are spread over the queues; null for a device that cannot.
    pub rss: Fact<Option<Rss>>,
    /// RSS contexts besides the first; null where the kernel cannot list them (before 6.11).
    pub rss_contexts: Option<u32>,
    /// Rules that send packets to a queue of their choice.
    pub ntuple_rules: Fact<u32>,
    /// AF_XDP sockets bound to its queues.
    pub xdp_sockets: Fact<u32>,
    /// Virtual functions that are enabled on it.
    pub virtual_functions: u32,
    /// Feature bits of a virtio device, bit 0 first: "1101...".
    pub virtio: Option<String>,
    /// A virtual function of another device.
    pub virtual_function: bool,
    /// The switch's side of a virtual function or of a subfunction, which has the device's own bus.
    pub representor: bool,
    pub sizes: Sizes,
    pub xdp: Option<Xdp>,
    pub qdisc: Option<String>,
    pub master: Option<String>,
    /// Where it stands in its bond, if its master is one.
    pub bond_port: Option<BondPort>,
    /// The link below it in this namespace (a VLAN's parent).
    pub parent: Option<String>,
    /// Its other end or parent is in another network namespace.
    pub other_netns: bool,
    pub default_route: bool,
    /// It has IPv6 addresses, which it would lose below an MTU of 1280.
    pub ipv6: bool,
    /// net.ipv6.conf.LINK.mtu; 0 where it has no IPv6.
    pub mtu_v6: u32,
    /// rp_filter in force: the greater of its own and that of all.
    pub rp_filter: u32,
    /// The smallest metric `mtu` of its routes, of which a lookup by BPF knows only a locked one.
    pub route_mtu: Option<u32>,
    /// Programs at tc that are not ours.
    pub programs: Fact<Vec<Attached>>,
    /// How nettune's own program is at its ingress, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_ingress: Option<Via>,
    /// Its IPv6 routes with a metric `mtu` of their own, which a change of its MTU overwrites.
    pub mtu_routes: Vec<String>,
    /// Those of them that could not be put back.
    pub lost_routes: Vec<LostRoute>,
    /// Routes through a gateway there to pods of other nodes, where no default route makes it an
    /// uplink.
    pub pod_routes: u32,
    pub gateways: Vec<Gateway>,
    /// Its routes with a metric of their own that keeps packets small: "10.0.0.0/8 mtu 1400".
    pub small_routes: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Features {
    /// Those that can be set at all.
    pub changeable: Vec<String>,
    pub wanted: Vec<String>,
    pub active: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct BondPort {
    /// It is up in the bond's eyes, and with LACP both ends collect and distribute.
    pub carries: bool,
    pub lacp: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Rss {
    /// "default" when it is the kernel's own (all queues in turn), "runs" when it is that of igb and
    /// igc (an equal run of entries for each queue), else the queue of each entry.
    pub table: String,
    /// Hexadecimal.
    pub key: String,
    /// The hash function, as a bit of ETH_RSS_HASH_*.
    pub hash: u8,
}

impl Rss {
    /// Somebody set the table: it names queues, which a change of channels may take away.
    pub fn by_hand(&self) -> bool {
        !matches!(self.table.as_str(), Self::DEFAULT | Self::RUNS)
    }

    pub const DEFAULT: &str = "default";
    pub const RUNS: &str = "runs";
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Attached {
    /// "tcx ingress", "tcx egress", "tc ingress", "tc egress".
    pub hook: String,
    /// A program's name, as far as the kernel keeps it (15 characters), else the kind of filter.
    pub name: String,
    pub owner: Option<String>,
    /// At tcx behind nettune's own program, which hands packets on before this one sees them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub behind: bool,
}

/// An IPv6 route whose metric `mtu` is gone for good once the kernel has overwritten it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct LostRoute {
    /// "fd99::/64 table 254 metric 1024".
    pub route: String,
    pub mtu: u32,
    pub why: String,
}

/// The next hop of a default route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Gateway {
    /// "10.0.0.1", "fe80::1%eth0".
    pub address: String,
    /// The route's own metric `mtu`: packets there are no larger.
    pub mtu: Option<u32>,
}

/// Bytes; null where the kernel does not report one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Sizes {
    pub gso: Option<u32>,
    pub gro: Option<u32>,
    pub gso_v4: Option<u32>,
    pub gro_v4: Option<u32>,
    pub tso_max: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Xdp {
    /// native, generic, offload or multi.
    pub mode: String,
    pub program: Option<u32>,
}

/// One MSI vector of a link.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Vector {
    pub irq: u32,
    /// As in /proc/irq/N: "virtio0-input.0"; empty while nobody uses it.
    pub name: String,
    pub role: Role,
    pub queue: Option<u32>,
    /// smp_affinity_list.
    pub affinity: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Rx,
    Tx,
    /// One vector for a pair of queues.
    Both,
    Management,
    #[default]
    Unused,
    /// Its name does not tell.
    Unknown,
}

impl Link {
    /// Queues in use of one side ("rx" or "tx"); None where its driver does not say.
    pub fn queues(&self, side: &str) -> Option<u32> {
        let state = crate::model::State::is(self.channels.as_deref()?);
        Some(state.count(side)? + state.count("combined")?).filter(|used| *used > 0)
    }

    /// Its vectors and the queues in use that they serve: some drivers ask for those of all queues
    /// that there could be.
    pub fn serving(&self) -> impl Iterator<Item = (&Vector, u32)> {
        let used = self.queues("rx").max(self.queues("tx")).unwrap_or(u32::MAX);
        let serves = |v: &&Vector| matches!(v.role, Role::Rx | Role::Tx | Role::Both);
        let vectors = self.vectors.known().into_iter().flatten().filter(serves);
        vectors.filter_map(|v| Some((v, v.queue?))).filter(move |(_, queue)| *queue < used)
    }

    /// Of one of these kinds, as the kernel names them; a NIC has none.
    pub fn is_a(&self, kinds: &[&str]) -> bool {
        self.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
    }

    /// A program is on it in its driver.
    pub fn native_xdp(&self) -> bool {
        self.xdp.as_ref().is_some_and(|x| x.mode != "generic")
    }
}

/// (ifindex, name, permanent MAC, bus path).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkId {
    pub name: String,
    pub index: u32,
    /// Told even where there is none: a missing one is a damaged record.
    #[serde(deserialize_with = "Option::deserialize")]
    pub mac: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub bus: Option<String>,
}

impl LinkId {
    /// Same ifindex, and nothing that speaks against it.
    pub fn is(&self, link: &Link) -> bool {
        self.index == link.index && self.mac == link.permanent_mac && self.bus == link.bus
    }
}
