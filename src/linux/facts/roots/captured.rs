//! Facts of a machine whose files were captured on a running kernel: `LAB_CAPTURE=FOLDER tests/lab/run
//! --kernel 6.1 wide` writes them (two sockets, two threads a core, CPUs kept for others, a virtio_net with
//! 256 vectors on the second socket, a vmxnet3 and an e1000e on none).

use super::Tree;
use crate::linux::facts::cpus;
use crate::linux::facts::links::device;
use crate::model::facts::{Link, Role};
use crate::model::placement::Placement;

const WIDE: &str = include_str!("captured/wide-6.1.0-50-amd64.txt");

/// A line each: "PATH = VALUE" or "PATH -> TARGET".
fn tree(text: &str) -> Tree {
    let tree = Tree::new();
    for line in text.lines() {
        match (line.split_once(" = "), line.split_once(" -> ")) {
            (Some((path, value)), _) => tree.file(path, &format!("{value}\n")),
            (_, Some((path, target))) => tree.link(path, target),
            _ => panic!("{line:?} is neither a file nor a link"),
        }
    }
    // The drivers' folders, which the links lead to.
    for bus in ["virtio/drivers/virtio_net", "pci/drivers/vmxnet3", "pci/drivers/e1000e"] {
        tree.folder(&format!("sys/bus/{bus}"));
    }
    tree
}

/// As the link whose driver that is.
fn link(tree: &Tree, driver: &str) -> Link {
    let root = tree.root();
    let index = |name: &str| root.line(&format!("sys/class/net/{name}/ifindex"))?.parse().ok();
    let names = root.list("sys/class/net").unwrap();
    let gathered = names.into_iter().map(|name| {
        let mut link = Link { index: index(&name).unwrap(), name, ..Link::default() };
        device(&root, &mut link);
        link
    });
    gathered.into_iter().find(|l| l.driver.as_deref() == Some(driver)).unwrap()
}

#[test]
fn cpus_of_two_sockets_with_threads_side_by_side() {
    let found = cpus::gather(&tree(WIDE).root());
    assert_eq!((found.online.as_str(), found.isolated.as_str()), ("0-31", "28-31"));
    assert_eq!((found.nohz_full.as_str(), found.cores.len()), ("28-31", 16));
    assert_eq!((found.numa[&0].as_str(), found.numa[&1].as_str()), ("0-15", "16-31"));
    let order = Placement::default().order(&found, Some(1));
    assert_eq!(order[..12], [16, 18, 20, 22, 24, 26, 17, 19, 21, 23, 25, 27]);
    assert_eq!(order[12..20], [0, 2, 4, 6, 8, 10, 12, 14]);
    assert_eq!(order.len(), 28);
}

#[test]
fn a_nic_with_256_vectors_on_the_second_socket() {
    let tree = tree(WIDE);
    let mut nic = link(&tree, "virtio_net");
    assert_eq!((nic.numa_node, nic.bus.as_deref()), (Some(1), Some("pci/0000:81:01.0")));
    let vectors = nic.vectors.known().unwrap();
    assert_eq!(vectors.len(), 255);
    let of = |role: Role| vectors.iter().filter(move |v| v.role == role).filter_map(|v| v.queue);
    assert!(of(Role::Rx).eq(0..127) && of(Role::Tx).eq(0..127));
    let others: Vec<&str> =
        vectors.iter().filter(|v| v.queue.is_none()).map(|v| v.name.as_str()).collect();
    assert_eq!(others, ["virtio3-config"]);
    // The driver asks for the vectors of all queues that there could be.
    assert_eq!(nic.serving().count(), 254);
    nic.channels = Some("rx=0 tx=0 other=0 combined=32 combined-max=127".into());
    assert_eq!(nic.serving().count(), 64);
}

#[test]
fn drivers_whose_vectors_have_the_links_name() {
    let tree = tree(WIDE);
    let told = |driver: &str| {
        let link = link(&tree, driver);
        assert_eq!(link.numa_node, None, "{driver}");
        let vectors = link.vectors.known().unwrap().clone();
        vectors.into_iter().map(|v| (v.name, v.role, v.queue)).collect::<Vec<_>>()
    };
    let mut vmxnet3: Vec<_> =
        (0..8).map(|q| (format!("ens2-rxtx-{q}"), Role::Both, Some(q))).collect();
    vmxnet3.push(("ens2-event-8".to_string(), Role::Management, None));
    assert_eq!(told("vmxnet3"), vmxnet3);
    let e1000e = [
        ("ens6-rx-0".to_string(), Role::Rx, Some(0)),
        ("ens6-tx-0".to_string(), Role::Tx, Some(0)),
        ("ens6".to_string(), Role::Management, None),
    ];
    assert_eq!(told("e1000e"), e1000e);
}
