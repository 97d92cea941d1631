//! What each interrupt vector of a link is for. The kernel tells no more than the name that the driver
//! gave its handler, and each driver has names of its own.

use crate::linux::root::{Root, is_absent};
use crate::model::facts::{Fact, Link, Role, Vector};

pub fn gather(root: &Root, link: &Link, irqs: &[String]) -> Fact<Vec<Vector>> {
    let mut vectors = Vec::new();
    let Ok(all) = root.below("proc/irq") else { return Fact::unknown("/proc/irq cannot be read") };
    let kernel = root.below("sys/kernel/irq").ok();
    for irq in irqs.iter().filter_map(|n| n.parse::<u32>().ok()) {
        let affinity = match all.value(&format!("{irq}/smp_affinity_list")) {
            Ok(text) => text.trim().to_string(),
            // Requested by the device, used by nobody.
            Err(e) if is_absent(&e) => continue,
            Err(e) => return Fact::unknown(format!("read affinity of vector {irq}: {e}")),
        };
        let name = handler(&all, kernel.as_ref(), irq);
        vectors.push(Vector { irq, name, affinity, ..Vector::default() });
    }
    vectors.sort_by_key(|v| v.irq);
    Owner::of(root, link).assign(&mut vectors);
    Fact::Known(vectors)
}

/// The name that the driver gave its handler: one small file where the kernel has it, else the one
/// folder beside the files of /proc/irq/N. (/proc/interrupts has all, in 23 MB on a large machine.)
fn handler(all: &Root, kernel: Option<&Root>, irq: u32) -> String {
    if let Some(actions) = kernel.and_then(|k| k.line(&format!("{irq}/actions"))) {
        return actions.split(',').next().unwrap_or_default().to_string();
    }
    let names = all.list(&irq.to_string()).unwrap_or_default();
    names.into_iter().find(|n| !FILES.contains(&n.as_str())).unwrap_or_default()
}

const FILES: [&str; 7] = [
    "affinity_hint",
    "effective_affinity",
    "effective_affinity_list",
    "node",
    "smp_affinity",
    "smp_affinity_list",
    "spurious",
];

/// Before a number, or two of them in a row: what the queue of that number takes.
const QUEUES: [(&[&str], Role); 16] = [
    (&["tx", "rx"], Role::Both),
    (&["txrx"], Role::Both),
    (&["rxtx"], Role::Both),
    (&["comp"], Role::Both),
    (&["combined"], Role::Both),
    (&["fp"], Role::Both),
    (&["ntfy", "blk"], Role::Both),
    (&["ntfy", "block"], Role::Both),
    (&["q"], Role::Both),
    (&["queue"], Role::Both),
    (&["input"], Role::Rx),
    (&["output"], Role::Tx),
    (&["rx"], Role::Rx),
    (&["rxq"], Role::Rx),
    (&["tx"], Role::Tx),
    (&["txq"], Role::Tx),
];

/// Of i40e and ice for flow director, of mlx5_core for subfunctions: named like a queue's, and no queue
/// of the link.
const OTHERS_QUEUES: [&str; 3] = ["fdir", "ctrl", "sf"];

/// In the name of a vector that serves no queue of the link.
const MANAGEMENT: [&str; 33] = [
    "admin",
    "aeq",
    "async",
    "ceq",
    "cmd",
    "config",
    "control",
    "crypto",
    "ctrl",
    "err",
    "event",
    "exn",
    "fdir",
    "hwc",
    "iov",
    "iscsi",
    "lsc",
    "mac",
    "mae",
    "mailbox",
    "mbox",
    "mbx",
    "mgm",
    "misc",
    "notify",
    "nq",
    "ofld",
    "pages",
    "ptp",
    "rdma",
    "safety",
    "virtqueues",
    "xdp",
];

/// Whose vectors they are, and how many of its queues are in use where that is known.
struct Owner<'a> {
    link: &'a str,
    driver: &'a str,
    /// Further links of the same device: ports of one PCI function share its list of vectors.
    others: Vec<String>,
    rx: Option<u32>,
    tx: Option<u32>,
}

impl<'a> Owner<'a> {
    fn of(root: &Root, link: &'a Link) -> Self {
        let folder = format!("sys/class/net/{}", link.name);
        let mut others = root.list(&format!("{folder}/device/net")).unwrap_or_default();
        others.retain(|name| *name != link.name);
        // A driver without ethtool's channels: what it uses has a folder.
        let queues = root.list(&format!("{folder}/queues")).unwrap_or_default();
        let count = |side: &str| {
            let has = queues.iter().filter(|q| q.starts_with(side)).count() as u32;
            link.queues(side).or(Some(has).filter(|n| *n > 0))
        };
        let driver = link.driver.as_deref().unwrap_or_default();
        Owner { link: &link.name, driver, rx: count("rx"), tx: count("tx"), others }
    }

