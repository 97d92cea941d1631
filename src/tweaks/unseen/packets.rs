//! Whose packets go around: their networks and the links they take.

use std::net::IpAddr;

use crate::model::facts::{Facts, Link, Rule};
use crate::model::glob;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    v6: bool,
    bits: u128,
    length: u8,
}

impl Network {
    /// Of canonical text; host bits do no harm.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let length: u8 = length.trim().parse().ok()?;
        let (v6, bits, most) = match address.trim().parse().ok()? {
            IpAddr::V4(a) => (false, u128::from(u32::from(a)) << 96, 32),
            IpAddr::V6(a) => (true, u128::from(a), 128),
        };
        (length <= most).then_some(Network { v6, bits, length })
    }

    fn all(v6: bool) -> Self {
        Network { v6, bits: 0, length: 0 }
    }

    fn contains(&self, other: &Network) -> bool {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
        self.v6 == other.v6 && self.length <= other.length && (self.bits ^ other.bits) & mask == 0
    }

    fn meets(&self, other: &Network) -> bool {
        self.contains(other) || other.contains(self)
    }
}

/// "!" before the condition, and the rest of it.
fn sign(text: &str) -> (bool, &str) {
    text.strip_prefix('!').map_or((true, text), |rest| (false, rest))
}

pub struct Packets<'a> {
    facts: &'a Facts,
    networks: Vec<Network>,
    /// Families without a network of these are not theirs; otherwise all of such a family is.
    only: bool,
    /// They come in and go out by these alone.
    links: Option<Vec<&'a Link>>,
    pods: Vec<&'a Link>,
}

impl<'a> Packets<'a> {
    /// From and to these networks, on any link.
    pub fn of(facts: &'a Facts, networks: &[String], pods: Vec<&'a Link>) -> Self {
        let networks: Vec<Network> = networks.iter().filter_map(|n| Network::parse(n)).collect();
        Packets { facts, only: !networks.is_empty(), networks, links: None, pods }
    }

    /// Routed from one of these links to another. Between one uplink and pods they are the pods'.
    pub fn between(facts: &'a Facts, links: Vec<&'a Link>, mut pods: Vec<&'a Link>) -> Self {
        let docker = pods.iter().any(|p| engine_bridge(&p.name));
        if docker || links.len() > pods.len() + 1 {
            pods.clear();
        }
        let networks = facts.agents.pod_cidrs.iter().filter(|_| !pods.is_empty());
        let networks = networks.filter_map(|n| Network::parse(n)).collect();
        Packets { facts, networks, only: false, links: Some(links), pods }
    }

    /// One for each family of addresses that a chain sees of them.
    pub fn origins(&'a self, family: &str, hook: &'a str) -> Vec<Origin<'a>> {
        let seen = [(false, "ip6"), (true, "ip")];
        let seen = seen.iter().filter(|(_, other)| family != *other);
        let origin = |(v6, _): &(bool, &str)| {
            let mut networks: Vec<Network> =
                self.networks.iter().filter(|n| n.v6 == *v6).copied().collect();
            if networks.is_empty() && self.only {
                return None;
            }
            if networks.is_empty() {
                networks.push(Network::all(*v6));
            }
            Some(Origin { packets: self, networks, hook })
        };
        seen.filter_map(origin).collect()
    }
}

/// Packets of one family in one hook, with an end in these networks.
pub struct Origin<'a> {
    packets: &'a Packets<'a>,
    networks: Vec<Network>,
    hook: &'a str,
}

