//! The levers, one file each. A lever is its settings (the table of the profile) and says what it
//! needs and what it wants; `TWEAKS` is the list that everything else is derived from: the rows of
//! `check`, `explain`, docs/tweaks.md, the keys a profile may have.
//! `entry.rs` is what each is to the rest, `node/` those that this node sets, `cluster/` those that only Cilium can,
//! `unseen.rs` which rules packets around the stack would no longer meet. Uses the model. Begin with `node/bbr.rs`;
//! docs/adding-a-lever.md.

pub mod cluster;
mod entry;
mod node;
mod unseen;

pub use entry::{Entry, Key, drivers, keys};

/// In the order of application.
pub const TWEAKS: &[Entry] = &[
    node::preempt::ENTRY,
    node::tuned::ENTRY,
    node::cpu::ENTRY,
    node::nic::ENTRY,
    node::pause::ENTRY,
    node::mtu::ENTRY,
    node::irq::ENTRY,
    node::steering::ENTRY,
    node::tcp::ENTRY,
    node::bandwidth_manager::ENTRY,
    node::bbr::ENTRY,
    node::big_tcp::ENTRY,
    node::notrack::ENTRY,
    node::host_routing::ENTRY,
    node::xdp::ENTRY,
    cluster::native_routing::ENTRY,
    cluster::kube_proxy_replacement::ENTRY,
    cluster::bpf_masquerade::ENTRY,
    cluster::dsr::ENTRY,
    cluster::hubble::ENTRY,
    cluster::bpf_maps::ENTRY,
    cluster::netkit::ENTRY,
];

/// A lever: a table of a profile.
pub fn find(name: &str) -> Option<&'static Entry> {
    TWEAKS.iter().find(|t| t.name == name)
}

/// A row: a lever, or what `apply --persist` keeps.
pub fn row(name: &str) -> Option<&'static Entry> {
    find(name).or(Some(&node::persist::ENTRY).filter(|e| e.name == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_key_is_described() {
        for (at, entry) in TWEAKS.iter().enumerate() {
            assert!(TWEAKS[at + 1..].iter().all(|e| e.name != entry.name), "{}", entry.name);
            assert!(!entry.summary.is_empty() && !entry.doc.what.is_empty(), "{}", entry.name);
            assert_eq!(find(entry.name).map(|e| e.name), Some(entry.name));
            for key in keys(entry) {
                assert!(!key.about.is_empty(), "{}.{}", entry.name, key.name);
            }
        }
    }
}
