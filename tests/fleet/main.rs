//! `nettune cilium values` and `diff`: from the reports of nodes to a values file for every version of
//! the chart, from a configuration to what contradicts; and reports that are no friend's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod diff;
mod hostile;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nettune::engine::plan::Scope;
use nettune::engine::row::Selection;
use nettune::engine::store::Store;
use nettune::engine::verbs::{Ask, preview};
use nettune::model::facts::Fact;
use nettune::model::{Facts, Impact};
use nettune::profile::{Finder, Profile};
use nettune::report::{View, json};
use serde_json::Value;
use support::{Memory, meta, tempdir};

const VERSIONS: [&str; 9] =
    ["1.13", "1.14", "1.15", "1.16", "1.17", "1.18", "1.19", "1.20", "1.21"];

/// All that the operator can give his word for, so that every lever is asked for.
const WHOLE: &str = "[native-routing]\ncidr = \"10.244.0.0/16\"\nauto-direct-node-routes = true\n\
    [kube-proxy-replacement]\nsocket-lb = \"host\"\n[bpf-masquerade]\n[dsr]\nfabric = true\n\
    [hubble]\nenabled = false\nmonitor-interval = \"10s\"\n[bpf-maps]\ndistributed-lru = true\n\
    clock-probe = true\n[netkit]\n[bandwidth-manager]\n[bbr]\n[big-tcp]\n[notrack]\n\
    [host-routing]\n";

fn case(name: &str) -> Facts {
    let mut facts = support::case_facts(name);
    facts.node.boot_id = "boot".into();
    facts
}

/// What `nettune check --json` prints on a node with these facts.
fn report(facts: &Facts, profile: &str) -> Value {
    let dir = tempdir();
    let path = dir.path().join("whole.toml");
    std::fs::write(&path, profile).unwrap();
    let finder = Finder { folders: Vec::new(), strict: false };
    let profile = Profile::load(&finder, path.to_str().unwrap(), &[]).unwrap();
    let tweaks = profile.tweaks().unwrap();
    let ask = Ask {
        selection: Selection {
            tweaks: tweaks.iter().collect(),
            links: &[],
            pod_links: &[],
            cni: profile.cni(),
        },
        scope: Scope::default(),
        accept: Impact::ALL.into(),
        strict: false,
        atomic: false,
        meta: meta("check"),
        profile: String::new(),
    };
    let host = Memory::new(facts.clone(), BTreeMap::new());
    let store = Store::read(dir.path(), facts).unwrap();
    let answer = preview(&host, &store, facts, &ask).unwrap();
    let view =
        View { verb: "check", profile: Some(&profile), facts, store: &store, answer: &answer };
    serde_json::to_value(json::answer(&view)).unwrap()
}

fn named(mut report: Value, name: &str) -> Value {
    report["node"]["name"] = name.into();
    report["node"]["kubernetes_name"] = Value::Null;
    report
}

/// Runs `nettune cilium ...` with the reports on standard input, one after another.
fn nettune(args: &[&str], reports: &[Value]) -> Output {
    let text: String = reports.iter().map(|r| r.to_string() + "\n").collect();
    run(args, text.as_bytes())
}

fn run(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nettune"))
        .arg("cilium")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn flat(value: &Value, path: &str, out: &mut BTreeMap<String, Value>) {
    match value.as_object() {
        Some(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flat(value, &path, out);
            }
        }
        None => drop(out.insert(path.to_string(), value.clone())),
    }
}

fn keys_of(yaml: &str) -> BTreeMap<String, Value> {
    let value: Value = yaml_serde::from_str(yaml).unwrap_or_else(|e| panic!("{e}:\n{yaml}"));
    let mut out = BTreeMap::new();
    flat(&value, "", &mut out);
    out
}

/// Key -> what the chart of that version says of it: "-" is that it does not know it.
fn chart(version: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cilium/helm-keys.tsv");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().filter(|l| !l.starts_with('#'));
    let column = lines.next().unwrap().split('\t').position(|c| c == version).unwrap();
    lines
        .map(|l| {
            let cells: Vec<&str> = l.split('\t').collect();
            (cells[0].to_string(), cells[column].to_string())
        })
        .collect()
}

