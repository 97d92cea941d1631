//! What --json prints is what `nettune schema` says, for every verb that has a result.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::process::{Command, Output};

fn nettune(args: &[&str]) -> Output {
    let state = std::env::temp_dir().join("nettune-test-no-such-state");
    Command::new(env!("CARGO_BIN_EXE_nettune"))
        .arg("--state-dir")
        .arg(state)
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn every_verb_prints_what_the_schema_says() {
    let schema: serde_json::Value = serde_json::from_slice(&nettune(&["schema"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for args in [
        &["check", "-p", "cilium-max"][..],
        &["check", "-p", "network-latency", "--strict"],
        &["plan", "-p", "network-throughput"],
        &["facts"],
        &["status"],
        &["verify"],
        &["rollback", "--dry-run"],
        &["show", "cilium-max"],
        &["explain", "mtu"],
        &["list", "profiles"],
        &["list", "tweaks"],
        &["check", "-p", "nosuch"],
    ] {
        let mut all = args.to_vec();
        all.push("--json");
        let output = nettune(&all);
        let text = String::from_utf8_lossy(&output.stdout);
        let json: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}"));
        let errors: Vec<String> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{args:?}: {errors:?}");
        assert_eq!(json["exit"], output.status.code().unwrap(), "{args:?}");
        assert_eq!(json["command"], args[0], "{args:?}");
        assert_eq!(text.lines().count(), 1, "{args:?}");
    }
}

#[test]
fn the_whole_map_is_in_check() {
    let json: serde_json::Value =
        serde_json::from_slice(&nettune(&["check", "--json"]).stdout).unwrap();
    let names: Vec<&str> =
        json["tweaks"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    let all: Vec<&str> = nettune::tweaks::TWEAKS.iter().map(|t| t.name).collect();
    assert_eq!(names, all);
    let later = json["tweaks"].as_array().unwrap().iter().find(|t| t["name"] == "xdp").unwrap();
    assert_eq!(later["status"], "later");
}

#[test]
fn facts_read_back_as_facts() {
    let json: serde_json::Value =
        serde_json::from_slice(&nettune(&["facts", "--json"]).stdout).unwrap();
    let facts: nettune::model::Facts = serde_json::from_value(json["facts"].clone()).unwrap();
    assert!(!facts.links.is_empty() && !facts.kernel.release.is_empty());
    assert_eq!(serde_json::to_value(&facts).unwrap(), json["facts"]);
}

#[test]
fn the_same_plan_has_the_same_id() {
    let id = |args: &[&str]| {
        let json: serde_json::Value = serde_json::from_slice(&nettune(args).stdout).unwrap();
        json["plan_id"].as_str().unwrap().to_string()
    };
    let cilium = id(&["check", "-p", "cilium-max", "--json"]);
    assert_eq!(cilium, id(&["plan", "-p", "cilium-max", "--json"]));
    assert_ne!(cilium, id(&["check", "-p", "network-latency", "--json"]));
}

#[test]
fn man_and_completions_are_generated() {
    let man = String::from_utf8(nettune(&["man"]).stdout).unwrap();
    assert!(man.contains("rollback") && man.contains("SYNOPSIS"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(!nettune(&["completions", shell]).stdout.is_empty(), "{shell}");
    }
}
