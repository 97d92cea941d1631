//! What Cilium's levers ask of a node besides: small files, each read once.

use std::collections::BTreeMap;

use crate::linux::root::{Root, is_absent};
use crate::model::facts::{Agents, Fact, Link, Preflight};

pub fn gather(root: &Root, links: &[Link], agents: &Agents) -> Preflight {
    let networkd = agents.networkd.installed || agents.networkd.pid.is_some();
    let (routes, rules) = if networkd { foreign(root) } else { (None, None) };
    let cni_plugins = plugins(root, agents.cni.as_deref());
    Preflight {
        filesystems: filesystems(root),
        schedstat: root.exists("proc/schedstat"),
        inet6: root.exists("proc/thread-self/net/if_inet6"),
        local_ports: root.line("proc/sys/net/ipv4/ip_local_port_range").and_then(|t| range(&t)),
        reserved_ports: root.line("proc/sys/net/ipv4/ip_local_reserved_ports"),
        tcp_fastopen: number(root, "proc/sys/net/ipv4/tcp_fastopen"),
        rp_filter: rp_filter(root, links),
        istio: istio(root, &cni_plugins),
        cni_plugins,
        networkd_routes: routes,
        networkd_rules: rules,
    }
}

fn number(root: &Root, path: &str) -> Option<u32> {
    root.line(path)?.parse().ok()
}

fn range(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn filesystems(root: &Root) -> Fact<Vec<String>> {
    match root.read("proc/filesystems") {
        Ok(text) => {
            let known = text.lines().filter_map(|l| l.split_whitespace().last());
            let asked = known.filter(|n| ["cgroup2", "bpf"].contains(n));
            Fact::Known(asked.map(str::to_string).collect())
        }
        Err(e) => Fact::unknown(format!("read {}: {e}", root.full("proc/filesystems"))),
    }
}

/// The links of pods are many: the first that filters is enough to know.
fn rp_filter(root: &Root, links: &[Link]) -> BTreeMap<String, u32> {
    let of = |name: &str| number(root, &format!("proc/sys/net/ipv4/conf/{name}/rp_filter"));
    let mut found = BTreeMap::new();
    for name in ["all", "default"] {
        if let Some(value) = of(name) {
            found.insert(name.to_string(), value);
        }
    }
    let pods = links.iter().filter(|l| l.name.starts_with("lxc")).take(512);
    for link in pods {
        if let Some(value) = of(&link.name).filter(|v| *v != 0) {
            found.insert(link.name.clone(), value);
            break;
        }
    }
    found
}

/// Types of the plugins of a CNI configuration, in the order they are called.
fn plugins(root: &Root, name: Option<&str>) -> Vec<String> {
    let Some(name) = name else { return Vec::new() };
    let text = root.read(&format!("etc/cni/net.d/{name}")).unwrap_or_default();
    let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) else { return Vec::new() };
    let kind = |v: &serde_json::Value| v["type"].as_str().map(str::to_string);
    match json["plugins"].as_array() {
        Some(list) => list.iter().take(32).filter_map(kind).collect(),
        None => kind(&json).into_iter().collect(),
    }
}

fn istio(root: &Root, plugins: &[String]) -> Option<String> {
    if plugins.iter().any(|p| p == "istio-cni") {
        return Some("its CNI plugin is in the CNI configuration".into());
    }
    let folders = ["run/istio-cni", "run/ztunnel"];
    folders.iter().find(|f| root.exists(f)).map(|f| format!("/{f} is there"))
}

/// Whether networkd removes routes, and rules, that it did not make: its default is yes.
fn foreign(root: &Root) -> (Option<bool>, Option<bool>) {
    let (mut routes, mut rules) = (true, true);
    let folders = ["usr/lib", "run", "etc"];
    let mut paths: Vec<String> =
        folders.iter().map(|f| format!("{f}/systemd/networkd.conf")).collect();
    // Drop-ins go after all of those, by name; one in /etc hides its namesake.
    let mut drop_ins = BTreeMap::new();
    for folder in folders {
        let folder = format!("{folder}/systemd/networkd.conf.d");
        for name in root.list(&folder).unwrap_or_default() {
            drop_ins.insert(name.clone(), format!("{folder}/{name}"));
        }
    }
    paths.extend(drop_ins.into_values());
    let texts = paths.iter().map(|path| root.read(path));
    for text in texts {
        let text = match text {
            Ok(text) => text,
            Err(e) if is_absent(&e) => continue,
            // Unknown is not the default.
            Err(_) => return (None, None),
        };
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let no = ["no", "false", "0", "off"].contains(&value.trim().to_lowercase().as_str());
            match key.trim() {
                "ManageForeignRoutes" => routes = !no,
                "ManageForeignRoutingPolicyRules" => rules = !no,
                _ => {}
            }
        }
    }
    (Some(routes), Some(rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges() {
        assert_eq!(range("32768\t60999"), Some((32768, 60999)));
        assert_eq!(range("x"), None);
    }
}
