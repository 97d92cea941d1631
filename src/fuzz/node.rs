//! Runs of what is text: nettune's own files, others' configuration, /proc and /sys.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::seeds;
use crate::cilium::{configmap, diff, fleet::Fleet, render, report, values, version};
use crate::engine::confirm::{Pending, RunDir};
use crate::engine::folder::Folder;
use crate::engine::journal::{Journal, NAME};
use crate::engine::ledger::Ledger;
use crate::engine::{lines, repair::Repair};
use crate::image::manifest::Manifest;
use crate::image::{bootloader, kernels, selinux};
use crate::linux::facts::{agents, cilium, cilium_api, cpus, kernel, preflight, settings};
use crate::linux::facts::{kubernetes_name, links, memory, routing, vectors};
use crate::linux::root::Root;
use crate::linux::{irqbalance, nft, probe, rss, socket};
use crate::model::bpf::{Deny, Hook, denied};
use crate::model::facts::{Cilium, Facts, Link};
use crate::model::{Group, Resource, State, Want, cpulist, reach::Reach, sysctls};
use crate::profile::{Finder, Profile};

/// Everything that is written in memory stays there; a target's thread has its own folders.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn write(path: &Path, bytes: &[u8]) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    std::io::Write::write_all(&mut file.unwrap(), bytes).unwrap();
}

thread_local! {
    static FOLDERS: RefCell<BTreeMap<String, TempDir>> = RefCell::default();
}

