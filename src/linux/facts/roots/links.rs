//! Devices of links: where they are, and what their vectors are called.

use super::Tree;
use crate::linux::facts::links::device;
use crate::model::drivers::DRIVERS;
use crate::model::facts::{Cpus, Fact, Link, Role, Vector};
use crate::model::placement::Placement;
use Role::{Both, Management, Rx, Tx, Unused};

/// No link of the machine that runs the test: what is asked of netlink by name finds nothing.
const LINK: &str = "nettune-test0";
const FUNCTION: &str = "devices/pci0000:16/0000:16:02.0/0000:17:00.0";

/// Where the names of handlers can be read.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    /// /sys/kernel/irq/N/actions, since 4.9 with CONFIG_SPARSE_IRQ.
    Actions,
    /// The folder beside the files of /proc/irq/N.
    Folders,
}

/// A PCI function with the link on it or, for virtio, on a device below it.
fn nic(tree: &Tree, driver: &str, below: Option<&str>, names: Names, handlers: &[&str]) {
    let device = match below {
        Some(below) => format!("{FUNCTION}/{below}"),
        None => FUNCTION.to_string(),
    };
    let last = device.rsplit('/').next().unwrap();
    tree.file(&format!("sys/{device}/net/{LINK}/ifindex"), "7\n");
    tree.link(&format!("sys/{device}/net/{LINK}/device"), &format!("../../../{last}"));
    tree.link(&format!("sys/class/net/{LINK}"), &format!("../../{device}/net/{LINK}"));
    tree.folder(&format!("sys/bus/pci/drivers/{driver}"));
    let up = "../".repeat(device.split('/').count());
    tree.link(&format!("sys/{device}/driver"), &format!("{up}bus/pci/drivers/{driver}"));
    tree.file(&format!("sys/{FUNCTION}/numa_node"), "1\n");
    tree.file(&format!("sys/{FUNCTION}/sriov_numvfs"), "0\n");
    for (n, handler) in handlers.iter().enumerate() {
        vector(tree, 120 + n, names, handler);
    }
}

fn vector(tree: &Tree, irq: usize, names: Names, handler: &str) {
    tree.file(&format!("sys/{FUNCTION}/msi_irqs/{irq}"), "msix\n");
    let folder = format!("proc/irq/{irq}");
    for (file, text) in [
        ("affinity_hint", "00000000,00000000\n"),
        ("effective_affinity", "00000000,00000001\n"),
        ("effective_affinity_list", "0\n"),
        ("node", "1\n"),
        ("smp_affinity", "ffffffff,ffffffff\n"),
        ("smp_affinity_list", "0-63\n"),
        ("spurious", "count 0\nunhandled 0\nlast_unhandled 0 ms\n"),
    ] {
        tree.file(&format!("{folder}/{file}"), text);
    }
    if names == Names::Actions {
        tree.file(&format!("sys/kernel/irq/{irq}/actions"), &format!("{handler}\n"));
    }
    if !handler.is_empty() {
        tree.folder(&format!("{folder}/{handler}"));
    }
}

fn gathered(tree: &Tree) -> Link {
    let mut link = Link { name: LINK.into(), index: 7, ..Link::default() };
    device(&tree.root(), &mut link);
    link
}

fn vectors(link: &Link) -> Vec<Vector> {
    link.vectors.known().unwrap().clone()
}

