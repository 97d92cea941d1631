//! A live cilium-config against what these nodes can take.

use schemars::JsonSchema;
use serde::Serialize;

use super::configmap::Config;
use super::contradictions::Rule;
use super::fleet::Fleet;
use super::rules::RULES;
use super::values::{LeftOut, Value, values};
use crate::model::helm::HelmKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// As these nodes can have it.
    Set,
    /// They could have it.
    Missing,
    /// It does not go with another setting, or with a node.
    Contradictory,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Finding {
    pub kind: Kind,
    /// Short and stable: the rule, or the lever.
    pub code: String,
    /// The keys of cilium-config that it is about, with what they are now (null: not there).
    pub keys: Vec<Key>,
    /// What it should be; null for a contradiction.
    pub wanted: Option<String>,
    pub consequence: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Key {
    pub key: &'static str,
    pub now: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Diff {
    pub cilium: String,
    pub nodes: usize,
    pub findings: Vec<Finding>,
    pub left_out: Vec<LeftOut>,
    pub notes: Vec<String>,
}

impl Diff {
    pub fn differs(&self) -> bool {
        self.findings.iter().any(|f| f.kind != Kind::Set)
    }
}

const DERIVED: [&str; 1] = ["enable-host-legacy-routing"];

/// `complete`: what the configuration does not name is not set. The local agent does not tell every
/// key: what it leaves out is neither missing nor the ground of a contradiction.
pub fn diff(fleet: &Fleet, config: &Config, complete: bool) -> Diff {
    let mut wanted = values(fleet, true);
    let key = |key: &'static str| Key { key, now: config.get(key).cloned() };
    let mut findings: Vec<Finding> = Vec::new();
    // What the agent derives it tells like what it was told; that is no key of the map.
    let untold = |key: &str| !complete && (!config.contains_key(key) || DERIVED.contains(&key));
    let unsure = |r: &&Rule| !complete && r.stands_on_silence(config, fleet.version);
    for rule in RULES.iter().filter(|r| r.holds(config, fleet.version) && !unsure(r)) {
        findings.push(Finding {
            kind: Kind::Contradictory,
            code: rule.code.into(),
            keys: rule.keys.iter().map(|k| key(k)).collect(),
            wanted: None,
            consequence: rule.consequence.into(),
        });
    }
    for left in wanted.left_out.iter().chain(&wanted.mixed) {
        findings.extend(against_nodes(left, fleet, config));
    }
    let mut silent: Vec<&str> = Vec::new();
    for value in &wanted.values {
        let kind = if holds(value, config, fleet) { Kind::Set } else { Kind::Missing };
        if untold(value.config) {
            silent.push(value.config);
            continue;
        }
        findings.push(Finding {
            kind,
            code: value.lever.into(),
            keys: vec![key(value.config)],
            wanted: Some(value.value.clone()),
            consequence: consequence(value, kind),
        });
    }
    if !silent.is_empty() {
        let text = "the agent does not tell these, which are not compared (--config FILE has all)";
        wanted.notes.push(format!("{text}: {}", silent.join(", ")));
    }
    let deprecated =
        fleet.version.within(">=1.21") && config.get("encrypt-node").is_some_and(|v| v == "true");
    if deprecated {
        let text =
            "encryption of nodes (encrypt-node) is deprecated in Cilium 1.21 and goes in 1.22";
        wanted.notes.push(text.to_string());
    }
    Diff {
        cilium: wanted.cilium,
        nodes: wanted.nodes,
        findings,
        left_out: wanted.left_out,
        notes: wanted.notes,
    }
}

/// It is on, and some of the nodes cannot take it.
fn against_nodes(left: &LeftOut, fleet: &Fleet, config: &Config) -> Option<Finding> {
    let mine = fleet.known.iter().filter(|k| k.name == left.lever).flat_map(|k| k.keys);
    let switches = mine.filter(|key| key.switch).map(|key| key.config);
    let on = |k: &&str| config.get(*k).is_some_and(|now| turned_on(k, now));
    let found: Vec<&'static str> = switches.filter(on).collect();
    let why = left.why.iter().find(|w| w.cannot && !w.examples.is_empty())?;
    let nodes: usize = left.why.iter().filter(|w| w.cannot).map(|w| w.nodes).sum();
    // What stands on another lever falls with it, which has a finding of its own.
    if found.is_empty() || why.falls {
        return None;
    }
    let keys = found.iter().map(|k| Key { key: k, now: config.get(*k).cloned() }).collect();
    let text = format!(
        "{nodes} of {} nodes cannot, e.g. {}: {}",
        fleet.nodes,
        why.examples.join(", "),
        why.text
    );
    Some(Finding {
        kind: Kind::Contradictory,
        code: format!("nodes-{}", left.lever),
        keys,
        wanted: None,
        consequence: text,
    })
}

fn turned_on(key: &str, now: &str) -> bool {
    match key {
        "routing-mode" => now == "native",
        "bpf-lb-mode" => matches!(now, "dsr" | "hybrid"),
        // Best effort is what it says: a node that cannot goes without.
        "bpf-lb-acceleration" => now == "native",
        "datapath-mode" => now.starts_with("netkit"),
        _ => matches!(now, "true" | "strict"),
    }
}

/// Absent is off, and some settings have several words or are as good when they are more.
fn holds(value: &Value, config: &Config, fleet: &Fleet) -> bool {
    let now = config.get(value.config).map(String::as_str);
    match (value.config, now) {
        ("kube-proxy-replacement", Some("true" | "strict")) => true,
        ("bpf-lb-acceleration", Some("native")) => true,
        // Netkit wherever a node can.
        ("datapath-mode", Some("auto")) => fleet.version.within(">=1.20"),
        // Its L2 kind gains the same, and pods may need it.
        ("datapath-mode", Some("netkit-l2")) => true,
        ("bpf-map-dynamic-size-ratio", now) => {
            let number = |text: &str| text.parse::<f64>().unwrap_or(0.0);
            // The agent's own default.
            now.map_or(0.0025, number) >= number(&value.value) - 1e-9
        }
        // On by default where the key is known at all.
        ("enable-tcx", None) => true,
        (_, None) => value.value == "false",
        (_, Some(now)) => now == value.value,
    }
}

fn consequence(value: &Value, kind: Kind) -> String {
    let mut text = value.why.to_string();
    if kind == Kind::Missing {
        if value.new_node_only {
            text.push_str("; only new nodes may take it");
        } else if value.drops {
            text.push_str("; changing it cuts open connections");
        }
        if let Some(key) = HelmKey::find(value.key) {
            text.push_str(&format!(" (Helm: {}={})", key.helm, value.value));
        }
    }
    text
}
