//! The node, its kernel and what that can do.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fact::Fact;

/// What the kernel's BPF can do, asked of the kernel itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Bpf {
    /// A BPF file system is mounted at /sys/fs/bpf.
    pub fs: Fact<bool>,
    pub tcx: Fact<bool>,
    pub tc: Fact<bool>,
    pub xdp: Fact<bool>,
    /// XDP programs may take packets in several fragments.
    pub frags: Fact<bool>,
    pub fib_lookup: Fact<bool>,
    pub redirect_neigh: Fact<bool>,
    pub redirect_peer: Fact<bool>,
    pub skb_set_tstamp: Fact<bool>,
    pub netkit: Fact<bool>,
}

impl Default for Bpf {
    fn default() -> Self {
        let unasked = || Fact::unknown("the kernel's BPF was not asked");
        Bpf {
            fs: unasked(),
            tcx: unasked(),
            tc: unasked(),
            xdp: unasked(),
            frags: unasked(),
            fib_lookup: unasked(),
            redirect_neigh: unasked(),
            redirect_peer: unasked(),
            skb_set_tstamp: unasked(),
            netkit: unasked(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Node {
    pub name: String,
    /// The name the kubelet registers, if its configuration tells.
    pub kubernetes_name: Option<String>,
    /// DMI product name, such as "m7i.4xlarge".
    pub machine_type: Option<String>,
    pub boot_id: String,
    /// Inode of the network namespace.
    pub netns: u64,
    /// Whether this is the first network namespace: some sysctls exist only there.
    pub first_netns: bool,
    pub root: bool,
    /// Those of /proc/sys, /sys and other places of values that are mounted read-only here.
    pub read_only: Vec<String>,
    /// net.ipv6.conf.all.forwarding: the kernel itself forwards IPv6.
    pub ipv6_forwarding: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Kernel {
    pub release: String,
    pub arch: String,
    /// Bytes; 0 where it is not known. Kernels of arm64 have 4, 16 or 64 KiB.
    pub page_size: u32,
    pub cmdline: String,
    /// Where the configuration was found; null when none of the four places has it.
    pub config_file: Option<String>,
    /// The options that some lever asks for, such as "NET_SCH_FQ": "m"; "n" when not set.
    pub config: BTreeMap<String, String>,
    pub preempt: Preempt,
    pub btf: bool,
    /// net.core.bpf_jit_enable.
    pub jit: Fact<Option<u32>>,
    /// Lockdown mode in force, if the kernel has lockdown.
    pub lockdown: Option<String>,
    /// The modules that some lever asks for: builtin, loaded, loadable or absent.
    pub modules: BTreeMap<String, Fact<Module>>,
    pub congestion_controls: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Module {
    Builtin,
    Loaded,
    Loadable,
    Absent,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Preempt {
    /// none, voluntary, full, lazy or rt, as built.
    pub build: Option<String>,
    pub dynamic: Option<bool>,
    /// The mode in force; null where the kernel has no such switch.
    pub current: Fact<Option<String>>,
    pub modes: Vec<String>,
}
