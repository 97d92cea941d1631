//! A resource is what one kernel message or one file write sets, reads and puts back. Its text form
//! (`sysctl:net.core.somaxconn`, `mtu:eth0`) is the name used in JSON and in the journal.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::state::fields;
use super::{State, cpulist};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bpf::Hook;
use super::group::{GROUPS, Group};

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// A file of the node, whole: bytes, mode, owner.
    File {
        path: String,
    },
    Unit {
        name: String,
        aspect: UnitAspect,
    },
    /// TuneD's active profile.
    Tuned,
    /// The vectors a running irqbalance was told to leave alone.
    IrqbalanceBans,
    Ethtool {
        link: String,
        group: Group,
    },
    /// How received packets are spread over the queues: table, key and hash function.
    Rss {
        link: String,
    },
    Mtu {
        link: String,
    },
    /// The metric `mtu` of one IPv6 route, which a change of the link's MTU overwrites.
    RouteMtu {
        link: String,
        route: String,
    },
    /// All GSO and GRO sizes of a link, v4 and v6: the kernel couples them, one message sets all.
    LinkSizes {
        link: String,
    },
    Qdisc {
        link: String,
    },
    /// Key with slashes, as below /proc/sys: a link's name may hold dots.
    Sysctl {
        key: String,
    },
    /// Path below /sys.
    Sysfs {
        path: String,
    },
    /// CPUs that one MSI vector (an IRQ number) of a link may interrupt.
    Irq {
        link: String,
        vector: u32,
    },
    /// CPUs for vectors that are requested later (/proc/irq/default_smp_affinity).
    IrqDefault,
    /// One of our own nf_tables tables, family inet.
    Nft {
        table: String,
    },
    /// Whether a link's flows are looked up in the flowtable of table nettune-flow.
    Flow {
        link: String,
    },
    /// Our program at a hook of a link; others may be there beside it.
    Bpf {
        link: String,
        hook: Hook,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnitAspect {
    /// active or inactive: dies with the boot.
    Active,
    /// enabled, disabled, masked: lives on.
    Enabled,
}

impl Resource {
    pub fn sysctl(key: &str) -> Self {
        let key = if key.contains('/') { key.to_string() } else { key.replace('.', "/") };
        Resource::Sysctl { key }
    }

    pub fn sysfs(path: impl Into<String>) -> Self {
        Resource::Sysfs { path: path.into() }
    }

    /// The link this resource belongs to, if it belongs to one.
    pub fn link(&self) -> Option<&str> {
        match self {
            Resource::Ethtool { link, .. }
            | Resource::Rss { link }
            | Resource::Mtu { link }
            | Resource::RouteMtu { link, .. }
            | Resource::LinkSizes { link }
            | Resource::Qdisc { link }
            | Resource::Bpf { link, .. }
            | Resource::Flow { link }
            | Resource::Irq { link, .. } => Some(link),
            Resource::Sysctl { key } => {
                let parts: Vec<&str> = key.split('/').collect();
                match parts[..] {
                    ["net", "ipv4" | "ipv6", "conf" | "neigh", link, ..]
                        if !matches!(link, "all" | "default") =>
                    {
                        Some(link)
                    }
                    _ => None,
                }
            }
            Resource::Sysfs { path } => path.strip_prefix("class/net/")?.split('/').next(),
            Resource::File { .. }
            | Resource::Unit { .. }
            | Resource::Tuned
            | Resource::IrqbalanceBans
            | Resource::IrqDefault
            | Resource::Nft { .. } => None,
        }
    }

    /// The same resource of the same link under its present name.
    pub fn renamed(&self, to: &str) -> Self {
        let mut new = self.clone();
        if self.link().is_none() {
            return new;
        }
        match &mut new {
            Resource::Ethtool { link, .. }
            | Resource::Rss { link }
            | Resource::Mtu { link }
            | Resource::RouteMtu { link, .. }
            | Resource::LinkSizes { link }
            | Resource::Qdisc { link }
            | Resource::Bpf { link, .. }
            | Resource::Flow { link }
            | Resource::Irq { link, .. } => *link = to.to_string(),
            // The link is the fourth part of a sysctl and the third of a path below /sys.
            Resource::Sysctl { key: text } => *text = with_part(text, 3, to),
            Resource::Sysfs { path: text } => *text = with_part(text, 2, to),
            Resource::File { .. }
            | Resource::Unit { .. }
            | Resource::Tuned
            | Resource::IrqbalanceBans
            | Resource::IrqDefault
            | Resource::Nft { .. } => {}
        }
        new
    }

    /// The name that journals of earlier versions have for it.
    pub fn once(&self) -> Option<Self> {
        let Resource::RouteMtu { link, route } = self else { return None };
        let old = route_once(route);
        (old != *route).then(|| Resource::RouteMtu { link: link.clone(), route: old })
    }

    /// Whether the state dies with the running kernel.
    pub fn runtime(&self) -> bool {
        !self.kind().outlives
    }

    /// A drop-in of sysctls: TuneD reads those anew whenever it has set its own.
    pub fn sysctl_file(&self) -> bool {
        matches!(self, Resource::File { path } if path.starts_with("/etc/sysctl.d/"))
    }

    /// The mode of intel_pstate or amd_pstate: every frequency policy is made anew with it.
    pub fn pstate(&self) -> bool {
        matches!(self, Resource::Sysfs { path } if path.ends_with("_pstate/status"))
    }

    /// The one text for a state that was put together from wishes.
    pub fn canonical(&self, state: State) -> State {
        match (self, state) {
            (Resource::Ethtool { group, .. }, State::Is(text)) => State::Is(group.canonical(&text)),
            (_, state) => state,
        }
    }

    /// For people: hundreds of vectors are ranges.
    pub fn shown(&self, state: &State) -> String {
        let vectors = |text: &str| {
            let all: Option<BTreeSet<u32>> = text.split(' ').map(|n| n.parse().ok()).collect();
            all.map(cpulist::format)
        };
        match (self, state.text()) {
            (Resource::IrqbalanceBans, Some(text)) => {
                vectors(text).unwrap_or_else(|| state.to_string())
            }
            _ => state.to_string(),
        }
    }

    /// Two states side by side, for people: of a group of settings those that differ.
    pub fn shown_both(&self, a: &State, b: &State) -> (String, String) {
        let (Resource::Ethtool { .. }, Some(from), Some(to)) = (self, a.text(), b.text()) else {
            return (self.shown(a), self.shown(b));
        };
        let differing = |of: &str, other: &State| {
            let pairs = fields(of).filter(|(key, value)| other.field(key) != Some(value));
            pairs.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        let (from, to) = (differing(from, b), differing(to, a));
        if from.is_empty() || to.is_empty() { (self.shown(a), self.shown(b)) } else { (from, to) }
    }

    pub fn creatable(&self) -> bool {
        self.kind().creatable
    }

    /// Refuses names that would leave the folder they belong in, before anything opens them.
    pub fn validate(&self) -> Result<(), String> {
        let beneath = |what: &str, path: &str| {
            let bad =
                |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
            if path.split('/').any(bad) {
                return Err(format!("{what} {path:?} is not a path below its root"));
            }
            Ok(())
        };
        if let Some(link) = self.link() {
            valid_link(link)?;
        }
        match self {
            Resource::Sysctl { key } => beneath("sysctl", key),
            Resource::Sysfs { path } => beneath("sysfs path", path),
            Resource::File { path } => match path.strip_prefix('/') {
                Some(rest) => beneath("file", rest),
                None => Err(format!("file {path:?} is not absolute")),
            },
            Resource::Nft { table }
                if !table.starts_with("nettune-") || table.len() > 255 || table.contains('\0') =>
            {
                Err(format!("nf_tables table {table:?} is not one of ours"))
            }
            _ => Ok(()),
        }
    }
}

/// A route's text without its source and its nexthop object, which earlier versions left out.
pub fn route_once(route: &str) -> String {
    let mut words = route.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "from" | "nhid" => drop(words.next()),
            word => kept.push(word),
        }
    }
    kept.join(" ")
}

