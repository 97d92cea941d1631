//! What the engine must know of a kind of resource: one row each. When it is written and in which order,
//! what that costs, whether it can be made, what outlives the kernel, and who is asked. The compiler asks
//! for the row of a new kind in `Resource::kind`; what else a kind has, its match asks for by name.

use super::bpf::Hook;
use super::{Group, Impact, Resource, UnitAspect};

#[derive(Debug)]
pub struct Kind {
    /// For people and docs.
    pub name: &'static str,
    pub stage: Stage,
    /// Within its stage; the lower first.
    pub rank: i32,
    pub back: Back,
    /// What giving it back costs whoever uses the node: its lever may not be in this profile.
    pub impact: Impact,
    /// Writing it makes it where it is absent. The rest is there or cannot be had.
    pub creatable: bool,
    /// Its state is read again at the next boot; the rest dies with the running kernel.
    pub outlives: bool,
    /// Read and written by D-Bus, which does not answer before the network.
    pub by_bus: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reshapes what the rest is computed from: queues, vectors, sizes, who else writes.
    One,
    Two,
    /// Takes packets around other rules: goes away before all else and comes after it.
    Around,
}

/// In which order it goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    Reversed,
    Same,
    Rank(i32),
}

impl Kind {
    pub fn rank(&self, back: bool) -> i32 {
        match (back, self.back) {
            (false, _) | (true, Back::Same) => self.rank,
            (true, Back::Reversed) => -self.rank,
            (true, Back::Rank(rank)) => rank,
        }
    }
}

const fn one(name: &'static str, rank: i32, impact: Impact) -> Kind {
    let (stage, back) = (Stage::One, Back::Reversed);
    let (creatable, outlives, by_bus) = (false, false, false);
    Kind { name, stage, rank, back, impact, creatable, outlives, by_bus }
}

const fn two(name: &'static str, rank: i32, impact: Impact) -> Kind {
    Kind { stage: Stage::Two, back: Back::Same, ..one(name, rank, impact) }
}

const fn around(name: &'static str, rank: i32, impact: Impact) -> Kind {
    Kind { stage: Stage::Around, creatable: true, ..one(name, rank, impact) }
}

