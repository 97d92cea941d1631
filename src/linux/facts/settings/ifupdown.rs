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
mod tests {
    use super::super::tests::{root, told};
    use super::*;
    use proptest::prelude::*;

    fn of(files: &[(&str, &str)], links: &[&str]) -> Vec<String> {
        let (_dir, root) = root(files);
        let links: Vec<Link> =
            links.iter().map(|n| Link { name: n.to_string(), ..Link::default() }).collect();
        told(&gather(&root, &links.iter().collect::<Vec<_>>()))
    }

    #[test]
    fn stanzas_and_what_they_run() {
        let text = "auto lo eth9\niface lo inet loopback\niface eth9 inet manual\n  mtu 1500\n  # mtu 1\n  \
                    post-up ethtool -G eth9 rx 512 \\\n    tx 256\n  up ethtool -K $IFACE gro off; ip link set br0 mtu 1400\n  \
                    offload-TSO off\n  hardware-dma-ring-rx 64\n  down ip link set eth9 mtu 1\nallow-hotplug x\n  mtu 7\n\
                    iface bond0.7 inet6 auto\n  mtu 1450\niface gone inet manual\n  mtu 9\n\
                    iface eth9 inet6 manual\n  ethernet-pause-rx off\n";
        assert_eq!(
            of(&[("etc/network/interfaces", text)], &["bond0.7", "br0", "eth9"]),
            [
                "/etc/network/interfaces:4 mtu:eth9 = 1500",
                "/etc/network/interfaces:8 ethtool:eth9/features rx-gro = off",
                "/etc/network/interfaces:9 ethtool:eth9/features tx-tcp-segmentation = off",
                "/etc/network/interfaces:10 ethtool:eth9/rings rx = 64",
                "/etc/network/interfaces:6 ethtool:eth9/rings rx = 512",
                "/etc/network/interfaces:6 ethtool:eth9/rings tx = 256",
                "/etc/network/interfaces:8 mtu:br0 = 1400",
                "/etc/network/interfaces:15 mtu:bond0.7 = 1450",
                "/etc/network/interfaces:19 ethtool:eth9/pause rx = 0",
            ]
        );
    }

    #[test]
    fn includes_are_followed_once() {
        let files = [
            (
                "etc/network/interfaces",
                "source interfaces.d/*.conf\nsource-directory /etc/network/if.d\nsource /etc/network/interfaces\n",
            ),
            (
                "etc/network/interfaces.d/a.conf",
                "iface eth0:1 inet static\n mtu 1400\nsource b.conf\n",
            ),
            ("etc/network/interfaces.d/b.conf", "iface /en* inet manual\n mtu 1300\n"),
            ("etc/network/interfaces.d/c", "iface eth0 inet manual\n mtu 1\n"),
            ("etc/network/if.d/ok-1", "iface eth0 inet manual\n mtu 1200\n"),
            ("etc/network/if.d/no.conf", "iface eth0 inet manual\n mtu 2\n"),
        ];
        assert_eq!(
            of(&files, &["enp1", "eth0"]),
            [
                "/etc/network/interfaces.d/a.conf:2 mtu:eth0 = 1400",
                "/etc/network/interfaces.d/b.conf:2 mtu:enp1 = 1300",
                "/etc/network/if.d/ok-1:2 mtu:eth0 = 1200",
            ]
        );
    }

    proptest! {
        #[test]
        fn any_file_is_read(lines in proptest::collection::vec("(iface|auto|source|mtu|up|post-up|offload-|mapping)? ?[ -~é\\\\]{0,24}", 0..20)) {
            let (stanzas, _) = parse("f", &lines.join("\n"));
            let link = Link { name: "eth0".into(), ..Link::default() };
            stanzas.iter().for_each(|s| drop(s.settings(&[&link])));
        }
    }
}
