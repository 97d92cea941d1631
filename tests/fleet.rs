//! `nettune cilium values` and `diff`: from the reports of nodes to a values file for every version of
//! the chart, from a configuration to what contradicts; and reports that are no friend's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

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

/// A report is input from elsewhere: it can hold a lever back, and that is all.
#[test]
fn hostile_reports() {
    let good = report(&case("netkit-no-scrub"), WHOLE);
    let mut evil = named(good.clone(), "a\n- b: $(id)\u{1b}[31m`x`");
    for tweak in evil["tweaks"].as_array_mut().unwrap() {
        for advice in tweak["advice"].as_array_mut().unwrap() {
            advice["value"] = "x\nextraArgs: [\"--bad\"] # $(id) '".into();
        }
        if tweak["name"] == "dsr" {
            tweak["cluster"]["status"] = "blocked".into();
            tweak["cluster"]["reasons"] = serde_json::json!([
                {"code": "x", "text": format!("y\n\nevil: true\n{}", "long ".repeat(10_000)), "fix": null}
            ]);
            tweak["advice"] = serde_json::json!([
                {"key": "extraConfig.x", "value": "1", "cilium": ">=1.13"},
                {"key": "routingMode", "value": "native", "cilium": ">=0.1"}
            ]);
        }
    }
    let fleet = [named(good, "good"), evil];
    for form in
        [&["values", "-"][..], &["values", "--command", "-"], &["values", "--node-configs", "-"]]
    {
        let text = stdout(&nettune(form, &fleet));
        assert!(text.len() < 20_000, "{}", text.len());
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'));
        for line in
            text.lines().filter(|l| l.contains("evil") || l.contains("$(id)") || l.contains("bad"))
        {
            assert!(line.trim_start().starts_with('#'), "{line:?}");
        }
    }
    let yaml = stdout(&nettune(&["values", "-"], &fleet));
    let keys = keys_of(&yaml);
    assert!(!keys.contains_key("extraConfig.x") && !keys.contains_key("loadBalancer.mode"));
    assert!(yaml.contains("values were refused"), "{yaml}");
    for bad in [
        "",
        "{",
        "[]",
        "null",
        "{\"schema\":1}",
        "not json",
        "{\"schema\":2,\"command\":\"check\",\"node\":{\"name\":\"x\"}}",
        "{\"schema\":1,\"command\":\"status\",\"node\":{\"name\":\"x\"}}",
        "{\"schema\":1,\"command\":\"check\",\"node\":{\"name\":7}}",
    ] {
        let output = run(&["values", "-"], bad.as_bytes());
        assert_eq!(output.status.code(), Some(78), "{bad}");
        assert!(output.stdout.is_empty(), "{bad}");
    }
    let deep = format!("{{\"schema\":1,\"command\":\"check\",\"x\":{}", "[".repeat(200_000));
    assert_eq!(run(&["values", "-"], deep.as_bytes()).status.code(), Some(78));
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

fn diff(config: &str, reports: &[Value], args: &[&str]) -> (i32, String) {
    let dir = tempdir();
    let (map, nodes) = (dir.path().join("cm.yaml"), dir.path().join("nodes.json"));
    std::fs::write(&map, config).unwrap();
    let text: String = reports.iter().map(|r| r.to_string() + "\n").collect();
    std::fs::write(&nodes, text).unwrap();
    let (map, nodes) = (map.to_str().unwrap(), nodes.to_str().unwrap());
    let all = [&["diff", "--config", map, nodes], args].concat();
    let output = run(&all, b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), text + &String::from_utf8_lossy(&output.stderr))
}

const LEVERS: &str = "[native-routing]\ncidr = \"10.244.0.0/16\"\n[kube-proxy-replacement]\n\
    [bpf-masquerade]\n[dsr]\nfabric = true\n[bandwidth-manager]\n[bbr]\n[big-tcp]\n[netkit]\n";

const AS_WANTED: &str = "apiVersion: v1\nkind: ConfigMap\ndata:\n  routing-mode: native\n  \
    ipv4-native-routing-cidr: 10.244.0.0/16\n  kube-proxy-replacement: \"true\"\n  \
    enable-ipv4: \"true\"\n  enable-ipv6: \"true\"\n  enable-ipv4-masquerade: \"true\"\n  \
    enable-bpf-masquerade: \"true\"\n  bpf-lb-mode: dsr\n  bpf-lb-dsr-dispatch: opt\n  \
    enable-bandwidth-manager: \"true\"\n  enable-bbr: \"true\"\n  enable-ipv4-big-tcp: \"true\"\n  \
    enable-ipv6-big-tcp: \"true\"\n  datapath-mode: netkit\n";