macro_rules! kinds {
    ($($name:ident = $row:expr;)*) => {
        $(static $name: Kind = $row;)*
        pub static KINDS: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    FILE = Kind { creatable: true, outlives: true, ..one("file", 0, Impact::None) };
    UNIT_ENABLED = Kind { outlives: true, by_bus: true, ..one("unit, enabled", 1, Impact::None) };
    TUNED = Kind { outlives: true, by_bus: true, ..one("TuneD's profile", 2, Impact::Node) };
    UNIT_ACTIVE = Kind { by_bus: true, ..one("unit, active", 3, Impact::None) };
    // Every frequency policy is made anew with it.
    PSTATE = one("mode of a P-state driver", 3, Impact::None);
    CHANNELS = one("channels", 4, Impact::LinkReset);
    RINGS = one("rings", 5, Impact::LinkReset);
    FEATURES = one("offloads", 6, Impact::LinkReset);
    MTU = one("MTU", 7, Impact::LinkReset);
    RSS = two("RSS", 9, Impact::None);
    SIZES = two("GSO and GRO sizes", 10, Impact::NewFlows);
    // A qdisc that is made is made by it.
    DEFAULT_QDISC = two("default qdisc", 11, Impact::NewFlows);
    QDISC = Kind { creatable: true, ..two("root qdisc", 12, Impact::LinkReset) };
    SYSCTL = two("sysctl", 13, Impact::NewFlows);
    // It decides whether the rest of a policy can be written.
    GOVERNOR = two("governor", 14, Impact::None);
    SYSFS = two("file of /sys", 15, Impact::None);
    ROUTE_MTU = two("route's MTU", 15, Impact::None);
    // It must keep off while vectors move, both ways.
    BANS = Kind { back: Back::Rank(18), ..two("irqbalance's bans", 16, Impact::None) };
    IRQ = two("vector", 17, Impact::None);
    IRQ_DEFAULT = two("default of new vectors", 17, Impact::None);
    COALESCE = two("coalescing", 19, Impact::None);
    // A flowtable's links come after their table, and go before it.
    NFT = around("nf_tables table", 20, Impact::None);
    FLOW = around("flowtable's link", 21, Impact::None);
    BPF_INGRESS = around("BPF program, ingress", 22, Impact::None);
    BPF_XDP = around("BPF program, XDP", 22, Impact::LinkReset);
    // It must not be there while TuneD switches, nor before what it holds is in the journal.
    DROP_IN = Kind { creatable: true, outlives: true, ..two("drop-in of sysctls", 23, Impact::None) };
}

impl Resource {
    pub fn kind(&self) -> &'static Kind {
        match self {
            Resource::File { .. } if self.sysctl_file() => &DROP_IN,
            Resource::File { .. } => &FILE,
            Resource::Unit { aspect: UnitAspect::Enabled, .. } => &UNIT_ENABLED,
            Resource::Unit { aspect: UnitAspect::Active, .. } => &UNIT_ACTIVE,
            Resource::Tuned => &TUNED,
            Resource::IrqbalanceBans => &BANS,
            Resource::Ethtool { group: Group::Channels, .. } => &CHANNELS,
            Resource::Ethtool { group: Group::Rings, .. } => &RINGS,
            Resource::Ethtool { group: Group::Features, .. } => &FEATURES,
            Resource::Ethtool { group: Group::Coalesce, .. } => &COALESCE,
            Resource::Rss { .. } => &RSS,
            Resource::Mtu { .. } => &MTU,
            Resource::RouteMtu { .. } => &ROUTE_MTU,
            Resource::LinkSizes { .. } => &SIZES,
            Resource::Qdisc { .. } => &QDISC,
            Resource::Sysctl { key } if key == "net/core/default_qdisc" => &DEFAULT_QDISC,
            Resource::Sysctl { .. } => &SYSCTL,
            Resource::Sysfs { .. } if self.pstate() => &PSTATE,
            Resource::Sysfs { path } if path.ends_with("/scaling_governor") => &GOVERNOR,
            Resource::Sysfs { .. } => &SYSFS,
            Resource::Irq { .. } => &IRQ,
            Resource::IrqDefault => &IRQ_DEFAULT,
            Resource::Nft { .. } => &NFT,
            Resource::Flow { .. } => &FLOW,
            Resource::Bpf { hook: Hook::Ingress, .. } => &BPF_INGRESS,
            Resource::Bpf { hook: Hook::Xdp, .. } => &BPF_XDP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_of_some_resource_and_names_are_unique() {
        let all: Vec<Resource> = [
            "file:/etc/x",
            "file:/etc/sysctl.d/x.conf",
            "unit:a.service/enabled",
            "unit:a.service/active",
            "tuned:profile",
            "irqbalance:bans",
            "ethtool:e/channels",
            "ethtool:e/rings",
            "ethtool:e/features",
            "ethtool:e/coalesce",
            "rss:e",
            "mtu:e",
            "route-mtu:e/::/0 table 254",
            "sizes:e",
            "qdisc:e",
            "sysctl:net.core.default_qdisc",
            "sysctl:net.core.somaxconn",
            "sysfs:devices/system/cpu/intel_pstate/status",
            "sysfs:devices/system/cpu/cpufreq/policy0/scaling_governor",
            "sysfs:a/b",
            "irq:e/1",
            "irq:default",
            "nft:nettune-x",
            "flow:e",
            "bpf:e/ingress",
            "bpf:e/xdp",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        for (at, kind) in KINDS.iter().enumerate() {
            assert!(all.iter().any(|r| std::ptr::eq(r.kind(), *kind)), "{}", kind.name);
            assert!(KINDS[at + 1..].iter().all(|k| k.name != kind.name), "{}", kind.name);
        }
        assert_eq!(all.len(), KINDS.len());
    }

    /// A flow's way is the same going and coming: what resets a link resets it both ways.
    #[test]
    fn coalescing_resets_no_link() {
        let coalesce: Resource = "ethtool:eth0/coalesce".parse().unwrap();
        assert_eq!(coalesce.kind().impact, Impact::None);
    }
}
