//! /etc/network/interfaces of ifupdown, as interfaces(5) has it: options of its stanzas, and commands in them.

use super::spread::{Set, cover, spread};
use super::text::{fnmatch, joined};
use super::{command, text};
use crate::linux::root::Root;
use crate::model::facts::Link;
use crate::model::facts::Setting;
use crate::model::group::GROUPS;

const FILE: &str = "etc/network/interfaces";
/// Of files, however they include each other.
const MOST: usize = 256;

pub fn gather(root: &Root, links: &[&Link]) -> Vec<Setting> {
    let mut files = vec![FILE.to_string()];
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(file) = files.get(at).cloned() {
        let text = root.read(&file).unwrap_or_default();
        let (stanzas, includes) = parse(&file, &text);
        for path in includes.iter().flat_map(|include| include.paths(root, &file)) {
            if files.len() < MOST && !files.contains(&path) {
                files.push(path);
            }
        }
        all.extend(stanzas.iter().flat_map(|stanza| stanza.settings(links)));
        at += 1;
    }
    all
}

/// What is set when the links of this name come up; the name may be a pattern.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stanza {
    name: String,
    /// Of the link itself, `%`, or of one that a command names.
    sets: Vec<Set>,
}

impl Stanza {
    fn settings(&self, links: &[&Link]) -> Vec<Setting> {
        let names: Vec<&str> = links.iter().map(|l| l.name.as_str()).collect();
        let fits = |name: &&str| fnmatch(&self.name, name);
        let group: Vec<&str> = names.iter().copied().filter(fits).collect();
        let (own, named): (Vec<Set>, Vec<Set>) =
            self.sets.iter().cloned().partition(|set| set.resource.contains('%'));
        let mut all = spread("ifupdown", &own, &cover(&group, &names));
        let here = named.into_iter().filter(|set| super::folders::concerns(&set.resource, links));
        all.extend(spread("ifupdown", &here.collect::<Vec<_>>(), &[String::new()]));
        all
    }
}

enum Include {
    /// Paths by pattern.
    Files(String),
    Folder(String),
}

impl Include {
    fn paths(&self, root: &Root, from: &str) -> Vec<String> {
        let beside = |path: &str| match path.strip_prefix('/') {
            Some(path) => path.to_string(),
            None => format!("{}/{path}", from.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        match self {
            Include::Files(pattern) => super::folders::expand(root, &beside(pattern)),
            // run-parts takes no name with a dot.
            Include::Folder(folder) => {
                let folder = beside(folder.trim_end_matches('/'));
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                let names = super::folders::names(root, &folder)
                    .into_iter()
                    .filter(|n| n.chars().all(plain));
                names.map(|name| format!("{folder}/{name}")).collect()
            }
        }
    }
}

fn parse(file: &str, text: &str) -> (Vec<Stanza>, Vec<Include>) {
    let (mut stanzas, mut includes): (Vec<Stanza>, Vec<Include>) = (Vec::new(), Vec::new());
    let mut open = false;
    for (line, text) in joined(text) {
        let (key, value) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
        let value = value.trim();
        match key {
            "iface" => {
                open = true;
                let name = value.split_whitespace().next().unwrap_or_default();
                stanzas.push(Stanza { name: pattern(name), sets: Vec::new() });
            }
            "source" => {
                open = false;
                includes.extend(value.split_whitespace().map(|path| Include::Files(path.into())));
            }
            "source-directory" => {
                open = false;
                includes.push(Include::Folder(value.into()));
            }
            "auto" | "mapping" | "rename" | "template" | "no-auto-down" | "no-scripts" => {
                open = false
            }
            key if key.starts_with("allow-") => open = false,
            key => {
                if let Some(stanza) = stanzas.last_mut().filter(|_| open) {
                    stanza.sets.extend(option(file, line, key, value));
                }
            }
        }
    }
    stanzas.retain(|stanza| !stanza.sets.is_empty());
    (stanzas, includes)
}

/// "eth0:1" is an address of eth0; "/en*" is a pattern, "/eth0/x=y" one with more to it.
fn pattern(name: &str) -> String {
    let name = name.split_once('=').map_or(name, |(link, _)| link);
    match name.strip_prefix('/') {
        Some(pattern) => pattern.split('/').next().unwrap_or_default().to_string(),
        None => name.split(':').next().unwrap_or_default().to_string(),
    }
}

fn option(file: &str, line: u32, key: &str, value: &str) -> Vec<Set> {
    let one = |resource: &str, key: Option<String>, value: Option<String>| {
        vec![Set { file: file.to_string(), line, resource: resource.to_string(), key, value }]
    };
    match key {
        "mtu" => one("mtu:%", None, value.parse::<u32>().ok().map(|n| n.to_string())),
        "up" | "pre-up" | "post-up" => command::sets(file, line, value, "%"),
        _ => {
            let all = GROUPS.iter().filter(|row| !row.ifupdown.is_empty());
            let mut found = all.filter_map(|r| Some((r.name, key.strip_prefix(r.ifupdown)?)));
            let Some((group, key)) = found.next() else { return Vec::new() };
            let (key, value) = text::field(group, &key.to_lowercase(), value);
            one(&format!("ethtool:%/{group}"), Some(key), value)
        }
    }
}

#[cfg(test)]
mod tests;