#[test]
fn a_values_file_for_every_version_has_only_keys_of_that_chart() {
    let node = report(&case("netkit-no-scrub"), WHOLE);
    // Not in that list, which holds what a values.yaml has; their templates know both.
    let beside = ["bpfClockProbe", "socketLB.hostNamespaceOnly"];
    let mut seen: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for version in VERSIONS {
        let chart = chart(version);
        let text =
            stdout(&nettune(&["values", "--cilium", version, "-"], std::slice::from_ref(&node)));
        assert!(text.starts_with(&format!("# Helm values for Cilium {version}, by nettune")));
        for key in keys_of(&text).into_keys() {
            if !beside.contains(&key.as_str()) {
                let known = chart.get(&key).map(String::as_str).unwrap_or("not in the list");
                assert!(
                    !matches!(known, "-" | "(fails)" | "not in the list"),
                    "{version} {key}: {known}"
                );
            }
            seen.entry(key).or_default().push(version);
        }
    }
    let versions = |key: &str| seen.get(key).map(|v| (v[0], v[v.len() - 1]));
    assert_eq!(versions("tunnel"), Some(("1.13", "1.13")));
    assert_eq!(versions("routingMode"), Some(("1.14", "1.21")));
    assert_eq!(versions("bpf.datapathMode"), Some(("1.16", "1.21")));
    assert_eq!(versions("enableIPv4BIGTCP"), Some(("1.14", "1.21")));
    assert_eq!(versions("bpf.distributedLRU.enabled"), Some(("1.17", "1.21")));
    for key in ["kubeProxyReplacement", "bpf.masquerade", "ipv4NativeRoutingCIDR", "hubble.enabled"]
    {
        assert_eq!(versions(key), Some(("1.13", "1.21")), "{key}");
    }
}

#[test]
fn values_keep_their_types_and_every_key_has_its_comment() {
    let node = report(&case("netkit-no-scrub"), WHOLE);
    let text = stdout(&nettune(&["values", "--cilium", "1.18", "-"], std::slice::from_ref(&node)));
    let keys = keys_of(&text);
    assert_eq!(keys["kubeProxyReplacement"], true);
    assert_eq!(keys["hubble.enabled"], false);
    assert_eq!(keys["routingMode"], "native");
    assert_eq!(keys["bpf.mapDynamicSizeRatio"], 0.08);
    assert_eq!(keys["ipv4NativeRoutingCIDR"], "10.244.0.0/16");
    assert_eq!(keys["bpf.monitorInterval"], "10s");
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate().skip(1) {
        let leaf = !line.trim_start().starts_with('#') && !line.ends_with(':');
        if leaf {
            assert!(lines[at - 1].trim_start().starts_with('#'), "no comment at {line}");
        }
    }
    assert!(text.contains("NEW NODES ONLY"));
    let old = stdout(&nettune(&["values", "--cilium", "1.13", "-"], &[node]));
    assert_eq!(keys_of(&old)["kubeProxyReplacement"], "strict");
    assert_eq!(keys_of(&old)["tunnel"], "disabled");
    assert!(
        old.contains("Left out: netkit: 1 of 1 nodes: the chart of Cilium 1.13 has no key for it")
    );
}

#[test]
fn one_node_holds_a_lever_back_for_all_and_is_named() {
    let good = report(&case("netkit-no-scrub"), WHOLE);
    let old = report(&case("netkit-old-kernel"), WHOLE);
    let mut fleet: Vec<Value> = (0..6).map(|n| named(good.clone(), &format!("good-{n}"))).collect();
    fleet.extend((0..5).map(|n| named(old.clone(), &format!("old-{n}"))));
    let text = stdout(&nettune(&["values", "--cilium", "1.18", "-"], &fleet));
    let joined = text.replace("\n#  ", " ");
    let want = "Left out: netkit: 5 of 11 nodes (old-0, old-1, old-2, and 2 more): this kernel is built \
                without netkit (kernel 6.8 has it)";
    assert!(joined.contains(want), "{joined}");
    let keys = keys_of(&text);
    assert!(!keys.contains_key("bpf.datapathMode"));
    assert_eq!(keys["bpf.masquerade"], true);
    // The rest of them are told apart for new nodes.
    let text = stdout(&nettune(&["values", "--cilium", "1.18", "--node-configs", "-"], &fleet));
    let objects: Vec<Value> = yaml_serde::Deserializer::from_str(&text)
        .map(|d| serde::Deserialize::deserialize(d).unwrap())
        .collect();
    let objects: Vec<&Value> = objects.iter().filter(|o| !o.is_null()).collect();
    assert_eq!(objects.len(), 2, "{text}");
    for object in &objects {
        assert_eq!(object["apiVersion"], "cilium.io/v2");
        assert_eq!(object["kind"], "CiliumNodeConfig");
        let labels = object["spec"]["nodeSelector"]["matchLabels"].as_object().unwrap();
        assert_eq!(labels["nettune.io/new-node"], "true");
        assert!(labels.values().all(Value::is_string), "a label is text: {labels:?}");
        assert!(object["spec"]["defaults"].as_object().unwrap().values().all(Value::is_string));
    }
    let netkit =
        |o: &Value| o["spec"]["nodeSelector"]["matchLabels"]["nettune.io/netkit.cilium"].clone();
    assert_eq!((netkit(objects[0]), netkit(objects[1])), ("can".into(), "cannot".into()));
    assert_eq!(objects[0]["spec"]["defaults"]["datapath-mode"], "netkit");
    assert!(objects[1]["spec"]["defaults"].get("datapath-mode").is_none());
}

