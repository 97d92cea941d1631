//! In a container --confirm is refused: its watchdog would die with it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn skip(why: &str) {
    if std::env::var("NETTUNE_TEST_ALL").is_ok_and(|v| v == "1") {
        panic!("skipped: {why}");
    }
    eprintln!("skipped: {why}");
}

#[test]
fn what_cannot_be_taken_back_from_outside_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return skip("apply takes root");
    }
    // A container in a network namespace of its own can cut off only itself: nothing is refused.
    let first = std::path::Path::new("/proc/sys/net/core/default_qdisc").exists();
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    std::fs::set_permissions(here, std::fs::Permissions::from_mode(0o700)).unwrap();
    // A profile that wants nothing: whatever becomes of the refusal, nothing of this machine is set.
    let profile = format!("{here}/p.toml");
    std::fs::write(&profile, "").unwrap();
    std::fs::set_permissions(&profile, std::fs::Permissions::from_mode(0o600)).unwrap();
    let apply = |before: &[&str], host: &str| {
        let mut words: Vec<&str> = before.to_vec();
        words.push(env!("CARGO_BIN_EXE_nettune"));
        let (state, run) = (format!("{here}/state"), format!("{here}/run"));
        words.extend(["--host", host, "--state-dir", &state, "--run-dir", &run]);
        words.extend(["apply", "-p", &profile, "--confirm", "5"]);
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), said)
    };
    let mount = format!("{here}/host");
    std::os::unix::fs::symlink("/", &mount).unwrap();
    // A pid namespace that is not the node's, and the node seen through a mount.
    for (before, host) in [(&["unshare", "-pf"][..], "/"), (&[], &mount)] {
        let (code, said) = apply(before, host);
        if !first {
            assert!(said.contains("there is nothing to confirm"), "{said}");
            continue;
        }
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("--confirm is refused in a container"), "{said}");
        assert!(!dir.path().join("run").exists(), "{said}");
    }
}
