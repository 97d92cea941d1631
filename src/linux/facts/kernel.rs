//! The kernel: release, configuration, modules, preemption, BPF.

use std::collections::BTreeMap;
use std::io::{self, Read};

use memchr::memchr_iter;
use nix::unistd::{SysconfVar, sysconf};

use crate::linux::root::{Root, is_absent};
use crate::model::facts::{Fact, Kernel, Module, Preempt};
use crate::open;

/// Ten times what a kernel's configuration is.
const MOST_CONFIG: u64 = 4 << 20;

/// Options that some lever asks for.
const OPTIONS: [&str; 28] = [
    "ARCH_HAS_PREEMPT_LAZY",
    "BPF_JIT",
    "BPF_SYSCALL",
    "CGROUP_BPF",
    "CPU_FREQ",
    "DEBUG_INFO_BTF",
    "INET_DIAG_DESTROY",
    "IP_MULTIPLE_TABLES",
    "NETFILTER_XT_TARGET_CT",
    "NETKIT",
    "NET_CLS_ACT",
    "NET_CLS_BPF",
    "NET_SCH_FQ",
    "NET_SCH_INGRESS",
    "NF_CONNTRACK",
    "NF_FLOW_TABLE",
    "NF_TABLES",
    "NF_TABLES_INET",
    "PREEMPT",
    "PREEMPT_DYNAMIC",
    "PREEMPT_LAZY",
    "PREEMPT_NONE",
    "PREEMPT_RT",
    "PREEMPT_VOLUNTARY",
    "SCHEDSTATS",
    "TCP_CONG_BBR",
    "XDP_SOCKETS",
    "XDP_SOCKETS_DIAG",
];

/// Modules that some lever needs, and the option that builds each.
const MODULES: [(&str, &str); 6] = [
    ("nf_tables", "NF_TABLES"),
    ("nf_conntrack", "NF_CONNTRACK"),
    ("sch_fq", "NET_SCH_FQ"),
    ("tcp_bbr", "TCP_CONG_BBR"),
    ("netkit", "NETKIT"),
    ("xsk_diag", "XDP_SOCKETS_DIAG"),
];

pub fn gather(root: &Root) -> Kernel {
    let release = root.line("proc/sys/kernel/osrelease").unwrap_or_default();
    let (config_file, config) = config(root, &release);
    Kernel {
        arch: std::env::consts::ARCH.to_string(),
        page_size: page_size(),
        cmdline: root.line("proc/cmdline").unwrap_or_default(),
        preempt: preempt(root, &config),
        btf: root.exists("sys/kernel/btf/vmlinux"),
        jit: jit(root),
        lockdown: root.line("sys/kernel/security/lockdown").and_then(|t| chosen(&t)),
        modules: modules(root, &release, &config),
        congestion_controls: words(root, "proc/sys/net/ipv4/tcp_available_congestion_control"),
        release,
        config_file,
        config,
    }
}

fn page_size() -> u32 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(0)
}

/// A kernel of an image, which does not run: from its own files alone, whatever the machine that
/// builds the image shows in /proc and /sys.
pub fn of_image(root: &Root, release: &str, arch: &str) -> Kernel {
    let (config_file, config) = config_among(root, &places(release)[1..]);
    let (builtin, dep) = lists(root, release);
    let module = |(name, option): &(&str, &str)| {
        let state = match config.get(*option).map(String::as_str) {
            Some("y") => Fact::Known(Module::Builtin),
            Some("n") => Fact::Known(Module::Absent),
            _ => installed(name, builtin.as_deref(), dep.as_deref()),
        };
        (name.to_string(), state)
    };
    Kernel {
        release: release.to_string(),
        arch: arch.to_string(),
        preempt: preempt_of_image(release, &config),
        modules: MODULES.iter().map(module).collect(),
        config_file,
        config,
        ..Kernel::default()
    }
}

/// What its switch will offer once it runs: lazy came with 6.13, and from 7.0 an architecture that has it has it in place
/// of none and voluntary.
fn preempt_of_image(release: &str, config: &BTreeMap<String, String>) -> Preempt {
    let mut preempt = build(config);
    let lazy = config.get("ARCH_HAS_PREEMPT_LAZY").is_some_and(|set| set == "y");
    let mut parts = release.split(['.', '-']).map(|p| p.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    match preempt.dynamic {
        None => preempt.current = Fact::unknown("the kernel's configuration is not in the image"),
        Some(false) => preempt.current = Fact::Known(None),
        Some(true) => {
            let modes: &[&str] = match version {
                v if lazy && v >= (7, 0) => &["full", "lazy"],
                v if lazy && v >= (6, 13) => &["none", "voluntary", "full", "lazy"],
                _ => &["none", "voluntary", "full"],
            };
            preempt.modes = modes.iter().map(|m| m.to_string()).collect();
            preempt.current = Fact::Known(preempt.build.clone());
        }
    }
    preempt
}

fn words(root: &Root, path: &str) -> Vec<String> {
    root.read(path).unwrap_or_default().split_whitespace().map(str::to_string).collect()
}

/// The word in brackets.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_string())
}

