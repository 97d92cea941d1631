//! What may be done here: a chroot, a container or an ordinary user is refused namespaces and mounts,
//! and a test that cannot do without them says so instead of failing.
#![allow(dead_code, reason = "each test file uses its part")]

use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// With NETTUNE_TEST_ALL=1, as in CI, a skip is a failure.
pub fn skip(why: &str) {
    if std::env::var("NETTUNE_TEST_ALL").is_ok_and(|v| v == "1") {
        panic!("skipped: {why}");
    }
    eprintln!("skipped: {why}");
}

pub fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What the tests in namespaces use.
const TOOLS: [&str; 7] = ["unshare", "ip", "tc", "nft", "ethtool", "sysctl", "ping"];

/// What they begin with.
const BEGINNING: &str = "mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; ip netns add probe
    ip link add probe0 type veth peer name probe1";

/// `unshare` into a network and a mount namespace, of an ordinary user into one of users as well; or
/// why that cannot be.
pub fn namespaces() -> Result<Command, String> {
    let missing = |tool: &&&str| {
        let command = format!("command -v {tool}");
        !Command::new("sh").args(["-c", &command]).output().is_ok_and(|o| o.status.success())
    };
    if let Some(tool) = TOOLS.iter().find(missing) {
        return Err(format!("{tool} is not installed"));
    }
    unshared(if root() { "-nm" } else { "-Urnm" }, BEGINNING)
}

/// `unshare` with these options, if these commands of the shell go well in it; or what it says.
pub fn unshared(options: &str, commands: &str) -> Result<Command, String> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg(options);
        command
    };
    let output = unshare().args(["sh", "-ec", commands]).env("LC_ALL", "C").output();
    let output = output.map_err(|e| format!("unshare: {e}"))?;
    if output.status.success() {
        return Ok(unshare());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("unshare {options} is refused here: {}", said.trim().replace('\n', "; ")))
}

/// Runs `test` on a thread of its own, in a network and a mount namespace that end with it, with
/// these mounted anew: pairs of a file system and its place.
pub fn in_namespace(mounts: &'static [(&str, &str)], test: impl FnOnce() + Send + 'static) {
    if !root() {
        return skip("entering a namespace from a thread takes root");
    }
    if let Err(why) = namespaces() {
        return skip(&why);
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        for (kind, place) in mounts {
            mount(Some(*kind), *place, Some(*kind), MsFlags::empty(), none).unwrap();
        }
        test();
    });
    thread.join().unwrap();
}
