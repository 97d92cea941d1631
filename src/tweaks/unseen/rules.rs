//! Which rules matter to packets that shall go around them. A chain is walked as the packets would
//! walk it; what is not understood counts as met, so that only what is surely for others is passed.

use super::packets::{Origin, Packets};
use crate::model::facts::{Chain, Rule};

/// Steps of all walks of a table: jumps may multiply.
const MOST_STEPS: usize = 20_000;
const DEEPEST: usize = 16;

/// A rule, or a policy, by the chain it is in and what it does; none where rules are not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub chain: String,
    pub by: Option<String>,
}

impl Found {
    fn of(chain: &Chain, by: Option<&str>) -> Self {
        let name = format!("{} {} {}", chain.family, chain.table, chain.chain);
        Found { chain: name, by: by.map(str::to_string) }
    }
}

/// What the packets' way around takes from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Their connections: chains are met as before.
    Tracking,
    /// All chains on the way through the node.
    Chains,
}

/// Whether an expression needs the connection of its packet.
fn tracks(label: &str) -> bool {
    const OWN: [&str; 7] = ["masq", "snat", "dnat", "nat", "redir", "connlimit", "flow_offload"];
    const MATCHES: [&str; 7] =
        ["conntrack", "state", "connmark", "connbytes", "connlimit", "connlabel", "helper"];
    const TARGETS: [&str; 9] = [
        "MASQUERADE",
        "SNAT",
        "DNAT",
        "REDIRECT",
        "NETMAP",
        "CONNMARK",
        "CONNSECMARK",
        "CT",
        "SYNPROXY",
    ];
    let word = |rest: &str, all: &[&str]| all.contains(&rest.split(' ').next().unwrap_or_default());
    OWN.contains(&label)
        || label.starts_with("ct ")
        || label.strip_prefix("xt match ").is_some_and(|rest| word(rest, &MATCHES))
        || label.strip_prefix("xt target ").is_some_and(|rest| word(rest, &TARGETS))
}

/// Changes the source of what one network sends: nothing to packets of others.
fn source_nat(label: &str) -> bool {
    matches!(label, "masq" | "snat" | "xt target MASQUERADE" | "xt target SNAT")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect<'a> {
    /// Only looks, counts or logs.
    None,
    Accept,
    Return,
    Jump,
    Goto,
    /// Through a map of verdicts: anywhere in its table.
    Map,
    Other(&'a str),
}

fn effect(rule: &Rule) -> Effect<'_> {
    const LOOKS: [&str; 24] = [
        "bitwise",
        "byteorder",
        "cmp",
        "connlimit",
        "continue",
        "counter",
        "exthdr",
        "fib",
        "hash",
        "immediate",
        "inner",
        "last",
        "limit",
        "log",
        "lookup",
        "meta",
        "numgen",
        "osf",
        "payload",
        "range",
        "rt",
        "socket",
        "tunnel",
        "xfrm",
    ];
    let mut found = Effect::None;
    for label in &rule.expressions {
        let label = label.as_str();
        let next = match label {
            "accept" => Effect::Accept,
            "return" | "break" => Effect::Return,
            "jump" => Effect::Jump,
            "goto" => Effect::Goto,
            "vmap" => Effect::Map,
            "xt target LOG" | "xt target NFLOG" => continue,
            _ if label.starts_with("xt match ") || LOOKS.contains(&label) => continue,
            _ if label.starts_with("ct ") && !label.starts_with("ct set ") && !helper(label) => {
                continue;
            }
            _ => return Effect::Other(label),
        };
        found = if found == Effect::Map { found } else { next };
    }
    found
}

fn helper(label: &str) -> bool {
    matches!(label, "ct helper" | "ct timeout" | "ct expectation")
}

/// The rules that the packets would no longer meet, or would meet without what they need.
pub fn find(chains: &[Chain], packets: &Packets, lost: Lost) -> Vec<Found> {
    let mut tables: Vec<((&str, &str), Vec<&Chain>)> = Vec::new();
    for chain in chains.iter().filter(|c| !c.table.starts_with("nettune-")) {
        let name = (chain.family.as_str(), chain.table.as_str());
        match tables.iter_mut().find(|(table, _)| *table == name) {
            Some((_, all)) => all.push(chain),
            None => tables.push((name, vec![chain])),
        }
    }
    let mut found: Vec<Found> = Vec::new();
    for ((family, _), table) in tables {
        let routed = matches!(family, "ip" | "ip6" | "inet");
        let told = table.iter().all(|c| c.rules == 0 || c.detail.is_some());
        let here = if routed && told { walk(&table, packets, lost) } else { whole(&table, lost) };
        found.extend(here);
    }
    found
}

fn passed(chain: &Chain, lost: Lost) -> bool {
    match lost {
        Lost::Tracking => !chain.hook.is_empty(),
        Lost::Chains => matches!(chain.hook.as_str(), "prerouting" | "forward" | "postrouting"),
    }
}

/// A table whose rules are not told one by one.
fn whole(table: &[&Chain], lost: Lost) -> Vec<Found> {
    let needs = |c: &&&Chain| match lost {
        Lost::Tracking => {
            c.rules > 0 && (c.kind == "nat" || c.expressions.iter().any(|e| tracks(e)))
        }
        Lost::Chains => {
            let routed = matches!(c.family.as_str(), "ip" | "ip6" | "inet");
            routed && passed(c, lost) && (c.rules > 0 || c.drops)
        }
    };
    table.iter().filter(needs).map(|c| Found::of(c, None)).collect()
}

