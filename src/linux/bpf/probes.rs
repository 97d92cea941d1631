//! What this kernel's BPF can do, each asked of the kernel by a call that changes nothing.

use std::io;

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};
use nix::libc;

use super::super::root::Root;
use super::pins::Pins;
use super::sys;
use crate::model::bpf::Probed;
use crate::model::facts::{Bpf, Fact};
use crate::model::features::{self, Feature};

/// No link has it: the kernel looks at the kind of hook before it looks for the link.
const NO_LINK: u32 = i32::MAX as u32;
const LOOPBACK: u32 = 1;

pub fn gather(root: &Root) -> Bpf {
    Bpf {
        fs: match Pins::new(root).mounted() {
            Ok(mounted) => Fact::Known(mounted),
            Err(e) => Fact::unknown(format!("/sys/fs/bpf: {e}")),
        },
        tcx: hook(LOOPBACK, sys::TCX_INGRESS),
        xdp: program(ProgramType::Xdp),
        tc: program(ProgramType::SchedClassifier),
        fib_lookup: helper(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_fib_lookup),
        redirect_neigh: helper(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_redirect_neigh),
        frags: frags(),
        redirect_peer: helper(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_redirect_peer),
        skb_set_tstamp: helper(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_skb_set_tstamp),
        netkit: hook(NO_LINK, sys::NETKIT_PRIMARY),
    }
}

/// Everything that `check --deep` tells, with the first kernel that has it.
pub fn deep(root: &Root) -> Vec<Probed> {
    let tc = |h| helper(ProgramType::SchedClassifier, h);
    let btf = Btf::read(root);
    let asked = |feature: &Feature, answer: Fact<bool>| {
        let (major, minor) = feature.since;
        Probed { name: feature.name.to_string(), since: format!("{major}.{minor}"), answer }
    };
    let jit = match root.value("proc/sys/net/core/bpf_jit_enable") {
        Ok(text) => Fact::Known(text.trim() != "0"),
        // A kernel that always compiles has no such key in namespaces but the first.
        Err(e) => Fact::unknown(format!("net.core.bpf_jit_enable: {e}")),
    };
    let found = gather(root);
    vec![
        asked(&features::BPF_FS, found.fs),
        asked(&features::JIT, jit),
        asked(&features::BTF, Fact::Known(matches!(btf, Btf::Names(_)))),
        asked(&features::TC, found.tc),
        asked(&features::XDP, found.xdp),
        asked(&features::CGROUP_SOCK_ADDR, program(ProgramType::CgroupSockAddr)),
        asked(&features::SK_LOOKUP, program(ProgramType::SkLookup)),
        asked(&features::LPM_TRIE, map(MapType::LpmTrie)),
        asked(&features::DEVMAP_HASH, map(MapType::DevMapHash)),
        asked(&features::RINGBUF, map(MapType::RingBuf)),
        asked(&features::FIB_LOOKUP, found.fib_lookup),
        asked(&features::REDIRECT_NEIGH, found.redirect_neigh),
        asked(&features::REDIRECT_PEER, found.redirect_peer),
        asked(&features::CHECK_MTU, tc(BpfHelper::BPF_FUNC_check_mtu)),
        asked(&features::SKB_SET_TSTAMP, found.skb_set_tstamp),
        asked(&features::XDP_LINK, btf.has("bpf_xdp_link_attach")),
        asked(&features::XDP_FRAGS, found.frags),
        asked(&features::TCX, found.tcx),
        asked(&features::NETKIT, found.netkit),
        asked(&features::CT_LOOKUP, btf.has("bpf_skb_ct_lookup")),
        asked(&features::RX_HASH, btf.has("bpf_xdp_metadata_rx_hash")),
    ]
}

/// The names in the kernel's own description of its types and functions. What a module brings is
/// described beside it, under the module's name.
enum Btf {
    Names(Vec<Vec<u8>>),
    Missing(String),
}

impl Btf {
    fn read(root: &Root) -> Self {
        let folder = "sys/kernel/btf";
        match (root.list(folder), root.bytes(&format!("{folder}/vmlinux"))) {
            (Ok(names), Ok(kernel)) => {
                let modules =
                    ["nf_conntrack", "netkit"].iter().filter(|m| names.iter().any(|n| n == *m));
                let modules = modules.filter_map(|m| root.bytes(&format!("{folder}/{m}")).ok());
                Btf::Names(std::iter::once(kernel).chain(modules).collect())
            }
            (_, Err(e)) | (Err(e), _) => Btf::Missing(format!("/sys/kernel/btf/vmlinux: {e}")),
        }
    }

    fn has(&self, name: &str) -> Fact<bool> {
        let word = [&[0], name.as_bytes(), &[0]].concat();
        match self {
            Btf::Names(all) => {
                Fact::Known(all.iter().any(|b| b.windows(word.len()).any(|w| w == word)))
            }
            Btf::Missing(why) => Fact::unknown(why.clone()),
        }
    }
}

fn map(kind: MapType) -> Fact<bool> {
    match is_map_supported(kind) {
        Ok(found) => Fact::Known(found),
        Err(e) => failed(e),
    }
}

fn unknown<T>(error: &io::Error) -> Fact<T> {
    Fact::unknown(match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "the kernel's BPF can be asked by root only".to_string()
        }
        _ => error.to_string(),
    })
}

fn hook(link: u32, kind: u32) -> Fact<bool> {
    match sys::query(link, kind) {
        Ok(_) => Fact::Known(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
            Fact::Known(true)
        }
        // It knows no such hook.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Fact::Known(false),
        Err(e) => unknown(&e),
    }
}

fn program(kind: ProgramType) -> Fact<bool> {
    match is_program_supported(kind) {
        Ok(found) => Fact::Known(found),
        Err(e) => failed(e),
    }
}

fn helper(kind: ProgramType, helper: BpfHelper) -> Fact<bool> {
    match is_helper_supported(kind, helper) {
        Ok(found) => Fact::Known(found),
        Err(e) => failed(e),
    }
}

/// By a program that lets everything pass: loaded, attached to nothing.
fn frags() -> Fact<bool> {
    match sys::load_with_frags() {
        Ok(()) => Fact::Known(true),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Fact::Known(false),
        Err(e) => unknown(&e),
    }
}

fn failed(error: impl Into<anyhow::Error>) -> Fact<bool> {
    let error: anyhow::Error = error.into();
    match error.chain().find_map(|c| c.downcast_ref::<io::Error>()) {
        Some(e) => unknown(e),
        None => Fact::unknown(format!("{error:#}")),
    }
}
