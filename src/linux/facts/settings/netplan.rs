//! netplan's YAML, as the files that it makes of it for networkd, udev and NetworkManager: which of those
//! count is theirs to say, but the line to edit is in the YAML.

use std::collections::BTreeMap;

use yaml_serde::{Mapping, Value};

use super::networkd::Generated;
use super::text::{Line, number};
use crate::linux::root::Root;
use crate::yaml;

/// A name in an earlier folder hides the same in a later one.
const FOLDERS: [&str; 4] = ["run/netplan", "etc/netplan", "usr/lib/netplan", "lib/netplan"];

/// Kinds of definitions, and whether netplan makes the links itself.
const KINDS: [(&str, bool); 8] = [
    ("ethernets", false),
    ("wifis", false),
    ("bonds", true),
    ("bridges", true),
    ("dummy-devices", true),
    ("tunnels", true),
    ("virtual-ethernets", true),
    ("vlans", true),
];

/// Offloads and systemd's key for each; they are udev's to set whoever renders the rest.
const OFFLOADS: [(&str, &str); 6] = [
    ("receive-checksum-offload", "ReceiveChecksumOffload"),
    ("tcp-segmentation-offload", "TCPSegmentationOffload"),
    ("tcp6-segmentation-offload", "TCP6SegmentationOffload"),
    ("generic-segmentation-offload", "GenericSegmentationOffload"),
    ("generic-receive-offload", "GenericReceiveOffload"),
    ("large-receive-offload", "LargeReceiveOffload"),
];

/// A value with where it stands.
type At = (String, u32, String);

#[derive(Default)]
struct Definition {
    virtual_link: bool,
    /// It has a `match:`, which counts instead of its name.
    matches: bool,
    values: BTreeMap<String, At>,
}

/// Files for networkd and udev, then connections for NetworkManager.
pub fn gather(root: &Root) -> (Generated, Generated) {
    let (mut networkd, mut network_manager) = (Generated::new(), Generated::new());
    let mut all = BTreeMap::new();
    let mut renderer = None;
    for file in super::folders::files(root, &FOLDERS, ".yaml") {
        read(&file, &root.read(&file).unwrap_or_default(), &mut all, &mut renderer);
    }
    for (id, definition) in &all {
        let own = definition.values.get("renderer").map(|(_, _, value)| value.as_str());
        let base = format!("run/systemd/network/10-netplan-{id}");
        let link = link_file(id, definition);
        if !link.is_empty() {
            networkd.insert(format!("{base}.link"), link);
        }
        if own.or(renderer.as_deref()) == Some("NetworkManager") {
            let path = format!("run/NetworkManager/system-connections/netplan-{id}.nmconnection");
            network_manager.insert(path, connection(id, definition));
        } else {
            networkd.insert(format!("{base}.network"), network_file(id, definition));
            if definition.virtual_link {
                networkd.insert(format!("{base}.netdev"), device_file(id, definition));
            }
        }
    }
    (networkd, network_manager)
}

/// Adds one file's definitions: what a later file says of the same key counts.
fn read(
    file: &str,
    text: &str,
    all: &mut BTreeMap<String, Definition>,
    renderer: &mut Option<String>,
) {
    let Ok(Value::Mapping(whole)) = yaml::read(text.as_bytes()) else { return };
    let Some(Value::Mapping(network)) = whole.get("network") else { return };
    if let Some(value) = network.get("renderer").and_then(scalar) {
        *renderer = Some(value);
    }
    for (kind, virtual_link) in KINDS {
        let Some(Value::Mapping(definitions)) = network.get(kind) else { continue };
        let of_kind = definitions.get("renderer").and_then(scalar);
        for (id, keys) in definitions {
            let (Some(id), Value::Mapping(keys)) = (id.as_str(), keys) else { continue };
            let definition = all.entry(id.to_string()).or_default();
            definition.virtual_link = virtual_link;
            if let Some(renderer) = &of_kind {
                let at = (file.to_string(), 0, renderer.clone());
                definition.values.insert("renderer".into(), at);
            }
            add(definition, file, text, &["network", kind, id], keys);
        }
    }
}

