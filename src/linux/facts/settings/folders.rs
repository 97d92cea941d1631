//! Which files of a folder are read, and which of what they set concerns this node.

use super::text;
use crate::linux::root::Root;
use crate::model::Resource;
use crate::model::facts::Link;

/// Of one folder: more than anybody keeps, and an end to one that was filled on purpose.
const MOST_FILES: usize = 1024;

/// Whether a resource is of a link that is here, or of none.
pub fn concerns(resource: &str, links: &[&Link]) -> bool {
    let parsed: Option<Resource> = resource.parse().ok();
    let link = parsed.as_ref().and_then(Resource::link);
    link.is_none_or(|name| links.iter().any(|l| l.name == name))
}

/// Names in a folder, as far as one is read.
pub fn names(root: &Root, folder: &str) -> Vec<String> {
    let mut names = root.list(folder).unwrap_or_default();
    names.truncate(MOST_FILES);
    names
}

/// Files of the folders that end so, as systemd takes them: by name, a name in an earlier folder
/// hides the same in a later one.
pub fn files(root: &Root, folders: &[&str], ending: &str) -> Vec<String> {
    let mut found = std::collections::BTreeMap::new();
    for folder in folders {
        for name in names(root, folder).into_iter().filter(|name| name.ends_with(ending)) {
            let path = format!("{folder}/{name}");
            found.entry(name).or_insert(path);
        }
    }
    found.into_values().collect()
}

/// The files that a path stands for; its last part may be a pattern.
pub fn expand(root: &Root, path: &str) -> Vec<String> {
    let Some((folder, pattern)) =
        path.rsplit_once('/').filter(|(_, p)| p.contains(['*', '?', '[']))
    else {
        return vec![path.to_string()];
    };
    let shown = |name: &String| !name.starts_with('.') && text::fnmatch(pattern, name);
    let names = names(root, folder).into_iter().filter(shown);
    names.map(|name| format!("{folder}/{name}")).collect()
}

/// Without loopbacks, which nobody tunes.
pub fn sorted(links: &[Link]) -> Vec<&Link> {
    let mut links: Vec<&Link> = links.iter().filter(|l| !l.loopback).collect();
    links.sort_by(|a, b| a.name.cmp(&b.name));
    links
}
