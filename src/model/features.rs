//! What kernels can, each with the first release that has it, by the kernel's own history (what a distribution
//! brings to an older one is seen by asking). No other file says since when.

/// A release, as in 6.12.
pub type Since = (u32, u32);

#[derive(Debug, PartialEq, Eq)]
pub struct Feature {
    /// Stable: `check --deep` and its JSON have it by this name.
    pub name: &'static str,
    /// For a sentence: "this kernel has no ...".
    pub what: &'static str,
    pub since: Since,
}

macro_rules! features {
    ($($id:ident $name:literal $what:literal $major:literal $minor:literal;)*) => {
        $(pub static $id: Feature = Feature { name: $name, what: $what, since: ($major, $minor) };)*
        #[cfg(test)]
        static FEATURES: &[&Feature] = &[$(&$id),*];
    };
}

features! {
    BPF_FS "bpf-fs" "file system for BPF" 4 4;
    JIT "jit" "compiler for BPF" 3 18;
    BTF "btf" "description of its types" 4 18;
    TC "program tc" "BPF programs at tc" 4 1;
    XDP "program xdp" "XDP" 4 8;
    CGROUP_SOCK_ADDR "program cgroup_sock_addr" "BPF programs at a socket's address" 4 17;
    SK_LOOKUP "program sk_lookup" "BPF programs at the lookup of a socket" 5 9;
    LPM_TRIE "map lpm_trie" "BPF map lpm_trie" 4 11;
    DEVMAP_HASH "map devmap_hash" "BPF map devmap_hash" 5 4;
    RINGBUF "map ringbuf" "BPF map ringbuf" 5 8;
    FIB_LOOKUP "helper fib_lookup" "route lookup from BPF" 4 18;
    REDIRECT_NEIGH "helper redirect_neigh" "bpf_redirect_neigh" 5 10;
    REDIRECT_PEER "helper redirect_peer" "bpf_redirect_peer" 5 10;
    CHECK_MTU "helper check_mtu" "bpf_check_mtu" 5 12;
    SKB_SET_TSTAMP "helper skb_set_tstamp" "bpf_skb_set_tstamp, which BBR for pods needs" 5 18;
    XDP_LINK "bpf_link for xdp" "bpf_link for XDP" 5 9;
    XDP_FRAGS "xdp fragments" "XDP for packets in fragments" 5 18;
    TCX "tcx" "tcx" 6 6;
    NETKIT "netkit" "netkit" 6 7;
    CT_LOOKUP "kfunc bpf_skb_ct_lookup" "conntrack lookup from BPF" 6 0;
    RX_HASH "kfunc bpf_xdp_metadata_rx_hash" "a packet's hash in XDP" 6 3;
    ETHTOOL_NETLINK "ethtool netlink" "ethtool over netlink" 5 6;
    TSO_MAX_SIZE "tso_max_size" "packets over 64 KiB" 5 19;
    BIG_TCP_V4 "big tcp v4" "BIG TCP for IPv4" 6 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (at, feature) in FEATURES.iter().enumerate() {
            assert!(FEATURES[at + 1..].iter().all(|f| f.name != feature.name), "{}", feature.name);
        }
    }
}
