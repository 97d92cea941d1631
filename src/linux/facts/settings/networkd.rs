//! systemd's .link files (udev applies the first that matches), .netdev and .network files (networkd),
//! with their drop-ins, as systemd.link(5), systemd.netdev(5) and systemd.network(5) have them.

use std::collections::BTreeMap;

use super::match_section::{Fit, Match};
use super::networkd_keys::{Kind, sets};
use super::spread::{Set, cover, spread};
use super::text::{self, Line};
use crate::linux::root::Root;
use crate::model::facts::Link;
use crate::model::facts::Setting;

const FOLDERS: [&str; 5] = [
    "etc/systemd/network",
    "run/systemd/network",
    "usr/local/lib/systemd/network",
    "usr/lib/systemd/network",
    "lib/systemd/network",
];
const RUN: &str = "run/systemd/network";

/// Files that netplan will have written there, by their paths: what it says in its own counts.
pub type Generated = BTreeMap<String, Vec<Line>>;

pub fn gather(root: &Root, links: &[&Link], generated: &Generated) -> Vec<Setting> {
    let folders: Vec<Folder> = FOLDERS
        .iter()
        .map(|path| Folder { path, names: super::folders::names(root, path) })
        .filter(|folder| !folder.names.is_empty() || (folder.path == RUN && !generated.is_empty()))
        .collect();
    if folders.is_empty() {
        return Vec::new();
    }
    let read = |ending| files(root, &folders, generated, ending);
    let mut all = first(&read(".link"), links, "systemd-udevd", Kind::Link);
    all.extend(devices(&read(".netdev"), links));
    all.extend(first(&read(".network"), links, "systemd-networkd", Kind::Network));
    all
}

struct Folder {
    path: &'static str,
    names: Vec<String>,
}

/// The lines of each file that ends so and of its drop-ins, by file name. A name in an earlier folder hides
/// the same in a later one; one that is empty or leads to /dev/null hides it and says nothing.
fn files(root: &Root, folders: &[Folder], generated: &Generated, ending: &str) -> Vec<Vec<Line>> {
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    for folder in folders {
        let written = generated.keys().filter(|_| folder.path == RUN);
        let written = written.filter_map(|path| path.rsplit('/').next());
        for name in written.chain(folder.names.iter().map(String::as_str)) {
            if name.ends_with(ending) {
                found.entry(name).or_insert_with(|| format!("{}/{name}", folder.path));
            }
        }
    }
    let whole = |(name, path): (&str, String)| {
        let mut lines = match generated.get(&path) {
            Some(lines) => lines.clone(),
            None => text::lines(&path, &root.read(&path).ok().filter(|t| !t.is_empty())?),
        };
        let drop_ins = format!("{name}.d");
        let with = folders.iter().filter(|f| f.names.contains(&drop_ins));
        let with: Vec<String> = with.map(|f| format!("{}/{drop_ins}", f.path)).collect();
        let with: Vec<&str> = with.iter().map(String::as_str).collect();
        for path in super::folders::files(root, &with, ".conf") {
            lines.extend(text::lines(&path, &root.read(&path).unwrap_or_default()));
        }
        Some(lines)
    };
    found.into_iter().filter_map(whole).collect()
}

/// Of those that match a link the first counts. One of which that is not certain counts and hides nothing: a
/// conflict too many is read, one too few is not.
fn first(files: &[Vec<Line>], links: &[&Link], agent: &str, kind: Kind) -> Vec<Setting> {
    let sets: Vec<Vec<Set>> = files.iter().map(|lines| sets(lines, kind)).collect();
    if sets.iter().all(Vec::is_empty) {
        return Vec::new();
    }
    let matches: Vec<Match> = files.iter().map(|lines| Match::of(lines)).collect();
    let mut groups: Vec<Vec<&str>> = vec![Vec::new(); files.len()];
    for link in links {
        for (of_file, group) in matches.iter().zip(&mut groups) {
            let fit = of_file.fit(link);
            if fit != Fit::No {
                group.push(&link.name);
            }
            if fit == Fit::Yes {
                break;
            }
        }
    }
    let names: Vec<&str> = links.iter().map(|l| l.name.as_str()).collect();
    let told = sets.iter().zip(groups).flat_map(|(sets, group)| {
        let patterns = if sets.is_empty() { Vec::new() } else { cover(&group, &names) };
        spread(agent, sets, &patterns)
    });
    told.collect()
}

/// A .netdev names the one link that it makes; of several for one link the first counts.
fn devices(files: &[Vec<Line>], links: &[&Link]) -> Vec<Setting> {
    let mut made: BTreeMap<&str, Vec<Set>> = BTreeMap::new();
    for lines in files {
        let named = lines.iter().rev().find(|l| l.section == "NetDev" && l.key == "Name");
        if let Some(line) = named {
            made.entry(&line.value).or_insert_with(|| sets(lines, Kind::Device));
        }
    }
    let ours = links.iter().filter_map(|l| made.get_key_value(l.name.as_str()));
    ours.flat_map(|(name, sets)| spread("systemd-networkd", sets, &[name.to_string()])).collect()
}

#[cfg(test)]
mod tests;
