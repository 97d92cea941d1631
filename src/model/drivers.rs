//! What a driver does that the kernel cannot be asked for. Everything else (maxima, features, what a
//! value may be) is asked of the kernel on the node.

use super::facts::Link;
use super::xdp_limits::{self, Queues};

/// How a row is known: a figure that nobody tried says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Run in the lab's virtual machines.
    Lab,
    /// From the driver's source or its maker's document.
    Source,
}

#[derive(Debug)]
pub struct Driver {
    pub name: &'static str,
    /// MSI vectors that a channel takes, of a number that the device has once and for all.
    pub vectors_per_channel: Option<u32>,
    pub known: Known,
    /// Where the row comes from: below drivers/net/ in Linux, unless it says otherwise.
    pub source: &'static str,
}

const DEFAULT: Driver =
    Driver { name: "", vectors_per_channel: None, known: Known::Source, source: "" };

pub const DRIVERS: &[Driver] = &[
    Driver { name: "bnxt_en", source: "ethernet/broadcom/bnxt/bnxt_xdp.c", ..DEFAULT },
    Driver {
        name: "e1000e",
        known: Known::Lab,
        source: "ethernet/intel/e1000e/ethtool.c",
        ..DEFAULT
    },
    Driver { name: "ena", source: "ethernet/amazon/ena/ena_xdp.c", ..DEFAULT },
    Driver { name: "gve", source: "ethernet/google/gve/gve_main.c", ..DEFAULT },
    Driver { name: "hv_netvsc", source: "hyperv/netvsc_bpf.c", ..DEFAULT },
    Driver { name: "i40e", source: "ethernet/intel/i40e/i40e_main.c", ..DEFAULT },
    Driver { name: "ice", source: "ethernet/intel/ice/ice_main.c", ..DEFAULT },
    Driver { name: "igb", known: Known::Lab, source: "ethernet/intel/igb/igb_main.c", ..DEFAULT },
    Driver { name: "ixgbe", source: "ethernet/intel/ixgbe/ixgbe_main.c", ..DEFAULT },
    Driver {
        name: "mana",
        source: "ethernet/microsoft/mana/mana_bpf.c; include/net/mana/mana.h (4 KiB pages)",
        ..DEFAULT
    },
    Driver { name: "mlx5_core", source: "ethernet/mellanox/mlx5/core/en_main.c", ..DEFAULT },
    Driver { name: "veth", known: Known::Lab, source: "veth.c", ..DEFAULT },
    Driver {
        name: "virtio_net",
        // One for what comes in and one for what goes out; one more for the device's configuration.
        vectors_per_channel: Some(2),
        known: Known::Lab,
        source: "virtio_net.c",
    },
    Driver { name: "vmxnet3", source: "vmxnet3/vmxnet3_xdp.c", ..DEFAULT },
];

/// Its row, or one that says nothing for a driver that is not in the table.
pub fn driver(link: &Link) -> &'static Driver {
    let name = link.driver.as_deref().unwrap_or_default();
    DRIVERS.iter().find(|d| d.name == name).unwrap_or(&DEFAULT)
}

impl Driver {
    /// Its row in words, with what XDP asks of it.
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        if let Some(each) = self.vectors_per_channel {
            parts.push(format!("{each} vectors a channel"));
        }
        if let Some(limits) = xdp_limits::find(self.name) {
            parts.push(format!("XDP since {}", limits.since));
            parts.extend(limits.mtu.map(|mtu| format!("MTU {mtu} with it")));
            if limits.queues == Queues::Half {
                parts.push("half of the channels with it".to_string());
            }
            if limits.no_lro {
                parts.push("no LRO with it".to_string());
            }
        }
        if parts.is_empty() {
            parts.push("as the kernel reports".to_string());
        }
        let known = match self.known {
            Known::Lab => "run in the lab",
            Known::Source => "from source",
        };
        format!("{} ({known}: {})", parts.join(", "), self.source)
    }

    /// For a reader: "mlx5_core: from its source, not tried on hardware".
    pub fn how(&self) -> Option<String> {
        (self.known == Known::Source && !self.name.is_empty())
            .then(|| format!("{}: from its source, not tried on hardware", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_driver_once_in_order_and_with_its_source() {
        assert!(DRIVERS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(DRIVERS.iter().all(|d| !d.source.is_empty()));
        let veth = Link { driver: Some("veth".into()), ..Link::default() };
        assert_eq!(driver(&veth).known, Known::Lab);
        assert_eq!(driver(&Link::default()).name, "");
    }
}