/// From the first of the four places that has it.
fn config(root: &Root, release: &str) -> (Option<String>, BTreeMap<String, String>) {
    config_among(root, &places(release))
}

fn places(release: &str) -> [String; 4] {
    [
        "proc/config.gz".to_string(),
        format!("boot/config-{release}"),
        format!("lib/modules/{release}/config"),
        format!("usr/lib/modules/{release}/config"),
    ]
}

fn config_among(root: &Root, places: &[String]) -> (Option<String>, BTreeMap<String, String>) {
    for place in places {
        let Ok(bytes) = root.bytes_within(place, MOST_CONFIG) else { continue };
        let bytes = match place.ends_with(".gz") {
            true => unzipped(&bytes),
            false => Ok(bytes),
        };
        let Ok(bytes) = bytes else { continue };
        return (Some(format!("/{place}")), options(&bytes));
    }
    (None, BTreeMap::new())
}

/// A small file may unfold to one that fills the memory. How long it will be its last four bytes say, or lie about.
fn unzipped(packed: &[u8]) -> io::Result<Vec<u8>> {
    let told = packed.last_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let mut text = vec![0; u64::from(told).min(MOST_CONFIG) as usize];
    let mut input = flate2::read::GzDecoder::new(packed);
    let mut length = 0;
    while length < text.len() {
        match input.read(&mut text[length..])? {
            0 => break,
            more => length += more,
        }
    }
    text.truncate(length);
    text.extend(open::all(input, MOST_CONFIG - length as u64)?);
    Ok(text)
}

/// Ten thousand lines, of which a few are asked for: a parser of all of it was two fifths of a check. At each `=` the
/// two letters before it tell that it is none of those. An option that is not set is a comment, or not there at all.
fn options(text: &[u8]) -> BTreeMap<String, String> {
    let mut options: BTreeMap<String, String> =
        OPTIONS.iter().map(|o| (o.to_string(), "n".to_string())).collect();
    let letters = |name: &[u8]| name.last_chunk().map(|two| usize::from(u16::from_ne_bytes(*two)));
    let mut ends = [0u64; 1 << 10];
    for two in OPTIONS.iter().filter_map(|o| letters(o.as_bytes())) {
        ends[two / 64] |= 1 << (two % 64);
    }
    for at in memchr_iter(b'=', text) {
        let before = &text[..at];
        if letters(before).is_none_or(|two| ends[two / 64] >> (two % 64) & 1 == 0) {
            continue;
        }
        let is = |o: &&&str| {
            let rest = before.strip_suffix(o.as_bytes()).and_then(|b| b.strip_suffix(b"CONFIG_"));
            rest.is_some_and(|rest| rest.last().is_none_or(|b| *b == b'\n'))
        };
        if let (Some(option), Some(value)) =
            (OPTIONS.iter().find(is), text[at + 1..].split(|b| *b == b'\n').next())
        {
            options.insert(option.to_string(), String::from_utf8_lossy(value).into_owned());
        }
    }
    options
}

fn modules(
    root: &Root,
    release: &str,
    config: &BTreeMap<String, String>,
) -> BTreeMap<String, Fact<Module>> {
    let mut asked = None;
    MODULES
        .iter()
        .map(|(name, option)| {
            let option = config.get(*option).map(String::as_str);
            let state = if option == Some("y") {
                Fact::Known(Module::Builtin)
            } else if root.exists(&format!("sys/module/{name}")) {
                Fact::Known(Module::Loaded)
            } else {
                match option {
                    Some("n") => Fact::Known(Module::Absent),
                    // "m", or no configuration to be found: what is installed decides.
                    _ => {
                        let (builtin, dep) = asked.get_or_insert_with(|| lists(root, release));
                        installed(name, builtin.as_deref(), dep.as_deref())
                    }
                }
            };
            (name.to_string(), state)
        })
        .collect()
}

