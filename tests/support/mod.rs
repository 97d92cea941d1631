//! A node in memory, for what needs no kernel. What it believes about the kernel (which write
//! disturbs what) is shown once on a real one, in tests/netns.rs; a green run here proves the
//! engine, not the kernel.
#![allow(dead_code, reason = "each test file uses its part")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use nettune::engine::plan::Scope;
use nettune::engine::row::{Owner, Selected, Selection};
use nettune::engine::run::Meta;
use nettune::engine::store::{Lock, Store};
use nettune::engine::verbs::{self, Answer, Ask, Rollback};
use nettune::engine::{Host, Observe, Wrote};
use nettune::model::facts::{Fact, Link, LinkId};
use nettune::model::{
    Context, Desired, Facts, Group, Impact, Proof, Resource, Side, State, Tweak, Want,
};

/// What goes wrong at the n-th write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Refuse,
    /// The process dies before the write ...
    DieBefore,
    /// ... after it ...
    DieAfter,
    /// ... and in the middle of one that takes several steps.
    DieHalf,
    /// The kernel keeps something else.
    Bend,
    /// It is made, and whoever made it goes away without a word: no more reads or writes of it.
    GoAway,
}

#[derive(Debug, Default)]
pub struct Memory {
    pub states: BTreeMap<Resource, State>,
    pub facts: Facts,
    pub fault: Option<(usize, Fault)>,
    pub writes: usize,
    pub reads: RefCell<usize>,
    /// Somebody else writes this at the moment of our n-th write.
    pub meanwhile: Option<(usize, Resource, State)>,
    /// A link leaves at the moment of our n-th write.
    pub leaves: Option<(usize, String)>,
    gone: BTreeSet<String>,
    /// What cannot be read now.
    pub unreadable: Option<Resource>,
    /// Keys of a resource (`tx` of its rings) that the driver refuses; "" for the whole of it.
    pub refuses: BTreeMap<Resource, Vec<String>>,
    /// It has XPS files at all: a case that leaves them out has none.
    xps: bool,
    /// What TuneD's profiles set, and what it found when it set what it has set now.
    pub tuned_profiles: BTreeMap<String, States>,
    pub tuned_found: States,
    /// Peers that answer packets up to a size.
    pub paths: BTreeMap<String, u32>,
}

/// What dying is, for a test that catches it.
pub struct Died;

pub type States = BTreeMap<Resource, State>;

