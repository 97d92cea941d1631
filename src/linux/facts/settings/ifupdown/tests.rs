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
        ("etc/network/interfaces.d/a.conf", "iface eth0:1 inet static\n mtu 1400\nsource b.conf\n"),
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
