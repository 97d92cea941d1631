//! The cluster's side of XDP: Cilium's acceleration of services, and what its loader makes of a link.

use super::cilium_side::{cilium, devices, floor, on, release};
use crate::model::facts::{Facts, Link};
use crate::model::helm::{ACCELERATION, ACCELERATION_NATIVE, HelmValue};
use crate::model::xdp_limits;
use crate::model::{Context, Live, Need, State, Warning};

/// What keeps Cilium's program off one link; nothing when it may be attached.
pub fn link_need(facts: &Facts, link: &Link) -> Option<Need> {
    let name = &link.name;
    let driver = link.driver.as_deref().unwrap_or_default();
    if let Some(kind @ ("vlan" | "team" | "bridge")) = link.kind.as_deref() {
        let why = format!("{name} is a {kind}, which has no native XDP");
        return Some(Need::unsupported("xdp-device-kind", why));
    }
    let Some(limits) = xdp_limits::find(driver) else {
        let why = format!("{name}'s driver {driver:?} is not known to have native XDP");
        return Some(Need::unsupported("xdp-driver", why));
    };
    let (major, minor) = limits.first();
    if facts.kernel_version() < (major, minor) {
        let why = format!("{driver} of {name} has XDP from kernel {major}.{minor} on");
        return Some(Need::unsupported("xdp-driver", why).since((major, minor)));
    }
    if driver.starts_with("mlx4") {
        let why = format!("XDP on {name} (mlx4) drops NodePort packets");
        return Some(Need::unsupported("xdp-mlx4", why));
    }
    if driver == "virtio_net" && (5, 0) <= facts.kernel_version() && old_virtio(facts) {
        let why = format!("XDP on {name} (virtio_net) can panic a kernel before 5.15.38");
        return Some(Need::unsupported("xdp-virtio-kernel", why));
    }
    // Cilium's program takes no fragments at first.
    if let Some(most) = limits.whole_mtu(&facts.kernel).filter(|most| link.mtu > *most) {
        let why = format!(
            "{name} has MTU {}, and {driver} takes XDP up to {most}: jumbo or XDP, not both",
            link.mtu
        );
        let fix = format!("set its MTU to {most}, or leave acceleration disabled");
        return Some(Need::blocked("xdp-mtu", why, fix));
    }
    virtio(link).or_else(|| queues(link, driver))
}

/// What the device has negotiated decides: mergeable buffers want the header in the same page, and
/// offloads that cannot be switched off again hand over what is no frame.
fn virtio(link: &Link) -> Option<Need> {
    let bits = link.virtio.as_ref()?;
    let has = |bit: usize| bits.as_bytes().get(bit) == Some(&b'1');
    let name = &link.name;
    // VIRTIO_NET_F_MRG_RXBUF without VIRTIO_F_ANY_LAYOUT or VIRTIO_F_VERSION_1.
    if has(15) && !has(27) && !has(32) {
        let why =
            format!("{name}'s hypervisor does not put header and data together (any_header_sg)");
        return Some(Need::unsupported("xdp-virtio-header", why));
    }
    // Guest checksum, TSO, ECN and UFO without VIRTIO_NET_F_CTRL_GUEST_OFFLOADS.
    if !has(2) && [1, 7, 8, 9, 10].into_iter().any(has) {
        let why = format!("{name}'s hypervisor does not let guest offloads be switched off");
        return Some(Need::unsupported("xdp-virtio-offloads", why));
    }
    None
}

/// 5.15 before its 38th stable release, and what is older.
fn old_virtio(facts: &Facts) -> bool {
    let patch = facts.kernel.release.split(['.', '-']).nth(2).and_then(|p| p.parse::<u32>().ok());
    match facts.kernel_version() {
        (5, 15) => patch.is_some_and(|p| p < 38),
        version => version < (5, 15),
    }
}

