//! Values as YAML with a comment at each key, as a `helm` line, and as CiliumNodeConfig objects.
//! Keys and scalars are written by the YAML library; the nesting and the comments are ours.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::values::{LeftOut, NodeGroup, Value, Values};
use super::version::Version;
use crate::model::script::quote;

const WIDTH: usize = 100;
/// Reasons that are told for one lever.
const REASONS: usize = 5;

pub fn yaml(values: &Values, tool: &str) -> Result<String> {
    let mut out = String::new();
    let title = format!(
        "Helm values for Cilium {}, by {tool}: the most that {} can take.",
        values.cilium,
        count(values.nodes, "node", "given")
    );
    comment(&mut out, 0, &title);
    for line in summary(values) {
        comment(&mut out, 0, &line);
    }
    if values.values.is_empty() {
        comment(&mut out, 0, "Nothing to set.");
        out.push_str("{}\n");
    } else {
        let mut tree = Tree::default();
        for value in &values.values {
            tree.put(value.key, value);
        }
        tree.write(&mut out, 0)?;
    }
    Ok(out)
}

fn count(nodes: usize, what: &str, all: &str) -> String {
    if nodes == 1 { format!("the 1 {what}") } else { format!("all {nodes} {what}s {all}") }
}

/// What applying it does, what is left out and why: also what goes beside a `helm` line.
pub fn summary(values: &Values) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(match values.restarts {
        0 => "No agent restarts: nothing changes, or none runs yet.".to_string(),
        1 => "Restarts 1 agent: it reads its configuration when it starts.".to_string(),
        n => format!("Restarts {n} agents: each reads its configuration when it starts."),
    });
    if !values.drops.is_empty() {
        lines.push(format!("Cuts open connections where it changes: {}.", values.drops.join(" ")));
    }
    if !values.new_nodes.is_empty() {
        let pairs: Vec<String> =
            values.new_nodes.iter().map(|v| format!("{}={}", v.key, v.value)).collect();
        lines.push(format!(
            "For new nodes only, so not set here (--node-configs, or --new-nodes to set them): {}.",
            pairs.join(" ")
        ));
    }
    for left in &values.left_out {
        lines.extend(left_out("Left out", left, values.nodes));
    }
    for some in &values.mixed {
        lines.extend(left_out("Not had by all", some, values.nodes));
    }
    lines.extend(values.notes.iter().cloned());
    lines
}

fn left_out(title: &str, left: &LeftOut, nodes: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for why in left.why.iter().take(REASONS) {
        let names = match why.examples.is_empty() {
            true => String::new(),
            false if why.nodes > why.examples.len() => {
                format!(
                    " ({}, and {} more)",
                    why.examples.join(", "),
                    why.nodes - why.examples.len()
                )
            }
            false => format!(" ({})", why.examples.join(", ")),
        };
        let share = format!("{} of {nodes} nodes", why.nodes);
        lines.push(format!("{title}: {}: {share}{names}: {}", left.lever, why.text));
    }
    if left.why.len() > REASONS {
        lines.push(format!(
            "{title}: {}: and {} more reasons",
            left.lever,
            left.why.len() - REASONS
        ));
    }
    lines
}

fn comment(out: &mut String, indent: usize, text: &str) {
    let pad = " ".repeat(indent);
    let mut line = format!("{pad}#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = format!("{pad}# ");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

/// true, 0.08 and native as themselves.
#[derive(Serialize)]
#[serde(untagged)]
enum Scalar<'a> {
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(&'a str),
}

fn scalar(text: &str) -> Scalar<'_> {
    if let Ok(value) = text.parse() {
        return Scalar::Bool(value);
    }
    if let Ok(value) = text.parse() {
        return Scalar::Integer(value);
    }
    let digits = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    match text.parse() {
        Ok(value) if digits => Scalar::Number(value),
        _ => Scalar::Text(text),
    }
}

#[derive(Default)]
struct Tree<'a> {
    leaf: Option<&'a Value>,
    below: BTreeMap<&'a str, Tree<'a>>,
}

impl<'a> Tree<'a> {
    fn put(&mut self, path: &'a str, value: &'a Value) {
        match path.split_once('.') {
            Some((head, rest)) => self.below.entry(head).or_default().put(rest, value),
            None => self.below.entry(path).or_default().leaf = Some(value),
        }
    }

