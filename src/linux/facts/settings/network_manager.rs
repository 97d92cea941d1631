//! Connections of NetworkManager. They hold secrets, so that root alone can read them.

use crate::linux::root::Root;
use crate::model::facts::Link;
use crate::model::settings::Setting;

const FOLDERS: [&str; 3] = [
    "etc/NetworkManager/system-connections",
    "run/NetworkManager/system-connections",
    "usr/lib/NetworkManager/system-connections",
];

/// NetworkManager's feature names are ethtool's: those that nettune's levers set.
const FEATURES: [(&str, &str); 5] = [
    ("feature-gro", "rx-gro"),
    ("feature-gso", "tx-generic-segmentation"),
    ("feature-lro", "rx-lro"),
    ("feature-rx-gro-hw", "rx-gro-hw"),
    ("feature-tso", "tx-tcp-segmentation"),
];

pub fn gather(root: &Root, links: &[Link]) -> Vec<Setting> {
    let mut all = Vec::new();
    for (file, text) in root.texts(super::files(root, &FOLDERS, ".nmconnection")) {
        let pairs = super::pairs(&text);
        let name = pairs
            .iter()
            .find(|(_, section, key, _)| section == "connection" && key == "interface-name");
        // Without a name it fits whatever the kernel brings.
        let name = name.map_or("*", |(_, _, _, value)| value);
        if name != "*" && links.iter().all(|l| l.name != name) {
            continue;
        }
        for (line, section, key, value) in &pairs {
            let (resource, ours, value) = match (section.as_str(), key.as_str()) {
                ("ethernet", "mtu") => (format!("mtu:{name}"), None, Some(value.clone())),
                ("tc", key) if key.starts_with("qdisc.root") => {
                    (format!("qdisc:{name}"), None, None)
                }
                ("ethtool", key) => match group(key, value) {
                    Some((group, ours, value)) => {
                        (format!("ethtool:{name}/{group}"), Some(ours), Some(value))
                    }
                    None => continue,
                },
                _ => continue,
            };
            let (agent, file) = ("NetworkManager".to_string(), format!("/{file}"));
            all.push(Setting { agent, file, line: *line, resource, key: ours, value });
        }
    }
    all
}

/// "ring-rx" is key rx of group rings.
fn group(key: &str, value: &str) -> Option<(&'static str, String, String)> {
    if let Some((_, feature)) = FEATURES.iter().find(|(name, _)| *name == key) {
        let word = if value == "true" { "on" } else { "off" };
        return Some(("features", feature.to_string(), word.to_string()));
    }
    let groups = [("ring-", "rings"), ("channels-", "channels"), ("coalesce-", "coalesce")];
    groups.iter().find_map(|(prefix, group)| {
        Some((*group, key.strip_prefix(prefix)?.to_string(), value.to_string()))
    })
}