impl Origin<'_> {
    /// No packet of these meets all conditions of the path.
    pub fn excluded(&self, path: &[&Rule]) -> bool {
        let all = || path.iter();
        let family = |text: &Option<String>| {
            let network = text.as_deref().and_then(|t| Network::parse(sign(t).1));
            network.is_some_and(|n| self.networks.iter().all(|own| own.v6 != n.v6))
        };
        let no_source = all().any(|r| self.never(r.source.as_deref()));
        let no_destination = all().any(|r| self.never(r.destination.as_deref()));
        all().any(|r| family(&r.source) || family(&r.destination))
            || (no_source && no_destination)
            || all().any(|r| self.other_link(r.input.as_deref()))
            || all().any(|r| self.other_link(r.output.as_deref()))
    }

    /// Whether no address of these networks meets the condition.
    fn never(&self, condition: Option<&str>) -> bool {
        let Some((equal, text)) = condition.map(sign) else { return false };
        let Some(network) = Network::parse(text) else { return false };
        match equal {
            true => !self.networks.iter().any(|own| own.meets(&network)),
            false => self.networks.iter().all(|own| network.contains(own)),
        }
    }

    /// Whether all addresses of these networks meet the condition.
    fn always(&self, condition: Option<&str>) -> bool {
        let Some((equal, text)) = condition.map(sign) else { return true };
        let Some(network) = Network::parse(text) else { return false };
        match equal {
            true => self.networks.iter().all(|own| network.contains(own)),
            false => !self.networks.iter().any(|own| own.meets(&network)),
        }
    }

    /// A rule about what a named network of others sends, wherever to.
    pub fn others_source(&self, path: &[&Rule]) -> bool {
        let named = |text: &str| sign(text).0 && self.never(Some(text));
        path.iter().any(|r| r.source.as_deref().is_some_and(named))
            && path
                .iter()
                .all(|r| r.destination.as_deref().is_none_or(|d| self.never(Some(d)) || !sign(d).0))
    }

    /// Whether the rule takes all packets from these networks, and all to them: by address, or where
    /// they are routed by the links of all pods.
    pub fn covers(&self, rule: &Rule) -> [bool; 2] {
        if rule.further {
            return [false; 2];
        }
        let any = |text: &Option<String>| {
            text.as_deref().is_none_or(|t| Network::parse(t).is_some_and(|n| n.length == 0))
        };
        let own = |text: &Option<String>| any(text) || self.always(text.as_deref());
        let pods = |text: &Option<String>| {
            let named = |p: &&Link| text.as_deref().is_some_and(|t| meets_link(t, p));
            !self.packets.pods.is_empty() && self.packets.pods.iter().all(named)
        };
        let routed = self.hook == "forward" && any(&rule.source) && any(&rule.destination);
        let free = rule.input.is_none() && rule.output.is_none();
        [
            free && own(&rule.source) && any(&rule.destination)
                || routed && rule.output.is_none() && pods(&rule.input),
            free && own(&rule.destination) && any(&rule.source)
                || routed && rule.input.is_none() && pods(&rule.output),
        ]
    }

    /// Whether none of these packets takes a link that meets the condition.
    fn other_link(&self, condition: Option<&str>) -> bool {
        let Some(condition) = condition else { return false };
        if let Some(links) = &self.packets.links {
            return !links.iter().any(|l| meets_link(condition, l));
        }
        let (equal, name) = sign(condition);
        equal && (self.packets.elsewhere() && engine_bridge(name) || self.packets.empty(name))
    }
}

impl Packets<'_> {
    /// Not in the networks that Docker and libvirt take for their bridges: then those are not the pods'.
    fn elsewhere(&self) -> bool {
        let pools = ["172.16.0.0/12", "192.168.0.0/16"];
        let pools = || pools.iter().filter_map(|p| Network::parse(p));
        self.only && !self.networks.iter().any(|own| pools().any(|pool| pool.meets(own)))
    }

    /// A bridge with nothing plugged in.
    fn empty(&self, name: &str) -> bool {
        let bridge = |l: &Link| l.name == name && l.is_a(&["bridge"]) && !l.default_route;
        let port = |l: &Link| l.master.as_deref() == Some(name);
        self.facts.links.iter().any(bridge) && !self.facts.links.iter().any(port)
    }
}

/// Of Docker or of libvirt.
fn engine_bridge(name: &str) -> bool {
    let named = |head: &str, is: fn(&u8) -> bool| {
        name.strip_prefix(head).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| is(&b)))
    };
    named("docker", u8::is_ascii_digit)
        || named("virbr", u8::is_ascii_digit)
        || (name.len() == 15 && named("br-", u8::is_ascii_hexdigit))
}

fn meets_link(condition: &str, link: &Link) -> bool {
    let (equal, text) = sign(condition);
    let is = match text.strip_prefix('#') {
        Some(index) => index.parse() == Ok(link.index),
        None => glob(text, &link.name),
    };
    is == equal
}
