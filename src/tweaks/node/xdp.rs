//! Programs in the driver: a drop list, forwarding between uplinks, or one of the operator's own.

use anyhow::{Context as _, Result, ensure};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::cilium::told;
use crate::model::bpf::{Deny, Hook, tag};
use crate::model::facts::Link;
use crate::model::features;
use crate::model::helm;
use crate::model::need::HelmValue;
use crate::model::typed::attached::{self, Attached, Way};
use crate::model::xdp_limits::{self, Limits};
use crate::model::{
    Context, Desired, Impact, Live, NativeXdp, Need, Resource, Side, Tweak, Want, Warning,
};
use crate::tweaks::cluster::cilium_xdp;
use crate::tweaks::entry::{Doc, Entry, More, lever};
use crate::tweaks::unseen;

pub const ENTRY: Entry = Entry {
    name: "xdp",
    side: Side::Both,
    summary: "programs in the driver: filter, forwarding, Cilium's acceleration",
    doc: Doc {
        what: "Packets are decided on before the kernel makes a buffer for them. filter: a drop list of \
               networks and ports. forward: a route lookup and out of another uplink, for router nodes. \
               object: a program of the operator's own.",
        cost: "Attaching takes some drivers' links down for a moment, one after the other, and may halve \
               their queues; a large MTU or LRO does not go with it. forward goes around netfilter, and its neighbours are refreshed \
               only by what the stack still sees.",
        needs: "a driver with XDP, an MTU and queues that it takes, no LRO; nobody else's XDP program; \
                forward: as host-routing's mode full",
        impact: "link-reset (filter, object), bypass (forward)",
        source: "Cilium tuning guide (XDP acceleration); Linux drivers' own sources",
    },
    lever: lever::<Xdp>(),
    more: More {
        drivers: true,
        keys: &[&helm::ACCELERATION_NATIVE, &helm::ACCELERATION],
        told: &[
            told::XDP,
            told::DSR,
            told::ENCRYPTION,
            told::DEVICES,
            &["xdp-attached", "enable-l2-announcements"],
        ],
        ..More::NONE
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Filter,
    Forward,
    Object,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Xdp {
    /// "filter" (default), "forward" or "object"
    mode: Option<Mode>,
    /// "native" (default) or "generic", which any link takes and which saves little
    attach: Way,
    /// What filter drops: ["10.0.0.0/8", "fd00::/8", "tcp/23"], by source network or destination port
    deny: Vec<String>,
    /// File of the operator's own program, writable by root alone
    object: Option<String>,
    /// Name of the program in that file
    program: Option<String>,
    /// The operator's signature for mode "forward": rules that these packets would no longer meet may be passed by
    bypass_netfilter: bool,
}

impl Xdp {
    /// The devices themselves: a bond's members, not the bond; no VLAN and no bridge has native XDP.
    fn links<'a>(&self, cx: &Context<'a>) -> Vec<&'a Link> {
        let uplinks = cx.uplinks();
        let device = |l: &&Link| !l.is_a(&["vlan", "bridge", "bond", "team", "vrf", "openvswitch"]);
        uplinks.into_iter().filter(device).collect()
    }

    fn entries(&self) -> Result<Vec<Deny>> {
        let mut all: Vec<Deny> = self
            .deny
            .iter()
            .map(|d| d.parse().map_err(anyhow::Error::msg))
            .collect::<Result<_>>()?;
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    fn mode(&self) -> Mode {
        self.mode.unwrap_or_default()
    }

    fn attached(&self, cx: &Context, link: &Link) -> Result<Attached> {
        let xdp = |program: &str| attached::Xdp { program: program.to_string(), way: self.attach };
        if self.mode() == Mode::Object {
            let path = self.object.clone().unwrap_or_default();
            return Ok(Attached::Object {
                path,
                xdp: xdp(self.program.as_deref().unwrap_or_default()),
            });
        }
        let frags = cx.facts.bpf.frags.known() == Some(&true);
        let program = match (self.mode(), frags) {
            (Mode::Forward, true) => "nettune_forwar_",
            (Mode::Forward, false) => "nettune_forward",
            (_, true) => "nettune_filter_",
            (_, false) => "nettune_filter",
        };
        let tag = tag(program).with_context(|| format!("no tag of {program} in this build"))?;
        let (xdp, tag) = (xdp(program), tag.to_string());
        if self.mode() == Mode::Forward {
            let locals = super::host_routing::digest(&cx.facts.routing.addresses);
            return Ok(Attached::Forward { xdp, rp_filter: link.rp_filter, locals, tag });
        }
        let deny = self.entries()?;
        let texts: Vec<String> = deny.iter().map(ToString::to_string).collect();
        let config = super::host_routing::digest(&texts);
        Ok(Attached::Filter { xdp, config, tag, deny })
    }

    fn native(&self, cx: &Context, links: &[&Link]) -> Vec<Need> {
        let cpus = crate::model::cpulist::parse(&cx.facts.cpus.possible).map_or(0, |c| c.len());
        // The operator's own program may take none.
        let frags = cx.facts.bpf.frags.known() == Some(&true) && self.mode() != Mode::Object;
        let mut needs = Vec::new();
        for link in links {
            let driver = link.driver.as_deref().unwrap_or_default();
            match xdp_limits::find(driver) {
                None => {
                    let error =
                        format!("{}: whether driver {driver:?} has XDP is not known", link.name);
                    let fix =
                        format!("nettune check --deep --link {} --accept link-reset", link.name);
                    needs.push(Need::unknown("driver", error, Some(&fix)));
                }
                Some(limits) => needs.extend(fits(
                    limits,
                    link,
                    cpus as u32,
                    limits.most_mtu(&cx.facts.kernel, cx.facts.kernel_version(), frags),
                )),
            }
        }
        needs
    }
}

/// What the driver's own sources say about this link as it is.
fn fits(limits: &Limits, link: &Link, cpus: u32, most_mtu: Option<u32>) -> Vec<Need> {
    let mut needs = Vec::new();
    let name = &link.name;
    if let Some(why) = limits.refused {
        needs.push(Need::blocked("driver", format!("{name}: {why}"), "leave xdp off there"));
    }
    if let Some(most) = most_mtu.filter(|most| link.mtu > *most) {
        let why = format!(
            "{name}: mtu {} is over the {most} that {} takes with XDP",
            link.mtu, limits.driver
        );
        let fix = format!(
            "set mtu.mtu = {most} or mtu.prefer = \"xdp\", or leave xdp off: jumbo or XDP, not both"
        );
        needs.push(Need::blocked("mtu", why, fix));
    }
    if limits.no_lro
        && let Some(features) = &link.features
        && let Some(on) = features
            .active
            .iter()
            .find(|f| matches!(f.as_str(), "rx-lro" | "rx-gro-hw" | "large-receive-offload"))
    {
        let why = format!("{name}: {on} is on, with which {} takes no XDP program", limits.driver);
        needs.push(Need::blocked(
            "lro",
            why,
            format!("enable nic in the profile, or ethtool -K {name} lro off rx-gro-hw off"),
        ));
    }
    if let Some(why) = limits.channels(link, cpus) {
        needs.push(Need::blocked("queues", format!("{name}: {}", why.0), why.1));
    }
    needs
}

impl Tweak for Xdp {
    fn validate(&self) -> Result<()> {
        self.entries()?;
        // Each key is also looked at alone: only what contradicts a mode that is set is wrong.
        let own = self.object.is_some() || self.program.is_some();
        let is = |mode| self.mode.is_none_or(|m| m == mode);
        ensure!(!own || is(Mode::Object), "object and program belong to mode \"object\"");
        ensure!(self.deny.is_empty() || is(Mode::Filter), "deny belongs to mode \"filter\"");
        ensure!(
            !self.bypass_netfilter || is(Mode::Forward),
            "bypass-netfilter signs for mode \"forward\""
        );
        let plain =
            |t: &String| !t.is_empty() && !t.contains(|c: char| c.is_whitespace() || c == '=');
        ensure!(
            self.object.iter().chain(&self.program).all(plain),
            "object and program take no space and no ="
        );
        if let Some(object) = &self.object {
            ensure!(object.starts_with('/'), "object {object:?} is not an absolute path");
        }
        Ok(())
    }

    fn idle(&self) -> Option<&'static str> {
        let asked = self.mode.is_some() || !self.deny.is_empty() || self.object.is_some();
        (!asked).then_some("the profile names no mode and no drop list for programs of our own")
    }

    fn needs(&self, cx: &Context) -> Vec<Need> {
        let links = self.links(cx);
        let bpf = &cx.facts.bpf;
        let able = [unseen::able("bpf-xdp", &bpf.xdp, &features::XDP), unseen::file_system(bpf)];
        let mut needs: Vec<Need> = able.into_iter().flatten().collect();
        if self.mode() == Mode::Filter && self.deny.is_empty() {
            let fix = "set xdp.deny = [\"192.0.2.0/24\", \"tcp/23\"]";
            needs.push(Need::blocked("deny", "the drop list is empty", fix));
        }
        if self.mode() == Mode::Object && (self.object.is_none() || self.program.is_none()) {
            let fix = "set xdp.object = \"/path/to/file.o\" and xdp.program = \"NAME\"";
            needs.push(Need::blocked("object", "no program is named", fix));
        }
        if links.is_empty() {
            let fix = "set links = [\"eth0\"] in the profile";
            needs.push(Need::blocked("uplink", "no uplink is known", fix));
        }
        if let Some(bond) =
            links.iter().find(|l| l.master.as_deref().is_some_and(|m| is_bond(cx, m)))
        {
            let why =
                format!("{} is a bond member: a program there keeps XDP from the bond", bond.name);
            needs.push(Need::blocked(
                "bond",
                why,
                "name links that are no members in the profile's links",
            ));
        }
        // Only with owner = "nettune" does one come here.
        if cx.facts.agents.cilium.is_some() {
            let why =
                "a program of ours there would keep Cilium's agent from starting with acceleration";
            let fix = "leave xdp to Cilium: loadBalancer.acceleration";
            needs.push(Need::blocked("cilium-devices", why, fix));
        }
        if self.attach == Way::Native {
            needs.extend(self.native(cx, &links));
        }
        if self.mode() == Mode::Forward {
            needs.extend(self.forward(cx, &links));
        }
        needs
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let impact = match self.mode() {
            Mode::Forward => Impact::Bypass,
            _ if self.attach == Way::Generic => Impact::None,
            _ => Impact::LinkReset,
        };
        let want = |link: &Link| {
            let resource = Resource::Bpf { link: link.name.clone(), hook: Hook::Xdp };
            Ok(Desired::new(resource, Want::is(self.attached(cx, link)?.to_string()), impact))
        };
        self.links(cx).into_iter().map(want).collect()
    }

    fn native_xdp(&self) -> Option<NativeXdp> {
        // An operator's object may take whole packets only.
        let frags = self.mode() != Mode::Object;
        (self.attach == Way::Native).then_some(NativeXdp { frags })
    }

    fn remarks(&self, cx: &Context) -> Vec<String> {
        let mut remarks = Vec::new();
        for link in self.links(cx) {
            let limits = xdp_limits::of(link);
            if let Some(limits) = limits.filter(|_| self.attach == Way::Native) {
                remarks.push(format!("{}: {} {}", link.name, limits.driver, limits.known));
            }
        }
        let veth = |l: &&Link| l.is_a(&["veth"]);
        if self.mode() == Mode::Forward && self.links(cx).iter().any(veth) {
            let text = "a veth's other end must sum up its packets itself: ethtool -K PEER tx off";
            remarks.push(text.to_string());
        }
        if self.mode() == Mode::Object {
            remarks.push("a new version of the object goes under a new name: what is attached is known by it".into());
        }
        remarks
    }

    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        cilium_xdp::advice()
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        cilium_xdp::needs(cx)
    }

    fn stands_on(&self) -> &'static [&'static str] {
        &["kube-proxy-replacement"]
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        Some(cilium_xdp::live(cx))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        cilium_xdp::warnings(cx)
    }
}

