//! One line of a file for all the links that the file fits: by pattern where there are many, so that
//! the facts stay small on a node with thousands of pods.

use crate::model::facts::Setting;

/// Up to so many are told by their names.
const FEW: usize = 16;

/// What a line sets; `%` in the resource stands for the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub file: String,
    pub line: u32,
    pub resource: String,
    pub key: Option<String>,
    pub value: Option<String>,
}

pub fn spread(agent: &str, sets: &[Set], patterns: &[String]) -> Vec<Setting> {
    let one = |set: &Set, link: &str| Setting {
        agent: agent.to_string(),
        file: format!("/{}", set.file.trim_start_matches('/')),
        line: set.line,
        resource: set.resource.replacen('%', link, 1),
        key: set.key.clone(),
        value: set.value.clone(),
    };
    patterns.iter().flat_map(|link| sets.iter().map(move |set| one(set, link))).collect()
}

/// Names or patterns that fit all of `group` and none else of `all`; both sorted.
pub fn cover(group: &[&str], all: &[&str]) -> Vec<String> {
    if group.len() <= FEW {
        return group.iter().map(|name| name.to_string()).collect();
    }
    let others: Vec<&str> =
        all.iter().copied().filter(|name| group.binary_search(name).is_err()).collect();
    let free = |prefix: &str| {
        let at = others.partition_point(|other| *other < prefix);
        others.get(at).is_none_or(|other| !other.starts_with(prefix))
    };
    let mut found: Vec<String> = Vec::new();
    for name in group {
        let covered =
            |last: &String| last.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix));
        if found.last().is_some_and(covered) {
            continue;
        }
        let ends = name.char_indices().map(|(at, _)| at);
        // A name with a star of its own would be a pattern already.
        let prefix = ends.map(|at| &name[..at]).find(|p| free(p) && !p.contains('*'));
        found.push(prefix.map_or_else(|| name.to_string(), |prefix| format!("{prefix}*")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::glob;
    use proptest::prelude::*;

    #[test]
    fn many_links_are_patterns() {
        let pods: Vec<String> = (0..2000).map(|n| format!("lxc{n:04x}")).collect();
        let mut all: Vec<&str> = pods.iter().map(String::as_str).collect();
        assert_eq!(cover(&all, &all), ["*"]);
        assert_eq!(cover(&all[..2], &all), ["lxc0000", "lxc0001"]);
        let group = all.clone();
        all.extend(["eth0", "lo", "lxbr0"]);
        all.sort();
        assert_eq!(cover(&group, &all), ["lxc*"]);
    }

    proptest! {
        #[test]
        fn all_of_the_group_and_none_else(names in proptest::collection::btree_set("[ab*]{1,6}", 0..80), pick in any::<u64>()) {
            let all: Vec<&str> = names.iter().map(String::as_str).collect();
            let chosen = |at: usize| pick.rotate_left(at as u32) & 3 != 0;
            let group: Vec<&str> =
                all.iter().enumerate().filter(|(at, _)| chosen(*at)).map(|(_, n)| *n).collect();
            let patterns = cover(&group, &all);
            for name in &all {
                // A name that holds a star fits more than itself: no link of a node has one.
                let fits = patterns.iter().filter(|p| p.matches('*').count() < 2).any(|p| glob(p, name));
                prop_assert!(fits || !group.contains(name) || name.contains('*'));
                prop_assert!(!fits || group.contains(name) || patterns.iter().any(|p| all.contains(&p.as_str())));
            }
        }
    }
}