/// The folder of these paths, with the same bytes in each.
fn with(paths: &[&str], fixed: &[(&str, &str)], bytes: &[u8], run: impl FnOnce(&Path, Root)) {
    FOLDERS.with_borrow_mut(|all| {
        let new = || {
            let dir = folder();
            for path in paths.iter().chain(fixed.iter().map(|(path, _)| path)) {
                std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            }
            fixed.iter().for_each(|(path, text)| write(&dir.path().join(path), text.as_bytes()));
            dir
        };
        let dir = all.entry(paths.join(" ")).or_insert_with(new).path();
        paths.iter().for_each(|path| write(&dir.join(path), bytes));
        run(dir, Root::open(dir).unwrap());
    });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn links() -> Vec<Link> {
    let link = |index, name: &str, kind: Option<&str>, driver: Option<&str>| Link {
        index,
        name: name.into(),
        kind: kind.map(str::to_string),
        driver: driver.map(str::to_string),
        mac: Some(format!("02:00:00:00:00:{index:02x}")),
        permanent_mac: driver.map(|_| format!("02:00:00:00:00:{index:02x}")),
        bus: driver.map(|_| "pci/0000:01:00.0".to_string()),
        default_route: true,
        rx_queues: 4,
        tx_queues: 4,
        ..Link::default()
    };
    vec![
        link(1, "eth0", None, Some("ixgbe")),
        link(2, "eth1", None, Some("veth")),
        link(3, "bond0", Some("bond"), None),
        link(4, "eth0.100", Some("vlan"), None),
        link(5, "lxc1", Some("veth"), None),
    ]
}

/// Journal: what is read of a line with a checksum is a line that was written, byte for byte.
pub fn journal(bytes: &[u8]) {
    static WRITTEN: LazyLock<HashSet<Vec<u8>>> = LazyLock::new(|| {
        let all = seeds::journals().concat();
        all.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
    });
    let found = lines::Lines::of(bytes);
    for line in &found.all {
        let Ok(record) = &line.read else { continue };
        let mut again = lines::write(record).unwrap();
        again.pop();
        let same = lines::Line::of(1, &again);
        let same = lines::write(same.read.as_ref().ok().unwrap()).unwrap();
        assert_eq!(text(&same[..same.len() - 1]), text(&again));
        let summed = line.bytes.windows(8).any(|w| w == b",\"sum\":\"");
        assert!(!summed || WRITTEN.contains(line.bytes), "{}", text(line.bytes));
    }
    let mut facts = Facts::default();
    (facts.node.boot_id, facts.node.netns, facts.links) = ("b".into(), 1, links());
    with(&[NAME], &[], bytes, |dir, _| {
        let folder = Folder::open(dir, true).unwrap().unwrap();
        let _ = Repair::of(&folder, &facts).map(|r| (r.damaged(), r.owned().count()));
        if let Ok(journal) = Journal::load(Some(Arc::new(folder))) {
            let written = found.all.iter().filter(|l| l.read.is_ok()).count();
            assert_eq!(journal.records.len(), if journal.damage.is_some() { 0 } else { written });
            let mut ledger = Ledger::replay(&journal.records);
            let _ = ledger.settle_on(&facts);
            let _ = ledger.snapshot();
        }
    });
}

pub fn pending(bytes: &[u8]) {
    with(&["pending.json"], &[], bytes, |dir, _| {
        if let Ok(Some(pending)) = RunDir(dir.to_path_buf()).load("b") {
            comes_back::<Pending>(serde_json::to_string(&pending).unwrap().as_bytes());
        }
    });
}

pub fn profile(bytes: &[u8]) {
    with(&["p.toml"], &[], bytes, |dir, _| {
        let finder = Finder { folders: Vec::new(), strict: false };
        let name = dir.join("p.toml").display().to_string();
        let Ok(profile) = Profile::load(&finder, &name, &[]) else { return };
        let (_, _) = (profile.tweaks(), profile.values());
        let mut table = profile.table.clone();
        table.remove("include");
        write(&dir.join("p.toml"), toml::to_string(&table).unwrap().as_bytes());
        let again = Profile::load(&finder, &name, &[]).unwrap();
        assert_eq!(again.table.to_string(), table.to_string());
    });
}

pub fn profile_set(bytes: &[u8]) {
    let finder = Finder { folders: Vec::new(), strict: false };
    let _ = Profile::load(&finder, "network-latency", &[text(bytes)]).map(|p| p.tweaks().is_ok());
}

/// A node whose configuration is here: what its agents will set.
fn configured(paths: &[&str], fixed: &[(&str, &str)], bytes: &[u8]) {
    with(paths, fixed, bytes, |_, root| {
        let links = links();
        let mut all = settings::gather(&root, &links);
        all.extend(settings::tuned_profiles(&root, &links).into_values().flatten());
        let length: usize = all.iter().map(|s| s.file.len() + s.resource.len()).sum();
        assert!(length < 64 << 20, "{} settings of {length} bytes", all.len());
        let keys = BTreeSet::from(["net/core/somaxconn".to_string()]);
        crate::persist::dropin_name(&keys, &crate::linux::sysctl_files(&root));
        let agents = agents::gather(&root, cilium::SOCKET, &links);
        let _ = (preflight::gather(&root, &links, &agents), agents::of_image(&root));
        let _ = (cpus::gather(&root), kubernetes_name(&root), probe::find(&root));
    });
}

pub fn sysctl_d(bytes: &[u8]) {
    configured(&["etc/sysctl.d/50-a.conf", "etc/sysctl.conf", "etc/ufw/sysctl.conf"], &[], bytes);
}

pub fn networkd(bytes: &[u8]) {
    let at = |name: &str| format!("etc/systemd/network/50-a.{name}");
    let drop_in = at("network.d/x.conf");
    let paths = [&at("link"), &at("netdev"), &at("network"), &drop_in, "etc/systemd/networkd.conf"];
    configured(&paths, &[("usr/lib/systemd/system/systemd-networkd.service", "")], bytes);
}

pub fn netplan(bytes: &[u8]) {
    configured(&["etc/netplan/50-a.yaml"], &[], bytes);
}

pub fn ifupdown(bytes: &[u8]) {
    configured(&["etc/network/interfaces", "etc/network/interfaces.d/x"], &[], bytes);
}

pub fn ifcfg(bytes: &[u8]) {
    let folder = "etc/sysconfig/network-scripts";
    configured(&[&format!("{folder}/ifcfg-eth0"), "etc/sysconfig/network/ifcfg-eth1"], &[], bytes);
}

pub fn network_manager(bytes: &[u8]) {
    let path = |name: &str| format!("etc/NetworkManager/{name}");
    let paths = ["NetworkManager.conf", "conf.d/x.conf", "system-connections/a.nmconnection"];
    let paths: Vec<String> = paths.iter().map(|name| path(name)).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    configured(&paths, &[("usr/lib/systemd/system/NetworkManager.service", "")], bytes);
}

pub fn tuned(bytes: &[u8]) {
    let fixed =
        [("etc/tuned/active_profile", "x\n"), ("usr/lib/tuned/other/tuned.conf", "[main]\n")];
    configured(&["usr/lib/tuned/x/tuned.conf", "etc/tuned/x-variables.conf"], &fixed, bytes);
}

pub fn nftables_conf(bytes: &[u8]) {
    configured(&["etc/nftables.conf", "etc/nftables.d/a.nft"], &[], bytes);
}

pub fn kubelet(bytes: &[u8]) {
    let of = |name: &str| format!("var/lib/kubelet/{name}");
    let (config, state, flags) =
        (of("config.yaml"), of("cpu_manager_state"), of("kubeadm-flags.env"));
    configured(&[&config, &state, &flags, "etc/kubernetes/kubelet.conf"], &[], bytes);
}

pub fn cni(bytes: &[u8]) {
    configured(&["etc/cni/net.d/10-aws.conflist"], &[], bytes);
}

pub fn agents(bytes: &[u8]) {
    let paths = [
        "etc/sysconfig/saptune",
        "usr/share/saptune/notes/1",
        "etc/saptune/override/1",
        "etc/firewalld/firewalld.conf",
        "usr/lib/systemd/system/irqbalance.service",
        "usr/lib/systemd/system/saptune.service",
        "etc/default/irqbalance",
        "etc/crio/crio.conf.d/00-default",
    ];
    configured(&paths, &[], bytes);
}

pub fn cilium_healthz(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice(bytes) else { return };
    let mut cilium = Cilium::default();
    cilium_api::status(&answer, &mut cilium);
    assert!(cilium.live.devices.len() <= 256);
}

pub fn cilium_config(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice(bytes) else { return };
    let mut config = BTreeMap::new();
    cilium_api::configuration(&answer, &mut Cilium::default(), &mut config);
    assert!(config.values().all(|value| value.len() <= 64 * 257 * 4), "{config:?}");
}

pub fn cilium_state(bytes: &[u8]) {
    let of = |name: &str| format!("run/cilium/state/{name}");
    let (flags, runtime) = (of("viper-agent-config.yaml"), of("agent-runtime-config.json"));
    with(&[&flags, &runtime, &of("globals/node_config.h")], &[], bytes, |_, root| {
        let found = cilium::gather(&root, cilium::SOCKET, &links(), None).unwrap();
        let _ = configmap::of_agent(&found);
    });
}

fn fleet() -> Fleet {
    Fleet::new(version::DEFAULT, crate::commands::cilium::levers())
}

pub fn configmap(bytes: &[u8]) {
    if let Ok(config) = configmap::parse(bytes) {
        let _ = (diff::diff(&fleet(), &config, true), diff::diff(&fleet(), &config, false));
    }
}

/// What is printed for Helm is YAML, whatever the reports say.
pub fn node_report(bytes: &[u8]) {
    with(&["report.json"], &[], bytes, |dir, _| {
        let (mut fleet, path) = (fleet(), dir.join("report.json").display().to_string());
        if report::read(&[path], |one| fleet.add(one)).is_ok() {
            let all = values::values(&fleet, true);
            let printed = render::yaml(&all, "nettune").unwrap();
            let _: serde_json::Value = yaml_serde::from_str(&printed).expect(&printed);
        }
    });
}

pub fn cpu_lists(bytes: &[u8]) {
    let text = text(bytes);
    if let Some(cpus) = cpulist::parse(&text) {
        let list = cpulist::format(&cpus);
        assert_eq!(cpulist::parse(&list).as_ref(), Some(&cpus), "{list}");
        let bits = cpus.last().map_or(1, |last| last + 1);
        assert_eq!(cpulist::from_mask(&cpulist::to_mask(&cpus, bits)), Some(cpus));
    }
    if let Some(cpus) = cpulist::from_mask(&text) {
        let bits = cpus.last().map_or(1, |last| last + 1);
        assert_eq!(cpulist::from_mask(&cpulist::to_mask(&cpus, bits)), Some(cpus));
    }
}

pub fn names(bytes: &[u8]) {
    let text = text(bytes);
    let text = text.trim_end_matches('\n');
    fn same<T: std::str::FromStr + ToString + PartialEq + std::fmt::Debug>(text: &str) {
        if let Ok(found) = text.parse::<T>() {
            let again = found.to_string();
            assert_eq!(again.parse().ok().as_ref(), Some(&found), "{text:?} {again:?}");
        }
    }
    (same::<Resource>(text), same::<Reach>(text), same::<Deny>(text));
    if let Ok(resource) = text.parse::<Resource>() {
        let other = resource.renamed("eth7");
        assert_eq!(other.link(), resource.link().map(|_| "eth7"), "{text:?}");
        let _ = (resource.once(), resource.shown(&State::is(text)));
    }
    if let Ok(found) = version::Version::parse(text) {
        assert_eq!(version::Version::parse(&found.to_string()), Ok(found));
    }
    let (once, _) = (Group::Coalesce.canonical(text), (Hook::parse(text), denied(text)));
    assert_eq!(Group::Coalesce.canonical(&once), once);
    let _ = found_by_name(text);
}

fn found_by_name(text: &str) -> bool {
    links().iter().any(|link| crate::model::uplinks::matches(text, link))
}

/// What serde reads and writes is read again as the same.
fn comes_back<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let found: T = serde_json::from_slice(bytes).ok()?;
    let once = serde_json::to_string(&found).unwrap();
    let again: T = serde_json::from_str(&once).expect(&once);
    assert_eq!(serde_json::to_string(&again).unwrap(), once);
    Some(found)
}

