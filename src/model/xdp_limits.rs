//! What drivers ask of a link before they take a native XDP program: pure data, from their own
//! sources where nothing else is said.

use super::facts::{Kernel, Link};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queues {
    Any,
    /// At most half of the maximum: as many again are made to send from.
    Half,
    /// In use and as many as there are CPUs, within the maximum; locked queues are used otherwise.
    PlusCpus,
    /// One to send from for each CPU.
    PerCpu(u32),
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub driver: &'static str,
    /// The first kernel whose driver has native XDP.
    pub since: &'static str,
    /// Largest MTU without a program that takes fragments, on pages of 4 KiB; None: the driver
    /// computes it, and `check --deep` asks.
    pub mtu: Option<u32>,
    /// The first kernel whose driver gives packets in several fragments to a program that takes them:
    /// then that limit is none. (The table of drivers in docs.ebpf.io, BPF_PROG_TYPE_XDP.)
    pub frags: Option<(u32, u32)>,
    pub no_lro: bool,
    pub queues: Queues,
    /// Why it is not used at all.
    pub refused: Option<&'static str>,
    /// How this is known.
    pub known: &'static str,
    pub source: &'static str,
}

/// Where only the first kernel is known.
const XDP_LIST: &str = "Cilium bpf/progtypes.rst, drivers with native XDP";
const FROM_SOURCE: &str = "(limits from the driver's source, not tried on hardware)";
const SEEN: &str = "(limits as seen on 6.18)";
const IN_LAB: &str = "(limits from the driver's source; the lab's link is of this driver)";

const fn limits(driver: &'static str, since: &'static str, source: &'static str) -> Limits {
    Limits {
        driver,
        since,
        mtu: None,
        frags: None,
        no_lro: false,
        queues: Queues::Any,
        refused: None,
        known: FROM_SOURCE,
        source,
    }
}

pub const DRIVERS: &[Limits] = &[
    Limits {
        mtu: Some(3498),
        queues: Queues::Half,
        ..limits("ena", "5.6", "drivers/net/ethernet/amazon/ena/ena_xdp.c")
    },
    Limits {
        no_lro: true,
        ..limits("mlx5_core", "4.9", "drivers/net/ethernet/mellanox/mlx5/core/en_main.c")
    },
    Limits {
        mtu: Some(3506),
        frags: Some((6, 3)),
        queues: Queues::PlusCpus,
        known: IN_LAB,
        ..limits("virtio_net", "4.10", "drivers/net/virtio_net.c")
    },
    limits("ice", "5.5", "drivers/net/ethernet/intel/ice/ice_main.c"),
    limits("i40e", "4.13", "drivers/net/ethernet/intel/i40e/i40e_main.c"),
    Limits {
        queues: Queues::PerCpu(64),
        ..limits("ixgbe", "4.12", "drivers/net/ethernet/intel/ixgbe/ixgbe_main.c")
    },
    Limits {
        mtu: Some(3502),
        frags: Some((5, 19)),
        no_lro: true,
        ..limits("bnxt_en", "4.11", "drivers/net/ethernet/broadcom/bnxt/bnxt_xdp.c")
    },
    Limits {
        queues: Queues::Half,
        no_lro: true,
        ..limits("gve", "6.4", "drivers/net/ethernet/google/gve/gve_main.c")
    },
    Limits { no_lro: true, ..limits("hv_netvsc", "5.6", "drivers/net/hyperv/netvsc_bpf.c") },
    limits("mana", "5.17", "drivers/net/ethernet/microsoft/mana/mana_bpf.c"),
    Limits {
        refused: Some("mlx4's XDP path loses packets of services and floods the log on 6.12"),
        ..limits("mlx4_en", "4.8", "cilium/cilium issues 29065 and 36527")
    },
    Limits {
        refused: Some("mlx4's XDP path loses packets of services and floods the log on 6.12"),
        ..limits("mlx4_core", "4.8", "cilium/cilium issues 29065 and 36527")
    },
    limits("vmxnet3", "6.6", "drivers/net/vmxnet3/vmxnet3_xdp.c"),
    // A frame of 3072 bytes, which the driver keeps its buffers at whatever the program takes.
    Limits {
        mtu: Some(3046),
        known: IN_LAB,
        ..limits("igb", "5.10", "drivers/net/ethernet/intel/igb/igb_main.c")
    },
    limits("igc", "5.13", "drivers/net/ethernet/intel/igc/igc_xdp.c"),
    limits("atlantic", "5.19", "drivers/net/ethernet/aquantia/atlantic/aq_main.c"),
    limits("nfp", "4.10", "drivers/net/ethernet/netronome/nfp/nfp_net_common.c"),
    limits("sfc", "5.5", "drivers/net/ethernet/sfc/efx_common.c"),
    limits("qede", "4.10", "drivers/net/ethernet/qlogic/qede/qede_filter.c"),
    limits("tun", "4.14", "drivers/net/tun.c"),
    limits("nicvf", "4.12", XDP_LIST),
    limits("tsnep", "6.3", XDP_LIST),
    limits("fsl_dpaa2_eth", "5.0", XDP_LIST),
    limits("fsl_enetc", "5.13", XDP_LIST),
    limits("fec", "6.2", XDP_LIST),
    limits("funeth", "5.18", XDP_LIST),
    limits("ixgbevf", "4.17", XDP_LIST),
    limits("mvneta", "5.5", XDP_LIST),
    limits("mvpp2", "5.9", XDP_LIST),
    limits("mtk_soc_eth", "6.0", XDP_LIST),
    limits("lan966x-switch", "6.2", XDP_LIST),
    limits("bond", "5.15", XDP_LIST),
    limits("netdevsim", "4.16", XDP_LIST),
    limits("vif", "5.9", XDP_LIST),
    limits("stmmac", "5.13", XDP_LIST),
    limits("cpsw", "5.3", XDP_LIST),
    Limits {
        mtu: Some(3506),
        frags: Some((5, 18)),
        known: SEEN,
        ..limits("veth", "4.19", "drivers/net/veth.c")
    },
];