/// Whether the step died of the fault that was set; silent about it.
pub fn dies(host: &mut Memory, step: impl FnOnce(&mut Memory)) -> bool {
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(|| step(host)));
    let _ = std::panic::take_hook();
    host.fault = None;
    match result {
        Ok(()) => false,
        Err(payload) if payload.is::<Died>() => true,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

pub const DEATHS: [Fault; 3] = [Fault::DieBefore, Fault::DieAfter, Fault::DieHalf];

impl Memory {
    pub fn new(facts: Facts, states: BTreeMap<Resource, State>) -> Self {
        let xps = states.keys().any(|r| r.to_string().ends_with("/xps_cpus"));
        Memory { states, facts, xps, ..Memory::default() }
    }

    pub fn get(&self, resource: &Resource) -> State {
        self.states.get(resource).cloned().unwrap_or(State::Absent)
    }

    pub fn set(&mut self, resource: &str, state: &str) {
        self.xps |= resource.ends_with("/xps_cpus");
        self.put(&resource.parse().unwrap(), State::is(state));
    }

    pub fn put(&mut self, resource: &Resource, state: State) {
        match state {
            State::Absent => self.states.remove(resource),
            state => self.states.insert(resource.clone(), state),
        };
    }

    /// What is left of `state` without the keys that are refused.
    fn taken(&self, resource: &Resource, state: &State) -> State {
        let now = self.get(resource);
        match self.refuses.get(resource) {
            None => state.clone(),
            Some(keys) if keys.iter().any(String::is_empty) => now,
            Some(keys) => {
                let new = |(key, value): (&str, &str)| match keys.iter().any(|k| k == key) {
                    true => format!("{key}={value}"),
                    false => format!("{key}={}", state.field(key).unwrap_or(value)),
                };
                let text = now.text().unwrap_or_default();
                let pairs: Vec<String> = nettune::model::state::fields(text).map(new).collect();
                State::is(pairs.join(" "))
            }
        }
    }

    /// No link can have a larger MTU than what it stands on.
    fn above_its_lower(&self, resource: &Resource, state: &State) -> bool {
        let Resource::Mtu { link } = resource else { return false };
        let lower = self.facts.link(link).and_then(|l| l.parent.clone());
        let number = |state: &State| state.text().and_then(|t| t.parse::<u32>().ok());
        let lower = lower.and_then(|link| number(&self.get(&Resource::Mtu { link })));
        lower.zip(number(state)).is_some_and(|(lower, asked)| asked > lower)
    }

    /// As udev or an operator does it: the link is the same.
    pub fn rename(&mut self, from: &str, to: &str) {
        let states = std::mem::take(&mut self.states);
        let named = |r: Resource| if r.link() == Some(from) { r.renamed(to) } else { r };
        self.states = states.into_iter().map(|(r, s)| (named(r), s)).collect();
        for link in &mut self.facts.links {
            if link.name == from {
                link.name = to.to_string();
            }
            if link.parent.as_deref() == Some(from) {
                link.parent = Some(to.to_string());
            }
        }
    }

    /// The driver's own table over the queues there are, with a key of its own.
    fn drivers_rss(&mut self, link: &str) {
        let rss = Resource::Rss { link: link.to_string() };
        if self.get(&rss) != State::Absent {
            self.put(&rss, State::is("hash=1 key=0000 table=default"));
        }
    }

    /// What the facts say of a link's queues and offloads is what was written last.
    fn reshape(&mut self, resource: &Resource, state: &State) {
        use nettune::model::state::fields;
        let Resource::Ethtool { link, group } = resource else { return };
        let Some(link) = self.facts.links.iter_mut().find(|l| l.name == *link) else { return };
        match (group, &mut link.channels, &mut link.features) {
            (Group::Channels, Some(channels), _) => {
                let new = |(k, v): (&str, &str)| format!("{k}={}", state.field(k).unwrap_or(v));
                *channels = fields(channels).map(new).collect::<Vec<_>>().join(" ");
            }
            (Group::Features, _, Some(features)) => {
                for (name, value) in fields(state.text().unwrap_or_default()) {
                    features.active.retain(|f| f != name);
                    if value == "on" {
                        features.active.push(name.to_string());
                    }
                }
            }
            _ => {}
        }
    }

    fn disturb(&mut self, resource: &Resource, state: &State) {
        self.reshape(resource, state);
        match resource {
            // Queues that go away take their files along; those that come are at 0.
            Resource::Ethtool { link, group: Group::Channels } => {
                let count: u32 = state.field("combined").and_then(|c| c.parse().ok()).unwrap_or(0);
                let xps =
                    |n: u32| Resource::sysfs(format!("class/net/{link}/queues/tx-{n}/xps_cpus"));
                let most = self.facts.link(link).filter(|_| self.xps).map_or(0, |l| l.tx_queues);
                for queue in 0..most {
                    let xps = xps(queue);
                    let now = self.get(&xps);
                    match (queue < count, now) {
                        (true, State::Absent) => self.put(&xps, State::is("0")),
                        (true, _) => {}
                        (false, _) => self.put(&xps, State::Absent),
                    }
                }
                self.drivers_rss(link);
                // A default qdisc that was made under fewer of them has other leaves for the rest.
                let qdisc = Resource::Qdisc { link: link.clone() };
                let by_default = |text: &str| text.starts_with("default mq ");
                if count > 2 && self.get(&qdisc).text().is_some_and(by_default) {
                    let what = "qdisc mq with leaves of several kinds".to_string();
                    self.put(&qdisc, State::Foreign { what, owner: None });
                }
                let vectors = self.facts.link(link).and_then(|l| l.vectors.known().cloned());
                for vector in vectors.into_iter().flatten() {
                    let irq = Resource::Irq { link: link.clone(), vector: vector.irq };
                    if self.get(&irq) != State::Absent {
                        self.put(&irq, State::is("0-7"));
                    }
                }
            }
            Resource::Ethtool { link, group: Group::Rings } => self.drivers_rss(link),
            Resource::Mtu { link } => {
                self.drivers_rss(link);
                let conf = Resource::Sysctl { key: format!("net/ipv6/conf/{link}/mtu") };
                if self.get(&conf) != State::Absent {
                    self.put(&conf, state.clone());
                }
                let routes =
                    self.facts.link(link).map(|l| l.mtu_routes.clone()).unwrap_or_default();
                for route in routes {
                    let route = Resource::RouteMtu { link: link.clone(), route };
                    self.put(&route, state.clone());
                }
                let mtu = state.text().and_then(|t| t.parse().ok()).unwrap_or(0);
                if let Some(fact) = self.facts.links.iter_mut().find(|l| l.name == *link) {
                    fact.mtu = mtu;
                }
                // What stands on it keeps no larger one.
                let on = |l: &&Link| l.parent.as_deref() == Some(link) && l.mtu > mtu;
                let above: Vec<String> =
                    self.facts.links.iter().filter(on).map(|l| l.name.clone()).collect();
                for link in above {
                    let upper = Resource::Mtu { link };
                    self.put(&upper, state.clone());
                    self.disturb(&upper, state);
                }
            }
            // TuneD writes a file of its own at every switch, and never takes all of it back.
            Resource::Tuned => {
                let file = Resource::File { path: "/etc/tuned/bootcmdline".into() };
                let text = format!("mode=0644 owner=0:0\nswitched to {state}\n");
                self.put(&file, State::Is(text));
                // What it found goes back, over whatever is there; then the new profile's own.
                for (resource, found) in std::mem::take(&mut self.tuned_found) {
                    self.put(&resource, found);
                }
                let name = state.field("profile").unwrap_or_default().to_string();
                for (resource, value) in self.tuned_profiles.get(&name).cloned().unwrap_or_default()
                {
                    self.tuned_found.insert(resource.clone(), self.get(&resource));
                    self.put(&resource, value);
                }
                // And the files of sysctl.d anew, over its own.
                let files = self.states.iter().filter(|(r, _)| r.sysctl_file());
                let text: String =
                    files.filter_map(|(_, s)| Some(s.text()?.to_string() + "\n")).collect();
                for (key, value) in text.lines().filter_map(|l| l.split_once(" = ")) {
                    self.put(&Resource::sysctl(key), State::is(value));
                }
            }
            Resource::Qdisc { link } => {
                if let Some(fact) = self.facts.links.iter_mut().find(|l| l.name == *link) {
                    fact.qdisc = state.text().map(str::to_string);
                }
            }
            _ => {}
        }
    }
}

impl Observe for Memory {
    fn facts(&self) -> Result<Facts> {
        Ok(self.facts.clone())
    }

    fn read_many(&self, resources: &[Resource]) -> Vec<Result<State>> {
        *self.reads.borrow_mut() += resources.len();
        let read = |r: &Resource| match &self.unreadable {
            Some(blind) if blind == r => bail!("read {r}: Input/output error (os error 5)"),
            _ => Ok(self.get(r)),
        };
        resources.iter().map(read).collect()
    }
}

impl Host for Memory {
    fn has(&self, link: &LinkId) -> bool {
        self.facts.links.iter().any(|l| l.index == link.index)
    }

    fn write(&mut self, resource: &Resource, state: &State) -> Result<Wrote> {
        let number = self.writes;
        self.writes += 1;
        if let Some((at, other, state)) = self.meanwhile.clone()
            && at == number
            && other.link().is_none_or(|link| self.facts.link(link).is_some())
        {
            self.put(&other, state);
        }
        if let Some((at, link)) = self.leaves.clone()
            && at == number
        {
            self.states.retain(|r, _| r.link() != Some(&link));
            self.facts.links.retain(|l| l.name != link);
            self.gone.insert(link);
        }
        let fault = self.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        if resource.link().is_some_and(|link| self.gone.contains(link)) {
            if fault.is_some_and(|fault| DEATHS.contains(&fault)) {
                std::panic::panic_any(Died);
            }
            bail!("write {resource}: No such device (os error 19)");
        }
        match fault {
            Some(Fault::Refuse) => bail!("write {resource}: Operation not permitted (os error 1)"),
            Some(Fault::DieBefore) => std::panic::panic_any(Died),
            Some(Fault::DieHalf) => {
                // A driver that was stopped in its channels still has some.
                let channels = matches!(resource, Resource::Ethtool { group: Group::Channels, .. });
                let half = if channels { "rx=0 tx=0 other=0 combined=3" } else { "half" };
                self.put(resource, State::is(half));
                self.disturb(resource, &State::is(half));
                std::panic::panic_any(Died);
            }
            Some(Fault::Bend) => {
                self.put(resource, State::is("bent"));
                return Ok(Wrote::Yes);
            }
            Some(Fault::GoAway) => {
                let kept = self.taken(resource, state);
                self.put(resource, kept.clone());
                self.disturb(resource, &kept);
                self.unreadable = Some(resource.clone());
            }
            _ => {}
        }
        if self.unreadable.as_ref() == Some(resource) {
            bail!("write {resource}: no answer");
        }
        if self.get(resource) == State::Absent && !resource.creatable() {
            bail!("write {resource}: No such file or directory (os error 2)");
        }
        if self.above_its_lower(resource, state) {
            bail!("write {resource}: Numerical result out of range (os error 34)");
        }
        let kept = self.taken(resource, state);
        self.put(resource, kept.clone());
        self.disturb(resource, &kept);
        if fault == Some(Fault::DieAfter) {
            std::panic::panic_any(Died);
        }
        match kept == *state {
            true => Ok(Wrote::Yes),
            false => Ok(Wrote::KernelKeeps {
                why: format!("the driver refuses some of {state}"),
                lasting: true,
            }),
        }
    }

    fn prove(&mut self, proof: &Proof) -> Result<()> {
        let (Proof::Path { peer, mtu } | Proof::Gateway { peer, mtu }) = proof;
        match self.paths.get(peer) {
            Some(most) if most >= mtu => Ok(()),
            _ => bail!("{peer} does not get packets of {mtu} bytes"),
        }
    }

    fn answers(&mut self, peer: &str) -> bool {
        self.paths.contains_key(peer)
    }
}

/// A tweak that wants what the test says.
#[derive(Clone)]
pub struct Wants(pub Vec<(Resource, Want, Impact)>);

impl Tweak for Wants {
    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        Ok(self.0.iter().map(|(r, w, i)| Desired::new(r.clone(), w.clone(), *i)).collect())
    }
}