#[test]
fn on_a_live_cluster_it_says_what_restarts_and_what_is_cut() {
    let legacy = report(&case("cilium-legacy"), WHOLE);
    let fleet: Vec<Value> = (0..3).map(|n| named(legacy.clone(), &format!("n{n}"))).collect();
    let text = stdout(&nettune(&["values", "--cilium", "1.18", "-"], &fleet)).replace("\n#  ", " ");
    assert!(text.contains("Restarts 3 agents"), "{text}");
    assert!(
        text.contains("Cuts open connections where it changes: bpf-maps bpf-masquerade"),
        "{text}"
    );
    // A live node must not become a netkit node by a helm upgrade.
    assert!(text.contains("For new nodes only, so not set here"), "{text}");
    assert!(text.contains("bpf.datapathMode=netkit"), "{text}");
    assert!(!keys_of(&text).contains_key("bpf.datapathMode"));
    let all = stdout(&nettune(&["values", "--cilium", "1.18", "--new-nodes", "-"], &fleet));
    assert_eq!(keys_of(&all)["bpf.datapathMode"], "netkit");

    let on = report(
        &case("cilium-all-on"),
        &WHOLE
            .replace("clock-probe = true", "")
            .replace("distributed-lru = true", "")
            .replace("enabled = false\nmonitor-interval = \"10s\"", "")
            .replace("socket-lb = \"host\"", ""),
    );
    let text = stdout(&nettune(&["values", "--cilium", "1.18", "-"], &[on]));
    assert!(text.contains("No agent restarts"), "{text}");
    assert_eq!(text.matches("Left out").count(), 1, "only xdp, which was not asked for: {text}");
    assert_eq!(keys_of(&text)["bpf.datapathMode"], "netkit");
}

#[test]
fn what_all_nodes_have_restarts_nobody() {
    let mut facts = case("cilium-all-on");
    let cilium = facts.agents.cilium.as_mut().unwrap();
    let Fact::Known(config) = &mut cilium.config else { panic!() };
    config.insert("bpf-map-dynamic-size-ratio".into(), "0.080".into());
    let profile = "[bpf-maps]\ndistributed-lru = true\n";
    let node = report(&facts, profile);
    let text = stdout(&nettune(&["values", "--cilium", "1.18", "-"], std::slice::from_ref(&node)));
    assert!(text.contains("No agent restarts") && !text.contains("Cuts open"), "{text}");
    assert!(text.contains("bpf.distributedLRU.enabled=true"), "{text}");
    let Fact::Known(config) = &mut facts.agents.cilium.as_mut().unwrap().config else { panic!() };
    config.insert("bpf-map-dynamic-size-ratio".into(), "0.0025".into());
    let other = named(report(&facts, profile), "other");
    let text = stdout(&nettune(&["values", "--cilium", "1.18", "-"], &[node, other]));
    assert!(text.contains("Restarts 2 agents"), "{text}");
    assert!(text.contains("Cuts open connections where it changes: bpf-maps."), "{text}");
}