#[test]
fn a_configuration_as_wanted_is_the_same() {
    let on = report(&case("cilium-all-on"), LEVERS);
    let (exit, text) = diff(AS_WANTED, &[on], &[]);
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("SET") && !text.contains("MISSING"), "{text}");
}

#[test]
fn what_is_missing_and_what_contradicts_is_told_with_its_consequence() {
    let on = report(&case("cilium-all-on"), LEVERS);
    let off = AS_WANTED
        .replace("enable-bandwidth-manager: \"true\"", "enable-bandwidth-manager: \"false\"");
    let (exit, text) = diff(&off, std::slice::from_ref(&on), &["--json"]);
    assert_eq!(exit, 4, "{text}");
    let json: Value = serde_json::from_str(&text).unwrap();
    let finding = |code: &str| {
        let all = json["findings"].as_array().unwrap();
        all.iter().find(|f| f["code"] == code).unwrap_or_else(|| panic!("{code}: {text}")).clone()
    };
    assert_eq!(finding("bandwidth-manager")["kind"], "missing");
    assert_eq!(finding("bandwidth-manager")["keys"][0]["now"], "false");
    assert_eq!(finding("bbr-without-bandwidth-manager")["kind"], "contradictory");
    assert_eq!(json["cilium"], "1.18.4", "the agents' version");
    let geneve = AS_WANTED.replace("dsr-dispatch: opt", "dsr-dispatch: geneve");
    let (exit, text) = diff(&geneve, &[on], &[]);
    assert_eq!(exit, 4);
    assert!(
        text.contains("dsr-dispatch-big-tcp") && text.contains("dsr-geneve-protocol"),
        "{text}"
    );
}

#[test]
fn what_some_nodes_cannot_is_a_contradiction() {
    let good = named(report(&case("cilium-all-on"), LEVERS), "good");
    let mut facts = case("cilium-all-on");
    facts.links[0].sizes.tso_max = Some(65536);
    let live = &mut facts.agents.cilium.as_mut().unwrap().live;
    (live.big_tcp_v4, live.big_tcp_v6) = (Some(65536), Some(65536));
    let small = named(report(&facts, LEVERS), "small");
    let (exit, text) = diff(AS_WANTED, &[good, small], &[]);
    assert_eq!(exit, 4);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("nodes-big-tcp"), "{text}");
    assert!(
        text.contains("1 of 2 nodes cannot, e.g. small: eth0 (mlx5_core) has tso_max_size 65536"),
        "{text}"
    );
}

