//! Reports that are no friend's, and what is made of any of them.

use super::*;

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
