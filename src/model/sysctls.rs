//! What is known of sysctls by their keys: which cannot be put back alone, which two are one value
//! of the kernel, and how the kernel prints what was written. Keys are with slashes.

use super::cpulist::{self, CpuSet};
use super::facts::Facts;

/// Why a key is refused, and what to set instead. `*` is one part of a key, a `**` at the end all
/// that follows; the first line that matches counts, and one without a reason lets the key through.
const RULES: &[(&str, Option<(&str, &str)>)] = &[
    // Keys that write through to others, which nettune does not put back.
    (
        "net/ipv4/ip_forward",
        Some(("it wipes the per-link forwarding values", "set net.ipv4.conf.LINK.forwarding")),
    ),
    ("net/ipv4/conf/*/rp_filter", Some(("the CNI decides it", "set it in the CNI"))),
    (
        "net/*/conf/all/**",
        Some(("it rewrites the values of all links", "set the key of each link by its name")),
    ),
    ("net/ipv4/conf/default/**", Some((FOLLOWERS, OF_EACH))),
    // Tables of the whole machine, in the folder of the defaults.
    ("net/*/neigh/default/gc_interval", None),
    ("net/*/neigh/default/gc_thresh1", None),
    ("net/*/neigh/default/gc_thresh2", None),
    ("net/*/neigh/default/gc_thresh3", None),
    ("net/*/neigh/default/**", Some((FOLLOWERS, OF_EACH))),
    (
        "net/ipv6/conf/*/forwarding",
        Some(("it removes routes that routers advertised", "set it before the network starts")),
    ),
    (
        "net/ipv6/conf/*/disable_ipv6",
        Some(("it removes addresses and routes", "set it before the network starts")),
    ),
    ("net/ipv6/conf/default/addr_gen_mode", None),
    (
        "net/ipv6/conf/*/addr_gen_mode",
        Some(("it makes addresses, which stay", "set it before the link is up")),
    ),
    (
        "net/ipv6/conf/*/stable_secret",
        Some(("it changes addr_gen_mode and is never unset", "set it before the link is up")),
    ),
    (
        "net/mpls/platform_labels",
        Some(("a smaller table loses its routes", "set it before MPLS routes are made")),
    ),
    (
        "kernel/watchdog",
        Some((
            "it rewrites nmi_watchdog and soft_watchdog",
            "set kernel.nmi_watchdog and kernel.soft_watchdog",
        )),
    ),
    ("vm/overcommit_ratio", Some(("it and its kbytes exclude each other", ELSEWHERE))),
    ("vm/overcommit_kbytes", Some(("it and its ratio exclude each other", ELSEWHERE))),
    (
        "vm/dirty_bytes",
        Some(("it and its ratio exclude each other", "set the ratio, vm.dirty_ratio")),
    ),
    (
        "vm/dirty_background_bytes",
        Some(("it and its ratio exclude each other", "set the ratio, vm.dirty_background_ratio")),
    ),
    // Another name, or coarser steps, of a key that can be put back exactly.
    ("net/*/neigh/*/base_reachable_time", Some((COARSE, "set base_reachable_time_ms"))),
    ("net/*/neigh/*/retrans_time", Some((COARSE, "set retrans_time_ms"))),
    ("net/*/neigh/*/unres_qlen", Some((COARSE, "set unres_qlen_bytes"))),
    ("net/*/route/gc_min_interval", Some((COARSE, "set gc_min_interval_ms"))),
    (
        "net/nf_conntrack_max",
        Some(("it is another name of one value", "see net.netfilter.nf_conntrack_max")),
    ),
    ("vm/nr_hugepages_mempolicy", Some(("it is another name of one value", "set vm.nr_hugepages"))),
    // No values: writing does something.
    ("net/*/route/flush", Some((ACTION, ELSEWHERE))),
    ("vm/compact_memory", Some((ACTION, ELSEWHERE))),
    ("vm/drop_caches", Some((ACTION, ELSEWHERE))),
    ("vm/stat_refresh", Some((ACTION, ELSEWHERE))),
    ("fs/binfmt_misc/**", Some((ACTION, ELSEWHERE))),
    // Ways of no return.
    ("kernel/kexec_load_disabled", Some((LASTING, ELSEWHERE))),
    ("kernel/kexec_load_limit_panic", Some((LASTING, ELSEWHERE))),
    ("kernel/kexec_load_limit_reboot", Some((LASTING, ELSEWHERE))),
    ("kernel/modules_disabled", Some((LASTING, ELSEWHERE))),
    ("kernel/tainted", Some((LASTING, ELSEWHERE))),
    ("kernel/unprivileged_bpf_disabled", Some((LASTING, ELSEWHERE))),
    ("kernel/usermodehelper/**", Some((LASTING, ELSEWHERE))),
    ("kernel/yama/ptrace_scope", Some((LASTING, ELSEWHERE))),
    ("net/netfilter/nf_hooks_lwtunnel", Some((LASTING, ELSEWHERE))),
    // One that is not set reads as zeros, which written back are a key that everybody knows.
    ("net/ipv4/tcp_fastopen_key", Some((LASTING, ELSEWHERE))),
    // Others' keys.
    (
        "net/core/default_qdisc",
        Some(("tweak bandwidth-manager sets it", "see [bandwidth-manager]")),
    ),
    ("net/ipv4/tcp_congestion_control", Some(("tweak bbr sets it", "see [bbr]"))),
    ("net/**", None),
    ("vm/**", None),
    ("kernel/**", None),
    ("fs/**", None),
    ("**", Some(("only keys below net, vm, kernel and fs can be set", ELSEWHERE))),
];

