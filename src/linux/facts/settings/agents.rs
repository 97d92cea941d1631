//! Agents that tune a node by themselves, as nettune does.

use crate::linux::root::Root;
use crate::model::Resource;
use crate::model::facts::Setting;

use super::text;

const UNITS: [&str; 4] =
    ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// What bpftune's tuners write; how far they go depends on the traffic that they see.
const BPFTUNE: [&str; 26] = [
    "net.core.flow_limit_cpu_bitmap",
    "net.core.high_order_alloc_disable",
    "net.core.netdev_budget",
    "net.core.netdev_budget_usecs",
    "net.core.netdev_max_backlog",
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.ipv4.ipfrag_high_thresh",
    "net.ipv4.neigh.default.gc_thresh1",
    "net.ipv4.neigh.default.gc_thresh2",
    "net.ipv4.neigh.default.gc_thresh3",
    "net.ipv4.tcp_allowed_congestion_control",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_moderate_rcvbuf",
    "net.ipv4.tcp_no_metrics_save",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
    "net.ipv4.udp_mem",
    "net.ipv6.ip6frag_high_thresh",
    "net.ipv6.neigh.default.gc_thresh1",
    "net.ipv6.neigh.default.gc_thresh2",
    "net.ipv6.neigh.default.gc_thresh3",
    "net.ipv6.route.max_size",
];

/// What saptune's notes set, where nothing says which of them are applied.
const SAPTUNE: [&str; 9] = [
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_wmem",
];
const CHOSEN: &str = "etc/sysconfig/saptune";

pub fn gather(root: &Root) -> Vec<Setting> {
    let mut all = Vec::new();
    if let Some(unit) = installed(root, "bpftune.service", "usr/sbin/bpftune") {
        all.extend(BPFTUNE.iter().map(|key| setting("bpftune", &unit, 0, key, None)));
    }
    if let Some(unit) = installed(root, "saptune.service", "usr/sbin/saptune") {
        match root.read(CHOSEN) {
            Ok(text) => all.extend(notes(root, &text)),
            Err(_) => all.extend(SAPTUNE.iter().map(|key| setting("saptune", &unit, 0, key, None))),
        }
    }
    all
}

fn installed(root: &Root, unit: &str, program: &str) -> Option<String> {
    let units = UNITS.iter().map(|folder| format!("{folder}/{unit}"));
    units.chain([program.to_string()]).find(|path| root.exists(path))
}

fn setting(agent: &str, file: &str, line: u32, key: &str, value: Option<String>) -> Setting {
    let (agent, file) = (agent.to_string(), format!("/{file}"));
    let resource = Resource::sysctl(key).to_string();
    Setting { agent, file, line, resource, key: None, value }
}

/// Section [sysctl] of the notes that are applied, each as the administrator overrides it.
fn notes(root: &Root, chosen: &str) -> Vec<Setting> {
    let mut all: Vec<Setting> = Vec::new();
    let mut order = chosen.lines().filter_map(|line| line.trim().strip_prefix("NOTE_APPLY_ORDER="));
    let names = order.next_back().unwrap_or_default().trim_matches('"').split_whitespace();
    for name in names.filter(|name| !name.contains('/')) {
        let files = [
            format!("usr/share/saptune/notes/{name}"),
            format!("etc/saptune/extra/{name}.conf"),
            format!("etc/saptune/override/{name}"),
        ];
        for file in files {
            let lines = text::lines(&file, &root.read(&file).unwrap_or_default());
            for line in lines.iter().filter(|l| l.section == "sysctl" && !l.key.is_empty()) {
                let new = setting(
                    "saptune",
                    &file,
                    line.line,
                    &line.key,
                    Some(text::numbers(&line.value)),
                );
                all.retain(|s| s.resource != new.resource);
                // An override without a value leaves the key alone.
                if !line.value.is_empty() {
                    all.push(new);
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::{root, told};
    use super::*;

    #[test]
    fn agents_that_are_installed() {
        let (_dir, both) = root(&[
            ("usr/lib/systemd/system/bpftune.service", "[Unit]\n"),
            ("etc/systemd/system/saptune.service", "[Unit]\n"),
        ]);
        let all = told(&gather(&both));
        assert_eq!(all.len(), BPFTUNE.len() + SAPTUNE.len());
        assert!(all.contains(
            &"/usr/lib/systemd/system/bpftune.service:0 sysctl:net.ipv4.tcp_rmem = ?".into()
        ));
        assert!(all.contains(
            &"/etc/systemd/system/saptune.service:0 sysctl:net.core.somaxconn = ?".into()
        ));
        let (_dir, notes) = root(&[
            ("usr/lib/systemd/system/saptune.service", "[Unit]\n"),
            ("etc/sysconfig/saptune", "TUNE_FOR_NOTES=\"1\"\nNOTE_APPLY_ORDER=\"1410736 ../x\"\n"),
            (
                "usr/share/saptune/notes/1410736",
                "[version]\n[sysctl]\nnet.ipv4.tcp_keepalive_time = 300\nnet.core.somaxconn=128\nkernel.a=1\n",
            ),
            ("etc/saptune/override/1410736", "[sysctl]\nnet.core.somaxconn = 0x100\nkernel.a=\n"),
        ]);
        assert_eq!(
            told(&gather(&notes)),
            [
                "/usr/share/saptune/notes/1410736:3 sysctl:net.ipv4.tcp_keepalive_time = 300",
                "/etc/saptune/override/1410736:2 sysctl:net.core.somaxconn = 256",
            ]
        );
    }
}
