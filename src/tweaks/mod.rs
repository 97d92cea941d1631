//! The levers, one file each. A lever is its settings (the table of the profile) and says what it
//! needs and what it wants; `TWEAKS` is the list that everything else is derived from: the rows of
//! `check`, `explain`, docs/tweaks.md, the keys a profile may have.
//! `entry.rs` is what each is to the rest, `cilium_side.rs` what several ask of Cilium, `unseen.rs` which rules
//! packets around the stack would no longer meet. Uses the model. Begin with `bbr.rs`; docs/adding-a-lever.md.

mod bandwidth_manager;
mod bbr;
mod big_tcp;
mod bpf_maps;
mod bpf_masquerade;
pub mod cilium_side;
pub mod cilium_xdp;
mod cpu;
mod dsr;
mod entry;
mod host_routing;
mod hubble;
mod irq;
mod kube_proxy_replacement;
mod mtu;
mod native_routing;
mod netkit;
mod nic;
mod notrack;
mod pause;
mod persist;
mod preempt;
mod steering;
mod tcp;
mod tuned;
mod unseen;
mod xdp;

pub use entry::{Entry, Key, drivers, keys};

/// In the order of application.
pub const TWEAKS: &[Entry] = &[
    preempt::ENTRY,
    tuned::ENTRY,
    cpu::ENTRY,
    nic::ENTRY,
    pause::ENTRY,
    mtu::ENTRY,
    irq::ENTRY,
    steering::ENTRY,
    tcp::ENTRY,
    bandwidth_manager::ENTRY,
    bbr::ENTRY,
    big_tcp::ENTRY,
    notrack::ENTRY,
    host_routing::ENTRY,
    xdp::ENTRY,
    native_routing::ENTRY,
    kube_proxy_replacement::ENTRY,
    bpf_masquerade::ENTRY,
    dsr::ENTRY,
    hubble::ENTRY,
    bpf_maps::ENTRY,
    netkit::ENTRY,
];

/// A lever: a table of a profile.
pub fn find(name: &str) -> Option<&'static Entry> {
    TWEAKS.iter().find(|t| t.name == name)
}

/// A row: a lever, or what `apply --persist` keeps.
pub fn row(name: &str) -> Option<&'static Entry> {
    find(name).or(Some(&persist::ENTRY).filter(|e| e.name == name))
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
