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
        &["confirm"],
        &["journal"],
        &["journal", "repair"],
        &["verify"],
        &["rollback", "--dry-run"],
        &["log"],
        &["log", "nosuch"],
        &["show", "cilium-max"],
        &["explain", "mtu"],
        &["explain", "persist"],
        &["list", "profiles"],
        &["list", "tweaks"],
        &["cilium", "values"],
        &["cilium", "diff", "--config", "tests/cilium/config-legacy.yaml"],
        &["cilium", "diff"],
        &["check", "-p", "nosuch"],
        &["check", "--deep", "--link", "nosuch", "--accept", "link-reset"],
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
        let command = json["command"].as_str().unwrap();
        assert!(args.join(" ").starts_with(command), "{args:?}: {command}");
        assert_eq!(text.lines().count(), 1, "{args:?}");
    }
}

#[test]
fn status_shows_what_waits_for_a_confirmation() {
    let schema: serde_json::Value = serde_json::from_slice(&nettune(&["schema"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let mut pending = serde_json::json!({
        "schema": 1, "run": "2026-01-01T00:00:00Z", "verb": "apply", "profile": "cilium-max",
        "profile_before": null, "plan_id": "0badcafe", "boot": boot.trim(), "deadline": u64::MAX,
        "seconds": 60, "probes": [{"reach": "icmp:10.0.0.1", "full": true}], "watchdog": {"unit": "u"},
        "maker": {"pid": 1, "start": 1}, "host": "/", "state_dir": "/nowhere"
    });
    let status = |pending: &serde_json::Value| {
        std::fs::write(dir.path().join("pending.json"), pending.to_string()).unwrap();
        let output = nettune(&["status", "--json", "--run-dir", dir.path().to_str().unwrap()]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        (json["confirm"].clone(), output.status.code().unwrap())
    };
    let (confirm, exit) = status(&pending);
    assert_eq!((exit, &confirm["probes"][0]), (0, &"icmp:10.0.0.1".into()), "{confirm}");
    assert!(confirm["seconds_left"].as_u64().unwrap() > 0, "{confirm}");
    pending["ended"] = serde_json::json!({"why": "w", "time": "t", "notes": ["n"]});
    let (confirm, exit) = status(&pending);
    assert_eq!((exit, &confirm["ended"]["why"]), (3, &"w".into()), "{confirm}");
    pending["boot"] = "another".into();
    assert_eq!(status(&pending), (serde_json::Value::Null, 3));
}

#[test]
fn a_damaged_journal_is_told_as_unknown() {
    let schema: serde_json::Value = serde_json::from_slice(&nettune(&["schema"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let line = r#"{"schema":1,"type":"begin","verb":"apply","changes":[{"resource":"mtu:e1","before":1}]}"#;
    let path = dir.path().join("journal.jsonl");
    std::fs::write(&path, format!("{line}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).unwrap();
    let ask = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nettune"));
        command.arg("--json").arg("--state-dir").arg(dir.path()).args(args);
        let output = command.output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{args:?}: {errors:?}");
        assert_eq!(json["exit"], output.status.code().unwrap(), "{args:?}");
        json
    };
    let json = ask(&["journal"]);
    assert_eq!((json["exit"].as_u64(), json["written"].as_bool()), (Some(78), Some(false)));
    let lost = &json["lost"][0];
    assert_eq!((lost["line"].as_u64(), lost["verb"].as_str()), (Some(1), Some("apply")), "{lost}");
    assert_eq!(lost["resources"], serde_json::json!([{"resource": "mtu:e1"}]), "{lost}");
    for args in [&["status"][..], &["check"], &["plan"]] {
        let json = ask(args);
        let why = json["applied"]["unknown"].as_str().unwrap();
        assert!(why.contains("journal.jsonl:1 cannot be read"), "{args:?}: {why}");
        assert_eq!(json["exit"], if args[0] == "status" { 78 } else { 0 }, "{args:?}");
    }
    assert_eq!(ask(&["verify"])["exit"], 78);
}

#[test]
fn the_whole_map_is_in_check() {
    let json: serde_json::Value =
        serde_json::from_slice(&nettune(&["check", "--json"]).stdout).unwrap();
    let names: Vec<&str> =
        json["tweaks"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    let all: Vec<&str> = nettune::tweaks::TWEAKS.iter().map(|t| t.name).collect();
    assert_eq!(names, all);
    let later = |t: &&serde_json::Value| t["status"] == "later";
    assert_eq!(json["tweaks"].as_array().unwrap().iter().find(later), None);
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
