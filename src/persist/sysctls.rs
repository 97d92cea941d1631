//! The sysctl drop-in: it has the last word of all files that name one of its keys, so a restart of
//! systemd-sysctl undoes nothing.

use std::collections::BTreeSet;

use crate::model::glob;

const NAME: &str = "zzz-nettune.conf";

/// `key = value`, with slashes where a part of the key holds a dot, as systemd-sysctl reads it.
pub fn dropin(values: &[(String, String)]) -> String {
    let mut out = String::new();
    for (key, value) in values {
        let dots = !key.contains('.');
        let key = if dots { key.replace('/', ".") } else { key.clone() };
        out.push_str(&format!("{key} = {value}\n"));
    }
    out
}

/// A name that sorts after every other file that sets one of `keys` (with slashes): the files of all
/// folders are read in the order of their names, whichever folder they are in.
pub fn dropin_name(keys: &BTreeSet<String>, others: &[(String, String)]) -> String {
    let sets = |text: &str| text.lines().any(|line| set_by(line, keys));
    let rivals = others.iter().filter(|(_, text)| sets(text)).map(|(name, _)| name.as_str());
    match rivals.filter(|name| *name >= NAME).max() {
        // A name sorts after all that it continues.
        Some(last) => format!("{last}.{NAME}"),
        None => NAME.to_string(),
    }
}

/// Whether a line of a sysctl file sets one of `keys`, also by a pattern.
fn set_by(line: &str, keys: &BTreeSet<String>) -> bool {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return false;
    }
    let Some((key, _)) = line.trim_start_matches('-').split_once('=') else { return false };
    let key = slashed(key.trim());
    keys.iter().any(|k| glob(&key, k))
}

/// A key is written with dots or slashes, whichever comes first in it.
fn slashed(key: &str) -> String {
    match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'.') => {
            let swap = |c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            };
            key.chars().map(swap).collect()
        }
        _ => key.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(others: &[(&str, &str)]) -> String {
        let keys = BTreeSet::from(["net/core/somaxconn".to_string()]);
        let others: Vec<(String, String)> =
            others.iter().map(|(n, t)| (n.to_string(), t.to_string())).collect();
        dropin_name(&keys, &others)
    }

    #[test]
    fn it_sorts_after_every_file_with_one_of_its_keys() {
        assert_eq!(name(&[]), NAME);
        assert_eq!(name(&[("99-sysctl.conf", "net.core.somaxconn = 1\n")]), NAME);
        assert_eq!(name(&[("zzzz.conf", "net.core.other=1\n#net.core.somaxconn=1\n")]), NAME);
        for line in ["net.core.somaxconn=1", "-net/core/somaxconn = 1", "net.core.* = 1"] {
            let found = name(&[("zzzz.conf", line), ("~last.conf", line), ("a.conf", line)]);
            assert_eq!(found, "~last.conf.zzz-nettune.conf", "{line}");
            assert!(found.as_str() > "~last.conf");
        }
    }

    #[test]
    fn keys_with_dots_in_their_parts_are_written_with_slashes() {
        let of = |key: &str| dropin(&[(key.into(), "1".into())]).lines().last().map(String::from);
        assert_eq!(of("net/core/somaxconn").as_deref(), Some("net.core.somaxconn = 1"));
        assert_eq!(of("net/ipv4/conf/e0.7/rp").as_deref(), Some("net/ipv4/conf/e0.7/rp = 1"));
    }
}