fn with_part(path: &str, at: usize, part: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts[at] = part;
    parts.join("/")
}

/// The kernel's own rule (dev_valid_name): 1 to 15 bytes, no slash, no colon, no white space.
pub fn valid_link(name: &str) -> Result<(), String> {
    let bad = name.is_empty()
        || name.len() > 15
        || name == "."
        || name == ".."
        || name.chars().any(|c| c == '/' || c == ':' || c == '\0' || c.is_whitespace());
    if bad { Err(format!("{name:?} is not a link name")) } else { Ok(()) }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::File { path } => write!(f, "file:{path}"),
            Resource::Unit { name, aspect: UnitAspect::Active } => write!(f, "unit:{name}/active"),
            Resource::Unit { name, aspect: UnitAspect::Enabled } => {
                write!(f, "unit:{name}/enabled")
            }
            Resource::Tuned => write!(f, "tuned:profile"),
            Resource::IrqbalanceBans => write!(f, "irqbalance:bans"),
            Resource::Ethtool { link, group } => write!(f, "ethtool:{link}/{}", group.name()),
            Resource::Rss { link } => write!(f, "rss:{link}"),
            Resource::Mtu { link } => write!(f, "mtu:{link}"),
            Resource::RouteMtu { link, route } => write!(f, "route-mtu:{link}/{route}"),
            Resource::LinkSizes { link } => write!(f, "sizes:{link}"),
            Resource::Qdisc { link } => write!(f, "qdisc:{link}"),
            // Dots are what people type; slashes only where a component itself holds a dot.
            Resource::Sysctl { key } if key.contains('.') => write!(f, "sysctl:{key}"),
            Resource::Sysctl { key } => write!(f, "sysctl:{}", key.replace('/', ".")),
            Resource::Sysfs { path } => write!(f, "sysfs:{path}"),
            Resource::Irq { link, vector } => write!(f, "irq:{link}/{vector}"),
            Resource::IrqDefault => write!(f, "irq:default"),
            Resource::Nft { table } => write!(f, "nft:{table}"),
            Resource::Flow { link } => write!(f, "flow:{link}"),
            Resource::Bpf { link, hook } => write!(f, "bpf:{link}/{hook}"),
        }
    }
}

