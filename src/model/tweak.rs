//! A tweak says what should be true. It never writes and never undoes: the engine reads what is,
//! and the difference is the plan.

use std::cell::OnceCell;

use serde::Serialize;

use super::facts::{Facts, Link};
use super::need::{HelmValue, Warning};
use super::placement::Placement;
use super::uplinks::{pod_links, routed_uplinks, uplinks};
use super::{Desired, Need, Proof};

/// What a tweak may look at besides its own settings.
pub struct Context<'a> {
    pub facts: &'a Facts,
    /// The profile's `links`; empty means the uplinks that the routes show.
    pub links: &'a [String],
    /// Where queues go, as `irq` has it: its defaults where the profile does not want it.
    pub placement: Placement,
    /// The tweaks that the profile wants.
    pub enabled: Vec<&'static str>,
    /// The XDP program that the profile wants in the drivers of its links, if any.
    pub native_xdp: Option<NativeXdp>,
    /// The profile's `pod-links`; empty means those that the links themselves show.
    pub pod_links: &'a [String],
    /// Their places among the links: each lever asks for them, and all links are looked at to find them.
    uplinks: OnceCell<Vec<usize>>,
}

impl<'a> Context<'a> {
    /// Of a profile that wants nothing else.
    pub fn new(facts: &'a Facts, links: &'a [String]) -> Self {
        Context {
            facts,
            links,
            pod_links: &[],
            placement: Placement::default(),
            native_xdp: None,
            enabled: Vec::new(),
            uplinks: OnceCell::new(),
        }
    }

    pub fn uplinks(&self) -> Vec<&'a Link> {
        let places = self.uplinks.get_or_init(|| {
            let up = uplinks(self.facts, self.links);
            let links = self.facts.links.iter().enumerate();
            links
                .filter(|(_, l)| up.iter().any(|u| std::ptr::eq(*u, *l)))
                .map(|(at, _)| at)
                .collect()
        });
        places.iter().map(|at| &self.facts.links[*at]).collect()
    }

    pub fn enabled(&self, tweak: &str) -> bool {
        self.enabled.contains(&tweak)
    }

    /// That program, where it is nettune that puts it there.
    pub fn own_xdp(&self) -> Option<NativeXdp> {
        self.native_xdp.filter(|_| self.facts.agents.cilium.is_none())
    }

    /// Uplinks that routes point at: not what those stand on, whose frames are switched.
    pub fn routed_uplinks(&self) -> Vec<&'a Link> {
        routed_uplinks(self.facts, self.links)
    }

    pub fn pod_links(&self) -> Vec<&'a Link> {
        pod_links(self.facts, self.pod_links)
    }
}

/// An XDP program that needs what its driver asks of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NativeXdp {
    /// It takes packets in several fragments where the kernel and the driver give them.
    pub frags: bool,
}

/// A tweak is its settings: the table of the profile, deserialized.
pub trait Tweak {
    /// What can be wrong with the settings on any node: an error is a bad profile (exit 78).
    fn validate(&self) -> anyhow::Result<()> {
        Ok(())
    }

    fn needs(&self, _: &Context) -> Vec<Need> {
        Vec::new()
    }

    /// Called only where every need is met.
    fn desired(&self, cx: &Context) -> anyhow::Result<Vec<Desired>>;

    /// Why its settings ask nothing of a node that decides itself, where they ask it of Cilium alone.
    fn idle(&self) -> Option<&'static str> {
        None
    }

    /// What the reader should know besides: settings that this node cannot take while it takes the
    /// rest, or who else a value reaches.
    fn remarks(&self, _: &Context) -> Vec<String> {
        Vec::new()
    }

    /// How it places queues on CPUs, for others to follow.
    fn placement(&self) -> Option<Placement> {
        None
    }

    /// The program it wants in drivers.
    fn native_xdp(&self) -> Option<NativeXdp> {
        None
    }

    /// Units that an image with it never starts.
    fn masks(&self) -> &'static [&'static str] {
        &[]
    }

    /// Why it is not wanted beside what the others want.
    fn gives_way(&self, _: &[Desired]) -> Option<Warning> {
        None
    }

    fn proofs(&self, _: &Context) -> Vec<Proof> {
        Vec::new()
    }

    /// What the cluster must set; nothing for purely local levers. Every version's spelling.
    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        Vec::new()
    }

    /// This node's share of what Cilium needs for the lever, whether Cilium runs here yet or not.
    fn cluster_needs(&self, _: &Context) -> Vec<Need> {
        Vec::new()
    }

    /// The levers that must be had before this one, nearest first.
    fn stands_on(&self) -> &'static [&'static str] {
        &[]
    }

    /// What Cilium does here now beside what the profile wants of it.
    fn live(&self, _: &Context) -> Option<Live> {
        None
    }

    /// What a preflight sees of known trouble, and what holds nothing back.
    fn warnings(&self, _: &Context) -> Vec<Warning> {
        Vec::new()
    }
}

/// "Legacy, wanted BPF, because kube-proxy replacement is off".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// None: no Cilium here, or what it does could not be read.
    pub now: Option<String>,
    pub wanted: String,
    pub because: Option<String>,
}

impl Live {
    pub fn new(now: Option<impl Into<String>>, wanted: impl Into<String>) -> Self {
        Live { now: now.map(Into::into), wanted: wanted.into(), because: None }
    }

    pub fn because(mut self, why: Option<impl Into<String>>) -> Self {
        self.because = why.map(Into::into);
        self
    }

    pub fn holds(&self) -> bool {
        self.now.as_ref() == Some(&self.wanted)
    }
}

/// Whose the lever is on a node where Cilium runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The node's alone.
    Node,
    /// Cilium's where it runs, the node's elsewhere.
    Both,
    Cilium,
}
