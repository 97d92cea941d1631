//! In a container --confirm is refused: its watchdog would die with it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

#[path = "support/here.rs"]
mod here;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use here::skip;

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
    let nettune = env!("CARGO_BIN_EXE_nettune");
    let apply = |mut command: Command, host: &str| {
        let (state, run) = (format!("{here}/state"), format!("{here}/run"));
        command.args(["--host", host, "--state-dir", &state, "--run-dir", &run]);
        let output = command.args(["apply", "-p", &profile, "--confirm", "5"]).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), said)
    };
    let mount = format!("{here}/host");
    std::os::unix::fs::symlink("/", &mount).unwrap();
    // A pid namespace that is not the node's, and the node seen through a mount.
    let namespace = here::unshared("-pf", "true").map(|mut command| {
        command.arg(nettune);
        command
    });
    for (command, host) in [(namespace, "/"), (Ok(Command::new(nettune)), &mount)] {
        let (code, said) = match command {
            Ok(command) => apply(command, host),
            Err(why) => {
                skip(&why);
                continue;
            }
        };
        if !first {
            assert!(said.contains("there is nothing to confirm"), "{said}");
            continue;
        }
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("--confirm is refused in a container"), "{said}");
        assert!(!dir.path().join("run").exists(), "{said}");
    }
}
