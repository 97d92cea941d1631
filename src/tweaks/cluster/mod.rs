//! Levers that only Cilium can set: what this node has of them, needs for them, and the Helm values to ask for.
//! `cilium_side.rs` is what several levers ask of Cilium, `cilium_xdp.rs` what XDP asks of it.

pub mod bpf_maps;
pub mod bpf_masquerade;
pub mod cilium_side;
pub mod cilium_xdp;
pub mod dsr;
pub mod hubble;
pub mod kube_proxy_replacement;
pub mod native_routing;
pub mod netkit;