    fn assign(&self, vectors: &mut [Vector]) {
        for vector in vectors.iter_mut() {
            (vector.role, vector.queue) = self.role(&vector.name);
        }
        self.named_like_the_link(vectors);
        halves(vectors);
        self.by_order(vectors);
    }

    fn used(&self) -> Option<u32> {
        self.rx.max(self.tx)
    }

    /// From the name that the driver gave its vector.
    fn role(&self, name: &str) -> (Role, Option<u32>) {
        if name.is_empty() || name.ends_with("-unused") {
            return (Role::Unused, None);
        }
        // "mlx5_comp3@pci:0000:01:00.0": the number after the word, not the address.
        let name = name.split('@').next().unwrap_or(name);
        if self.others.iter().any(|other| without(name, other).is_some()) {
            return (Role::Management, None);
        }
        let own = without(name, self.link);
        let all = words(own.as_deref().unwrap_or(name));
        // The first may be what the link was called when its driver asked for the vector.
        let words = if own.is_some() { &all[..] } else { all.get(1..).unwrap_or_default() };
        let number = words.last().and_then(|w| w.parse().ok());
        let (words, number) = match number {
            Some(_) => (&words[..words.len() - 1], number),
            // The only queue of its side needs none.
            None => (words, Some(0).filter(|_| self.used() == Some(1))),
        };
        let is = |(end, _): &&(&[&str], Role)| {
            words.len() >= end.len() && words[words.len() - end.len()..] == **end
        };
        let others = words.iter().any(|w| OTHERS_QUEUES.contains(&w.as_str()));
        let management = words.iter().any(|w| MANAGEMENT.iter().any(|m| w.contains(m)));
        match QUEUES.iter().find(is) {
            Some(_) if others => (Role::Management, None),
            Some((_, role)) if number.is_some() => (*role, number),
            _ if management => (Role::Management, None),
            _ => (Role::Unknown, None),
        }
    }

    /// The one vector that has no more than the link's name is for all that is no queue (Intel's
    /// drivers), or the only one of a small device.
    fn named_like_the_link(&self, vectors: &mut [Vector]) {
        let single = vectors.len() == 1 && self.used() == Some(1);
        let unknown = |v: &&mut Vector| v.role == Role::Unknown && (single || v.name == self.link);
        let mut found: Vec<&mut Vector> = vectors.iter_mut().filter(unknown).collect();
        if let [one] = &mut found[..] {
            one.role = Role::Management;
        }
    }

    /// Exactly as many as there are queues, and numbered in one row or not at all: they are given to the
    /// queues in that order. Some drivers begin at 1 (tg3), go on behind the other side's (vmxnet3) or
    /// leave every second number out (hns3), and some have no word for what their vectors are for.
    fn by_order(&self, vectors: &mut [Vector]) {
        for (role, used) in [(Role::Rx, self.rx), (Role::Tx, self.tx), (Role::Both, self.used())] {
            let mut group: Vec<&mut Vector> =
                vectors.iter_mut().filter(|v| v.role == role).collect();
            let numbers: Vec<u32> = group.iter().filter_map(|v| v.queue).collect();
            let step = numbers.get(1).and_then(|b| b.checked_sub(numbers[0])).unwrap_or(1);
            if Some(numbers.len() as u32) == used && step > 0 && evenly(&numbers, step) {
                give(&mut group, role);
            }
        }
        let named = vectors.iter().any(|v| matches!(v.role, Role::Rx | Role::Tx | Role::Both));
        let (Some(used), false, true) = (self.used(), named, self.others.is_empty()) else {
            return;
        };
        let mut group: Vec<&mut Vector> =
            vectors.iter_mut().filter(|v| v.role == Role::Unknown).collect();
        let rows: Vec<(String, Option<u32>)> =
            group.iter().map(|v| row(&v.name, self.link)).collect();
        if rows.windows(2).any(|pair| pair[0].0 != pair[1].0) {
            return;
        }
        let same = group.windows(2).all(|pair| pair[0].name == pair[1].name);
        // All of its vectors have the link's name; the one behind the queues' is for the link's state
        // (aq_nic_cfg_start() of its aq_nic.c).
        if self.driver == "atlantic"
            && same
            && group.len() as u32 == used + 1
            && let Some(last) = group.pop()
        {
            last.role = Role::Management;
        }
        let numbers: Vec<u32> = rows.iter().filter_map(|(_, number)| *number).collect();
        let in_a_row = same || numbers.len() == rows.len() && evenly(&numbers, 1);
        if group.len() as u32 == used && in_a_row {
            give(&mut group, Role::Both);
        }
    }
}