#[test]
fn a_managed_cilium_gets_no_advice() {
    let mut facts = case("cilium-legacy");
    facts.agents.cilium.as_mut().unwrap().managed = Some("AKS".into());
    let text = stdout(&nettune(&["values", "-"], &[report(&facts, WHOLE)]));
    assert!(keys_of(&text).is_empty(), "{text}");
    assert!(text.contains("AKS owns the chart"), "{text}");
    let text = stdout(&nettune(&["values", "--node-configs", "-"], &[report(&facts, WHOLE)]));
    assert!(!text.contains("CiliumNodeConfig\n"), "{text}");
}

#[test]
fn nodes_that_want_different_things_agree_on_nothing_there() {
    let one = report(&case("netkit-no-scrub"), WHOLE);
    let other =
        report(&case("netkit-no-scrub"), &WHOLE.replace("[dsr]", "[dsr]\nmode = \"hybrid\""));
    let text = stdout(&nettune(&["values", "-"], &[named(one, "a"), named(other, "b")]));
    assert!(!keys_of(&text).contains_key("loadBalancer.mode"), "{text}");
    let text = text.replace("\n#  ", " ");
    assert!(
        text.contains("nodes ask for different loadBalancer.mode: dsr (1), hybrid (1)"),
        "{text}"
    );
}

#[test]
fn the_command_line_is_one_for_a_shell() {
    let node = report(&case("netkit-no-scrub"), WHOLE);
    let text = stdout(&nettune(&["values", "--cilium", "1.18", "--command", "-"], &[node]));
    let (comments, command) = text.split_once("helm upgrade").unwrap();
    assert!(comments.lines().all(|l| l.starts_with('#')));
    assert!(command.contains("--reuse-values") && command.contains("--version 1.18.x"));
    assert!(command.contains("--set routingMode=native"));
    assert_eq!(command.lines().filter(|l| !l.ends_with('\\')).count(), 1, "{command}");
}

#[test]
fn files_and_folders() {
    let dir = tempdir();
    let node = report(&case("netkit-no-scrub"), WHOLE);
    for n in 0..3 {
        let node = named(node.clone(), &format!("n{n}"));
        std::fs::write(dir.path().join(format!("{n}.json")), node.to_string()).unwrap();
    }
    std::fs::write(dir.path().join("README"), "not a report").unwrap();
    let folder = dir.path().to_str().unwrap();
    let one = dir.path().join("0.json");
    let text = stdout(&run(&["values", folder, one.to_str().unwrap()], b""));
    assert!(text.contains("all 4 nodes"), "{text}");
    assert!(text.contains("1 reports of a node given before, e.g. n0"), "{text}");
    std::fs::write(dir.path().join("3.json"), "{\"torn\":").unwrap();
    let output = run(&["values", folder], b"");
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("3.json is no report"));
}

/// The value of a label, by the rule of Kubernetes.
fn is_label(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| ends(c) || "-_.".contains(c);
    text.len() <= 63 && text.starts_with(ends) && text.ends_with(ends) && text.chars().all(inner)
}