pub fn states(bytes: &[u8]) {
    let state: Option<State> = comes_back(bytes);
    let Some(want) = comes_back::<Want>(bytes) else { return };
    for from in ["4096 4096 4096", "rx=8 tx=1024", "2"].map(State::is).into_iter().chain(state) {
        if let Ok(to) = want.resolve(&from) {
            assert!(want.met_by(&to), "{want:?} {from:?} {to:?}");
        }
    }
    let _ = (want.merge(&want), want.to_string());
}

pub fn sysctl_values(bytes: &[u8]) {
    let text = text(bytes);
    let Some((key, value)) = text.split_once('\n') else { return };
    let facts = Facts::default();
    let once = sysctls::canonical(key, value, &facts);
    assert_eq!(sysctls::canonical(key, &once, &facts), once, "{key}");
    assert!(sysctls::one_value(key, key));
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
        assert!(probe::find(&root).len() <= 8);
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

/// A table's line as it is written is read back as the same line.
pub fn nft_words(bytes: &[u8]) {
    let text = text(bytes);
    let line = text.trim_end_matches('\n');
    let Ok((kind, body)) = nft::parse(line) else { return };
    let whole = [socket::nla(1, &socket::c_bytes("t")), body].concat();
    let attrs = socket::attrs(&whole);
    let again = match line.split(' ').next() {
        Some("chain") => nft::chain_text(attrs),
        Some("rule") => nft::rule_text(&attrs),
        _ => nft::flow::text(&attrs),
    };
    assert_eq!(again.trim_end_matches('\n'), line, "{kind}");
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

pub fn manifest(bytes: &[u8]) {
    with(&["etc/nettune/baked.json"], &[], bytes, |_, root| {
        if let Ok(Some(manifest)) = Manifest::load(&root) {
            comes_back::<Manifest>(serde_json::to_string(&manifest).unwrap().as_bytes());
        }
    });
}