/// The node of a case: what its `facts.json` says, or what that says otherwise than the node of
/// tests/nodes that its `base` names. Null takes away; links and the like are told by their names.
pub fn case_facts(name: &str) -> Facts {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |path: PathBuf| -> serde_json::Value {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"))
    };
    let mut facts = read(tests.join("cases").join(name).join("facts.json"));
    if let Some(base) = facts.as_object_mut().unwrap().remove("base") {
        let mut node = read(tests.join(format!("nodes/{}.json", base.as_str().unwrap())));
        lay(&mut node, facts);
        facts = node;
    }
    serde_json::from_value(facts).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn lay(base: &mut serde_json::Value, over: serde_json::Value) {
    use serde_json::Value;
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    _ if value.is_null() => drop(base.remove(&key)),
                    Some(old) => lay(old, value),
                    None => drop(base.insert(key, value)),
                }
            }
        }
        (Value::Array(base), Value::Object(over)) => {
            for (name, mut value) in over {
                let at = base.iter().position(|one| one["name"] == *name);
                match (at, value.is_null()) {
                    (Some(at), true) => drop(base.remove(at)),
                    (Some(at), false) => lay(&mut base[at], value),
                    (None, _) => {
                        value["name"] = name.into();
                        base.push(value);
                    }
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// In memory where there is such a place: a test makes thousands of journal records.
pub fn tempdir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

pub fn want(resource: &str, want: Want) -> (Resource, Want, Impact) {
    (resource.parse().unwrap(), want, Impact::None)
}

pub fn selected(name: &'static str, tweak: Option<Wants>) -> Selected {
    let enable = tweak.is_some();
    let tweak: Box<dyn Tweak> = Box::new(tweak.unwrap_or(Wants(Vec::new())));
    let (side, required, owner, told) = (Side::Node, false, Owner::Auto, Vec::new());
    Selected { name, side, enable, required, owner, told, tweak }
}

pub fn meta(verb: &'static str) -> Meta {
    use std::sync::atomic::{AtomicU64, Ordering};
    static RUN: AtomicU64 = AtomicU64::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    Meta { verb, profile: Some("test".into()), version: "0", time: format!("t{run:06}") }
}

pub fn ask<'a>(tweaks: &'a [Selected]) -> Ask<'a> {
    Ask {
        selection: Selection {
            tweaks: tweaks.iter().collect(),
            links: &[],
            pod_links: &[],
            cni: Default::default(),
        },
        scope: Scope::default(),
        accept: Impact::ALL.into(),
        strict: false,
        atomic: false,
        meta: meta("apply"),
    }
}

pub fn apply(host: &mut Memory, dir: &Path, tweaks: &[Selected]) -> Result<Answer> {
    apply_as(host, dir, &ask(tweaks))
}

pub fn apply_as(host: &mut Memory, dir: &Path, ask: &Ask) -> Result<Answer> {
    let facts = host.facts()?;
    let mut store = Store::write(Lock::take(dir, Duration::ZERO)?, &facts)?;
    verbs::apply(host, &mut store, &facts, ask)
}

pub fn rollback(host: &mut Memory, dir: &Path) -> Result<Answer> {
    rollback_as(host, dir, Scope::default(), false)
}

pub fn rollback_as(host: &mut Memory, dir: &Path, scope: Scope, force: bool) -> Result<Answer> {
    let facts = host.facts()?;
    let mut store = Store::write(Lock::take(dir, Duration::ZERO)?, &facts)?;
    let side = |_: &str| Side::Node;
    let ask = Rollback { scope, gentle: false, force, meta: meta("rollback"), side: &side };
    verbs::rollback(host, &mut store, &facts, &ask)
}

pub fn verify(host: &Memory, dir: &Path) -> Answer {
    let store = Store::read(dir, &host.facts().unwrap()).unwrap();
    nettune::engine::verbs::verify(host, &store, &host.facts)
}

/// A link with queues, vectors, a route of its own MTU and an IPv6 MTU set by hand.
pub fn world() -> Memory {
    let vector = |irq: u32, queue: u32| nettune::model::facts::Vector {
        irq,
        name: format!("eth0-TxRx-{queue}"),
        role: nettune::model::facts::Role::Both,
        queue: Some(queue),
        affinity: "0-7".into(),
    };
    let link = Link {
        name: "eth0".into(),
        index: 2,
        bus: Some("pci/0000:00:05.0".into()),
        permanent_mac: Some("02:00:00:00:00:01".into()),
        mtu: 1500,
        max_mtu: 9216,
        rx_queues: 4,
        tx_queues: 4,
        default_route: true,
        mtu_routes: vec!["2001:db8::/64 table 254 metric 1024".into()],
        vectors: Fact::Known((0..4).map(|q| vector(30 + q, q)).collect()),
        ..Link::default()
    };
    let mut facts = Facts { links: vec![link], ..Facts::default() };
    facts.node.boot_id = "boot-1".into();
    facts.node.netns = 4026531840;
    facts.node.first_netns = true;
    let mut host = Memory::new(facts, BTreeMap::new());
    for (resource, state) in [
        ("ethtool:eth0/channels", "rx=0 tx=0 other=0 combined=4"),
        ("ethtool:eth0/rings", "rx=1024 tx=1024"),
        ("rss:eth0", "hash=1 key=6d5a table=default"),
        ("mtu:eth0", "1500"),
        ("sysctl:net.ipv6.conf.eth0.mtu", "1400"),
        ("route-mtu:eth0/2001:db8::/64 table 254 metric 1024", "1300"),
        ("sysctl:net.core.somaxconn", "4096"),
        ("sysctl:net.core.rmem_max", "212992"),
        ("sysctl:net.ipv4.tcp_rmem", "4096 131072 6291456"),
        ("sysctl:net.core.default_qdisc", "fq_codel"),
        ("qdisc:eth0", "default mq fq_codel"),
        ("unit:irqbalance.service/active", "active"),
        ("sysfs:class/net/eth0/queues/tx-0/xps_cpus", "1"),
        ("sysfs:class/net/eth0/queues/tx-1/xps_cpus", "2"),
        ("sysfs:class/net/eth0/queues/tx-2/xps_cpus", "4"),
        ("sysfs:class/net/eth0/queues/tx-3/xps_cpus", "8"),
        ("irq:eth0/30", "0"),
        ("irq:eth0/31", "1"),
        ("irq:eth0/32", "0-3"),
        ("irq:eth0/33", "0-3"),
    ] {
        host.set(resource, state);
    }
    host
}

/// A macvlan on `lower`.
pub fn stacked(name: &str, index: u32, lower: &str, mtu: u32) -> Link {
    Link {
        name: name.into(),
        index,
        parent: Some(lower.into()),
        kind: Some("macvlan".into()),
        mtu,
        ..Link::default()
    }
}

/// Several tweaks over that world that share, disturb and depend.
pub fn profile_a() -> Vec<Selected> {
    profile_a_of("eth0")
}

pub fn profile_a_of(link: &str) -> Vec<Selected> {
    let of = |text: &str| text.replace("eth0", link);
    let field = |k: &str, v: &str| Want::field(k, Want::is(v));
    vec![
        selected(
            "nic",
            Some(Wants(vec![
                want(&of("ethtool:eth0/channels"), field("combined", "2")),
                want(&of("ethtool:eth0/rings"), Want::field("rx", Want::AtLeast("4096".into()))),
            ])),
        ),
        selected("mtu", Some(Wants(vec![want(&of("mtu:eth0"), Want::is("9000"))]))),
        selected(
            "irq",
            Some(Wants(vec![
                want("unit:irqbalance.service/active", Want::is("inactive")),
                want(&of("irq:eth0/30"), Want::is("2")),
                want(&of("irq:eth0/31"), Want::is("3")),
            ])),
        ),
        selected(
            "tcp",
            Some(Wants(vec![
                want("sysctl:net.core.somaxconn", Want::AtLeast("16384".into())),
                want("sysctl:net.core.rmem_max", Want::AtLeast("16777216".into())),
                want("sysctl:net.ipv4.tcp_rmem", Want::AtLeast("4096 87380 16777216".into())),
            ])),
        ),
        selected(
            "fq",
            Some(Wants(vec![
                want("sysctl:net.core.default_qdisc", Want::is("fq")),
                want("sysctl:net.core.somaxconn", Want::AtLeast("8192".into())),
                want(&of("qdisc:eth0"), Want::is("mq fq")),
            ])),
        ),
        selected("notrack", Some(Wants(vec![want("nft:nettune-notrack", Want::is("chain a\n"))]))),
    ]
}

/// Other values, other tweaks.
pub fn profile_b() -> Vec<Selected> {
    profile_b_of("eth0")
}

pub fn profile_b_of(link: &str) -> Vec<Selected> {
    let of = |text: &str| text.replace("eth0", link);
    vec![
        selected("nic", None),
        selected("mtu", Some(Wants(vec![want(&of("mtu:eth0"), Want::is("8000"))]))),
        selected("irq", Some(Wants(vec![want(&of("irq:eth0/30"), Want::is("4"))]))),
        selected(
            "tcp",
            Some(Wants(vec![
                want("sysctl:net.core.somaxconn", Want::AtLeast("2048".into())),
                want("sysctl:net.core.rmem_max", Want::is("4194304")),
            ])),
        ),
        selected("fq", None),
        selected("notrack", Some(Wants(vec![want("nft:nettune-notrack", Want::is("chain b\n"))]))),
    ]
}
