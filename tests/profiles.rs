//! Where profiles come from, who may write them, and what a value's origin is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

#[path = "support/here.rs"]
mod here;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nettune::engine::{Exit, Refusal};
use nettune::profile::{Finder, Profile};

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
}

fn refused(result: anyhow::Result<Profile>, said: &str) {
    let error = result.err().unwrap();
    assert_eq!(error.downcast_ref::<Refusal>().unwrap().exit, Exit::Config, "{error:#}");
    assert!(format!("{error:#}").contains(said), "{error:#}");
}

fn value(profile: &Profile, key: &str) -> (String, String) {
    let all = profile.values();
    let (_, value, origin) = all.iter().find(|(k, _, _)| k == key).unwrap();
    (value.clone(), origin.to_string())
}

#[test]
fn admin_over_vendor_over_built_in_and_includes_before_the_file() {
    let root = tempfile::tempdir().unwrap();
    let (admin, vendor) = (root.path().join("admin"), root.path().join("vendor"));
    let finder = Finder { folders: vec![admin.clone(), vendor.clone()], strict: false };
    let load = |name: &str, sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
        Profile::load(&finder, name, &sets)
    };
    assert!(load("cilium-max", &[]).unwrap().summary().contains("tuning guide"));
    write(&vendor, "cilium-max", "summary = \"the vendor's\"\n[mtu]\nmtu = 8000\n");
    assert_eq!(load("cilium-max", &[]).unwrap().summary(), "the vendor's");
    write(&admin, "cilium-max", "summary = \"the admin's\"\n[mtu]\nmtu = 7000\n");
    assert_eq!(load("cilium-max", &[]).unwrap().summary(), "the admin's");
    write(
        &admin,
        "mine",
        "include = [\"cilium-max\", \"network-latency\"]\n[cpu]\nepp = \"power\"\n",
    );
    let mine = load("mine", &["mtu.mtu=6000"]).unwrap();
    assert_eq!(value(&mine, "mtu.mtu"), ("6000".into(), "--set mtu.mtu=6000".into()));
    assert_eq!(value(&mine, "cpu.epp").0, "\"power\"");
    assert!(value(&mine, "cpu.epp").1.ends_with("mine.toml"));
    assert_eq!(value(&mine, "cpu.governor").1, "network-latency (built in)");
    assert_eq!(value(&mine, "summary").1, "network-latency (built in)");
    assert_eq!(
        nettune::profile::names(&finder).unwrap().iter().filter(|(n, _)| n == "cilium-max").count(),
        1
    );
}