/// ena and gve give XDP the other half of their queues.
fn queues(link: &Link, driver: &str) -> Option<Need> {
    if !matches!(driver, "ena" | "gve") {
        return None;
    }
    let state = State::is(link.channels.clone()?);
    let number = |key: &str| state.field(key).and_then(|v| v.parse::<u32>().ok());
    let (now, most) = match number("combined-max") {
        Some(0) | None => (number("rx")?, number("rx-max")?),
        Some(most) => (number("combined")?, most),
    };
    if most == 0 || now <= most / 2 {
        return None;
    }
    let name = &link.name;
    let why =
        format!("{name} uses {now} of {most} queues, and {driver} needs half of them for XDP");
    Some(Need::blocked("xdp-queues", why, format!("nic.channels = {}", (most / 2).max(1))))
}

pub fn needs(cx: &Context) -> Vec<Need> {
    let mut needs = vec![floor(cx)];
    needs.extend(devices(cx).iter().filter_map(|l| link_need(cx.facts, l)));
    let v6_underlay = cilium(cx).and_then(|c| c.key("underlay-protocol")) == Some("ipv6");
    if v6_underlay && cilium(cx).and_then(|c| c.tunnel()) == Some(true) {
        let why = "with a tunnel over IPv6 the agent refuses XDP";
        needs.push(Need::blocked("xdp-ipv6-underlay", why, "routingMode=native"));
    }
    needs
}

pub fn live(cx: &Context) -> Live {
    let live = cilium(cx).map(|c| &c.live);
    let mode = live.and_then(|l| l.xdp.as_deref());
    let attached = live.and_then(|l| l.xdp_attached.as_ref());
    let (word, modern) =
        if release(cx) < (1, 15) { ("native", false) } else { ("best-effort", true) };
    match (mode, attached) {
        // It says best-effort and has attached nothing: a line in its log was all.
        (Some("best-effort"), Some(links)) if links.is_empty() => {
            Live::new(Some("best-effort, on no device"), word)
                .because(Some("no device took the program"))
        }
        // Where every device can, native is as good.
        (Some("native"), _) if modern => Live::new(Some("native"), "native"),
        (now, _) => Live::new(now, word),
    }
}

pub fn warnings(cx: &Context) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let live = cilium(cx).map(|c| &c.live);
    if on(cx, "enable-l2-announcements") {
        let text = "L2 announcements may lose their ARP answers behind XDP";
        warnings.push(
            Warning::new("xdp-l2-announcements", text).fix("loadBalancer.acceleration=disabled"),
        );
    }
    if live.and_then(|l| l.dsr_dispatch.as_deref()) == Some("ipip") {
        let text = "DSR by ipip with XDP drops packets of protocols it does not know";
        warnings.push(Warning::new("xdp-dsr-ipip", text).fix("loadBalancer.dsrDispatch=opt"));
    }
    let wireguard = live.and_then(|l| l.encryption.as_deref()) == Some("Wireguard");
    if wireguard && on(cx, "encrypt-node") {
        let text = "with XDP, packets from outside leave the node unencrypted by WireGuard";
        warnings.push(Warning::new("xdp-wireguard", text));
    }
    for link in devices(cx).iter().filter(|l| l.virtual_function) {
        let text = format!(
            "{} is a virtual function: best effort may attach there and lose packets",
            link.name
        );
        warnings.push(Warning::new("xdp-vf", text).fix("loadBalancer.acceleration=disabled"));
    }
    for link in devices(cx).iter().filter(|l| l.is_a(&["bond"])) {
        let text = format!(
            "{} is a bond: each member must have XDP, and vlan+srcmac hashing has none",
            link.name
        );
        warnings.push(Warning::new("xdp-bond", text));
    }
    warnings
}

pub fn advice() -> Vec<HelmValue> {
    vec![ACCELERATION_NATIVE.is("native"), ACCELERATION.is("best-effort")]
}

#[cfg(test)]
mod tests {
    use super::super::cilium_side::tests::{codes, facts, with};
    use super::*;
    use crate::model::facts::CiliumLive;

