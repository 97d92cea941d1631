//! Runs of what a node tells in files: Cilium's state and answers, /proc and /sys, boot loaders, labels.

use super::files::{links, text, with, write};
use crate::cilium::configmap;
use crate::cilium::live::{conclude, configuration, healthz};
use crate::image::{bootloader, kernels, selinux};
use crate::linux::facts::{agents, cilium, cpus, kernel, preflight};
use crate::linux::facts::{links, memory, routing, vectors};
use crate::linux::{irqbalance, probe, rss};
use crate::model::facts::{Cilium, Facts};

pub fn cilium_healthz(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice(bytes) else { return };
    let mut cilium = Cilium::default();
    healthz(&answer, &mut cilium);
    conclude(&mut cilium, |_| String::new());
    assert!(cilium.live.devices.len() <= 256);
    assert!(cilium.said.values().all(|said| said.source.starts_with("GET /v1/healthz ")));
}

pub fn cilium_config(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice(bytes) else { return };
    let mut cilium = Cilium::default();
    configuration(&answer, &mut cilium);
    conclude(&mut cilium, |_| String::new());
    let _ = configmap::of_agent(&cilium);
}

pub fn cilium_state(bytes: &[u8]) {
    let of = |name: &str| format!("run/cilium/state/{name}");
    let (flags, runtime) = (of("viper-agent-config.yaml"), of("agent-runtime-config.json"));
    with(&[&flags, &runtime, &of("globals/node_config.h")], &[], bytes, |_, root| {
        let found = cilium::gather(&root, cilium::SOCKET, &links(), None).unwrap();
        let _ = configmap::of_agent(&found);
    });
}

/// Files of /proc and /sys, each with the same text.
pub fn proc_files(bytes: &[u8]) {
    let files = [
        "meminfo",
        "cpuinfo",
        "uptime",
        "7/stat",
        "7/comm",
        "cmdline",
        "filesystems",
        "modules",
        "thread-self/net/ip_vs",
        "thread-self/net/route",
        "thread-self/net/ipv6_route",
        "thread-self/net/tcp",
        "thread-self/net/tcp6",
        "sys/net/ipv4/ip_local_port_range",
        "sys/net/ipv4/tcp_fastopen",
        "sys/net/ipv4/ip_local_reserved_ports",
        "sys/net/ipv4/tcp_available_congestion_control",
        "sys/net/core/bpf_jit_enable",
    ];
    let mut paths: Vec<String> = files.iter().map(|file| format!("proc/{file}")).collect();
    paths.extend(["sched/preempt".into()].map(|f: String| format!("sys/kernel/debug/{f}")));
    paths.push("sys/kernel/security/lockdown".into());
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    with(&paths, &[], bytes, |_, root| {
        let _ = (memory(&root), agents::age(&root, 7), routing::ipvs(&root));
        let agents = agents::gather(&root, cilium::SOCKET, &[]);
        let _ = (preflight::gather(&root, &[], &agents), kernel::gather(&root));
        assert!(probe::find(&root, &Facts::default()).len() <= 8);
    });
}

pub fn cpu_files(bytes: &[u8]) {
    let cpu = "sys/devices/system/cpu";
    let files = ["online", "possible", "isolated", "nohz_full", "intel_pstate/status"];
    let mut paths: Vec<String> = files.iter().map(|file| format!("{cpu}/{file}")).collect();
    for file in ["affected_cpus", "scaling_governor", "scaling_available_governors"] {
        paths.push(format!("{cpu}/cpufreq/policy0/{file}"));
    }
    paths.push(format!("{cpu}/cpu0/topology/thread_siblings_list"));
    paths.push(format!("{cpu}/intel_uncore_frequency/package_00/initial_max_freq_khz"));
    paths.push("sys/devices/system/node/node0/cpulist".into());
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    with(&paths, &[], bytes, |_, root| drop(cpus::gather(&root)));
}

pub fn modules(bytes: &[u8]) {
    let paths = ["lib/modules/6/modules.dep", "lib/modules/6/modules.builtin"];
    with(&paths, &[], bytes, |_, root| drop(kernel::of_image(&root, "6", "x86_64")));
}

pub fn kernel_config(bytes: &[u8]) {
    with(&["boot/config-6"], &[], bytes, |_, root| {
        drop(kernel::of_image(&root, "6", "x86_64"));
    });
}

pub fn kernel_config_gz(bytes: &[u8]) {
    with(&["proc/config.gz"], &[], bytes, |_, root| drop(kernel::gather(&root)));
}

/// The names of eight vectors, each a line.
pub fn irq_names(bytes: &[u8]) {
    let irqs: Vec<String> = (7..15).map(|n| n.to_string()).collect();
    let fixed: Vec<String> =
        irqs.iter().map(|n| format!("proc/irq/{n}/smp_affinity_list")).collect();
    let fixed: Vec<(&str, &str)> = fixed.iter().map(|path| (path.as_str(), "0-3\n")).collect();
    with(&["sys/kernel/irq/7/actions"], &fixed, b"", |dir, root| {
        let mut lines = bytes.split(|b| *b == b'\n');
        for irq in &irqs {
            let path = dir.join(format!("sys/kernel/irq/{irq}/actions"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write(&path, lines.next().unwrap_or_default());
        }
        for link in links() {
            let _ = vectors::gather(&root, &link, &irqs);
        }
    });
}

pub fn places(bytes: &[u8]) {
    let text = text(bytes);
    let (first, second) = text.split_once('\n').unwrap_or((&text, ""));
    let _ = (links::bus_path(first, second), rss::bytes(first));
    let _ = (irqbalance::banned(&text), kernels::machine(bytes));
}

/// What was added is found again, and so not added twice.
pub fn boot(bytes: &[u8]) {
    let paths = ["etc/default/grub", "boot/loader/entries/a.conf", "etc/kernel/cmdline"];
    with(&paths, &[], bytes, |dir, root| {
        let found = bootloader::add(&root, "preempt", "none").unwrap();
        for (path, text) in &found.edits {
            write(&dir.join(path.trim_start_matches('/')), text.as_bytes());
        }
        let again = bootloader::add(&root, "preempt", "none").unwrap();
        assert!(again.edits.is_empty(), "{:?} after {:?}", again.edits, found.edits);
    });
}

pub fn selinux(bytes: &[u8]) {
    let contexts = "etc/selinux/targeted/contexts/files/file_contexts";
    let paths = [contexts, &format!("{contexts}.subs_dist"), &format!("{contexts}.local")];
    let fixed = [("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n")];
    with(&paths, &fixed, bytes, |_, root| {
        let Some(contexts) = selinux::Contexts::load(&root) else { return };
        for path in ["/etc/systemd/system/nettune.service", "/usr/bin/nettune", "/etc/exact"] {
            contexts.label(path, selinux::Kind::File);
            contexts.label(path, selinux::Kind::Folder);
        }
    });
}