fn give(group: &mut [&mut Vector], role: Role) {
    for (queue, vector) in (0..).zip(group) {
        (vector.role, vector.queue) = (role, Some(queue));
    }
}

fn evenly(numbers: &[u32], step: u32) -> bool {
    numbers.windows(2).all(|pair| pair[0].checked_add(step) == Some(pair[1]))
}

/// A vector's name with its last number left out, and that number: "eth0[", "]" and 3.
fn row(name: &str, link: &str) -> (String, Option<u32>) {
    let (name, address) = name.split_once('@').unwrap_or((name, ""));
    let rest = without(name, link).unwrap_or_else(|| name.to_string());
    let Some(end) = rest.rfind(|c: char| c.is_ascii_digit()) else { return (rest, None) };
    let start = rest[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    let number = rest[start..=end].parse().ok();
    (format!("{}#{}@{address}", &rest[..start], &rest[end + 1..]), number)
}

/// A vector's name without that of the link, where it has it as a word of its own: a link may be
/// called "rx0".
fn without(name: &str, link: &str) -> Option<String> {
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
    let fits = |(at, _): &(usize, &str)| {
        edge(name[..*at].chars().next_back()) && edge(name[at + link.len()..].chars().next())
    };
    let (at, _) = name.match_indices(link).find(fits).filter(|_| !link.is_empty())?;
    Some(format!("{}-{}", &name[..at], &name[at + link.len()..]))
}

/// Runs of letters and runs of digits, in small letters.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for c in name.chars() {
        let kind = c.is_ascii_alphanumeric().then(|| c.is_ascii_digit());
        match (kind, words.last_mut()) {
            (Some(_), Some(word)) if kind == last => word.push(c.to_ascii_lowercase()),
            (Some(_), _) => words.push(c.to_ascii_lowercase().to_string()),
            (None, _) => {}
        }
        last = kind;
    }
    words
}

