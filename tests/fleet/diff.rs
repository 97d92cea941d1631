//! `nettune cilium diff`: a configuration against what the nodes and the profile say.

use super::*;

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
