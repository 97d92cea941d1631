//! Connections of NetworkManager. They hold secrets, so that root alone can read them.

use super::networkd::Generated;
use super::spread::{Set, cover, spread};
use super::text::{self, Line, fnmatch};
use crate::linux::root::Root;
use crate::model::facts::Link;
use crate::model::facts::Setting;
use crate::model::group::GROUPS;

const FOLDERS: [&str; 3] = [
    "etc/NetworkManager/system-connections",
    "run/NetworkManager/system-connections",
    "usr/lib/NetworkManager/system-connections",
];
/// Those of /etc need no ending; these it leaves alone.
const LEFT: [&str; 8] = ["~", ".bak", ".old", ".orig", ".rpmnew", ".rpmsave", ".pem", ".swp"];
/// Sections with an `mtu`, by their present and their first names.
const MTU: [&str; 6] =
    ["ethernet", "802-3-ethernet", "infiniband", "ip-tunnel", "wireguard", "802-11-wireless"];

pub fn gather(root: &Root, links: &[&Link], generated: &Generated) -> Vec<Setting> {
    let names: Vec<&str> = links.iter().map(|l| l.name.as_str()).collect();
    let mut files = super::folders::files(root, &FOLDERS, "");
    files.retain(|file| ours(file) && !generated.contains_key(file));
    let read = |file: String| {
        let text = root.read(&file).ok()?;
        Some(text::lines(&file, &text))
    };
    let connections = files.into_iter().filter_map(read).chain(generated.values().cloned());
    let mut all = Vec::new();
    for lines in connections {
        let group: Vec<&str> =
            links.iter().filter(|l| fits(&lines, l)).map(|l| l.name.as_str()).collect();
        all.extend(spread("NetworkManager", &sets(&lines), &cover(&group, &names)));
    }
    all
}

fn ours(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or_default();
    name.ends_with(".nmconnection")
        || file.starts_with(FOLDERS[0])
            && !name.starts_with('.')
            && !LEFT.iter().any(|l| name.ends_with(l))
}

/// A connection is for the link that it names or matches, else for any of its type.
fn fits(lines: &[Line], link: &Link) -> bool {
    let value = |sections: &[&str], key: &str| {
        let of = |l: &&Line| sections.contains(&l.section.as_str()) && l.key == key;
        lines.iter().rev().find(of).map(|l| l.value.as_str()).filter(|v| !v.is_empty())
    };
    let ethernet = ["ethernet", "802-3-ethernet"];
    let mac = value(&ethernet, "mac-address").map(str::to_lowercase);
    if mac.is_some_and(|mac| link.permanent_mac.as_deref().or(link.mac.as_deref()) != Some(&mac)) {
        return false;
    }
    if value(&["match"], "interface-name").is_some_and(|list| !listed(list, &link.name)) {
        return false;
    }
    if let Some(name) = value(&["connection"], "interface-name") {
        return name == link.name;
    }
    match value(&["connection"], "type") {
        Some("vlan") => {
            let parent = value(&["vlan"], "parent").zip(value(&["vlan"], "id"));
            parent.is_some_and(|(parent, id)| format!("{parent}.{id}") == link.name)
        }
        Some("ethernet" | "802-3-ethernet") | None => {
            !link.loopback && link.kind.as_deref().is_none_or(|kind| kind == "veth")
        }
        Some(kind) => link.kind.as_deref() == Some(kind),
    }
}

/// "a;b;!c": "|" before a pattern means that one of those must fit, which is so without it; "&" and "!" that
/// this one must, and must not.
fn listed(list: &str, name: &str) -> bool {
    let (mut wanted, mut found) = (false, false);
    for pattern in list.split([';', ',']).map(str::trim).filter(|p| !p.is_empty()) {
        let (must, pattern) = match pattern.strip_prefix('&') {
            Some(rest) => (true, rest),
            None => (pattern.starts_with('!'), pattern.strip_prefix('|').unwrap_or(pattern)),
        };
        let fits = match pattern.strip_prefix('!') {
            Some(pattern) => !fnmatch(pattern, name),
            None => fnmatch(pattern, name),
        };
        match must {
            true if !fits => return false,
            true => {}
            false => (wanted, found) = (true, found || fits),
        }
    }
    found || !wanted
}

fn sets(lines: &[Line]) -> Vec<Set> {
    let one = |line: &Line| {
        let set = |resource: String, key: Option<String>, value: Option<String>| Set {
            file: line.file.clone(),
            line: line.line,
            resource,
            key,
            value,
        };
        match (line.section.as_str(), line.key.as_str()) {
            // 0 and auto leave it as it is.
            (section, "mtu") if MTU.contains(&section) => {
                let mtu = line.value.parse::<u32>().ok().filter(|mtu| *mtu > 0)?;
                Some(set("mtu:%".into(), None, Some(mtu.to_string())))
            }
            ("tc", key) if key.starts_with("qdisc.root") => Some(set("qdisc:%".into(), None, None)),
            ("ethtool", key) => {
                let (group, key, value) = group(key, &line.value)?;
                Some(set(format!("ethtool:%/{group}"), Some(key), value))
            }
            _ => None,
        }
    };
    lines.iter().filter_map(one).collect()
}

/// "ring-rx" is key rx of group rings.
fn group(key: &str, value: &str) -> Option<(&'static str, String, Option<String>)> {
    let mut found =
        GROUPS.iter().filter_map(|r| Some((r.name, key.strip_prefix(r.network_manager)?)));
    let (group, key) = found.next()?;
    let (key, value) = text::field(group, key, value);
    // "ignore" for a feature.
    (group != "features" || value.is_some()).then_some((group, key, value))
}

#[cfg(test)]
mod tests;