#[test]
fn labels_for_node_feature_discovery() {
    let dir = tempdir();
    let file = dir.path().join("nettune");
    std::fs::write(&file, "the old one, which is longer than it should be\n".repeat(200)).unwrap();
    let nettune =
        |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_nettune")).args(args).output().unwrap();
    let path = file.to_str().unwrap();
    let output = nettune(&["check", "-p", "cilium-max", "--format", "nfd", "--output", path]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty());
    let text = std::fs::read_to_string(&file).unwrap();
    let labels: BTreeMap<&str, &str> = text.lines().map(|l| l.split_once('=').unwrap()).collect();
    for tweak in nettune::tweaks::TWEAKS {
        assert!(
            labels.contains_key(format!("nettune.io/{}", tweak.name).as_str()),
            "{}",
            tweak.name
        );
    }
    assert_eq!(labels["nettune.io/profile"], "cilium-max");
    for (label, value) in &labels {
        let (prefix, name) = label.split_once('/').unwrap();
        assert!(prefix == "nettune.io" && is_label(name) && is_label(value), "{label}={value}");
    }
    for lever in ["netkit", "bpf-masquerade", "big-tcp"] {
        let can = labels[format!("nettune.io/{lever}.cilium").as_str()];
        assert!(["can", "cannot", "unknown", "unwanted"].contains(&can), "{lever} {can}");
    }
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["nettune"], "nothing is left beside it");
    let missing = dir.path().join("no/such/folder");
    let output = nettune(&["check", "--format", "nfd", "--output", missing.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    for usage in [
        &["plan", "--format", "nfd"][..],
        &["check", "--format", "prometheus"],
        &["check", "--output", path],
        &["status", "--json", "--output", path],
    ] {
        assert_eq!(nettune(usage).status.code(), Some(2), "{usage:?}");
    }
}

#[test]
fn metrics_for_node_exporter() {
    let dir = tempdir();
    let file = dir.path().join("nettune.prom");
    let output = Command::new(env!("CARGO_BIN_EXE_nettune"))
        .arg("--state-dir")
        .arg(dir.path().join("state"))
        .args(["status", "--format", "prometheus", "--output"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.ends_with('\n') && text.contains("\nnettune_applied 0\n"), "{text}");
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("nettune_") && value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn a_mixed_fleet_takes_auto_where_the_chart_knows_it() {
    let good = named(report(&case("netkit-no-scrub"), WHOLE), "good");
    let old = named(report(&case("netkit-old-kernel"), WHOLE), "old");
    let values = |version: &str, fleet: &[Value]| {
        stdout(&nettune(&["values", "--cilium", version, "--new-nodes", "-"], fleet))
    };
    let fleet = [good.clone(), old];
    assert_eq!(keys_of(&values("1.20", &fleet))["bpf.datapathMode"], "auto");
    assert!(!keys_of(&values("1.19", &fleet)).contains_key("bpf.datapathMode"));
    // All can: what was asked for. One does not want it: nothing.
    assert_eq!(keys_of(&values("1.20", std::slice::from_ref(&good)))["bpf.datapathMode"], "netkit");
    let without = WHOLE.replace("[netkit]\n", "");
    let not = named(report(&case("netkit-no-scrub"), &without), "not");
    assert!(!keys_of(&values("1.20", &[good, not])).contains_key("bpf.datapathMode"));
}

/// Of one cluster two nodes cannot have two networks: what differs is each node's own.
#[test]
fn networks_of_nodes_are_not_asked_of_the_cluster() {
    let of = |name: &str, cidr: &str| {
        let mut report = named(report(&case("cilium-all-on"), WHOLE), name);
        let tweaks = report["tweaks"].as_array_mut().unwrap();
        let row = tweaks.iter_mut().find(|t| t["name"] == "native-routing").unwrap();
        let advice = row["advice"].as_array_mut().unwrap();
        let key = advice.iter_mut().find(|a| a["key"] == "ipv4NativeRoutingCIDR").unwrap();
        key["value"] = cidr.into();
        report
    };
    let fleet = [of("a", "10.0.1.0/24"), of("b", "10.0.2.0/24")];
    let text = stdout(&nettune(&["values", "--cilium", "1.18", "-"], &fleet)).replace("\n#  ", " ");
    assert!(text.contains("each node reports a network of its own"), "{text}");
    assert!(!text.contains("ask for different"), "{text}");
}

/// Nobody is upgraded by the way, and who runs what is said.
#[test]
fn values_are_for_what_the_agents_run() {
    let of = |name: &str, version: &str| {
        let mut facts = case("cilium-all-on");
        facts.agents.cilium.as_mut().unwrap().version = Some(version.into());
        named(report(&facts, WHOLE), name)
    };
    let fleet = [of("a", "1.19.2"), of("b", "1.18.2")];
    let text = stdout(&nettune(&["values", "-"], &fleet)).replace("\n#  ", " ");
    assert!(text.contains("Helm values for Cilium 1.18.2"), "{text}");
    assert!(text.contains("The agents run Cilium 1.18.2 (1), 1.19.2 (1)"), "{text}");
    let line = stdout(&nettune(&["values", "--command", "-"], &fleet[1..]));
    assert!(line.contains("--version 1.18.2"), "{line}");
    let text = stdout(&nettune(&["values", "--cilium", "1.20", "-"], &fleet[1..]));
    assert!(text.replace("\n#  ", " ").contains("The agents run Cilium 1.18.2 (1)"), "{text}");
    let text = stdout(&nettune(&["values", "-"], &[of("a", "1.19.2"), of("b", "1.19.4")]));
    assert!(!text.contains("The agents run"), "one minor is one chart: {text}");
}
