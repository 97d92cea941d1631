//! Jumbo MTU on the uplinks and what they stand on, with proof that the path takes it.

use std::net::IpAddr;

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::cilium::told;
use crate::model::facts::{Link, LostRoute};
use crate::model::helm;
use crate::model::uplinks::above;
use crate::model::xdp_limits;
use crate::model::{Context, Desired, Impact, Need, Proof, Resource, Side, Tweak, Want, Warning};
use crate::tweaks::cluster::cilium_side::{cilium, devices};
use crate::tweaks::entry::{Doc, Entry, More, lever, no_uplink};

pub const ENTRY: Entry = Entry {
    name: "mtu",
    side: Side::Node,
    summary: "jumbo MTU on uplinks, proved against peers",
    doc: Doc {
        what: "Raises the MTU of the uplinks and of what they stand on, then sends each peer, and each \
               gateway that answers at all, a packet of that size that must not be fragmented. If one does \
               not come back the old MTU is put back at once.",
        cost: "The fabric must carry it everywhere: a smaller link on the way drops large packets \
               silently. XDP without fragments and jumbo frames exclude each other on most NICs.",
        needs: "peers to probe; links that take the MTU, and with a bond its members; no bridge in the \
                way (its automatic MTU could not be put back); no IPv6 below 1280",
        impact: "path",
        source: "Cilium tuning guide (MTU); Linux ip-sysctl.rst; net/ipv6/addrconf.c for 1280",
    },
    lever: lever::<Mtu>(),
    more: More {
        drivers: true,
        keys: &[&helm::MTU],
        told: &[told::DEVICES, &["device-mtu", "mtu"]],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Mtu {
    /// Bytes, or "max": what all the links take, at most 9000 or what they have already
    mtu: Size,
    /// Where an attached XDP program limits the MTU: "jumbo" blocks and says so, "xdp" stays below
    /// its limit
    prefer: Prefer,
    /// Who must answer a packet of the new size: IP addresses of peers, "gateway" for those of the
    /// uplinks' default routes (which are asked in any case where they answer small ones)
    probe: Vec<String>,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(untagged, expecting = "it is \"max\" or a number of bytes")]
enum Size {
    Bytes(u32),
    Max(Max),
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Max {
    Max,
}

impl Default for Size {
    fn default() -> Self {
        Size::Max(Max::Max)
    }
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Prefer {
    #[default]
    Jumbo,
    Xdp,
}

/// What everybody means by jumbo; virtual links take 65535, which no fabric carries.
const JUMBO: u32 = 9000;

/// Of a program that is there, or of one that shall be.
fn limit(cx: &Context, link: &Link) -> Option<u32> {
    if let Some(program) = cx.own_xdp() {
        let frags = program.frags && cx.facts.bpf.frags.known() == Some(&true);
        return xdp_limits::of(link)?.most_mtu(&cx.facts.kernel, cx.facts.kernel_version(), frags);
    }
    xdp_limits::of(link).filter(|_| link.native_xdp())?.whole_mtu(&cx.facts.kernel)
}

fn most(link: &Link) -> u32 {
    if link.max_mtu == 0 { u32::MAX } else { link.max_mtu }
}

/// Where gateways are to be the proof, and one of the uplinks has none that could be.
fn no_gateway(links: &[&Link], size: u32) -> Option<Need> {
    let fix = "set mtu.probe = [\"IP of a peer\"] in the profile";
    links.iter().find_map(|link| {
        let Some(gateway) = link.gateways.first() else {
            let why = format!("{} has no gateway to prove the path against", link.name);
            return Some(Need::blocked("gateway", why, fix));
        };
        let kept = gateway.mtu.filter(|mtu| *mtu < size)?;
        let why = format!(
            "the route to {} is kept at {kept}, so it proves nothing of {size}",
            gateway.address
        );
        Some(Need::blocked("gateway", why, fix))
    })
}

/// What the link stands on, where that is smaller and, not being named, stays so.
fn too_small_below<'a>(
    cx: &Context<'a>,
    link: &Link,
    links: &[&Link],
    size: u32,
) -> Option<&'a Link> {
    let parent = link.parent.as_deref().filter(|_| !link.other_netns)?;
    let stacked = link.is_a(&["vlan", "macvlan", "ipvlan"]);
    let below = cx.facts.link(parent).filter(|below| stacked && below.mtu < size)?;
    (!named(links, below)).then_some(below)
}

fn named(links: &[&Link], link: &Link) -> bool {
    links.iter().any(|l| l.index == link.index)
}

/// A bond hands its MTU to all members at once, and so stops them together and for good: each is
/// to be changed, and put back, before it.
fn members_not_named(cx: &Context, bond: &Link, links: &[&Link], size: u32) -> Option<Need> {
    let left =
        |l: &&Link| l.master.as_deref() == Some(&bond.name) && l.mtu != size && !named(links, l);
    let left: Vec<&str> = cx.facts.links.iter().filter(left).map(|l| l.name.as_str()).collect();
    if left.is_empty() || !bond.is_a(&["bond"]) {
        return None;
    }
    let names = left.join(" and ");
    let why = format!("{} would set the MTU of its members {names} at once", bond.name);
    let fix = format!("name {names} in the profile's links as well");
    Some(Need::blocked("members", why, fix))
}

/// What stands on a link goes down with it, and comes back with it.
fn lowered(cx: &Context, link: &Link, links: &[&Link], size: u32) -> Option<String> {
    let above = above(cx.facts, &link.name);
    let larger = |l: &&&Link| size < l.mtu && size < link.mtu && !named(links, l);
    let all: Vec<String> =
        above.iter().filter(larger).map(|l| format!("{} ({})", l.name, l.mtu)).collect();
    let (first, rest) = all.split_first()?;
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    Some(format!("{first}{more} on {} goes down with it, and back at a rollback", link.name))
}

/// Among its routes that could not be put back, one that the size overwrites, now or on the way back:
/// those that are no smaller than it, and those that are what IPv6 has on the link.
fn lost(link: &Link, size: u32) -> Option<&LostRoute> {
    let least = link.mtu.min(size);
    let mut routes = link.lost_routes.iter().filter(|_| link.mtu != size);
    routes.find(|r| r.mtu >= least || r.mtu == link.mtu_v6)
}

fn not_put_back(link: &str, lost: &LostRoute) -> Need {
    let LostRoute { route, mtu, why } = lost;
    let why = format!("the mtu {mtu} of route {route} by {link} could not be put back: {why}");
    let fix = format!("write it as mtu lock {mtu}, which the kernel leaves alone, or take it off");
    Need::blocked("route-mtu", why, fix)
}

const GATEWAY: &str = "gateway";

impl Mtu {
    fn gateway(&self) -> bool {
        self.probe.iter().any(|p| p == GATEWAY)
    }

    /// The MTU that all the links shall have.
    fn size(&self, cx: &Context, links: &[&Link]) -> u32 {
        let mut size = match self.mtu {
            Size::Bytes(n) => n,
            Size::Max(_) => {
                let take = links.iter().map(|l| most(l)).min().unwrap_or(JUMBO);
                // A fabric of 9001 bytes is no reason to go down.
                let have = links.iter().map(|l| l.mtu).min().unwrap_or(0);
                take.min(JUMBO.max(have))
            }
        };
        if self.prefer == Prefer::Xdp {
            size = links.iter().filter_map(|l| limit(cx, l)).fold(size, u32::min);
        }
        size
    }
}

impl Tweak for Mtu {
    fn validate(&self) -> Result<()> {
        for peer in self.probe.iter().filter(|p| *p != GATEWAY) {
            let Ok(address) = peer.parse::<IpAddr>() else {
                bail!("probe {peer:?} is neither an IP address nor \"gateway\"");
            };
            let local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            if local || address.is_loopback() || address.is_unspecified() || address.is_multicast()
            {
                bail!("probe {peer} is no address of one peer that a route leads to");
            }
        }
        Ok(())
    }

    fn needs(&self, cx: &Context) -> Vec<Need> {
        let links = cx.uplinks();
        let mut needs = Vec::new();
        if links.is_empty() {
            needs.push(no_uplink(cx));
        }
        if self.probe.is_empty() {
            let why = "no peer is named to prove the path against";
            needs.push(Need::blocked(
                "peers",
                why,
                "set mtu.probe = [\"IP of a peer\"] in the profile, or [\"gateway\"]",
            ));
        }
        let size = self.size(cx, &links);
        if self.gateway() {
            needs.extend(no_gateway(&cx.routed_uplinks(), size));
        }
        for link in links.iter().filter(|l| l.mtu != size) {
            let name = &link.name;
            if size > most(link) || size < link.min_mtu {
                let why = format!("{name} takes {} to {}, not {size}", link.min_mtu, most(link));
                needs.push(Need::blocked(
                    "max-mtu",
                    why,
                    "set mtu.mtu = \"max\", or a size it takes",
                ));
            }
            if link.is_a(&["bridge"]) {
                let why =
                    format!("{name} is a bridge: setting its MTU ends its automatic MTU for good");
                needs.push(Need::blocked(
                    "bridge",
                    why,
                    "set it in the bridge's own configuration",
                ));
            }
            needs.extend(lost(link, size).map(|lost| not_put_back(name, lost)));
            // What goes down with it takes its routes along.
            let uppers = above(cx.facts, name).into_iter().filter(|l| l.mtu > size);
            let mut theirs = uppers.filter_map(|l| Some((l, lost(l, size)?)));
            needs.extend(theirs.next().map(|(l, lost)| not_put_back(&l.name, lost)));
            if let Some(below) = too_small_below(cx, link, &links, size) {
                let why = format!("{name} stands on {}, whose MTU is {}", below.name, below.mtu);
                let fix = format!("name {} in the profile's links as well", below.name);
                needs.push(Need::blocked("below", why, fix));
            }
            needs.extend(members_not_named(cx, link, &links, size));
            if size < 1280 && link.ipv6 {
                let why = format!("below 1280 {name} loses its IPv6 addresses");
                needs.push(Need::blocked("ipv6", why, "set mtu.mtu to 1280 or more"));
            }
            if let Some(limit) = limit(cx, link).filter(|limit| link.native_xdp() && size > *limit)
            {
                let why = format!("an XDP program on {name} allows {limit}, not {size}");
                needs.push(Need::blocked(
                    "xdp",
                    why,
                    "set mtu.prefer = \"xdp\", or have no program there",
                ));
            }
        }
        needs
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let links = cx.uplinks();
        let want = Want::is(self.size(cx, &links).to_string());
        let resource = |link: &&Link| Resource::Mtu { link: link.name.clone() };
        Ok(links.iter().map(|l| Desired::new(resource(l), want.clone(), Impact::Path)).collect())
    }

    fn remarks(&self, cx: &Context) -> Vec<String> {
        let links = cx.uplinks();
        let size = self.size(cx, &links);
        let below = |n: &str| n.parse::<u32>().is_ok_and(|n| n < size);
        let keeps = |r: &&String| r.split(' ').any(below);
        let told = |l: &&Link| {
            let mut routes = l.small_routes.iter().filter(|r| l.mtu < size && keeps(r));
            let first = routes.next()?;
            let more = match routes.count() {
                0 => String::new(),
                n => format!(" (and {n} more routes)"),
            };
            Some(format!("{}: route {first}{more} keeps what goes there small", l.name))
        };
        let switched = |l: &&&Link| l.mtu != size && l.is_a(&["openvswitch"]);
        let follows = |l: &&Link| {
            format!(
                "{}: Open vSwitch lowers it again where another of its ports is smaller",
                l.name
            )
        };
        let mut remarks: Vec<String> = links.iter().filter_map(told).collect();
        remarks.extend(links.iter().filter(switched).map(follows));
        remarks.extend(links.iter().filter_map(|link| lowered(cx, link, &links, size)));
        if cx.facts.live() && links.iter().any(|l| size < l.mtu) {
            let text =
                "a pod's macvlan or VLAN on such a link is cut down with it and not seen from here";
            remarks.push(text.to_string());
        }
        remarks
    }

    /// Pods get the smallest MTU of all the devices that Cilium uses: one left over pulls all down.
    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        if cilium(cx).is_none() {
            return Vec::new();
        }
        let counts = |l: &&&Link| !l.is_a(&["dummy"]) && l.mtu > 0;
        let all = devices(cx);
        let least = all.iter().filter(counts).min_by_key(|l| l.mtu);
        let most = all.iter().filter(counts).max_by_key(|l| l.mtu);
        let (Some(least), Some(most)) = (least, most) else { return Vec::new() };
        if least.mtu == most.mtu {
            return Vec::new();
        }
        let text = format!(
            "{} with MTU {} pulls all pods down from the {} of {}",
            least.name, least.mtu, most.mtu, most.name
        );
        let fix = "leave it out of Cilium's devices, or raise its MTU";
        vec![Warning::new("mtu-pulled-down", text).fix(fix)]
    }

    fn proofs(&self, cx: &Context) -> Vec<Proof> {
        let links = cx.uplinks();
        let mtu = self.size(cx, &links);
        let peers = self.probe.iter().filter(|p| *p != GATEWAY).cloned();
        let mut proofs: Vec<Proof> = peers.map(|peer| Proof::Path { peer, mtu }).collect();
        for link in &links {
            proofs.extend(link.gateways.iter().map(|gateway| {
                let peer = gateway.address.clone();
                // What goes there is no larger than the route says.
                let mtu = gateway.mtu.map_or(mtu, |route| route.min(mtu));
                match self.gateway() {
                    true => Proof::Path { peer, mtu },
                    false => Proof::Gateway { peer, mtu },
                }
            }));
        }
        proofs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As seen of the kernel: a route's mtu follows where it is no smaller than the new one, or what
    /// IPv6 has on the link.
    #[test]
    fn routes_that_another_mtu_overwrites_now_or_on_the_way_back() {
        let is_lost = |now: u32, v6: u32, route: u32, to: u32| {
            let lost_routes = vec![LostRoute { mtu: route, ..LostRoute::default() }];
            let link = Link { mtu: now, mtu_v6: v6, lost_routes, ..Link::default() };
            lost(&link, to).is_some()
        };
        assert!(is_lost(1500, 1500, 8000, 4000), "cut to 4000");
        assert!(is_lost(1500, 1500, 8000, 9000), "cut to 1500 on the way back");
        assert!(is_lost(1500, 1500, 1500, 9000), "raised with the link");
        assert!(is_lost(1500, 1400, 1400, 9000), "raised with what IPv6 has");
        assert!(!is_lost(1500, 1500, 1400, 9000));
        assert!(is_lost(9000, 9000, 1500, 1500) && !is_lost(9000, 9000, 1400, 1500));
        assert!(!is_lost(1500, 1500, 8000, 1500), "nothing changes");
    }
}