/// gve numbers its blocks in one row: those of the transmit queues, then as many for the receive
/// queues (gve_rx_idx_to_ntfy() of its gve.h).
fn halves(vectors: &mut [Vector]) {
    let block = |v: &Vector| v.queue.filter(|_| v.name.contains("ntfy"));
    let half = vectors.iter().filter_map(block).count() as u32 / 2;
    for vector in vectors {
        if let Some(number) = block(vector) {
            let rx = number.checked_sub(half);
            vector.role = if rx.is_some() { Role::Rx } else { Role::Tx };
            vector.queue = rx.or(Some(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Both, Management, Rx, Tx, Unknown, Unused};

    fn of(link: &str) -> Owner<'_> {
        Owner { link, driver: "", others: Vec::new(), rx: None, tx: None }
    }

    type Told = (Role, Option<u32>);

    /// The roles of vectors of these names, on a link with that many queues of each side.
    fn told(owner: Owner, queues: u32, names: &[&str]) -> Vec<Told> {
        let vector = |(n, name): (usize, &&str)| Vector {
            irq: 60 + n as u32,
            name: name.to_string(),
            ..Vector::default()
        };
        let mut vectors: Vec<Vector> = names.iter().enumerate().map(vector).collect();
        Owner { rx: Some(queues), tx: Some(queues), ..owner }.assign(&mut vectors);
        vectors.into_iter().map(|v| (v.role, v.queue)).collect()
    }

    fn both(queues: std::ops::Range<u32>) -> impl Iterator<Item = Told> {
        queues.map(|q| (Both, Some(q)))
    }

    #[test]
    fn names_that_drivers_give_their_vectors() {
        for (name, want) in [
            ("virtio0-input.3", (Rx, Some(3))),
            ("virtio0-output.0", (Tx, Some(0))),
            ("virtio0-config", (Management, None)),
            ("mlx5_comp7@pci:0000:01:00.0", (Both, Some(7))),
            ("mlx5_async0@pci:0000:01:00.0", (Management, None)),
            ("i40e-eth0-TxRx-12", (Both, Some(12))),
            ("ice-ens1f0-TxRx-0", (Both, Some(0))),
            ("eth0-Tx-Rx-1", (Both, Some(1))),
            ("ena-mgmnt@pci:0000:00:05.0", (Management, None)),
            ("eth0-rxtx-2", (Both, Some(2))),
            ("", (Unused, None)),
        ] {
            assert_eq!(of("").role(name), want, "{name}");
        }
    }

    /// From /proc/interrupts of machines in the field, as their owners published them.
    #[test]
    fn names_as_machines_have_them() {
        for (name, want) in [
            // A ConnectX function on Hyper-V.
            ("mlx5_cmd_eq@pci:8b76:00:02.0", (Management, None)),
            ("mlx5_async_eq@pci:8b76:00:02.0", (Management, None)),
            ("mlx5_comp2@pci:8b76:00:02.0", (Both, Some(2))),
            // Azure: netdev, "Add per-cpu stats for MANA device", 13 March 2024.
            ("mana_hwc@pci:7870:00:00.0", (Management, None)),
            ("mana_q1@pci:7870:00:00.0", (Both, Some(1))),
            // An i40e that runs XDP.
            ("i40e-i40e1-TxRx-3", (Both, Some(3))),
            ("i40e-0000:04:00.0:fdir-TxRx-0", (Management, None)),
            // Amazon.
            ("ena-mgmnt@pci:0000:00:05.0", (Management, None)),
            ("eth0-Tx-Rx-3", (Both, Some(3))),
            ("ens34-mgmnt-intr-pci:0000:00:05.0", (Management, None)),
            // Google: test data of its guest agent.
            ("gve-ntfy-blk1@pci:0000:00:08.0", (Both, Some(1))),
            ("gve-mgmnt@pci:0000:00:08.0", (Management, None)),
            ("eth%d-ntfy-block.1", (Both, Some(1))),
            ("eth0-fdir-TxRx-0", (Management, None)),
            // An E810, and a bnxt_en.
            ("ice-enp59s0f1-TxRx-32", (Both, Some(32))),
            ("ice-0000:17:00.0:misc", (Management, None)),
            ("eno16695np0-TxRx-1", (Both, Some(1))),
            // VMware.
            ("ens34-rxtx-1", (Both, Some(1))),
            ("ens34-event-2", (Management, None)),
        ] {
            assert_eq!(of("").role(name), want, "{name}");
        }
    }

    #[test]
    fn names_without_a_word_are_queues_where_there_are_as_many_in_one_row() {
        for names in [
            // sfc, bnx2, cxgb4vf, be2net, netxen, Chelsio's own driver, a link that was renamed.
            ["eth9-0", "eth9-1", "eth9-2"],
            ["eth9-q0", "eth9-q1", "eth9-q2"],
            ["eth9[0]", "eth9[1]", "eth9[2]"],
            ["eth9 (queue 0)", "eth9 (queue 1)", "eth9 (queue 2)"],
            ["eth0-0", "eth0-1", "eth0-2"],
            ["mlx4-1@0000:81:00.0", "mlx4-2@0000:81:00.0", "mlx4-3@0000:81:00.0"],
            ["eth9", "eth9", "eth9"],
        ] {
            assert!(told(of("eth9"), 3, &names).into_iter().eq(both(0..3)), "{names:?}");
        }
        let mlx4 = ["mlx4-async@pci:0000:81:00.0", "mlx4-1@0000:81:00.0", "mlx4-2@0000:81:00.0"];
        let async_first = [(Management, None), (Both, Some(0)), (Both, Some(1))];
        assert_eq!(told(of("eth9"), 2, &mlx4), async_first);
        // Two ports share those, so that their order tells nothing.
        let two = || Owner { others: vec!["eth10".into()], ..of("eth9") };
        let unknown = [(Management, None), (Unknown, None), (Unknown, None)];
        assert_eq!(told(two(), 2, &mlx4), unknown);
        let ports = ["eth9-Rx0", "eth9-Rx1", "eth10-Rx0", "eth10-Rx1"];
        let first = [(Rx, Some(0)), (Rx, Some(1)), (Management, None), (Management, None)];
        assert_eq!(told(two(), 2, &ports), first);
    }

    #[test]
    fn what_is_not_certain_stays_unknown() {
        for (queues, names) in [
            (4, &["eth9-0", "eth9-1", "eth9-2"][..]),
            (2, &["eth9-0", "eth9-1", "eth9-2"]),
            (3, &["eth9-0", "eth9-1", "eth9-3"]),
            (3, &["eth9-2", "eth9-1", "eth9-0"]),
            (3, &["eth9-0", "eth9-1", "other-2"]),
            (3, &["one", "two", "three"]),
            (4, &["dpio.7"]),
            (2, &["eth9", "eth9", "eth9"]),
        ] {
            let told = told(of("eth9"), queues, names);
            assert!(told.iter().all(|t| *t == (Unknown, None)), "{names:?}: {told:?}");
        }
        // Beside one that is known there is no counting.
        let some = ["qlcnic-rx-0", "eth9[0]", "eth9[1]"];
        assert_eq!(told(of("eth9"), 2, &some)[1..], [(Unknown, None), (Unknown, None)]);
    }

    #[test]
    fn atlantic_has_one_more_of_the_same_name_for_the_state_of_the_link() {
        let names = ["eth9"; 5];
        let atlantic = Owner { driver: "atlantic", ..of("eth9") };
        let found = told(atlantic, 4, &names);
        assert!(found[..4].iter().copied().eq(both(0..4)));
        assert_eq!(found[4], (Management, None));
        assert_eq!(told(of("eth9"), 4, &names)[4], (Unknown, None));
    }

    #[test]
    fn a_vector_alone_or_with_no_more_than_the_links_name() {
        assert_eq!(told(of("eth9"), 1, &["eth9"]), [(Management, None)]);
        assert_eq!(told(of("eth9"), 1, &["sky2@pci:0000:02:00.0"]), [(Management, None)]);
        let igb = ["eth9", "eth9-TxRx-0", "eth9-TxRx-1", "eth9-unused"];
        let want = [(Management, None), (Both, Some(0)), (Both, Some(1)), (Unused, None)];
        assert_eq!(told(of("eth9"), 2, &igb), want);
        // The only queue of a side has no number (forcedeth, hibmcge).
        let one = ["eth9-rx", "eth9-tx", "eth9-err"];
        assert_eq!(told(of("eth9"), 1, &one), [(Rx, Some(0)), (Tx, Some(0)), (Management, None)]);
        assert_eq!(told(of("eth9"), 2, &one)[..2], [(Unknown, None), (Unknown, None)]);
    }

    #[test]
    fn numbers_that_do_not_begin_at_the_first_queue() {
        // tg3: the first vector is the link's and the transmit queue's.
        let tg3 = ["eth9-0", "eth9-txrx-1", "eth9-txrx-2"];
        assert_eq!(told(of("eth9"), 2, &tg3), [(Unknown, None), (Both, Some(0)), (Both, Some(1))]);
        // vmxnet3 without shared vectors.
        let vmxnet3 = ["eth9-tx-0", "eth9-tx-1", "eth9-rx-2", "eth9-rx-3", "eth9-event-4"];
        let want = [(Tx, 0), (Tx, 1), (Rx, 0), (Rx, 1)].map(|(role, q)| (role, Some(q)));
        assert_eq!(told(of("eth9"), 2, &vmxnet3)[..4], want);
        // hns3 counts by two.
        let hns3 = [0, 2, 4].map(|n| format!("hns3-0000:7d:00.0-TxRx-{n}"));
        let hns3: Vec<&str> = hns3.iter().map(String::as_str).collect();
        assert!(told(of("eth9"), 3, &hns3).into_iter().eq(both(0..3)));
        // More than there are queues in use: each has the number that it says.
        let mlx5 = ["mlx5_comp1@pci:0000:81:00.0", "mlx5_comp2@pci:0000:81:00.0"];
        assert!(told(of("eth9"), 1, &mlx5).into_iter().eq(both(1..3)));
    }

    #[test]
    fn words_of_links_and_of_other_things_are_no_queues() {
        // nfp- is no fp-, and a link may be called like a queue.
        assert_eq!(of("eth9").role("nfp-0000:81:00.0-exn"), (Management, None));
        assert_eq!(of("matrx0").role("matrx0-TxRx-1"), (Both, Some(1)));
        assert_eq!(of("rx0").role("rx0-tx-3"), (Tx, Some(3)));
        assert_eq!(told(of("matrx0"), 4, &["matrx0"]), [(Management, None)]);
        assert_eq!(of("eth9").role("ctrl0-TxRx-1"), (Both, Some(1)), "of a link that was renamed");
        for name in [
            "mlx5_sf_comp3@pci:0000:81:00.0",
            "0000:81:00.4-FWeventq",
            "rvu_pf_mbox",
            "ionic-0000:81:00.0-adminq",
            "idpf-eth9-Mailbox-0",
            "eth9:mac",
            "eth9-xdp-0",
            "eth9-ptp",
        ] {
            assert_eq!(of("eth9").role(name), (Management, None), "{name}");
        }
        for (name, want) in [
            ("eth9-fp-1", (Both, Some(1))),
            ("ionic-eth9-rxtx0", (Both, Some(0))),
            ("eth9_rxq3", (Rx, Some(3))),
            ("eth9:tx-2", (Tx, Some(2))),
            ("mlx5_comp40@pci:0000:81:00.0", (Both, Some(40))),
        ] {
            assert_eq!(of("eth9").role(name), want, "{name}");
        }
    }
}