impl FromStr for Resource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("{text:?} is not a resource");
        let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
        let pair = || rest.split_once('/').map(|(a, b)| (a.to_string(), b)).ok_or_else(unknown);
        let resource = match kind {
            "file" => Resource::File { path: rest.into() },
            "unit" => {
                let (name, aspect) = pair()?;
                let aspect = match aspect {
                    "active" => UnitAspect::Active,
                    "enabled" => UnitAspect::Enabled,
                    _ => return Err(unknown()),
                };
                Resource::Unit { name, aspect }
            }
            "tuned" => Resource::Tuned,
            "irqbalance" => Resource::IrqbalanceBans,
            "ethtool" => {
                let (link, group) = pair()?;
                let group = GROUPS.iter().find(|row| row.name == group).ok_or_else(unknown)?.group;
                Resource::Ethtool { link, group }
            }
            "rss" => Resource::Rss { link: rest.into() },
            "mtu" => Resource::Mtu { link: rest.into() },
            "route-mtu" => {
                let (link, route) = pair()?;
                Resource::RouteMtu { link, route: route.into() }
            }
            "sizes" => Resource::LinkSizes { link: rest.into() },
            "qdisc" => Resource::Qdisc { link: rest.into() },
            "sysctl" => Resource::sysctl(rest),
            "sysfs" => Resource::sysfs(rest),
            "irq" if rest == "default" => Resource::IrqDefault,
            "irq" => {
                let (link, vector) = pair()?;
                Resource::Irq { link, vector: vector.parse().map_err(|_| unknown())? }
            }
            "nft" => Resource::Nft { table: rest.into() },
            "flow" => Resource::Flow { link: rest.into() },
            "bpf" => {
                let (link, hook) = pair()?;
                Resource::Bpf { link, hook: Hook::parse(hook).ok_or_else(unknown)? }
            }
            _ => return Err(unknown()),
        };
        resource.validate()?;
        Ok(resource)
    }
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_groups_of_settings_only_what_differs_is_shown() {
        let features = Resource::Ethtool { link: "eth0".into(), group: Group::Features };
        let both = |a: &str, b: &str| features.shown_both(&State::is(a), &State::is(b));
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(
            both("gro=on tso=on lro=off", "gro=off tso=on lro=on"),
            pair("gro=on lro=off", "gro=off lro=on")
        );
        assert_eq!(both("gro=on", "gro=on"), pair("gro=on", "gro=on"));
        let mtu = Resource::Mtu { link: "eth0".into() };
        assert_eq!(mtu.shown_both(&State::is("1"), &State::Absent), pair("1", "absent"));
    }

    #[test]
    fn text_form_comes_back() {
        for text in [
            "sysctl:net.core.somaxconn",
            "sysctl:net/ipv4/conf/e0.100/rp_filter",
            "sysfs:class/net/eth0/queues/tx-0/xps_cpus",
            "mtu:eth0",
            "irq:eth0/34",
            "irq:default",
            "rss:eth0",
            "ethtool:eth0/rings",
            "qdisc:eth0",
            "unit:irqbalance.service/active",
            "file:/etc/default/irqbalance",
            "nft:nettune-notrack",
            "bpf:eth0/ingress",
            "bpf:eth0/xdp",
            "flow:eth0",
            "route-mtu:eth0/2001:db8::/64 table 254 metric 1024",
            "route-mtu:eth0/fd99::/64 from fd78::/64 table 254 metric 1024 via fd77::2",
        ] {
            assert_eq!(text.parse::<Resource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_route_has_the_name_of_older_journals_too() {
        let once = |text: &str| text.parse::<Resource>().unwrap().once().map(|r| r.to_string());
        let old = "route-mtu:eth0/fd99::/64 table 254 metric 1024 via fd77::2";
        let new = "route-mtu:eth0/fd99::/64 from fd78::/64 table 254 metric 1024 via fd77::2";
        assert_eq!(once(new).as_deref(), Some(old));
        assert_eq!(once(&format!("{old} nhid 5")).as_deref(), Some(old));
        assert_eq!(once(old), None);
        assert_eq!(once("mtu:eth0"), None);
    }

    #[test]
    fn names_that_leave_their_root_are_refused() {
        for text in [
            "sysctl:../../etc/passwd",
            "sysctl:/etc/passwd",
            "sysfs:class/net/../../../etc/passwd",
            "file:etc/passwd",
            "file:/etc/../x",
            "mtu:../../etc/passwd",
            "mtu:averyveryverylongname",
            "sysctl:net/ipv4/conf/a b/rp_filter",
            "nft:filter",
            "nft:nettune-a\0b",
            &format!("nft:nettune-{}", "x".repeat(248)),
        ] {
            assert!(text.parse::<Resource>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_renamed_link_keeps_its_resources() {
        let r: Resource = "sysctl:net.ipv6.conf.eth0.mtu".parse().unwrap();
        assert_eq!(r.link(), Some("eth0"));
        assert_eq!(r.renamed("lan.7").to_string(), "sysctl:net/ipv6/conf/lan.7/mtu");
        let r: Resource = "sysfs:class/net/net/queues/tx-0/xps_cpus".parse().unwrap();
        assert_eq!(r.renamed("lan").to_string(), "sysfs:class/net/lan/queues/tx-0/xps_cpus");
        let r: Resource = "sysctl:net.ipv6.conf.all.forwarding".parse().unwrap();
        assert_eq!(r.link(), None);
    }
}
