use super::super::tests::{root, told};
use super::*;
use proptest::prelude::*;

const ETC: &str = "etc/NetworkManager/system-connections";

fn link(name: &str, kind: Option<&str>) -> Link {
    Link { name: name.into(), kind: kind.map(str::to_string), ..Link::default() }
}

fn of(files: &[(&str, &str)], links: &[Link]) -> Vec<String> {
    let files: Vec<(String, &str)> =
        files.iter().map(|(n, t)| (format!("{ETC}/{n}"), *t)).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), *t)).collect();
    let (_dir, root) = root(&files);
    let links: Vec<&Link> = links.iter().collect();
    let told = told(&gather(&root, &links, &Generated::new()));
    told.iter().map(|t| t.replace(&format!("/{ETC}/"), "")).collect()
}

#[test]
fn of_stacked_links_and_by_match_and_with_old_names() {
    let links = [
        link("bond0", Some("bond")),
        link("bond0.7", Some("vlan")),
        link("eth8", None),
        link("eth9", None),
    ];
    let files = [
        (
            "a.nmconnection",
            "[connection]\ntype=vlan\ninterface-name=bond0.7\n[ethernet]\nmtu=1500\n",
        ),
        (
            "b.nmconnection",
            "[connection]\ntype=ethernet\n[match]\ninterface-name=eth*;!eth9;\n[802-3-ethernet]\nmtu=1400\n",
        ),
        ("c", "[connection]\ntype=vlan\n[vlan]\nparent=bond0\nid=7\n[ethernet]\nmtu=1600\n"),
        ("d.bak", "[connection]\ninterface-name=eth9\n[ethernet]\nmtu=1\n"),
        (
            "e.nmconnection",
            "[connection]\ntype=bond\ninterface-name=bond0\n[ethernet]\nmtu=0\n[ethtool]\nfeature-gro=ignore\nfeature-tx-udp-segmentation=false\nring-rx=512\ncoalesce-adaptive-rx=0\npause-rx=true\n",
        ),
        (
            "f.nmconnection",
            "[connection]\ntype=ethernet\n[ethernet]\nmac-address=02:00:00:00:00:01\nmtu=1300\n",
        ),
        ("g.nmconnection", "[connection]\ntype=ethernet\n[ethernet]\nmtu=1450\n"),
    ];
    assert_eq!(
        of(&files, &links),
        [
            "a.nmconnection:5 mtu:bond0.7 = 1500",
            "b.nmconnection:6 mtu:eth8 = 1400",
            "c:7 mtu:bond0.7 = 1600",
            "e.nmconnection:8 ethtool:bond0/features tx-udp-segmentation = off",
            "e.nmconnection:9 ethtool:bond0/rings rx = 512",
            "e.nmconnection:10 ethtool:bond0/coalesce adaptive-rx = 0",
            "e.nmconnection:11 ethtool:bond0/pause rx = 1",
            "g.nmconnection:4 mtu:eth8 = 1450",
            "g.nmconnection:4 mtu:eth9 = 1450",
        ]
    );
}

#[test]
fn patterns_with_signs() {
    assert!(listed("|eth0;|eth1", "eth1") && listed("&eth*;!eth0", "eth1"));
    assert!(!listed("eth*;&!eth1", "eth1") && !listed("a;b", "c") && listed("!a", "c"));
}

proptest! {
    #[test]
    fn any_connection_is_read(lines in proptest::collection::vec("(\\[(connection|match|ethernet|ethtool|vlan|tc)\\]|(interface-name|type|mtu|ring-rx|feature-gro|id|parent)=[!&|;*a-z0-9é]{0,12}|[ -~]{0,16})", 0..16)) {
        let lines = text::lines("f", &lines.join("\n"));
        fits(&lines, &link("eth0", None));
        sets(&lines);
    }
}