const FOLLOWERS: &str = "it rewrites every link whose own value nobody has set";
const OF_EACH: &str = "set the key of each link by its name";
const COARSE: &str = "it shows one value in coarser steps and would put it back rounded";
const ACTION: &str = "it holds no value: writing it does something";
const LASTING: &str = "it cannot be taken back before the next boot";
const ELSEWHERE: &str = "leave it to sysctl.d";

/// Why a key is refused, and what to do instead.
pub fn refused(key: &str) -> Option<(&'static str, &'static str)> {
    RULES.iter().find(|(pattern, _)| matches(pattern, key)).and_then(|(_, why)| *why)
}

fn matches(pattern: &str, key: &str) -> bool {
    let literal = pattern.find('*').unwrap_or(pattern.len());
    if !key.as_bytes().starts_with(&pattern.as_bytes()[..literal]) {
        return false;
    }
    let mut parts = key.split('/');
    for wanted in pattern.split('/') {
        match (wanted, parts.next()) {
            ("**", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(part)) if wanted == part => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

/// Keys that are one value of the kernel: the last part of each beside the other's, in one folder.
const ONE_VALUE: [(&str, &str); 6] = [
    ("base_reachable_time", "base_reachable_time_ms"),
    ("retrans_time", "retrans_time_ms"),
    ("unres_qlen", "unres_qlen_bytes"),
    ("gc_min_interval", "gc_min_interval_ms"),
    ("nr_hugepages", "nr_hugepages_mempolicy"),
    // Since 6.15, where the second came.
    ("pm_type", "path_manager"),
];

/// The one name of a value that the kernel has under several.
pub fn value_of(key: &str) -> String {
    match key {
        "net/nf_conntrack_max" => "net/netfilter/nf_conntrack_max".to_string(),
        "net/ipv4/ip_forward" => "net/ipv4/conf/all/forwarding".to_string(),
        key => match key.rsplit_once('/') {
            Some((folder, last)) => {
                let pair = ONE_VALUE.iter().find(|(other, _)| *other == last);
                format!("{folder}/{}", pair.map_or(last, |(_, finer)| finer))
            }
            None => key.to_string(),
        },
    }
}

/// How a value is written and printed.
enum Form {
    Numbers,
    /// Two numbers, of which the first may not be the greater.
    Groups,
    /// "1-3,8".
    Ranges,
    /// CPUs in hex.
    Mask,
    /// Names of congestion controls.
    Controls,
    /// Keys in hex, each of four words.
    Keys,
    PowerOfTwo,
    /// Text that may hold any white space.
    Text,
}

fn form(key: &str) -> Form {
    match key {
        "net/ipv4/ip_local_reserved_ports" | "net/ipv6/icmp/ratemask" => Form::Ranges,
        "kernel/watchdog_cpumask" => Form::Ranges,
        "net/core/flow_limit_cpu_bitmap" | "net/core/rps_default_mask" => Form::Mask,
        "net/core/rps_sock_flow_entries" => Form::PowerOfTwo,
        "net/ipv4/ping_group_range" => Form::Groups,
        "net/ipv4/tcp_allowed_congestion_control" => Form::Controls,
        "net/ipv4/tcp_fastopen_key" => Form::Keys,
        "kernel/core_pattern" | "kernel/domainname" | "kernel/hostname" => Form::Text,
        "kernel/hotplug" | "kernel/modprobe" | "kernel/poweroff_cmd" => Form::Text,
        _ => Form::Numbers,
    }
}

/// What the kernel's own text of a value is to us: the same, but for tabs between numbers and the
/// line's end.
pub fn read(key: &str, text: &str) -> String {
    match form(key) {
        Form::Text => text.strip_suffix('\n').unwrap_or(text).to_string(),
        _ => folded(text),
    }
}

/// A wish as the kernel will print it once it is written. What is no value of the key's form stays
/// as it is, for the kernel to refuse.
pub fn canonical(key: &str, text: &str, facts: &Facts) -> String {
    let canonical = match form(key) {
        Form::Numbers => numbers(text),
        Form::Groups => numbers(text).map(|t| match pair(&t) {
            Some((first, last)) if first > last => "1 0".to_string(),
            _ => t,
        }),
        Form::Ranges => ranges(text),
        Form::Mask => mask(text, facts),
        Form::Controls => Some(controls(text, &facts.kernel.congestion_controls)),
        Form::Keys => keys(text),
        Form::PowerOfTwo => number(text.trim()).map(|n| match u32::try_from(n) {
            Ok(n) if n > 0 => n.checked_next_power_of_two().unwrap_or(n).to_string(),
            _ => n.to_string(),
        }),
        Form::Text => None,
    };
    canonical.unwrap_or_else(|| read(key, text))
}

/// Whether a value of more than a page is put back whole. The kernel takes such a list in several
/// writes, each up to the last comma that it got; of everything else it takes the first page.
pub fn any_length(key: &str) -> bool {
    matches!(form(key), Form::Ranges)
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As the kernel reads one: hexadecimal after 0x, octal after 0.
fn number(word: &str) -> Option<i128> {
    let (minus, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = match (hex, digits.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (digits, 10),
    };
    let first = digits.bytes().next()?;
    let n = i128::from(u64::from_str_radix(digits, radix).ok().filter(|_| first != b'+')?);
    Some(if minus { -n } else { n })
}

fn numbers(text: &str) -> Option<String> {
    let all: Option<Vec<i128>> = text.split_whitespace().map(number).collect();
    Some(all?.iter().map(i128::to_string).collect::<Vec<_>>().join(" "))
}

fn pair(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once(' ')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Sorted, and what overlaps or touches made one.
fn ranges(text: &str) -> Option<String> {
    let mut all = CpuSet::default();
    // The kernel passes over a comma at the end, and over no other.
    let text = text.trim();
    let text = text.strip_suffix(',').unwrap_or(text);
    for part in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first.trim())?, number(last.trim())?);
        let (first, last) = (u32::try_from(first).ok()?, u32::try_from(last).ok()?);
        if first > last || last > 65535 {
            return None;
        }
        all.extend(first..=last);
    }
    Some(cpulist::format(all.iter()))
}

fn mask(text: &str, facts: &Facts) -> Option<String> {
    let bits = facts.cpus.bits();
    let text = text.trim();
    let cpus = cpulist::from_mask(text.strip_prefix("0x").unwrap_or(text))?;
    cpus.iter().all(|cpu| cpu < bits).then(|| cpulist::to_mask(&cpus, bits))
}

/// In the order in which the kernel has them.
fn controls(text: &str, all: &[String]) -> String {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    words
        .sort_by_key(|word| (all.iter().position(|name| name == word).unwrap_or(all.len()), *word));
    words.dedup();
    words.join(" ")
}

fn keys(text: &str) -> Option<String> {
    let word = |w: &str| u32::from_str_radix(w, 16).ok().map(|n| format!("{n:08x}"));
    let key = |k: &str| {
        let words: Option<Vec<String>> = k.trim().split('-').map(word).collect();
        words.filter(|words| words.len() == 4).map(|words| words.join("-"))
    };
    let keys: Option<Vec<String>> = text.split(',').map(key).collect();
    keys.map(|keys| keys.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_be_put_back_alone_are_refused() {
        for key in [
            "net/ipv4/ip_forward",
            "net/ipv4/conf/all/rp_filter",
            "net/ipv4/conf/all/arp_ignore",
            "net/ipv4/conf/default/arp_ignore",
            "net/ipv4/conf/e0.100/rp_filter",
            "net/ipv4/neigh/default/gc_stale_time",
            "net/ipv6/neigh/default/base_reachable_time_ms",
            "net/ipv4/neigh/eth0/unres_qlen",
            "net/ipv6/route/gc_min_interval",
            "net/ipv6/conf/eth0/disable_ipv6",
            "net/ipv6/conf/default/stable_secret",
            "net/nf_conntrack_max",
            "net/ipv6/route/flush",
            "vm/dirty_bytes",
            "kernel/watchdog",
            "user/max_user_namespaces",
            "net",
        ] {
            assert!(refused(key).is_some(), "{key}");
        }
        for key in [
            "net/core/somaxconn",
            "net/ipv4/conf/eth0/arp_ignore",
            "net/ipv4/conf/e0.100/arp_ignore",
            "net/ipv4/neigh/default/gc_thresh3",
            "net/ipv4/neigh/eth0/base_reachable_time_ms",
            // A link's values are its own, and only links that come later take these.
            "net/ipv6/conf/default/hop_limit",
            "net/ipv6/conf/default/addr_gen_mode",
            "vm/dirty_ratio",
        ] {
            assert_eq!(refused(key), None, "{key}");
        }
    }

    #[test]
    fn two_keys_may_be_one_value() {
        let one = [
            ("net/ipv4/neigh/e0/base_reachable_time", "net/ipv4/neigh/e0/base_reachable_time_ms"),
            ("net/ipv6/neigh/e0/unres_qlen_bytes", "net/ipv6/neigh/e0/unres_qlen"),
            ("net/nf_conntrack_max", "net/netfilter/nf_conntrack_max"),
            ("net/mptcp/path_manager", "net/mptcp/pm_type"),
            ("net/core/somaxconn", "net/core/somaxconn"),
        ];
        for (a, b) in one {
            assert_eq!(value_of(a), value_of(b), "{a} {b}");
        }
        for (a, b) in [
            ("net/ipv4/neigh/e0/retrans_time", "net/ipv4/neigh/e1/retrans_time_ms"),
            ("net/ipv4/neigh/e0/retrans_time", "net/ipv6/neigh/e0/retrans_time_ms"),
            ("net/core/rmem_max", "net/core/wmem_max"),
        ] {
            assert_ne!(value_of(a), value_of(b), "{a} {b}");
        }
    }

    /// The right sides are what Linux 6.18 printed after the left ones were written (masks: eight CPUs).
    #[test]
    fn a_wish_is_what_the_kernel_will_print() {
        let mut facts = Facts::default();
        facts.cpus.possible = "0-7".into();
        facts.kernel.congestion_controls = ["reno", "bbr", "cubic"].map(String::from).to_vec();
        let ports = "net/ipv4/ip_local_reserved_ports";
        for (key, wish, printed) in [
            ("net/core/somaxconn", "0x80", "128"),
            ("net/core/somaxconn", "0X80", "128"),
            ("net/core/somaxconn", "0200", "128"),
            ("net/core/somaxconn", " 128\t", "128"),
            ("net/ipv4/tcp_rmem", "0x1000 131072\t6291456", "4096 131072 6291456"),
            ("net/ipv4/ping_group_range", "0x0 0x10", "0 16"),
            ("net/ipv4/ping_group_range", "100 0", "1 0"),
            (ports, "102,100-101", "100-102"),
            (ports, "1-2,2-5,9,9", "1-5,9"),
            (ports, "0x80", "128"),
            (ports, "", ""),
            ("net/core/rps_default_mask", "3", "03"),
            ("net/core/flow_limit_cpu_bitmap", "0000,00000003", "03"),
            ("net/core/rps_sock_flow_entries", "1000", "1024"),
            ("net/core/rps_sock_flow_entries", "0", "0"),
            ("net/ipv4/tcp_fastopen_key", "1-2-3-A", "00000001-00000002-00000003-0000000a"),
            ("net/ipv4/tcp_allowed_congestion_control", "cubic reno reno", "reno cubic"),
            ("kernel/core_pattern", "|/bin/dump  %p", "|/bin/dump  %p"),
            ("kernel/hostname", "0x80", "0x80"),
            ("kernel/sched_rt_runtime_us", "-1", "-1"),
            // Refused, and so left to the kernel: its answer names what was asked for.
            ("net/core/somaxconn", "080", "080"),
            ("net/core/somaxconn", "+128", "+128"),
            ("net/core/somaxconn", "0x+8", "0x+8"),
            ("net/core/rps_default_mask", "fff", "fff"),
            (ports, "5-1", "5-1"),
            (ports, "1,,2", "1,,2"),
            (ports, "2,1,", "1-2"),
            (ports, "70000", "70000"),
            ("net/ipv4/tcp_fastopen_key", "1-2-3", "1-2-3"),
        ] {
            assert_eq!(canonical(key, wish, &facts), printed, "{key} {wish}");
            assert_eq!(canonical(key, printed, &facts), printed, "{key} {printed} again");
        }
    }

    #[test]
    fn what_is_read_loses_no_white_space_of_a_text() {
        assert_eq!(read("net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"), "4096 131072 6291456");
        assert_eq!(read("kernel/core_pattern", "|/bin/dump  %p \n"), "|/bin/dump  %p ");
        assert_eq!(read("net/ipv4/ip_local_reserved_ports", "\n"), "");
    }
}