#[test]
fn what_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("p");
    let finder = Finder { folders: vec![folder.clone()], strict: false };
    write(&folder, "loop", "include = [\"loop\"]\n");
    refused(Profile::load(&finder, "loop", &[]), "profile loop: it includes itself: loop loop");
    write(&folder, "large", &format!("summary = \"{}\"\n", "x".repeat(1 << 20)));
    refused(Profile::load(&finder, "large", &[]), "is longer than 1048576 bytes");
    std::fs::write(folder.join("latin.toml"), b"summary = \"\xe9\"\n").unwrap();
    refused(Profile::load(&finder, "latin", &[]), "it is no UTF-8 text");
    std::fs::create_dir(folder.join("folder.toml")).unwrap();
    refused(Profile::load(&finder, "folder", &[]), "Is a directory");
    nix::unistd::mkfifo(&folder.join("fifo.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused(Profile::load(&finder, "fifo", &[]), "is no regular file");
    std::os::unix::fs::symlink("fifo.toml", folder.join("link.toml")).unwrap();
    write(&folder, "includes", "include = [\"link\"]\n");
    refused(Profile::load(&finder, "includes", &[]), "link.toml: is no regular file");
    std::os::unix::fs::symlink("/dev/zero", folder.join("zero.toml")).unwrap();
    refused(Profile::load(&finder, "zero", &[]), "is no regular file");
    write(&folder, "round", "include = [\"trip\"]\n");
    write(&folder, "trip", "include = [\"open\", \"round\"]\n");
    write(&folder, "open", "[cpu]\n");
    refused(Profile::load(&finder, "round", &[]), "it includes itself: round trip round");
    for at in 0..9 {
        write(&folder, &format!("deep{at}"), &format!("include = [\"deep{}\"]\n", at + 1));
    }
    write(&folder, "deep9", "[cpu]\n");
    refused(Profile::load(&finder, "deep0", &[]), "nested deeper than 8");
    Profile::load(&finder, "deep1", &[]).unwrap();
    // Known from a shorter way already.
    write(&folder, "twice", "include = [\"deep1\", \"deep9\"]\n");
    refused(Profile::load(&finder, "twice", &[]), "nested deeper than 8");
    write(&folder, "twice", "include = [\"deep2\", \"deep1\"]\n");
    refused(Profile::load(&finder, "twice", &[]), "nested deeper than 8");
    write(&folder, "twice", "include = [\"deep2\", \"deep8\"]\n");
    Profile::load(&finder, "twice", &[]).unwrap();
    refused(Profile::load(&finder, "cilium-mx", &[]), "did you mean \"cilium-max\"?");
    refused(Profile::load(&finder, "..", &[]), "not the name of a profile");
    write(&folder, "open", "[cpu]\n");
    let path = folder.join("open.toml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let strict = Finder { folders: vec![folder.clone()], strict: true };
    refused(Profile::load(&strict, "open", &[]), "others than root may write it");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let said = if nix::unistd::geteuid().is_root() { "its folder" } else { "others than root" };
    refused(Profile::load(&strict, "open", &[]), said);
}

#[test]
fn every_built_in_profile_is_whole() {
    let finder = Finder { folders: Vec::new(), strict: true };
    for (name, origin) in nettune::profile::names(&finder).unwrap() {
        let profile = Profile::load(&finder, &name, &[]).unwrap();
        assert!(profile.tweaks().unwrap().iter().any(|t| t.enable), "{name}");
        assert!(!profile.summary().is_empty() && origin == "built in", "{name}");
    }
}

#[test]
fn without_root_nothing_is_changed() {
    for verb in [&["apply", "-p", "cilium-max"][..], &["rollback"]] {
        let mut command = match here::unshared("-U", "true") {
            Ok(command) => command,
            Err(why) => return here::skip(&why),
        };
        let output = command.arg(env!("CARGO_BIN_EXE_nettune")).args(verb).output().unwrap();
        assert_eq!(output.status.code(), Some(77), "{verb:?}: {output:?}");
    }
}

/// A key is judged with all that the profile sets, and where it is wrong, by its line.
#[test]
fn a_value_is_judged_with_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(format!("{name}.toml")).display().to_string();
    let load = |name: &str, sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
        let profile = Profile::load(&Finder::new(std::path::Path::new("/")), &at(name), &sets);
        profile.and_then(|p| p.tweaks().map(drop)).map_err(|e| e.to_string())
    };
    // `object` alone belongs to no mode that is set; with one that is not its own it is wrong.
    std::fs::write(at("base"), "[xdp]\nmode = \"filter\"\n\n[mtu]\nmtu = 9000\n").unwrap();
    std::fs::write(at("top"), "include = [\"base\"]\n[bandwidth-manager]\nbuckets = 3\n").unwrap();
    let base = at("base");
    let include =
        std::fs::read_to_string(at("top")).unwrap().replace("\"base\"", &format!("{base:?}"));
    std::fs::write(at("top"), include).unwrap();
    let why = load("top", &[]).unwrap_err();
    assert!(
        why.ends_with("top.toml:3: bandwidth-manager.buckets: buckets 3 is not a power of two"),
        "{why}"
    );
    // What lies over it counts.
    assert_eq!(load("top", &["bandwidth-manager.buckets=4"]), Ok(()));
    let why = load("top", &["bandwidth-manager.buckets=5"]).unwrap_err();
    assert!(
        why.starts_with("--set bandwidth-manager.buckets=5: bandwidth-manager.buckets: "),
        "{why}"
    );
    let sets = ["bandwidth-manager.buckets=4", "xdp.object=\"/a.o\""];
    let why = load("top", &sets).unwrap_err();
    assert!(why.contains("[xdp] object and program belong to mode"), "{why}");
}
