//! The kinds of resources, one row each; those of ethtool's groups are in group.rs. The compiler asks for the
//! row of a new kind in `Resource::kind`; what else a kind has, its match asks for by name.

use super::bpf::Hook;
use super::kind::{Back, Kind, around, one, two};
use super::{Impact, Resource, UnitAspect};

macro_rules! kinds {
    ($($name:ident = $row:expr;)*) => {
        $(static $name: Kind = $row;)*
        #[cfg(test)]
        static KINDS: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    FILE = Kind { creatable: true, outlives: true, ..one("file", 0, Impact::None) };
    UNIT_ENABLED = Kind { outlives: true, by_bus: true, ..one("unit, enabled", 1, Impact::None) };
    TUNED = Kind { outlives: true, by_bus: true, ..one("TuneD's profile", 2, Impact::Node) };
    UNIT_ACTIVE = Kind { by_bus: true, ..one("unit, active", 3, Impact::None) };
    // Every frequency policy is made anew with it.
    PSTATE = one("mode of a P-state driver", 3, Impact::None);
    // Channels, rings and offloads are 4 to 6, flow control 8, coalescing 19: in group.rs.
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
            Resource::Ethtool { group, .. } => &group.row().kind,
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
    use crate::model::group::GROUPS;

    #[test]
    fn every_row_is_of_some_resource_and_names_are_unique() {
        let mut all: Vec<Resource> = [
            "file:/etc/x",
            "file:/etc/sysctl.d/x.conf",
            "unit:a.service/enabled",
            "unit:a.service/active",
            "tuned:profile",
            "irqbalance:bans",
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
        all.extend(
            GROUPS.iter().map(|g| format!("ethtool:e/{}", g.name).parse::<Resource>().unwrap()),
        );
        let groups = GROUPS.iter().map(|row| &row.kind);
        let kinds: Vec<&Kind> = KINDS.iter().copied().chain(groups).collect();
        for (at, kind) in kinds.iter().enumerate() {
            assert!(all.iter().any(|r| std::ptr::eq(r.kind(), *kind)), "{}", kind.name);
            assert!(kinds[at + 1..].iter().all(|k| k.name != kind.name), "{}", kind.name);
        }
        assert_eq!(all.len(), kinds.len());
    }

    /// A flow's way is the same going and coming: what resets a link resets it both ways.
    #[test]
    fn coalescing_resets_no_link() {
        let coalesce: Resource = "ethtool:eth0/coalesce".parse().unwrap();
        assert_eq!(coalesce.kind().impact, Impact::None);
    }
}