fn add(definition: &mut Definition, file: &str, text: &str, path: &[&str], keys: &Mapping) {
    for (key, value) in keys {
        let Some(key) = key.as_str() else { continue };
        let path: Vec<&str> = path.iter().copied().chain([key]).collect();
        match (key, value) {
            ("match", Value::Mapping(inner)) if path.len() == 4 => {
                definition.matches = true;
                add(definition, file, text, &path, inner);
            }
            _ => {
                let Some(value) = scalar(value) else { continue };
                let name = path.get(3..).unwrap_or_default().join(".");
                let at = (file.to_string(), line(text, &path), value);
                definition.values.insert(name, at);
            }
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(bit) => Some(bit.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Sequence(all) => {
            Some(all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "))
        }
        Value::Tagged(tagged) => scalar(&tagged.value),
        Value::Null | Value::Mapping(_) => None,
    }
}

/// The line where the last key of the path stands, or as much of it as is written in lines of its own.
fn line(text: &str, path: &[&str]) -> u32 {
    let mut rest = path.iter();
    let mut next = rest.next();
    let (mut found, mut depth) = (0, None);
    for (at, line) in text.lines().enumerate() {
        let (Some(key), bare) = (next, line.trim_start()) else { break };
        let indent = line.len() - bare.len();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        // Out of the mapping that we are in: the rest is in braces.
        if depth.is_some_and(|depth| indent <= depth) {
            break;
        }
        let name = bare.split_once(':').map(|(name, _)| name.trim_end().trim_matches(['"', '\'']));
        if name == Some(key) {
            (found, depth) = (number(at), Some(indent));
            next = rest.next();
        }
    }
    found
}

fn set(at: Option<&At>, section: &str, key: &str) -> Option<Line> {
    let (file, line, value) = at?.clone();
    Some(Line { file, line, section: section.into(), key: key.into(), value })
}

fn own(section: &str, key: &str, value: &str) -> Line {
    Line { section: section.into(), key: key.into(), value: value.into(), ..Line::default() }
}

fn link_file(id: &str, definition: &Definition) -> Vec<Line> {
    if definition.virtual_link {
        return Vec::new();
    }
    let values = &definition.values;
    let offloads = OFFLOADS.iter().map(|(key, systemds)| (*key, *systemds));
    let keys = offloads.chain([("mtu", "MTUBytes"), ("set-name", "Name")]);
    let lines: Vec<Line> =
        keys.filter_map(|(key, systemds)| set(values.get(key), "Link", systemds)).collect();
    if lines.is_empty() { lines } else { matched(id, definition, "OriginalName", lines) }
}

fn network_file(id: &str, definition: &Definition) -> Vec<Line> {
    let mtu = set(definition.values.get("mtu"), "Link", "MTUBytes");
    matched(id, definition, "Name", mtu.into_iter().collect())
}

fn device_file(id: &str, definition: &Definition) -> Vec<Line> {
    let mtu = set(definition.values.get("mtu"), "NetDev", "MTUBytes");
    [own("NetDev", "Name", id)].into_iter().chain(mtu).collect()
}

/// Matched by what is fixed about the device; by the name that netplan gives it only after it has.
fn matched(id: &str, definition: &Definition, by_name: &str, lines: Vec<Line>) -> Vec<Line> {
    let value = |key: &str| definition.values.get(key).map(|(_, _, value)| value.as_str());
    let mut all = Vec::new();
    if !definition.matches {
        all.push(own("Match", by_name, id));
    } else {
        let pairs = [("match.driver", "Driver"), ("match.macaddress", "PermanentMACAddress")];
        all.extend(pairs.iter().filter_map(|(key, ours)| Some(own("Match", ours, value(key)?))));
        // A link that is here may have the new name already, so either will do.
        let named = value("match.name")
            .filter(|_| by_name == "OriginalName" || value("set-name").is_none());
        let renamed =
            value("set-name").filter(|_| by_name == "Name" || value("match.name").is_some());
        let names: Vec<&str> = named.into_iter().chain(renamed).collect();
        if !names.is_empty() {
            all.push(own("Match", by_name, &names.join(" ")));
        }
    }
    all.extend(lines);
    all
}

fn connection(id: &str, definition: &Definition) -> Vec<Line> {
    let value = |key: &str| definition.values.get(key).map(|(_, _, value)| value.as_str());
    let kind = if definition.virtual_link { "virtual" } else { "ethernet" };
    let mut all = vec![own("connection", "type", kind)];
    match (definition.matches, value("set-name"), value("match.name")) {
        (false, ..) => all.push(own("connection", "interface-name", id)),
        (true, Some(name), _) => all.push(own("connection", "interface-name", name)),
        (true, None, Some(name)) => all.push(own("match", "interface-name", name)),
        (true, None, None) => {}
    }
    all.extend(value("match.macaddress").map(|mac| own("ethernet", "mac-address", mac)));
    all.extend(set(definition.values.get("mtu"), "ethernet", "mtu"));
    all
}

#[cfg(test)]
mod tests {
    use super::super::gather as settings;
    use super::super::tests::{root, told};
    use super::*;
    use crate::model::facts::Link;
    use proptest::prelude::*;

    fn of(files: &[(&str, &str)], links: &[&str]) -> Vec<String> {
        let (_dir, root) = root(files);
        let link = |name: &&str| Link {
            name: name.to_string(),
            permanent_mac: (*name == "lan0").then(|| "02:00:00:00:00:01".to_string()),
            ..Link::default()
        };
        told(&settings(&root, &links.iter().map(link).collect::<Vec<_>>()))
    }

    const CLOUD: &str = "network:\n  version: 2\n  ethernets:\n    nics:\n      # mtu: 1\n      match: {macaddress: \"02:00:00:00:00:01\"}\n      set-name: lan0\n      mtu: 1500\n      large-receive-offload: false\n  bonds:\n    bond0:\n      interfaces: [lan0]\n      mtu: 9000\n  vlans:\n    \"bond0.7\": {id: 7, link: bond0, mtu: 1400}\n";

    #[test]
    fn the_yaml_is_named_and_not_what_is_made_of_it() {
        let generated = "[Match]\nName=bond0\n[Link]\nMTUBytes=9000\n";
        let made = "[NetDev]\nName=bond0\nKind=bond\nMTUBytes=9000\n";
        let files = [
            ("etc/netplan/50-cloud-init.yaml", CLOUD),
            ("etc/netplan/60-all.yaml", "network: {ethernets: {all: {match: {}, mtu: 1111}}}\n"),
            ("run/systemd/network/10-netplan-bond0.netdev", made),
            ("run/systemd/network/10-netplan-bond0.network", generated),
            (
                "run/systemd/network/10-netplan-gone.network",
                "[Match]\nName=br1\n[Link]\nMTUBytes=1300\n",
            ),
        ];
        assert_eq!(
            of(&files, &["lan0", "bond0", "bond0.7", "br1", "x"]),
            [
                "/etc/netplan/50-cloud-init.yaml:9 ethtool:lan0/features rx-lro = off",
                "/etc/netplan/50-cloud-init.yaml:15 mtu:bond0.7 = 1400",
                "/etc/netplan/50-cloud-init.yaml:13 mtu:bond0 = 9000",
                "/run/systemd/network/10-netplan-gone.network:4 mtu:br1 = 1300",
                "/etc/netplan/50-cloud-init.yaml:8 mtu:lan0 = 1500",
            ]
        );
    }

    #[test]
    fn a_later_file_counts_and_so_does_a_drop_in_of_networkd() {
        let files = [
            ("lib/netplan/00.yaml", "network:\n  bridges:\n    br0:\n      mtu: 1300\n"),
            ("etc/netplan/10.yaml", "network:\n  bridges:\n    br0:\n      mtu: 1400\n"),
            ("run/netplan/10.yaml", "network: {bridges: {br0: {mtu: 1450}}}\n"),
            (
                "etc/netplan/90.yaml",
                "network:\n  bridges: {br1: {mtu: 1}}\n  ethernets:\n    e:\n      match:\n        name: en*\n      mtu: 1500\n",
            ),
            ("etc/systemd/network/10-netplan-e.network.d/x.conf", "[Link]\nMTUBytes=1600\n"),
        ];
        assert_eq!(
            of(&files, &["br0", "enp1"]),
            [
                "/etc/netplan/90.yaml:7 mtu:enp1 = 1500",
                "/run/netplan/10.yaml:1 mtu:br0 = 1450",
                "/etc/systemd/network/10-netplan-e.network.d/x.conf:2 mtu:enp1 = 1600",
            ]
        );
    }

    #[test]
    fn network_manager_may_be_the_renderer() {
        let files = [(
            "etc/netplan/01.yaml",
            "network:\n  renderer: NetworkManager\n  ethernets:\n    eth0:\n      mtu: 1500\n  vlans:\n    v7:\n      renderer: networkd\n      mtu: 1400\n",
        )];
        assert_eq!(
            of(&files, &["eth0", "v7"]),
            ["/etc/netplan/01.yaml:9 mtu:v7 = 1400", "/etc/netplan/01.yaml:5 mtu:eth0 = 1500",]
        );
    }

    proptest! {
        #[test]
        fn any_yaml_is_read(lines in proptest::collection::vec("( {0,8}(network|ethernets|vlans|bonds|match|mtu|name|e0|set-name|renderer): ?(|1500|\\{mtu: 1\\}|\\[a, b\\]|&a|\\*a|!x 1|\"q)|[ -~]{0,20})", 0..16)) {
            let text = lines.join("\n");
            let (mut all, mut renderer) = (BTreeMap::new(), None);
            read("f", &text, &mut all, &mut renderer);
            for (id, definition) in &all {
                link_file(id, definition);
                network_file(id, definition);
                device_file(id, definition);
                connection(id, definition);
            }
        }
    }
}
