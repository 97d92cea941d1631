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
mod tests {
    use super::super::tests::{root, told};
    use super::*;

    const ETC: &str = "etc/systemd/network";

    fn link(name: &str, kind: Option<&str>) -> Link {
        Link { name: name.into(), kind: kind.map(str::to_string), ..Link::default() }
    }

    fn of(files: &[(&str, &str)], links: &[Link]) -> Vec<String> {
        let (_dir, root) = root(files);
        told(&gather(&root, &links.iter().collect::<Vec<_>>(), &Generated::new()))
    }

    #[test]
    fn bonds_vlans_and_bridges_have_files_as_well() {
        let links = [
            link("bond0", Some("bond")),
            link("bond0.7", Some("vlan")),
            link("br0", Some("bridge")),
            link("eth0", None),
        ];
        let files = [
            (
                "etc/systemd/network/10-b.netdev",
                "[NetDev]\nName=bond0\nKind=bond\nMTUBytes=9K\n[Bond]\nMode=active-backup\n",
            ),
            ("etc/systemd/network/11-b.netdev", "[NetDev]\nName=bond0\nKind=bond\nMTUBytes=1400\n"),
            ("etc/systemd/network/12-t.netdev", "[NetDev]\nName=eth0\nKind=tap\nMTUBytes=1400\n"),
            ("run/systemd/network/20-k.network", "[Match]\nKind=vlan\n[Link]\nMTUBytes=1450\n"),
            (
                "usr/lib/systemd/network/21-t.network",
                "[Match]\nType=bridge\n[Link]\nMTUBytes=1460\n",
            ),
            (
                "etc/systemd/network/22-n.network",
                "[Match]\nName=!bond0.* br*\n[Link]\nMTUBytes=1470\n",
            ),
        ];
        assert_eq!(
            of(&files, &links),
            [
                "/etc/systemd/network/10-b.netdev:4 mtu:bond0 = 9216",
                "/run/systemd/network/20-k.network:4 mtu:bond0.7 = 1450",
                "/usr/lib/systemd/network/21-t.network:4 mtu:br0 = 1460",
                "/etc/systemd/network/22-n.network:4 mtu:bond0 = 1470",
                "/etc/systemd/network/22-n.network:4 mtu:eth0 = 1470",
            ]
        );
    }

    #[test]
    fn drop_ins_add_lines_from_any_folder_and_the_last_by_name_counts() {
        let files = [
            ("usr/lib/systemd/network/70-e.network", "[Match]\nName=x\n[Link]\nMTUBytes=1300\n"),
            ("run/systemd/network/70-e.network.d/20.conf", "[Link]\nMTUBytes=1500\n"),
            ("run/systemd/network/70-e.network.d/30.conf", "[Link]\nMTUBytes=1600\n"),
            ("etc/systemd/network/70-e.network.d/30.conf", ""),
            (
                "usr/lib/systemd/network/70-e.network.d/10.conf",
                "[Match]\nName=eth0\n[Link]\nMTUBytes=1400\n",
            ),
            (
                "etc/systemd/network/99-default.link",
                "[Match]\nOriginalName=*\n[Link]\nRxBufferSize=256\n",
            ),
            ("etc/systemd/network/99-default.link.d/rings.conf", "[Link]\nRxBufferSize=512\n"),
            (
                "etc/systemd/network/80-x.network.d/a.conf",
                "[Match]\nName=eth0\n[Link]\nMTUBytes=1\n",
            ),
        ];
        assert_eq!(
            of(&files, &[link("eth0", None)]),
            [
                "/etc/systemd/network/99-default.link.d/rings.conf:2 ethtool:eth0/rings rx = 512",
                "/run/systemd/network/70-e.network.d/20.conf:2 mtu:eth0 = 1500",
            ]
        );
        let masked = [
            ("etc/systemd/network/70-e.network", ""),
            ("usr/lib/systemd/network/70-e.network", "[Match]\nName=*\n[Link]\nMTUBytes=1300\n"),
            ("etc/systemd/network/70-e.network.d/1.conf", "[Match]\nName=*\n[Link]\nMTUBytes=1\n"),
        ];
        assert!(of(&masked, &[link("eth0", None)]).is_empty());
    }

    #[test]
    fn a_match_that_cannot_be_told_hides_none_behind_it() {
        let files = [
            (
                "etc/systemd/network/10.network",
                "[Match]\nName=eth0\nHost=other\n[Link]\nMTUBytes=1400\n",
            ),
            ("etc/systemd/network/20.network", "[Match]\nName=eth0\n[Link]\nMTUBytes=1500\n"),
            ("etc/systemd/network/30.network", "[Match]\nName=eth0\n[Link]\nMTUBytes=1600\n"),
        ];
        assert_eq!(
            of(&files, &[link("eth0", None)]),
            [
                "/etc/systemd/network/10.network:5 mtu:eth0 = 1400",
                "/etc/systemd/network/20.network:4 mtu:eth0 = 1500",
            ]
        );
        let other = [
            (
                "etc/systemd/network/10.network",
                "[Match]\nName=eth0\n[Link]\nUnmanaged=yes\nMTUBytes=1400\n",
            ),
            ("etc/systemd/network/20.network", "[Match]\nName=eth0\n[Link]\nMTUBytes=1500\n"),
        ];
        assert!(of(&other, &[link("eth0", None)]).is_empty());
    }

    #[test]
    fn two_thousand_pods_are_one_line() {
        let mut links: Vec<Link> =
            (0..2000).map(|n| link(&format!("lxc{n}"), Some("veth"))).collect();
        links.extend([link("eth0", None), link("zz0", Some("bond"))]);
        let files = [
            (&*format!("{ETC}/10.network"), "[Match]\nName=eth*\n[Link]\nMTUBytes=9000\n"),
            (&*format!("{ETC}/20.network"), "[Match]\nName=*\n[Link]\nMTUBytes=1500\n"),
        ];
        let mut sorted: Vec<&Link> = links.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        let (_dir, root) = root(&files);
        assert_eq!(
            told(&gather(&root, &sorted, &Generated::new())),
            [
                "/etc/systemd/network/10.network:4 mtu:eth0 = 9000",
                "/etc/systemd/network/20.network:4 mtu:l* = 1500",
                "/etc/systemd/network/20.network:4 mtu:z* = 1500",
            ]
        );
    }
}
