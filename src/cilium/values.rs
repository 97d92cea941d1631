//! From a fleet to the values that all its nodes can take.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::fleet::{Agreed, Fleet, Held, Known};
use super::version::Version;

/// One value to set.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Value {
    pub key: &'static str,
    pub value: String,
    /// The key of the cilium-config map that it becomes.
    pub config: &'static str,
    pub lever: &'static str,
    pub why: &'static str,
    /// Only a node that has no pods yet may take it.
    pub new_node_only: bool,
    /// Changing it on a live cluster breaks connections that are open.
    pub drops: bool,
    /// So on every node already.
    pub live: bool,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LeftOut {
    pub lever: &'static str,
    /// Nodes that hold it back.
    pub nodes: usize,
    pub why: Vec<Why>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Why {
    pub text: String,
    pub nodes: usize,
    /// The first few.
    pub examples: Vec<String>,
    /// Whether these nodes cannot; else nobody could tell, or it is not asked of them.
    pub cannot: bool,
    /// What it stands on is left out, which has a reason of its own.
    pub falls: bool,
}

/// Like nodes and what they can be told that only a new node may take.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NodeGroup {
    pub nodes: usize,
    pub examples: Vec<String>,
    /// Lever -> whether these nodes can take it.
    pub levers: BTreeMap<&'static str, bool>,
    /// Keys of cilium-config.
    pub defaults: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Values {
    pub cilium: String,
    pub nodes: usize,
    /// Agents that restart, since each reads its configuration when it starts.
    pub restarts: usize,
    /// Levers that break open connections where they change.
    pub drops: Vec<&'static str>,
    pub values: Vec<Value>,
    /// Wanted, and only for new nodes: not among `values` while agents run without them.
    pub new_nodes: Vec<Value>,
    pub left_out: Vec<LeftOut>,
    /// Had by some nodes alone, by a value that suits the others too.
    pub mixed: Vec<LeftOut>,
    pub node_groups: Vec<NodeGroup>,
    pub notes: Vec<String>,
}

/// `all`: also what only a new node may take, on a cluster that lives.
pub fn values(fleet: &Fleet, all: bool) -> Values {
    let mut chosen: BTreeMap<&'static str, Agreed> = BTreeMap::new();
    let (mut left_out, mut mixed) = (Vec::new(), Vec::new());
    for (name, lever) in &fleet.levers {
        if lever.cannot > 0 {
            let mut why: Vec<Why> =
                lever.held.iter().map(|(text, held)| reason(text, held)).collect();
            why.sort_by_key(|w| std::cmp::Reverse(w.nodes));
            let some = LeftOut { lever: name, nodes: lever.cannot, why };
            match fleet.mixed(lever) {
                Some(values) => {
                    chosen.insert(name, values);
                    mixed.push(some);
                }
                None => left_out.push(some),
            }
            continue;
        }
        match fleet.agreed(lever) {
            Ok(values) => drop(chosen.insert(name, values)),
            Err(text) => {
                let (nodes, examples) = (lever.can, Vec::new());
                let why = vec![Why { text, nodes, examples, cannot: false, falls: false }];
                left_out.push(LeftOut { lever: name, nodes: lever.can, why });
            }
        }
    }
    fall(fleet, &mut chosen, &mut left_out);
    let mut notes = Vec::new();
    if fleet.twice.count > 0 {
        let text = format!("{} reports of a node given before", fleet.twice.count);
        notes.push(format!("{text}, e.g. {}", fleet.twice.nodes.join(", ")));
    }
    if fleet.refused > 0 {
        notes.push(format!("{} values were refused: no key or no word of ours", fleet.refused));
    }
    if fleet.ungrouped > 0 {
        notes.push(format!("{} nodes are of yet other kinds and in no group", fleet.ungrouped));
    }
    for (cloud, held) in &fleet.managed {
        notes.push(format!(
            "{} nodes are managed by {cloud}, whose chart is not yours to set",
            held.count
        ));
    }
    let releases = fleet.releases();
    let other = |v: &Version| (v.major, v.minor) != (fleet.version.major, fleet.version.minor);
    if releases.iter().any(other) {
        let told: Vec<String> = fleet.versions.iter().map(|(v, n)| format!("{v} ({n})")).collect();
        notes.push(format!(
            "The agents run Cilium {}: these values are for {}, whose chart is another",
            told.join(", "),
            fleet.version
        ));
    }
    finish(fleet, all, chosen, Out { left_out, mixed, notes })
}

struct Out {
    left_out: Vec<LeftOut>,
    mixed: Vec<LeftOut>,
    notes: Vec<String>,
}

fn reason(text: &str, held: &Held) -> Why {
    let (text, examples) = (text.to_string(), held.nodes.clone());
    Why { text, nodes: held.count, examples, cannot: !held.open, falls: held.falls }
}

/// What stands on a lever that the fleet cannot agree on falls with it.
fn fall(fleet: &Fleet, chosen: &mut BTreeMap<&'static str, Agreed>, left_out: &mut Vec<LeftOut>) {
    loop {
        let out: BTreeSet<&str> = left_out.iter().map(|l| l.lever).collect();
        let falls = fleet.known.iter().find_map(|Known { name, stands_on, .. }| {
            let stone = stands_on.iter().find(|s| out.contains(**s))?;
            let asks = chosen.get(name).is_some_and(|values| !values.is_empty());
            asks.then_some((*name, *stone))
        });
        let Some((name, stone)) = falls else { return };
        let live = fleet.levers[name].live == fleet.nodes;
        let values = chosen.remove(name);
        // What all nodes have already stays as it is.
        if live && let Some(values) = values {
            chosen.insert(name, values);
            return;
        }
        let text = format!("falls with {stone}");
        let (nodes, examples) = (fleet.nodes, Vec::new());
        let why = vec![Why { text, nodes, examples, cannot: false, falls: true }];
        left_out.push(LeftOut { lever: name, nodes: fleet.nodes, why });
    }
}

fn finish(fleet: &Fleet, all: bool, chosen: BTreeMap<&'static str, Agreed>, out: Out) -> Values {
    let Out { left_out, mixed, notes } = out;
    let (mut values, mut new_nodes): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (lever, pairs) in chosen {
        for (key, value, live) in pairs {
            // bandwidthManager.enabled is asked for by two levers.
            if !seen.insert(key.helm) {
                continue;
            }
            let value = Value {
                key: key.helm,
                value,
                config: key.config,
                lever,
                why: key.why,
                new_node_only: key.new_node_only,
                drops: key.drops,
                live,
            };
            let waits = key.new_node_only && fleet.agents > 0 && !live && !all;
            if waits { new_nodes.push(value) } else { values.push(value) }
        }
    }
    let changes = |v: &&Value| !v.live;
    let mut drops: Vec<&'static str> =
        values.iter().filter(changes).filter(|v| v.drops).map(|v| v.lever).collect();
    drops.sort_unstable();
    drops.dedup();
    let restarts = if values.iter().any(|v| changes(&v)) { fleet.agents } else { 0 };
    let group = |g: &super::fleet::Group| NodeGroup {
        nodes: g.nodes.count,
        examples: g.nodes.nodes.clone(),
        levers: g.levers(fleet.version),
        defaults: g.defaults(fleet.version),
    };
    let mut node_groups: Vec<NodeGroup> =
        fleet.groups.values().map(group).filter(|g| !g.defaults.is_empty()).collect();
    node_groups.sort_by_key(|g| std::cmp::Reverse(g.nodes));
    Values {
        cilium: fleet.version.to_string(),
        nodes: fleet.nodes,
        restarts,
        drops: if fleet.agents > 0 { drops } else { Vec::new() },
        values,
        new_nodes,
        left_out,
        mixed,
        node_groups,
        notes,
    }
}
