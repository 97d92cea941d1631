//! BPF programs as state: which object, in which mode, with which configuration. Never ids, which
//! are others after every load.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::State;
use super::facts::Fact;

/// Where a program is attached to a link.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    Ingress,
    Xdp,
}

impl Hook {
    pub const ALL: [Hook; 2] = [Hook::Ingress, Hook::Xdp];

    pub fn name(self) -> &'static str {
        match self {
            Hook::Ingress => "ingress",
            Hook::Xdp => "xdp",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|h| h.name() == name)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of a packet, in the order of `enum reason` of bpf/nettune.h.
pub const REASONS: [&str; 20] = [
    "fast",
    "dropped",
    "not-ip",
    "tagged",
    "not-for-us",
    "malformed",
    "options",
    "fragment",
    "protocol",
    "ttl",
    "martian",
    "local",
    "no-route",
    "not-forwarding",
    "no-neighbour",
    "too-large",
    "same-link",
    "not-covered",
    "spoofed",
    "other",
];

/// Which links carry our programs, and what became of the packets that came in by them.
#[derive(Debug, Default, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Coverage {
    pub host_routing: Vec<String>,
    pub xdp: Vec<String>,
    /// Links of pods that host routing could cover; those that came after the last apply are slow.
    pub pod_links: usize,
    pub covered_pod_links: usize,
    /// Reason -> packets, over all links and CPUs, since the first program was attached.
    pub host_routing_packets: BTreeMap<String, u64>,
    pub xdp_packets: BTreeMap<String, u64>,
}

/// Of a program that is attached without the maps it shares with other links.
pub const NO_MAPS: &str = "without=maps";
const NO_PIN: &str = "whose pin is gone";

/// One of our programs that is on a link and not where we pin what we attach.
pub fn unpinned(program: &str) -> State {
    State::Foreign { what: format!("program {program} {NO_PIN}"), owner: Some("nettune".into()) }
}

/// What is left of a program of ours after somebody took a part of it away, in words. It is ours still,
/// to be taken off or made whole.
pub fn remains(state: &State) -> Option<String> {
    if let State::Foreign { what, owner: Some(by) } = state {
        return (by == "nettune" && what.ends_with(NO_PIN)).then(|| what.clone());
    }
    let program = state.field("program").filter(|p| owner(p) == Some("nettune"))?;
    let what = if state.text()?.ends_with(NO_MAPS) {
        "without its maps, which are gone"
    } else {
        "without the note of what it was told"
    };
    (state.field("object") == Some("unfinished")).then(|| format!("program {program} {what}"))
}

/// Program name -> tag, as the kernel computes it from the instructions: bpf/tags.tsv, which a test
/// compares with what a kernel says of the committed objects.
pub fn tag(program: &str) -> Option<&'static str> {
    let lines = include_str!("../../bpf/tags.tsv").lines();
    lines.filter_map(|l| l.split_once('\t')).find(|(name, _)| *name == program).map(|(_, tag)| tag)
}

/// One thing that the kernel was asked for.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Probed {
    pub name: String,
    /// The first kernel that has it; distributions bring things back to older ones.
    pub since: String,
    /// true, false, or why it could not be told.
    pub answer: Fact<bool>,
}

/// What `check --deep` found: the kernel's BPF, and one driver asked by attaching a program to it.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Deep {
    pub kernel: Vec<Probed>,
    pub link: String,
    pub driver: Option<String>,
    /// The driver took a program that lets everything pass; null: it was not asked.
    pub native: Option<bool>,
    /// Why it was not asked, or what the kernel and the driver said.
    pub said: Option<String>,
    pub mtu: u32,
    /// The largest MTU without a program and with one; 0 names no limit.
    pub max_mtu: u32,
    pub max_mtu_with_program: Option<u32>,
    pub channels: Option<String>,
    /// Null where a program does not change them.
    pub channels_with_program: Option<String>,
    /// What is known of this driver without asking.
    pub known: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub const ALL: [(Protocol, &str, u8); 3] =
        [(Protocol::Tcp, "tcp", 6), (Protocol::Udp, "udp", 17), (Protocol::Sctp, "sctp", 132)];

    pub fn number(self) -> u8 {
        Self::ALL.iter().find(|(p, _, _)| *p == self).map_or(0, |(_, _, n)| *n)
    }
}