    fn link(driver: &str, mtu: u32, channels: &str) -> Link {
        Link {
            name: "eth0".into(),
            index: 2,
            driver: Some(driver.into()),
            mtu,
            default_route: true,
            channels: Some(channels.into()),
            ..Link::default()
        }
    }

    fn code(kernel: &str, link: Link) -> String {
        let mut facts = facts(kernel);
        facts.links = vec![link];
        codes(&needs(&Context::new(&facts, &[]))).join(" ")
    }

    #[test]
    fn what_keeps_xdp_off_a_link() {
        let few = "combined=4 combined-max=8";
        for (kernel, link, want) in [
            ("6.12.40", link("ena", 3498, few), ""),
            ("6.12.40", link("ena", 9001, few), "xdp-mtu"),
            ("6.12.40", link("ena", 1500, "combined=8 combined-max=8"), "xdp-queues"),
            ("6.12.40", link("bnxt_en", 9000, few), "xdp-mtu"),
            ("6.12.40", link("mlx4_en", 1500, few), "xdp-mlx4"),
            ("5.15.37", link("virtio_net", 1500, few), "xdp-virtio-kernel"),
            ("5.15.38", link("virtio_net", 1500, few), ""),
            ("5.10.1", link("vmxnet3", 1500, few), "xdp-driver"),
            ("6.12.40", link("e1000", 1500, few), "xdp-driver"),
            (
                "6.12.40",
                Link { kind: Some("vlan".into()), ..link("vlan", 1500, few) },
                "xdp-device-kind",
            ),
        ] {
            let name = format!("{kernel} {:?} {}", link.driver, link.mtu);
            assert_eq!(code(kernel, link), want, "{name}");
        }
    }

    #[test]
    fn what_a_hypervisor_must_let_go() {
        let bits = |on: &[usize]| {
            Some((0..64).map(|b| if on.contains(&b) { '1' } else { '0' }).collect::<String>())
        };
        for (on, want) in [
            (&[2, 7, 8, 15, 32][..], ""),
            (&[2, 7, 8, 15], "xdp-virtio-header"),
            (&[15, 27], ""),
            (&[7, 15, 32], "xdp-virtio-offloads"),
        ] {
            let link = Link { virtio: bits(on), ..link("virtio_net", 1500, "") };
            assert_eq!(code("6.12.40", link), want, "{on:?}");
        }
    }

    #[test]
    fn best_effort_that_attached_nothing_is_found() {
        let on = |attached: &[&str]| CiliumLive {
            xdp: Some("best-effort".into()),
            xdp_attached: Some(attached.iter().map(|s| s.to_string()).collect()),
            ..CiliumLive::default()
        };
        let facts = with("6.12.40", &[], on(&[]));
        let quiet = live(&Context::new(&facts, &[]));
        assert_eq!(quiet.because.as_deref(), Some("no device took the program"));
        assert!(!quiet.holds());
        let facts = with("6.12.40", &[], on(&["eth0"]));
        assert!(live(&Context::new(&facts, &[])).holds());
    }

    #[test]
    fn known_trouble_with_xdp() {
        let config = [("enable-l2-announcements", "true"), ("encrypt-node", "true")];
        let live = CiliumLive {
            dsr_dispatch: Some("ipip".into()),
            encryption: Some("Wireguard".into()),
            ..CiliumLive::default()
        };
        let mut facts = with("6.12.40", &config, live);
        let mut bond = link("bond", 1500, "");
        (bond.kind, bond.virtual_function) = (Some("bond".into()), true);
        facts.links = vec![bond];
        let found = warnings(&Context::new(&facts, &[]));
        let codes: Vec<&str> = found.iter().map(|w| w.code).collect();
        let want = ["xdp-l2-announcements", "xdp-dsr-ipip", "xdp-wireguard", "xdp-vf", "xdp-bond"];
        assert_eq!(codes, want);
    }
}
