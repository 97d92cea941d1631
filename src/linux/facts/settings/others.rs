//! Agents and scripts that choose values by themselves.

use crate::linux::root::Root;
use crate::model::facts::Setting;

pub fn gather(root: &Root) -> Vec<Setting> {
    let mut all = Vec::new();
    let mut add = |agent: &str, file: &str, line: u32, resource: &str, value: Option<String>| {
        let (agent, file, resource) = (agent.to_string(), file.to_string(), resource.to_string());
        all.push(Setting { agent, file, line, resource, key: None, value });
    };
    // Google's guest agent spreads queues and vectors at boot.
    let script = "/usr/bin/google_set_multiqueue";
    if root.exists(script) {
        let queues = "sysfs:class/net/*/queues/tx-*/xps_cpus";
        for resource in ["irq:*/*", queues, "ethtool:*/channels"] {
            add("google_set_multiqueue", script, 0, resource, None);
        }
    }
    // With the static policy pods get CPUs of their own, under whatever vectors go there.
    let config = "/var/lib/kubelet/config.yaml";
    if let Some((line, _)) = find(root, config, "cpuManagerPolicy", "static") {
        add("kubelet", config, line, "irq:*/*", None);
    }
    if root.exists("etc/crio") {
        for resource in ["irq:default", "irqbalance:bans", "file:/etc/sysconfig/irqbalance"] {
            add("CRI-O", "/etc/crio", 0, resource, None);
        }
    }
    let aws = "/etc/cni/net.d/10-aws.conflist";
    if let Some((line, value)) = find(root, aws, "mtu", "") {
        let digits: String = value.chars().filter(char::is_ascii_digit).collect();
        add("the AWS CNI", aws, line, "mtu:*", Some(digits));
    }
    let firewalld = "/etc/firewalld/firewalld.conf";
    if let Some((line, _)) = find(root, firewalld, "FlushAllOnReload", "yes") {
        for ours in super::nftables::OURS {
            add("firewalld", firewalld, line, ours, None);
        }
    }
    all
}

/// The first line where `key` stands with a value that begins with `value`, whatever the syntax.
fn find(root: &Root, file: &str, key: &str, value: &str) -> Option<(u32, String)> {
    let text = root.read(file).ok()?;
    text.lines().enumerate().find_map(|(at, line)| {
        let (before, after) = line.split_once(key)?;
        let after = after.trim_start_matches(['"', '\'']).trim_start().strip_prefix([':', '='])?;
        let after = after.trim().trim_start_matches(['"', '\'']);
        let plain = !before.contains(['#', ';']) && after.starts_with(value);
        plain.then(|| (at as u32 + 1, after.to_string()))
    })
}
