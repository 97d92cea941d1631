//! The [Match] section of systemd's .link and .network files.

use std::collections::BTreeMap;

use super::text::{Line, fnmatch};
use crate::model::facts::Link;

/// Whether a file is for a link, as far as the facts tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    No,
    Maybe,
    Yes,
}

/// Kinds that the kernel names in the device's DEVTYPE; other Ethernet devices are "ether".
const TYPES: [&str; 10] = [
    "bond",
    "bridge",
    "vlan",
    "vxlan",
    "geneve",
    "macvlan",
    "macvtap",
    "ipvlan",
    "macsec",
    "wireguard",
];
/// Kinds whose hardware type the facts do not have.
const NOT_TOLD: [&str; 12] =
    ["tun", "gre", "ip6gre", "ipip", "sit", "ip6tnl", "vti", "vti6", "xfrm", "ppp", "gtp", "wwan"];

/// The section's keys, each with its lists: made once for all links.
pub struct Match<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Match<'a> {
    pub fn of(lines: &'a [Line]) -> Self {
        let mut lists: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in lines.iter().filter(|l| l.section == "Match" && !l.key.is_empty()) {
            // Lists of several lines are one; an empty one begins anew.
            match line.value.is_empty() {
                true => drop(lists.remove(line.key.as_str())),
                false => lists.entry(&line.key).or_default().push(&line.value),
            }
        }
        Match(lists)
    }

    /// Every key must fit. A file without any is ignored.
    pub fn fit(&self, link: &Link) -> Fit {
        let fits = self.0.iter().map(|(key, values)| one(key, values, link));
        fits.min().unwrap_or(Fit::No)
    }
}

fn one(key: &str, values: &[&str], link: &Link) -> Fit {
    let list = |of: &[&str]| patterns(values, of);
    match key {
        "OriginalName" | "Name" => list(&[&link.name]),
        "Driver" => match link.driver.as_deref().or(link.kind.as_deref()) {
            Some(driver) => list(&[driver]),
            None if link.bus.is_some() => Fit::Maybe,
            None => list(&[]),
        },
        "Kind" => list(&link.kind.as_deref().into_iter().collect::<Vec<_>>()),
        "Type" => match link.kind.as_deref() {
            _ if link.loopback => list(&["loopback"]),
            Some(kind) if TYPES.contains(&kind) => list(&[kind]),
            Some(kind) if NOT_TOLD.contains(&kind) => Fit::Maybe,
            _ => list(&["ether"]),
        },
        "PermanentMACAddress" => address(values, &[&link.permanent_mac]),
        "MACAddress" => address(values, &[&link.mac, &link.permanent_mac]),
        "Path" => match link.bus.as_deref().and_then(|bus| bus.split_once('/')) {
            Some(("pci", slot)) => list(&[&format!("pci-{slot}")]),
            Some(_) => Fit::Maybe,
            None => list(&[]),
        },
        _ => Fit::Maybe,
    }
}

/// A list is inverted by "!" before it: none of it may fit then.
fn patterns(values: &[&str], of: &[&str]) -> Fit {
    let (mut wanted, mut found) = (false, false);
    for value in values {
        let (inverted, list) = match value.strip_prefix('!') {
            Some(list) => (true, list),
            None => (false, *value),
        };
        let mut words = list.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
        let any = words.any(|pattern| of.iter().any(|name| fnmatch(pattern, name)));
        match inverted {
            true if any => return Fit::No,
            true => {}
            false => (wanted, found) = (true, found || any),
        }
    }
    if found || !wanted { Fit::Yes } else { Fit::No }
}

/// With colons, hyphens or dots between the digits.
fn address(values: &[&str], of: &[&Option<String>]) -> Fit {
    let digits = |text: &str| -> String {
        text.chars().filter(char::is_ascii_hexdigit).map(|c| c.to_ascii_lowercase()).collect()
    };
    let of: Vec<String> = of.iter().filter_map(|mac| mac.as_deref()).map(digits).collect();
    let mut words = values.iter().flat_map(|v| v.split_whitespace());
    if words.any(|word| of.contains(&digits(word))) { Fit::Yes } else { Fit::No }
}

#[cfg(test)]
mod tests;