#[test]
fn a_bad_configuration_is_78() {
    let on = report(&case("cilium-all-on"), LEVERS);
    for bad in ["", "kind: Pod\nspec: {}\n", "data: [\n", "kind: ConfigMap\ndata:\n  other: x\n"] {
        let (exit, text) = diff(bad, std::slice::from_ref(&on), &[]);
        assert_eq!(exit, 78, "{bad}: {text}");
    }
    let bomb = format!("a: &a [{}]\ndata: [*a, *a]\n", "x,".repeat(3_000_000));
    assert_eq!(diff(&bomb, &[on], &[]).0, 78);
    assert_eq!(run(&["diff", "--config", "/nonexistent"], b"").status.code(), Some(78));
    assert_eq!(run(&["diff", "--config", "-", "-"], b"").status.code(), Some(2));
    // Here no Cilium runs, so there is no configuration either.
    assert_eq!(run(&["diff"], b"").status.code(), Some(78));
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

mod any_report {
    use nettune::cilium::fleet::{Fleet, Known};
    use nettune::cilium::report::Report;
    use nettune::cilium::version::Version;
    use nettune::cilium::{configmap, render, values};
    use proptest::prelude::*;
    use serde_json::json;

    const LEVERS: [&str; 4] = ["dsr", "netkit", "bpf-maps", "kube-proxy-replacement"];
    const KEYS: [(&str, &str); 5] = [
        ("loadBalancer.mode", ">=1.13"),
        ("bpf.datapathMode", ">=1.16"),
        ("bpf.mapDynamicSizeRatio", ">=1.13"),
        ("kubeProxyReplacement", ">=1.14"),
        ("made.up", ">=1.13"),
    ];

    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            "(native|true|0.5|-x|a: b|'|#|\\[|\\*a|&a|!!x|no|1e9|~)",
            any::<String>(),
            "[a-z]{0,80}"
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Whatever a report says, what is printed is YAML, one command and no control characters.
        #[test]
        fn prints_only_what_is_yaml(
            nodes in prop::collection::vec((word(), 0usize..4, word(), word(), 0usize..5, word()), 1..6),
        ) {
            let version = Version::parse("1.18").unwrap();
            let mut fleet = Fleet::new(version, LEVERS.iter().map(|l| Known { name: l, stands_on: &[], keys: &[] }).collect());
            for (name, lever, status, reason, key, value) in &nodes {
                let status = if status.len() % 2 == 0 { "cilium" } else { status.as_str() };
                let tweaks: Vec<_> = LEVERS.iter().map(|l| {
                    let odd = *l == LEVERS[*lever];
                    json!({
                        "name": l,
                        "status": "cilium",
                        "advice": [{"key": KEYS[*key].0, "value": value, "cilium": KEYS[*key].1}],
                        "cluster": {
                            "status": if odd { status } else { "cilium" },
                            "reasons": [{"code": reason, "text": reason}],
                        },
                    })
                }).collect();
                let text = json!({
                    "schema": 1, "command": "check", "node": {"name": name, "cilium": value}, "tweaks": tweaks,
                }).to_string();
                let report: Report = serde_json::from_str(&text).unwrap();
                fleet.add(&report).unwrap();
            }
            for all in [true, false] {
                let values = values::values(&fleet, all);
                let yaml = render::yaml(&values, "test").unwrap();
                let parsed: serde_json::Value = yaml_serde::from_str(&yaml).unwrap();
                prop_assert!(parsed.is_object(), "{yaml}");
                let command = render::command(&values, version);
                let configs = render::node_configs(&values.node_groups, version).unwrap();
                for text in [&yaml, &command, &configs] {
                    prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
                }
                let commands = command.lines().filter(|l| !l.starts_with('#') && !l.ends_with('\\'));
                prop_assert_eq!(commands.count(), 1, "{}", command);
                for document in yaml_serde::Deserializer::from_str(&configs) {
                    let _: serde_json::Value = serde::Deserialize::deserialize(document).unwrap();
                }
            }
        }

        #[test]
        fn a_configuration_of_anything_is_an_error_or_a_map(text in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = configmap::parse(&text);
        }
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

#[test]
fn auto_is_as_good_as_netkit() {
    let mut facts = case("cilium-all-on");
    facts.agents.cilium.as_mut().unwrap().version = Some("1.20.1".into());
    let on = report(&facts, LEVERS);
    let auto = AS_WANTED.replace("datapath-mode: netkit", "datapath-mode: auto");
    let (exit, text) = diff(&auto, std::slice::from_ref(&on), &[]);
    assert_eq!(exit, 0, "{text}");
    let (exit, text) = diff(&auto, &[on], &["--cilium", "1.19"]);
    assert!(exit == 4 && text.contains("datapath-mode: auto -> netkit"), "{text}");
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

#[test]
fn what_a_chart_renders_is_read_whole() {
    let on = report(&case("cilium-all-on"), LEVERS);
    let map = AS_WANTED
        .replace("kind: ConfigMap\n", "kind: ConfigMap\nmetadata: {name: cilium-config}\n");
    for text in [
        format!("---\n# Source\n{AS_WANTED}---\n"),
        format!("{AS_WANTED}\n---\n---\n"),
        format!(
            "---\nkind: Secret\nmetadata: {{name: cilium-config}}\n---\n{map}---\nkind: Role\n"
        ),
        format!("kind: ConfigMap\nmetadata: {{name: other}}\ndata: {{tunnel: a}}\n---\n{map}"),
    ] {
        let (exit, out) = diff(&text, std::slice::from_ref(&on), &[]);
        assert_eq!(exit, 0, "{text}: {out}");
    }
    for text in ["---\n---\n", "---\nkind: A\n---\nkind: B\n"] {
        assert_eq!(diff(text, std::slice::from_ref(&on), &[]).0, 78, "{text}");
    }
}

#[test]
fn geneve_and_big_tcp_by_version() {
    let on = report(&case("cilium-all-on"), LEVERS);
    let contradicts = |version: &str, mode: &str, dispatch: &str| {
        let map = AS_WANTED
            .replace("bpf-lb-mode: dsr", &format!("bpf-lb-mode: {mode}\n  tunnel-protocol: geneve"))
            .replace("dsr-dispatch: opt", &format!("dsr-dispatch: {dispatch}"));
        let (_, text) = diff(&map, std::slice::from_ref(&on), &["--cilium", version]);
        assert!(!text.contains("does not start"), "one that runs goes on: {text}");
        text.contains("dsr-dispatch-big-tcp")
    };
    assert!(contradicts("1.20", "dsr", "geneve") && contradicts("1.20", "snat", "geneve"));
    assert!(!contradicts("1.21", "dsr", "geneve"), "by what the kernel can: each node says");
    assert!(contradicts("1.21", "dsr", "ipip") && !contradicts("1.20", "dsr", "opt"));
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

/// Who could not be asked is no node that cannot.
#[test]
fn an_open_verdict_is_no_contradiction_and_makes_no_mixed_fleet() {
    let on = named(report(&case("cilium-all-on"), LEVERS), "on");
    let mut facts = case("cilium-all-on");
    facts.agents.cilium.as_mut().unwrap().starting = true;
    let starting = named(report(&facts, LEVERS), "starting");
    let (_, text) = diff(AS_WANTED, &[on.clone(), starting], &[]);
    assert!(!text.contains("cannot"), "{text}");
    let mut open = named(report(&case("netkit-no-scrub"), WHOLE), "open");
    let rows = open["tweaks"].as_array_mut().unwrap();
    let netkit = rows.iter_mut().find(|t| t["name"] == "netkit").unwrap();
    netkit["cluster"]["status"] = "unknown".into();
    let good = named(report(&case("netkit-no-scrub"), WHOLE), "good");
    let args = ["values", "--cilium", "1.20", "--new-nodes", "-"];
    let text = stdout(&nettune(&args, &[good.clone(), open]));
    assert!(!keys_of(&text).contains_key("bpf.datapathMode"), "{text}");
    // Those that cannot are named beside what suits all.
    let old = named(report(&case("netkit-old-kernel"), WHOLE), "old");
    let text = stdout(&nettune(&args, &[good, old])).replace("\n#  ", " ");
    assert!(text.contains("Not had by all: netkit: 1 of 2 nodes (old)"), "{text}");
}

#[test]
fn netkit_on_a_mixed_fleet_is_a_contradiction_also_where_auto_is_known() {
    let good = named(report(&case("netkit-no-scrub"), LEVERS), "good");
    let old = named(report(&case("netkit-old-kernel"), LEVERS), "old");
    for version in ["1.19", "1.20"] {
        let (exit, text) = diff(AS_WANTED, &[good.clone(), old.clone()], &["--cilium", version]);
        assert!(exit == 4 && text.contains("nodes-netkit"), "{version}: {text}");
    }
    let on = report(&case("cilium-all-on"), LEVERS);
    let l2 = AS_WANTED.replace("datapath-mode: netkit", "datapath-mode: netkit-l2");
    assert_eq!(diff(&l2, &[on], &[]).0, 0, "its L2 kind gains the same");
}

#[test]
fn a_map_is_read_as_the_agent_reads_it() {
    let on = report(&case("cilium-all-on"), LEVERS);
    let reads = |text: &str| diff(text, std::slice::from_ref(&on), &[]).0;
    let map = |namespace: &str, mode: &str| {
        let meta = format!("metadata: {{name: cilium-config, namespace: {namespace}}}");
        AS_WANTED
            .replace("kind: ConfigMap\n", &format!("kind: ConfigMap\n{meta}\n"))
            .replace("routing-mode: native", &format!("routing-mode: {mode}"))
    };
    let words = AS_WANTED.replace("enable-bbr: \"true\"", "enable-bbr: \"True\"");
    assert_eq!(reads(&words), 0);
    assert_eq!(reads(&AS_WANTED.replace("routing-mode: native", "routing-mode: \"native\\n\"")), 0);
    assert_eq!(reads("kind: Secret\ndata: {routing-mode: bmF0aXZl}\n"), 78);
    let (backup, right) = (map("backup", "tunnel"), map("kube-system", "native"));
    assert_eq!(reads(&format!("{backup}---\n{right}")), 0, "that of kube-system");
    assert_eq!(reads(&format!("{backup}---\n{}", map("other", "native"))), 78, "which one?");
    let app = "kind: Application\nmetadata: {name: cilium-config}\nspec: {}\n";
    assert_eq!(reads(&format!("{app}---\n{right}")), 0);
    let object: Value = yaml_serde::from_str(&right).unwrap();
    assert_eq!(reads(&serde_json::json!([{"kind": "A"}, object]).to_string()), 0);
}
