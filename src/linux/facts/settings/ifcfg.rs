//! ifcfg files: RHEL's network-scripts (or NetworkManager's reader of them) and SUSE's wicked.

use super::spread::{Set, spread};
use super::{command, text};
use crate::linux::root::Root;
use crate::model::facts::Link;
use crate::model::facts::Setting;
use crate::model::resource::valid_link;

/// Folder and who reads it.
const FOLDERS: [(&str, &str); 2] =
    [("etc/sysconfig/network-scripts", "network-scripts"), ("etc/sysconfig/network", "wicked")];
/// What editors and package managers leave behind, which neither of them reads.
const LEFT: [&str; 8] =
    ["~", ".bak", ".old", ".orig", ".rpmnew", ".rpmorig", ".rpmsave", ".rpmold"];

pub fn gather(root: &Root, links: &[&Link]) -> Vec<Setting> {
    let mut all = Vec::new();
    for (folder, agent) in FOLDERS {
        for name in super::folders::names(root, folder) {
            let Some(link) =
                name.strip_prefix("ifcfg-").filter(|n| !LEFT.iter().any(|l| n.ends_with(l)))
            else {
                continue;
            };
            let file = format!("{folder}/{name}");
            let text = root.read(&file).unwrap_or_default();
            let sets = sets(&file, &text, link, links);
            let here =
                sets.into_iter().filter(|set| super::folders::concerns(&set.resource, links));
            all.extend(spread(agent, &here.collect::<Vec<_>>(), &[String::new()]));
        }
    }
    all
}

/// The link is the one named, else the one with that address, else the one that the file is called after.
fn sets(file: &str, text: &str, called: &str, links: &[&Link]) -> Vec<Set> {
    let variables = variables(text);
    let value = |key: &str| {
        let last = variables.iter().rev().find(|(_, name, _)| name == key);
        last.map(|(_, _, value)| value.as_str()).filter(|v| !v.is_empty())
    };
    let mac = value("HWADDR").map(str::to_lowercase);
    let by_mac = links.iter().find(|l| mac.is_some() && l.permanent_mac == mac);
    // It is put in wherever a command names it: no more than a name may be that.
    let device = value("DEVICE").filter(|name| valid_link(name).is_ok());
    let link = device.or(by_mac.map(|l| l.name.as_str())).unwrap_or(called);
    let mut found = Vec::new();
    for (line, key, value) in &variables {
        match key.as_str() {
            "MTU" if !value.is_empty() => found.push(Set {
                file: file.to_string(),
                line: *line,
                resource: format!("mtu:{link}"),
                key: None,
                value: value.parse::<u32>().ok().map(|n| n.to_string()),
            }),
            key if key.starts_with("ETHTOOL_OPT") => {
                // What has no flag of its own is ethtool -s, which sets nothing of ours.
                for options in value.split(';') {
                    found.extend(command::sets(file, *line, &format!("ethtool {options}"), link));
                }
            }
            _ => {}
        }
    }
    found
}

/// (line, name, value) of a file that a shell reads.
fn variables(text: &str) -> Vec<(u32, String, String)> {
    let one = |(line, text): (u32, String)| {
        let text = text.strip_prefix("export ").unwrap_or(&text);
        let (name, value) = text.split_once('=')?;
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let value = value.trim();
        let value = match value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            Some(quote) => value[1..].split(quote).next().unwrap_or_default(),
            None => value.split_whitespace().next().unwrap_or_default(),
        };
        plain.then(|| (line, name.to_string(), value.to_string()))
    };
    text::joined(text).into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{root, told};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_of_rhel_and_suse() {
        let link = |name: &str| Link { name: name.into(), ..Link::default() };
        let by_mac = Link { permanent_mac: Some("02:00:00:00:00:0a".into()), ..link("ens5") };
        let links = [link("bond0"), by_mac, link("eth9")];
        let (_dir, root) = root(&[
            (
                "etc/sysconfig/network-scripts/ifcfg-eth9",
                "DEVICE=eth9\nMTU=1500 # x\nETHTOOL_OPTS=\"-G eth9 rx 512 ; -L ${DEVICE} combined 2; speed 1000\"\n",
            ),
            ("etc/sysconfig/network-scripts/ifcfg-lan", "HWADDR=02:00:00:00:00:0A\nMTU='9000'\n"),
            ("etc/sysconfig/network-scripts/ifcfg-bond0.bak", "MTU=1\n"),
            ("etc/sysconfig/network-scripts/ifcfg-gone", "MTU=2\n"),
            (
                "etc/sysconfig/network/ifcfg-bond0",
                "MTU='1400'\nETHTOOL_OPTIONS='-K bond0 gro off'\n",
            ),
        ]);
        assert_eq!(
            told(&gather(&root, &links.iter().collect::<Vec<_>>())),
            [
                "/etc/sysconfig/network-scripts/ifcfg-eth9:2 mtu:eth9 = 1500",
                "/etc/sysconfig/network-scripts/ifcfg-eth9:3 ethtool:eth9/rings rx = 512",
                "/etc/sysconfig/network-scripts/ifcfg-eth9:3 ethtool:eth9/channels combined = 2",
                "/etc/sysconfig/network-scripts/ifcfg-lan:2 mtu:ens5 = 9000",
                "/etc/sysconfig/network/ifcfg-bond0:1 mtu:bond0 = 1400",
                "/etc/sysconfig/network/ifcfg-bond0:2 ethtool:bond0/features rx-gro = off",
            ]
        );
    }

    #[test]
    fn a_device_that_is_no_name_is_not_put_in() {
        let text = format!(
            "DEVICE={}\nETHTOOL_OPTS=\"{}\"\n",
            "x".repeat(1 << 16),
            "-G $DEVICE rx 1;".repeat(1 << 13)
        );
        let found = sets("f", &text, "eth0", &[]);
        assert_eq!(found.len(), 1 << 13);
        assert!(found.iter().all(|s| s.resource == "ethtool:eth0/rings"));
    }

    proptest! {
        #[test]
        fn any_file_is_read(lines in proptest::collection::vec("(MTU|DEVICE|HWADDR|ETHTOOL_OPTS|export X)?=?[\"' -~é]{0,20}", 0..16)) {
            sets("f", &lines.join("\n"), "eth0", &[]);
        }
    }
}
