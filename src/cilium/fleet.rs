//! The reports of many nodes merged as they come: counts, a few names, and the values that they ask
//! for. What is kept does not grow with the number of nodes, but for their names.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Cluster, Report};
use super::version::Version;
use crate::model::helm::{HelmKey, KEYS};

/// Names that are given as examples.
const EXAMPLES: usize = 3;
const MOST_NODES: usize = 200_000;
/// Different values for one key, and different kinds of nodes, that are told apart.
const MOST_DIFFERENT: usize = 64;

/// A lever of Cilium's and the levers that it stands on.
/// A lever with a cluster's side.
pub struct Known {
    pub name: &'static str,
    /// The levers it stands on, nearest first.
    pub stands_on: &'static [&'static str],
    /// Its own keys.
    pub keys: &'static [&'static HelmKey],
}

pub type Levers = Vec<Known>;

#[derive(Debug, Default)]
pub struct Lever {
    /// Nodes that can take it, and those of them where it is so already.
    pub can: usize,
    pub live: usize,
    /// Nodes that hold it back, by reason: how many, and the first few.
    pub held: BTreeMap<String, Held>,
    /// Nodes that cannot, in all.
    pub cannot: usize,
    /// What the nodes ask for.
    values: BTreeMap<(&'static str, &'static str), Asked>,
}

/// Key, value, and whether all nodes have it already.
pub type Agreed = Vec<(&'static HelmKey, String, bool)>;

#[derive(Debug, Default)]
pub struct Held {
    pub count: usize,
    pub nodes: Vec<String>,
    /// Nobody could tell whether they can, or they are not asked: not that they cannot.
    pub open: bool,
    /// What it stands on cannot be had.
    pub falls: bool,
}

impl Held {
    fn add(&mut self, node: &str) {
        self.count += 1;
        if self.nodes.len() < EXAMPLES {
            self.nodes.push(node.to_string());
        }
    }
}

#[derive(Debug)]
struct Asked {
    key: &'static HelmKey,
    values: BTreeMap<String, usize>,
    /// Nodes that have what they ask for.
    live: usize,
}

/// Like nodes: what they can take that only a new node may.
#[derive(Debug, Default)]
pub struct Group {
    cannot: Vec<&'static str>,
    /// Lever and key -> value.
    asked: BTreeMap<(&'static str, &'static str), String>,
    pub nodes: Held,
}

impl Group {
    fn keys<'a>(
        &'a self,
        version: Version,
    ) -> impl Iterator<Item = (&'static str, &'static HelmKey, &'a String)> {
        type Pair<'a> = (&'a (&'static str, &'static str), &'a String);
        let known = move |((lever, helm), value): Pair<'a>| {
            let key = HelmKey::find(helm).filter(|key| version.within(key.cilium))?;
            Some((*lever, key, value))
        };
        self.asked.iter().filter_map(known)
    }

    /// Key of cilium-config -> value, of what that version's chart knows.
    pub fn defaults(&self, version: Version) -> BTreeMap<&'static str, String> {
        self.keys(version).map(|(_, key, value)| (key.config, value.clone())).collect()
    }

    pub fn levers(&self, version: Version) -> BTreeMap<&'static str, bool> {
        let can = self.keys(version).map(|(lever, _, _)| (lever, true));
        self.cannot.iter().map(|lever| (*lever, false)).chain(can).collect()
    }
}

pub struct Fleet {
    pub version: Version,
    pub levers: BTreeMap<&'static str, Lever>,
    pub known: Levers,
    pub nodes: usize,
    /// Nodes where Cilium runs now: its agents read their configuration when they start.
    pub agents: usize,
    pub managed: BTreeMap<String, Held>,
    pub twice: Held,
    pub groups: BTreeMap<String, Group>,
    /// Values that no key of ours knows, or that are no plain words.
    pub refused: usize,
    /// Nodes of kinds beyond the first so many, which get no group.
    pub ungrouped: usize,
    /// Versions of the agents, and how many run each.
    pub versions: BTreeMap<String, usize>,
    names: BTreeSet<String>,
}

impl Fleet {
    pub fn new(version: Version, known: Levers) -> Self {
        Fleet {
            version,
            levers: known.iter().map(|k| (k.name, Lever::default())).collect(),
            known,
            nodes: 0,
            agents: 0,
            managed: BTreeMap::new(),
            twice: Held::default(),
            groups: BTreeMap::new(),
            refused: 0,
            ungrouped: 0,
            versions: BTreeMap::new(),
            names: BTreeSet::new(),
        }
    }