/// One entry of a drop list: packets from a network, or to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deny {
    Network(IpAddr, u8),
    Port(Protocol, u16),
}

impl std::str::FromStr for Deny {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is neither a network (10.0.0.0/8) nor a port (tcp/23, udp/53, sctp/9)"
            )
        };
        let (head, tail) = match text.split_once('/') {
            Some(pair) => pair,
            None => (text, ""),
        };
        if let Some((protocol, _, _)) = Protocol::ALL.iter().find(|(_, name, _)| *name == head) {
            return Ok(Deny::Port(*protocol, tail.parse().map_err(|_| wrong())?));
        }
        let address: IpAddr = head.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = if tail.is_empty() { most } else { tail.parse().map_err(|_| wrong())? };
        if length > most {
            return Err(format!("{text}: prefix length over {most}"));
        }
        let address = match address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::from((u32::from(a) & mask).to_be_bytes())
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::from((u128::from(a) & mask).to_be_bytes())
            }
        };
        Ok(Deny::Network(address, length))
    }
}

impl fmt::Display for Deny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deny::Network(address, length) => write!(f, "{address}/{length}"),
            Deny::Port(protocol, port) => {
                let name = Protocol::ALL.iter().find(|(p, _, _)| p == protocol).map_or("", |p| p.1);
                write!(f, "{name}/{port}")
            }
        }
    }
}

/// Who a program at a hook belongs to, by its name, which the kernel cuts at 15 characters.
pub fn owner(program: &str) -> Option<&'static str> {
    let known = [
        ("cil_", "Cilium"),
        ("tail_", "Cilium"),
        ("xdp_dispatcher", "libxdp"),
        ("tc_dispatcher", "bpfman"),
        ("cali_", "Calico"),
        ("calico_", "Calico"),
        ("nettune_", "nettune"),
        ("antrea", "Antrea"),
        ("sd_", "systemd"),
        ("katran", "Katran"),
    ];
    known.iter().find(|(prefix, _)| program.starts_with(prefix)).map(|(_, owner)| *owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_a_drop_list() {
        let text = |t: &str| t.parse::<Deny>().map(|d| d.to_string());
        assert_eq!(text("10.1.2.3/8").as_deref(), Ok("10.0.0.0/8"));
        assert_eq!(text("192.0.2.7").as_deref(), Ok("192.0.2.7/32"));
        assert_eq!(text("fd00::1/64").as_deref(), Ok("fd00::/64"));
        assert_eq!(text("tcp/23").as_deref(), Ok("tcp/23"));
        for bad in ["", "tcp", "tcp/", "tcp/70000", "icmp/8", "10.0.0.0/33", "fd00::/129", "x/8"] {
            assert!(text(bad).is_err(), "{bad}");
        }
        assert_eq!(owner("cil_from_contai"), Some("Cilium"));
        assert_eq!(owner("mine"), None);
    }

    #[test]
    fn what_is_left_of_ours_is_told_from_what_is_somebody_elses() {
        let foreign = |what: &str, owner: &str| State::Foreign {
            what: what.into(),
            owner: Some(owner.into()),
        };
        for (state, want) in [
            (
                State::is("object=unfinished program=nettune_route tag=1 without=maps"),
                Some("program nettune_route without its maps, which are gone"),
            ),
            (
                State::is("object=unfinished program=nettune_filter tag=1"),
                Some("program nettune_filter without the note of what it was told"),
            ),
            (unpinned("nettune_forward"), Some("program nettune_forward whose pin is gone")),
            (State::is("object=unfinished program=mine tag=1"), None),
            (State::is("object=xdp mode=filter program=nettune_filter attach=native"), None),
            (foreign("program theirs where nettune's was", "Cilium"), None),
            (foreign("XDP program nettune_pass", "nettune"), None),
            (State::Absent, None),
        ] {
            assert_eq!(remains(&state).as_deref(), want, "{state}");
        }
    }
}