fn walk(table: &[&Chain], packets: &Packets, lost: Lost) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut steps = 0;
    for base in table.iter().filter(|c| passed(c, lost)) {
        for origin in packets.origins(&base.family, &base.hook) {
            let mut walk = Walk {
                table,
                base,
                origin,
                lost,
                steps: &mut steps,
                path: Vec::new(),
                waiting: None,
                covered: [false; 2],
                sure: true,
                mapped: false,
                found: Vec::new(),
            };
            walk.base();
            for one in walk.found {
                if !found.iter().any(|f| f.chain == one.chain) {
                    found.push(one);
                }
            }
        }
    }
    found
}

struct Walk<'a> {
    table: &'a [&'a Chain],
    base: &'a Chain,
    origin: Origin<'a>,
    lost: Lost,
    steps: &'a mut usize,
    /// The rules whose conditions all hold here.
    path: Vec<&'a Rule>,
    /// A rule that lets packets of known connections pass: it is missed if anything is behind it.
    waiting: Option<Found>,
    /// Packets from and to these networks that rules without connections have let pass.
    covered: [bool; 2],
    /// No rule of this chain so far has sent packets elsewhere.
    sure: bool,
    mapped: bool,
    found: Vec<Found>,
}

impl<'a> Walk<'a> {
    fn base(&mut self) {
        self.chain(self.base);
        if self.covered == [true; 2] || !self.base.drops {
            return;
        }
        match (self.lost, self.waiting.take()) {
            (Lost::Tracking, Some(waiting)) => self.found.push(waiting),
            (Lost::Tracking, None) => {}
            (Lost::Chains, _) => self.found.push(Found::of(self.base, Some("policy drop"))),
        }
    }

    fn chain(&mut self, chain: &'a Chain) {
        for rule in chain.detail.iter().flatten() {
            if self.covered == [true; 2] {
                return;
            }
            *self.steps += 1;
            if *self.steps > MOST_STEPS || self.path.len() > DEEPEST {
                self.found.push(Found::of(chain, None));
                return;
            }
            self.path.push(rule);
            if !self.origin.excluded(&self.path) {
                self.rule(chain, rule);
            }
            self.path.pop();
        }
    }

    fn rule(&mut self, chain: &'a Chain, rule: &'a Rule) {
        let effect = effect(rule);
        let tracked = rule.expressions.iter().find(|e| tracks(e)).map(String::as_str);
        let needed = tracked.filter(|_| self.lost == Lost::Tracking);
        match effect {
            Effect::None if self.lost == Lost::Tracking => {}
            Effect::None => {
                self.found.push(Found::of(chain, rule.expressions.last().map(String::as_str)))
            }
            Effect::Accept | Effect::Return => {
                if needed.is_some() {
                    self.waiting.get_or_insert_with(|| Found::of(chain, needed));
                } else if effect == Effect::Return {
                    self.sure = false;
                } else {
                    self.accept(rule);
                }
            }
            Effect::Jump | Effect::Goto | Effect::Map => {
                if needed.is_some() {
                    self.found.push(Found::of(chain, needed));
                }
                let sure = self.sure && effect == Effect::Jump;
                self.lead(rule, effect);
                self.sure = sure;
            }
            Effect::Other(label) => self.other(chain, label, needed),
        }
    }

    /// What a rule lets pass without asking for connections meets nothing behind it.
    fn accept(&mut self, rule: &Rule) {
        let jumps = &self.path[..self.path.len() - 1];
        if self.sure && jumps.iter().all(|jump| self.origin.covers(jump) == [true; 2]) {
            let [from, to] = self.origin.covers(rule);
            self.covered = [self.covered[0] || from, self.covered[1] || to];
        }
        if self.covered == [true; 2] {
            self.waiting = None;
        }
    }

    /// Into the chains that the rule leads to.
    fn lead(&mut self, rule: &'a Rule, effect: Effect) {
        let map = effect == Effect::Map || rule.to.is_none();
        if map {
            self.found.extend(self.waiting.take());
            if std::mem::replace(&mut self.mapped, true) {
                return;
            }
        }
        let to = |c: &&&Chain| c.hook.is_empty() && (map || rule.to.as_ref() == Some(&c.chain));
        let table = self.table;
        for next in table.iter().filter(to) {
            self.chain(next);
        }
        if map {
            self.found.extend(self.waiting.take());
        }
    }

    fn other(&mut self, chain: &Chain, label: &str, needed: Option<&str>) {
        if source_nat(label) && self.origin.others_source(&self.path) {
            return;
        }
        match self.lost {
            Lost::Chains => self.found.push(Found::of(chain, Some(label))),
            Lost::Tracking => {
                // Packets that are not tracked are never invalid, and the node's own are not routed:
                // what is dropped here is their loss alone.
                let local = matches!(self.base.hook.as_str(), "input" | "output");
                let invalid = needed.is_some_and(|l| l.ends_with(" invalid"));
                let nat = self.base.kind == "nat";
                if let Some(needed) = needed.filter(|_| !(local && invalid)) {
                    self.found.push(Found::of(chain, Some(needed)));
                } else if nat {
                    self.found.push(Found::of(chain, Some(label)));
                } else if needed.is_none()
                    && let Some(waiting) = self.waiting.take()
                {
                    self.found.push(waiting);
                }
            }
        }
    }
}
