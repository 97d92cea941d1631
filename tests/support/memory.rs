//! A node in memory that fails, bends, refuses and dies where it is told to.

use super::*;

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
    /// Somebody wants it to end from the n-th write on.
    pub interrupted: Option<usize>,
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
                let features = std::sync::Arc::make_mut(features);
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
    fn interrupted(&self) -> bool {
        self.interrupted.is_some_and(|at| self.writes >= at)
    }

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