    fn write(&self, out: &mut String, indent: usize) -> Result<()> {
        let pad = " ".repeat(indent);
        for (key, tree) in &self.below {
            if let Some(value) = tree.leaf {
                comment(out, indent, &remark(value));
                let pair = BTreeMap::from([(*key, scalar(&value.value))]);
                out.push_str(&format!("{pad}{}", yaml_serde::to_string(&pair)?));
            } else {
                // The key alone, as the library writes it.
                let pair = yaml_serde::to_string(&BTreeMap::from([(*key, ())]))?;
                out.push_str(&format!(
                    "{pad}{}\n",
                    pair.trim_end().trim_end_matches("null").trim_end()
                ));
                tree.write(out, indent + 2)?;
            }
        }
        Ok(())
    }
}

fn remark(value: &Value) -> String {
    let mut text = format!("{}: {}", value.lever, value.why);
    if value.live {
        text.push_str("; so already");
    } else if value.new_node_only {
        text.push_str("; NEW NODES ONLY: a node with pods must not change");
    } else if value.drops {
        text.push_str("; changing it cuts open connections");
    }
    text
}

/// The values as one command line, and what to know of it as comments of a shell.
pub fn command(values: &Values, version: Version) -> String {
    let mut out = String::new();
    for line in summary(values) {
        comment(&mut out, 0, &line);
    }
    // Without a patch Helm takes the newest of the minor.
    let chart = match version.patch {
        Some(_) => version.to_string(),
        None => format!("{version}.x"),
    };
    let mut words = vec![format!(
        "helm upgrade cilium cilium/cilium --namespace kube-system --version {chart} --reuse-values"
    )];
    words.extend(
        values
            .values
            .iter()
            .map(|v| format!("--set {}", quoted(&format!("{}={}", v.key, v.value)))),
    );
    out.push_str(&words.join(" \\\n  "));
    out.push('\n');
    out
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=._-/:".contains(c);
    if word.chars().all(plain) {
        return word.to_string();
    }
    quote(word)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeConfig<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: BTreeMap<&'static str, String>,
    spec: Spec<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    node_selector: Selector,
    defaults: &'a BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

/// Put on a node when it joins, so that no node with pods is ever meant.
pub const NEW_NODE: &str = "nettune.io/new-node";

/// One object a group of like nodes, chosen by the labels that `check --format nfd` writes.
pub fn node_configs(groups: &[NodeGroup], version: Version) -> Result<String> {
    let api = match (version.major, version.minor) < (1, 16) {
        true => "cilium.io/v2alpha1",
        false => "cilium.io/v2",
    };
    let mut out = String::new();
    let about = format!(
        "For new nodes only. A CiliumNodeConfig takes effect when the agent of a node is made anew, so it \
         chooses nodes that joined with the label {NEW_NODE}=true, by the labels of nettune check --format nfd."
    );
    comment(&mut out, 0, &about);
    for (at, group) in groups.iter().enumerate() {
        let mut labels = BTreeMap::from([(NEW_NODE.to_string(), "true".to_string())]);
        for (lever, can) in &group.levers {
            // Not yes and no, which Kubernetes' YAML takes for true and false.
            labels.insert(label(lever), if *can { "can" } else { "cannot" }.to_string());
        }
        let object = NodeConfig {
            api_version: api,
            kind: "CiliumNodeConfig",
            metadata: BTreeMap::from([
                ("name", format!("nettune-{}", at + 1)),
                ("namespace", "kube-system".to_string()),
            ]),
            spec: Spec {
                node_selector: Selector { match_labels: labels },
                defaults: &group.defaults,
            },
        };
        out.push_str("---\n");
        let more = match group.nodes.saturating_sub(group.examples.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let nodes = if group.nodes == 1 { "node" } else { "nodes" };
        let text = format!("{} {nodes}: {}{more}", group.nodes, group.examples.join(", "));
        comment(&mut out, 0, &text);
        out.push_str(&yaml_serde::to_string(&object)?);
    }
    Ok(out)
}

/// The label for the cluster's side of a lever.
pub fn label(lever: &str) -> String {
    format!("nettune.io/{lever}.cilium")
}
