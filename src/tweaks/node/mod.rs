//! Levers that this node sets by itself; of some of them Cilium has a side too (`../cluster/cilium_side.rs`).

pub mod bandwidth_manager;
pub mod bbr;
pub mod big_tcp;
pub mod cpu;
pub mod host_routing;
pub mod irq;
pub mod mtu;
pub mod nic;
pub mod notrack;
pub mod pause;
pub mod persist;
pub mod preempt;
pub mod steering;
pub mod tcp;
pub mod tuned;
pub mod xdp;