/// What is built in and what can be loaded; without one of the two lists nothing is known to be absent.
fn lists(root: &Root, release: &str) -> (Option<String>, Option<String>) {
    let read = |file: &str| root.long(&format!("lib/modules/{release}/{file}"));
    let builtin = read("modules.builtin");
    let whole = builtin.as_ref().map_or_else(is_absent, |_| true);
    (builtin.ok(), read("modules.dep").ok().filter(|_| whole))
}

fn installed(name: &str, builtin: Option<&str>, dep: Option<&str>) -> Fact<Module> {
    let file = format!("/{name}.ko");
    if builtin.is_some_and(|b| b.contains(&file)) {
        return Fact::Known(Module::Builtin);
    }
    match dep {
        Some(dep) if dep.contains(&file) => Fact::Known(Module::Loadable),
        Some(_) => Fact::Known(Module::Absent),
        None => Fact::unknown("neither the kernel's configuration nor its modules.dep can be read"),
    }
}

fn jit(root: &Root) -> Fact<Option<u32>> {
    let path = "proc/sys/net/core/bpf_jit_enable";
    match root.read(path) {
        Ok(text) => Fact::Known(text.trim().parse().ok()),
        Err(e) if is_absent(&e) => Fact::Known(None),
        Err(e) => Fact::unknown(format!("read {}: {e}", root.full(path))),
    }
}

/// Without debugfs its folder is there and empty.
fn mounted(root: &Root) -> bool {
    root.list("sys/kernel/debug").is_ok_and(|names| !names.is_empty())
}

/// As it was built; what is in force is not known from that.
fn build(config: &BTreeMap<String, String>) -> Preempt {
    let is = |option: &str| config.get(option).is_some_and(|v| v == "y");
    let build = [
        ("PREEMPT_RT", "rt"),
        ("PREEMPT_LAZY", "lazy"),
        ("PREEMPT", "full"),
        ("PREEMPT_VOLUNTARY", "voluntary"),
        ("PREEMPT_NONE", "none"),
    ];
    Preempt {
        build: build.iter().find(|(option, _)| is(option)).map(|(_, name)| name.to_string()),
        dynamic: (!config.is_empty()).then(|| is("PREEMPT_DYNAMIC")),
        ..Preempt::default()
    }
}

fn preempt(root: &Root, config: &BTreeMap<String, String>) -> Preempt {
    let path = "sys/kernel/debug/sched/preempt";
    let (current, modes) = match root.read(path) {
        // "none voluntary (full) lazy"
        Ok(text) => {
            let word = |w: &str| w.trim_matches(['(', ')']).to_string();
            let current = text.split_whitespace().find(|w| w.starts_with('(')).map(word);
            (Fact::Known(current), text.split_whitespace().map(word).collect())
        }
        // Without debugfs mounted the file is not there either, which says nothing of the kernel.
        Err(e) if is_absent(&e) && mounted(root) => (Fact::Known(None), Vec::new()),
        Err(e) if is_absent(&e) => (Fact::unknown("debugfs is not mounted"), Vec::new()),
        Err(e) => (Fact::unknown(format!("read {}: {e}", root.full(path))), Vec::new()),
    };
    Preempt { current, modes, ..build(config) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_not_named_are_not_set() {
        let text = "CONFIG_NET_SCH_FQ=m\n# CONFIG_NETKIT is not set\n#CONFIG_NF_TABLES=y\n\
                    XCONFIG_NF_TABLES=m\nCONFIG_BPF_JIT=y\nCONFIG_PREEMPT_DYNAMIC=y";
        let found = options(text.as_bytes());
        assert_eq!((found["NF_TABLES"].as_str(), found["PREEMPT_DYNAMIC"].as_str()), ("n", "y"));
        assert_eq!(found["NET_SCH_FQ"], "m");
        assert_eq!(found["NETKIT"], "n");
        assert_eq!(found["BPF_JIT"], "y");
    }

    #[test]
    fn an_installed_module() {
        let dep = "kernel/net/sched/sch_fq.ko.xz: \nkernel/net/ipv4/tcp_bbr.ko: ";
        assert_eq!(installed("sch_fq", Some(""), Some(dep)), Fact::Known(Module::Loadable));
        assert_eq!(installed("netkit", Some(""), Some(dep)), Fact::Known(Module::Absent));
        assert_eq!(
            installed("sch_fq", Some("kernel/net/sched/sch_fq.ko\n"), None),
            Fact::Known(Module::Builtin)
        );
        assert!(installed("sch_fq", None, None).known().is_none());
    }
}