pub fn of(link: &Link) -> Option<&'static Limits> {
    find(link.driver.as_deref()?)
}

pub fn find(driver: &str) -> Option<&'static Limits> {
    DRIVERS.iter().find(|l| l.driver == driver)
}

impl Limits {
    /// (major, minor) of the first kernel whose driver has it.
    pub fn first(&self) -> (u32, u32) {
        let mut parts = self.since.split('.').map(|n| n.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// The largest MTU that a program which takes fragments (or not) is attached under.
    pub fn most_mtu(&self, kernel: &Kernel, version: (u32, u32), frags: bool) -> Option<u32> {
        let whole = frags && self.frags.is_some_and(|since| version >= since);
        self.whole_mtu(kernel).filter(|_| !whole)
    }

    /// Of a program that takes whole packets. The figures are what fits into a page of 4 KiB; of larger pages the
    /// drivers make more, each its own way, and the kernel says at the attach.
    pub fn whole_mtu(&self, kernel: &Kernel) -> Option<u32> {
        self.mtu.filter(|_| matches!(kernel.page_size, 0 | 4096))
    }

    /// Why the queues as they are do not do, and what would.
    pub fn channels(&self, link: &Link, cpus: u32) -> Option<(String, String)> {
        let text = link.channels.as_deref()?;
        let number = |key: &str| {
            let pair = super::state::fields(text).find(|(k, _)| *k == key)?;
            pair.1.parse::<u32>().ok()
        };
        let (used, most) = match (number("combined"), number("combined-max")) {
            (Some(used), Some(most)) if most > 0 => (used, most),
            _ => (number("rx")?, number("rx-max")?),
        };
        match self.queues {
            Queues::Half if used * 2 > most => Some((
                format!(
                    "{used} queues of {most} are in use, and {} wants as many again to send from",
                    self.driver
                ),
                format!("ethtool -L {} combined {}", link.name, (most / 2).max(1)),
            )),
            // Newer kernels share queues under a lock instead of refusing.
            Queues::PlusCpus | Queues::Any | Queues::Half => None,
            Queues::PerCpu(most) if cpus > most * 2 => Some((
                format!(
                    "{cpus} CPUs are more than the {} queues that {} can send from",
                    most * 2,
                    self.driver
                ),
                "leave xdp off there".to_string(),
            )),
            Queues::PerCpu(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_halved_where_the_driver_wants_as_many_again() {
        let link = |channels: &str| Link {
            name: "eth0".into(),
            channels: Some(channels.into()),
            ..Link::default()
        };
        let ena = find("ena").unwrap();
        assert_eq!(ena.channels(&link("combined=4 combined-max=8"), 8), None);
        let (why, fix) = ena.channels(&link("combined=8 combined-max=8"), 8).unwrap();
        assert!(why.contains("8 queues of 8") && fix.ends_with("combined 4"), "{why} {fix}");
        let ixgbe = find("ixgbe").unwrap();
        assert!(ixgbe.channels(&link("combined=8 combined-max=64"), 256).is_some());
    }

    #[test]
    fn the_figures_are_of_pages_of_4_kib() {
        let of = |page_size| Kernel { page_size, ..Kernel::default() };
        let ena = find("ena").unwrap();
        assert_eq!(ena.whole_mtu(&of(0)), Some(3498));
        assert_eq!(ena.most_mtu(&of(4096), (6, 12), true), Some(3498));
        assert_eq!(ena.whole_mtu(&of(65536)), None);
    }

    #[test]
    fn every_driver_stands_once_and_has_a_source() {
        for (at, limits) in DRIVERS.iter().enumerate() {
            assert!(DRIVERS[at + 1..].iter().all(|l| l.driver != limits.driver));
            assert!(!limits.source.is_empty() && !limits.since.is_empty());
        }
    }
}