    pub fn add(&mut self, report: &Report) -> anyhow::Result<()> {
        anyhow::ensure!(self.nodes < MOST_NODES, "over {MOST_NODES} reports");
        let node = report.node.name();
        if !self.names.insert(node.clone()) {
            self.twice.add(&node);
        }
        self.nodes += 1;
        let seen = report.tweaks.iter().filter_map(|t| t.cluster.as_ref());
        let runs = report.node.cilium.is_some() || seen.clone().any(|c| c.now.is_some());
        self.agents += usize::from(runs);
        if let Some(version) = &report.node.cilium
            && self.versions.len() < MOST_DIFFERENT
        {
            *self.versions.entry(super::report::plain(version, 32)).or_default() += 1;
        }
        let managed = report.node.managed();
        if let Some(cloud) = &managed {
            self.managed.entry(cloud.clone()).or_default().add(&node);
        }
        let mut group = Group::default();
        for (name, lever) in &mut self.levers {
            let tweak = report.tweaks.iter().find(|t| t.name == *name);
            let cluster = tweak.and_then(|t| t.cluster.as_ref());
            let why = match (&managed, cluster) {
                (Some(cloud), _) => Some((format!("{cloud} owns the chart"), true)),
                (None, None) => Some(match tweak.map(|t| t.status.as_ref()) {
                    Some("off") | None => ("its profile does not want it".to_string(), true),
                    Some(_) => {
                        let why = "its report has no verdict on it: an older nettune wrote it";
                        (why.to_string(), true)
                    }
                }),
                (None, Some(cluster)) => {
                    let open = matches!(cluster.status.as_ref(), "unknown" | "off");
                    (!cluster.can()).then(|| (cluster.why(), open))
                }
            };
            if let Some((why, open)) = why {
                lever.cannot += 1;
                // A flood of different reasons is cut, and still counted.
                let room = lever.held.len() < MOST_DIFFERENT;
                let why = if room || lever.held.contains_key(&why) { why } else { "others".into() };
                let held = lever.held.entry(why).or_default();
                held.add(&node);
                held.open |= open;
                held.falls |= cluster.is_some_and(Cluster::falls);
                if new_nodes_only(&self.known, name) {
                    group.cannot.push(name);
                }
                continue;
            }
            lever.can += 1;
            lever.live += usize::from(cluster.is_some_and(|c| c.status == "ok"));
            for advice in tweak.into_iter().flat_map(|t| &t.advice) {
                let key = KEYS.iter().find(|k| k.helm == advice.key && k.cilium == advice.cilium);
                let Some(key) = key.filter(|_| harmless(&advice.value)) else {
                    self.refused += 1;
                    continue;
                };
                let asked = Asked { key, values: BTreeMap::new(), live: 0 };
                let asked = lever.values.entry((key.helm, key.cilium)).or_insert(asked);
                asked.live += usize::from(advice.live == Some(true));
                if asked.values.len() < MOST_DIFFERENT {
                    *asked.values.entry(advice.value.to_string()).or_default() += 1;
                }
                if key.new_node_only {
                    group.asked.insert((*name, key.helm), advice.value.to_string());
                }
            }
        }
        if managed.is_none() {
            let sign = format!("{:?} {:?}", group.cannot, group.asked);
            if self.groups.len() < MOST_DIFFERENT || self.groups.contains_key(&sign) {
                self.groups.entry(sign).or_insert(group).nodes.add(&node);
            } else {
                self.ungrouped += 1;
            }
        }
        Ok(())
    }

    /// What suits those that can and those that cannot together, where it is the nodes that cannot.
    pub fn mixed(&self, lever: &Lever) -> Option<Agreed> {
        let mixed = |asked: &Asked| {
            let (word, versions) = asked.key.mixed?;
            self.version.within(versions).then(|| (asked.key, word.to_string(), false))
        };
        let some = lever.can > 0 && lever.held.values().all(|held| !held.open);
        let words: Agreed = lever.values.values().filter_map(mixed).collect();
        (some && !words.is_empty()).then_some(words)
    }

    /// What the agents run: each its own minor, the oldest first, as far as a chart of it is known.
    pub fn releases(&self) -> Vec<Version> {
        let parsed = self.versions.keys().filter_map(|text| Version::parse(text).ok());
        let mut all: Vec<Version> = parsed.collect();
        all.sort();
        all.dedup_by_key(|version| (version.major, version.minor));
        all
    }

    /// The values that all nodes agree on, or why they do not.
    pub fn agreed(&self, lever: &Lever) -> Result<Agreed, String> {
        use crate::model::helm::Merge;
        let mut agreed = Vec::new();
        let known: Vec<&Asked> =
            lever.values.values().filter(|a| self.version.within(a.key.cilium)).collect();
        if known.is_empty() && !lever.values.is_empty() {
            return Err(format!("the chart of Cilium {} has no key for it", self.version));
        }
        for asked in known {
            let number = |text: &&String| text.parse::<f64>().unwrap_or(0.0);
            let order = |a: &&String, b: &&String| number(a).total_cmp(&number(b));
            let all = || asked.values.keys();
            let value = match (asked.key.merge, asked.values.len()) {
                (_, 1) => all().next(),
                (Merge::Cluster, _) => {
                    return Err(format!(
                        "each node reports a network of its own as {}: name the cluster's in the profile \
                         (native-routing.cidr)",
                        asked.key.helm
                    ));
                }
                (Merge::Max, _) => all().max_by(order),
                (Merge::Min, _) => all().min_by(order),
                (Merge::Same, _) => {
                    let told: Vec<String> =
                        asked.values.iter().take(4).map(|(v, n)| format!("{v} ({n})")).collect();
                    return Err(format!(
                        "nodes ask for different {}: {}",
                        asked.key.helm,
                        told.join(", ")
                    ));
                }
            };
            let asks: usize = asked.values.values().sum();
            // A key that only some ask for, such as a family, is not for all.
            if asks < lever.can && asked.key.merge == Merge::Same {
                return Err(format!(
                    "only {asks} of {} nodes ask for {}",
                    lever.can, asked.key.helm
                ));
            }
            if let Some(value) = value {
                // One value for all, and all have it; or the lever as a whole is as wanted.
                let all = asked.live == self.nodes && asked.values.len() == 1;
                let live = all || lever.live == self.nodes;
                agreed.push((asked.key, value.clone(), live));
            }
        }
        Ok(agreed)
    }
}

/// It has a value that only a new node may take.
fn new_nodes_only(known: &Levers, name: &str) -> bool {
    let mine = known.iter().filter(|k| k.name == name);
    mine.flat_map(|k| k.keys).any(|key| key.new_node_only)
}

/// A word that means itself in YAML, in a shell and to Helm.
fn harmless(value: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || ".:/_-".contains(c);
    (1..=64).contains(&value.len()) && value.chars().all(word) && !value.starts_with('-')
}
