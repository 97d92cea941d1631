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
        ("usr/lib/systemd/network/21-t.network", "[Match]\nType=bridge\n[Link]\nMTUBytes=1460\n"),
        ("etc/systemd/network/22-n.network", "[Match]\nName=!bond0.* br*\n[Link]\nMTUBytes=1470\n"),
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
        ("etc/systemd/network/80-x.network.d/a.conf", "[Match]\nName=eth0\n[Link]\nMTUBytes=1\n"),
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
    let mut links: Vec<Link> = (0..2000).map(|n| link(&format!("lxc{n}"), Some("veth"))).collect();
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