fn is_bond(cx: &Context, name: &str) -> bool {
    cx.facts.link(name).is_some_and(|l| l.is_a(&["bond", "team"]))
}

impl Xdp {
    fn forward(&self, cx: &Context, links: &[&Link]) -> Vec<Need> {
        let facts = cx.facts;
        let mut needs = unseen::never_waived(facts);
        needs.extend(unseen::able("fib-lookup", &facts.bpf.fib_lookup, &features::FIB_LOOKUP));
        if links.len() < 2 {
            let why = "forwarding takes two uplinks, and there is one";
            needs.push(Need::blocked(
                "links",
                why,
                "set links = [\"eth0\", \"eth1\"] in the profile",
            ));
        }
        if !facts.routing.forwarding && !facts.node.ipv6_forwarding {
            let why = "this node forwards nothing: net.ipv4.ip_forward is 0";
            needs.push(Need::blocked("forwarding", why, "sysctl -w net.ipv4.ip_forward=1"));
        }
        if let Some(link) = links.iter().find(|l| l.master.is_some()) {
            let why =
                format!("{} is a port of {}", link.name, link.master.as_deref().unwrap_or("?"));
            needs.push(Need::blocked("routed-links", why, "name links that routes point at"));
        }
        // The tag is off the frame before the program sees it, and with it whose frame it was.
        let strips = |l: &&&Link| {
            let on = |f: &String| f == "rx-vlan-hw-parse";
            l.bus.is_some() && l.features.as_ref().is_some_and(|f| f.active.iter().any(on))
        };
        if let Some(link) = links.iter().find(strips) {
            let why =
                format!("{} takes VLAN tags off frames before the program sees them", link.name);
            needs.push(Need::blocked("vlan", why, format!("ethtool -K {} rxvlan off", link.name)));
        }
        let hooks = ["tc ingress", "tcx ingress", "tc egress", "tcx egress"];
        needs.extend(unseen::programs(links.iter().copied(), &hooks));
        let shaped = |l: &&&Link| {
            !l.qdisc.as_deref().is_none_or(|q| q.starts_with("default") || q.contains("fq"))
        };
        if let Some(link) = links.iter().find(shaped) {
            let why = format!(
                "qdisc {} of {} would be passed by",
                link.qdisc.as_deref().unwrap_or("?"),
                link.name
            );
            needs.push(Need::blocked("qdisc", why, "take the qdisc away, or leave this off"));
        }
        if !self.bypass_netfilter {
            needs.extend(unseen::rules(cx, links.to_vec(), "xdp.bypass-netfilter"));
        }
        needs
    }
}