type Named = (&'static str, Role, Option<u32>);

/// What each driver calls its vectors: request_irq() of its source, with the link's name where the
/// driver puts it.
const NAMES: &[(&str, &[Named])] = &[
    (
        "bnxt_en",
        &[
            ("nettune-test0-TxRx-0", Both, Some(0)),
            ("nettune-test0-TxRx-15", Both, Some(15)),
            // Without shared rings.
            ("nettune-test0-rx-2", Rx, Some(2)),
            ("nettune-test0-tx-2", Tx, Some(2)),
            ("bnxt_re-nq-0@pci:0000:17:00.0", Management, None),
        ],
    ),
    (
        "e1000e",
        &[
            ("nettune-test0-rx-0", Rx, Some(0)),
            ("nettune-test0-tx-0", Tx, Some(0)),
            ("nettune-test0", Management, None),
        ],
    ),
    (
        "ena",
        &[
            ("ena-mgmnt@pci:0000:17:00.0", Management, None),
            ("nettune-test0-Tx-Rx-0", Both, Some(0)),
            ("nettune-test0-Tx-Rx-7", Both, Some(7)),
        ],
    ),
    (
        "gve",
        &[
            ("gve-ntfy-blk0@pci:0000:17:00.0", Tx, Some(0)),
            ("gve-ntfy-blk1@pci:0000:17:00.0", Tx, Some(1)),
            // Before 6.3, and named before the link has its name.
            ("eth%d-ntfy-block.2", Rx, Some(0)),
            ("eth%d-ntfy-block.3", Rx, Some(1)),
            ("gve-mgmnt@pci:0000:17:00.0", Management, None),
        ],
    ),
    (
        "i40e",
        &[
            ("i40e-0000:17:00.0:misc", Management, None),
            ("i40e-nettune-test0-TxRx-0", Both, Some(0)),
            ("i40e-nettune-test0-TxRx-63", Both, Some(63)),
            // Of flow director, which serves no queue of the link.
            ("i40e-0000:17:00.0:fdir-TxRx-0", Management, None),
        ],
    ),
    (
        "ice",
        &[
            ("ice-0000:17:00.0:misc", Management, None),
            ("ice-nettune-test0-TxRx-0", Both, Some(0)),
            ("ice-nettune-test0-TxRx-127", Both, Some(127)),
            ("ice-0000:17:00.0:ctrl-TxRx-0", Management, None),
            ("irdma-ice-0-AEQ", Management, None),
            ("irdma-ice-0-CEQ-3", Management, None),
        ],
    ),
    (
        "igb",
        &[
            ("nettune-test0", Management, None),
            ("nettune-test0-rx-3", Rx, Some(3)),
            ("nettune-test0-tx-3", Tx, Some(3)),
            // With fewer vectors than both need.
            ("nettune-test0-TxRx-7", Both, Some(7)),
        ],
    ),
    (
        "ixgbe",
        &[
            ("nettune-test0-TxRx-0", Both, Some(0)),
            ("nettune-test0-TxRx-62", Both, Some(62)),
            ("nettune-test0", Management, None),
        ],
    ),
    (
        "mana",
        &[
            ("mana_hwc@pci:7870:00:00.0", Management, None),
            ("mana_q0@pci:7870:00:00.0", Both, Some(0)),
            ("mana_q15@pci:7870:00:00.0", Both, Some(15)),
        ],
    ),
    (
        "mlx5_core",
        &[
            ("mlx5_async0@pci:0000:17:00.0", Management, None),
            ("mlx5_async@pci:0000:17:00.0", Management, None),
            ("mlx5_comp0@pci:0000:17:00.0", Both, Some(0)),
            ("mlx5_comp62@pci:0000:17:00.0", Both, Some(62)),
            // A function with a single vector.
            ("mlx5_combined0@pci:0000:17:00.0", Both, Some(0)),
            ("", Unused, None),
        ],
    ),
    (
        "virtio_net",
        &[
            ("virtio2-config", Management, None),
            ("virtio2-input.0", Rx, Some(0)),
            ("virtio2-output.0", Tx, Some(0)),
            ("virtio2-input.3", Rx, Some(3)),
            ("virtio2-output.3", Tx, Some(3)),
            // Too few vectors: one for all queues.
            ("virtio2-virtqueues", Management, None),
        ],
    ),
    (
        "vmxnet3",
        &[
            ("nettune-test0-rxtx-0", Both, Some(0)),
            ("nettune-test0-rxtx-3", Both, Some(3)),
            ("nettune-test0-event-4", Management, None),
        ],
    ),
];

#[test]
fn what_each_driver_calls_its_vectors() {
    for (driver, named) in NAMES {
        let below = (*driver == "virtio_net").then_some("virtio2");
        let handlers: Vec<&str> = named.iter().map(|(name, _, _)| *name).collect();
        for names in [Names::Actions, Names::Folders] {
            let tree = Tree::new();
            nic(&tree, driver, below, names, &handlers);
            let link = gathered(&tree);
            assert_eq!(link.driver.as_deref(), Some(*driver));
            assert_eq!(link.bus.as_deref(), Some("pci/0000:17:00.0"), "{driver}");
            assert_eq!(link.numa_node, Some(1), "{driver}");
            let found = vectors(&link);
            assert_eq!(found.len(), named.len(), "{driver}");
            for (vector, (name, role, queue)) in found.iter().zip(*named) {
                let told = (vector.name.as_str(), vector.role, vector.queue);
                assert_eq!(told, (*name, *role, *queue), "{driver}");
                assert_eq!(vector.affinity, "0-63");
            }
        }
    }
}

#[test]
fn every_driver_with_vectors_is_among_them() {
    // veth has no device, and hv_netvsc's is on VMBus, which has no MSI.
    let without = ["hv_netvsc", "veth"];
    let drivers = DRIVERS.iter().map(|d| d.name).filter(|n| !without.contains(n));
    assert!(drivers.eq(NAMES.iter().map(|(driver, _)| *driver)));
}

#[test]
fn a_device_without_msi_has_no_vectors_and_that_is_known() {
    let tree = Tree::new();
    let guid = "000d3a7c-1234-000d-3a7c-1234000d3a7c";
    let device = format!("devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00/{guid}");
    tree.file(&format!("sys/{device}/net/{LINK}/ifindex"), "7\n");
    tree.link(&format!("sys/{device}/net/{LINK}/device"), &format!("../../../{guid}"));
    tree.link(&format!("sys/class/net/{LINK}"), &format!("../../{device}/net/{LINK}"));
    tree.folder("sys/bus/vmbus/drivers/hv_netvsc");
    tree.link(&format!("sys/{device}/driver"), "../../../../../../bus/vmbus/drivers/hv_netvsc");
    let link = gathered(&tree);
    assert_eq!(link.driver.as_deref(), Some("hv_netvsc"));
    assert_eq!(link.bus, Some(format!("device/{guid}")));
    assert_eq!(link.numa_node, None);
    assert_eq!(link.vectors, Fact::Known(Vec::new()));
}

#[test]
fn a_vector_that_nobody_uses_is_left_out_and_one_that_cannot_be_read_is_unknown() {
    let tree = Tree::new();
    nic(&tree, "ice", None, Names::Actions, &["ice-nettune-test0-TxRx-0"]);
    // Allocated by the device, and no driver has asked for it: no /proc/irq/200.
    tree.file(&format!("sys/{FUNCTION}/msi_irqs/200"), "msix\n");
    let irqs: Vec<u32> = vectors(&gathered(&tree)).iter().map(|v| v.irq).collect();
    assert_eq!(irqs, [120]);
    tree.file(&format!("sys/{FUNCTION}/msi_irqs/201"), "msix\n");
    // A folder cannot be read as a file, root or not.
    tree.folder("proc/irq/201/smp_affinity_list");
    let link = gathered(&tree);
    assert!(matches!(&link.vectors, Fact::Unknown { unknown } if unknown.contains("vector 201")));
}

#[test]
fn a_function_without_a_numa_node_and_one_with_virtual_functions() {
    let tree = Tree::new();
    nic(&tree, "ice", None, Names::Actions, &[]);
    tree.file(&format!("sys/{FUNCTION}/numa_node"), "-1\n");
    tree.file(&format!("sys/{FUNCTION}/sriov_numvfs"), "8\n");
    let link = gathered(&tree);
    assert_eq!((link.numa_node, link.virtual_functions), (None, 8));
}

#[test]
fn another_namespaces_sys_is_not_believed() {
    let tree = Tree::new();
    nic(&tree, "ice", None, Names::Actions, &["ice-nettune-test0-TxRx-0"]);
    let mut link = Link { name: LINK.into(), index: 8, ..Link::default() };
    device(&tree.root(), &mut link);
    assert!(matches!(link.vectors, Fact::Unknown { .. }));
    assert_eq!(link.bus, None);
}

/// 256 vectors on 64 CPUs: each CPU gets four queues, the NIC's own node the first of them.
#[test]
fn a_nic_with_256_vectors() {
    let tree = Tree::new();
    let names: Vec<String> = (0..256).map(|n| format!("mlx5_comp{n}@pci:0000:17:00.0")).collect();
    let handlers: Vec<&str> = names.iter().map(String::as_str).collect();
    nic(&tree, "mlx5_core", None, Names::Actions, &handlers);
    let link = gathered(&tree);
    let found = vectors(&link);
    let queues: Vec<u32> = found.iter().filter_map(|v| v.queue).collect();
    assert!(queues.iter().copied().eq(0..256));
    let cpus = Cpus {
        online: "0-63".into(),
        numa: [(0, "0-15,32-47".into()), (1, "16-31,48-63".into())].into(),
        cores: (0..32).map(|c| format!("{c},{}", c + 32)).collect(),
        ..Cpus::default()
    };
    let order = Placement::default().order(&cpus, link.numa_node);
    assert_eq!(order.len(), 64);
    assert!(order[..16].iter().copied().eq(16..32), "first threads of node 1: {order:?}");
    assert!(order[16..32].iter().copied().eq(48..64), "their siblings: {order:?}");
}
