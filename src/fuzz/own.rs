//! Runs of what nettune writes itself and of what operators hand to it: profiles, journal, names, reports.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::files::{links, text, with, write};
use super::seeds;
use crate::cilium::{configmap, diff, fleet::Fleet, render, report, values, version};
use crate::engine::confirm::{Pending, RunDir};
use crate::engine::folder::Folder;
use crate::engine::journal::{Journal, NAME};
use crate::engine::{lines, repair::Repair};
use crate::image::manifest::Manifest;
use crate::linux::{nft, socket};
use crate::model::bpf::{Deny, Hook};
use crate::model::facts::Facts;
use crate::model::typed::attached::Attached;
use crate::model::{Group, Resource, State, Want, cpulist, reach::Reach, sysctls};
use crate::profile::{Finder, Profile};

/// Journal: what is read of a line with a checksum is a line that was written, byte for byte.
pub fn journal(bytes: &[u8]) {
    static WRITTEN: LazyLock<HashSet<Vec<u8>>> = LazyLock::new(|| {
        let all = seeds::journals().concat();
        all.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
    });
    let found = lines::Lines::of(bytes);
    for line in &found.all {
        let Ok(record) = &line.read else { continue };
        let mut again = lines::write(record).unwrap();
        again.pop();
        let same = lines::Line::of(1, &again);
        let same = lines::write(same.read.as_ref().ok().unwrap()).unwrap();
        assert_eq!(text(&same[..same.len() - 1]), text(&again));
        let summed = line.bytes.windows(8).any(|w| w == b",\"sum\":\"");
        assert!(!summed || WRITTEN.contains(line.bytes), "{}", text(line.bytes));
    }
    let mut facts = Facts::default();
    (facts.node.boot_id, facts.node.netns, facts.links) = ("b".into(), 1, links());
    with(&[NAME], &[], bytes, |dir, _| {
        let folder = Folder::open(dir, true).unwrap().unwrap();
        let _ = Repair::of(&folder, &facts).map(|r| (r.damaged(), r.owned().count()));
        if let Ok(journal) = Journal::load(Some(Arc::new(folder))) {
            let written = found.all.iter().filter(|l| l.read.is_ok()).count();
            assert_eq!(journal.count, if journal.damage.is_some() { 0 } else { written });
            let mut ledger = journal.ledger;
            let _ = ledger.fit_to(&facts);
            let _ = ledger.snapshot();
        }
    });
}

pub fn pending(bytes: &[u8]) {
    with(&["pending.json"], &[], bytes, |dir, _| {
        if let Ok(Some(pending)) = RunDir(dir.to_path_buf()).load("b") {
            comes_back::<Pending>(serde_json::to_string(&pending).unwrap().as_bytes());
        }
    });
}

pub fn profile(bytes: &[u8]) {
    with(&["p.toml"], &[], bytes, |dir, _| {
        let finder = Finder { folders: Vec::new(), strict: false };
        let name = dir.join("p.toml").display().to_string();
        let Ok(profile) = Profile::load(&finder, &name, &[]) else { return };
        let (_, _) = (profile.tweaks(), profile.values());
        let mut table = profile.table.clone();
        table.remove("include");
        write(&dir.join("p.toml"), toml::to_string(&table).unwrap().as_bytes());
        let again = Profile::load(&finder, &name, &[]).unwrap();
        assert_eq!(again.table.to_string(), table.to_string());
    });
}

pub fn profile_set(bytes: &[u8]) {
    let finder = Finder { folders: Vec::new(), strict: false };
    let _ = Profile::load(&finder, "network-latency", &[text(bytes)]).map(|p| p.tweaks().is_ok());
}

fn fleet() -> Fleet {
    Fleet::new(version::DEFAULT, crate::commands::cilium::levers())
}

pub fn configmap(bytes: &[u8]) {
    if let Ok(config) = configmap::parse(bytes) {
        let _ = (diff::diff(&fleet(), &config, true), diff::diff(&fleet(), &config, false));
    }
}

/// What is printed for Helm is YAML, whatever the reports say.
pub fn node_report(bytes: &[u8]) {
    with(&["report.json"], &[], bytes, |dir, _| {
        let (mut fleet, path) = (fleet(), dir.join("report.json").display().to_string());
        if report::read(&[path], |one| fleet.add(one)).is_ok() {
            let all = values::values(&fleet, true);
            let printed = render::yaml(&all, "nettune").unwrap();
            let _: serde_json::Value = yaml_serde::from_str(&printed).expect(&printed);
        }
    });
}

pub fn cpu_lists(bytes: &[u8]) {
    let text = text(bytes);
    if let Some(cpus) = cpulist::parse(&text) {
        let list = cpulist::format(cpus.iter());
        assert_eq!(cpulist::parse(&list).as_ref(), Some(&cpus), "{list}");
        let bits = cpus.iter().last().map_or(1, |last| last + 1);
        assert_eq!(cpulist::from_mask(&cpulist::to_mask(&cpus, bits)), Some(cpus));
    }
    if let Some(cpus) = cpulist::from_mask(&text) {
        let bits = cpus.iter().last().map_or(1, |last| last + 1);
        assert_eq!(cpulist::from_mask(&cpulist::to_mask(&cpus, bits)), Some(cpus));
    }
}

pub fn names(bytes: &[u8]) {
    let text = text(bytes);
    let text = text.trim_end_matches('\n');
    fn same<T: std::str::FromStr + ToString + PartialEq + std::fmt::Debug>(text: &str) {
        if let Ok(found) = text.parse::<T>() {
            let again = found.to_string();
            assert_eq!(again.parse().ok().as_ref(), Some(&found), "{text:?} {again:?}");
        }
    }
    same::<Resource>(text);
    same::<Reach>(text);
    same::<Deny>(text);
    if let Ok(resource) = text.parse::<Resource>() {
        let other = resource.renamed("eth7");
        assert_eq!(other.link(), resource.link().map(|_| "eth7"), "{text:?}");
        let _ = (resource.once(), resource.shown(&State::is(text)));
    }
    if let Ok(found) = version::Version::parse(text) {
        assert_eq!(version::Version::parse(&found.to_string()), Ok(found));
    }
    let (once, _) =
        (Group::Coalesce.canonical(text), (Hook::parse(text), text.parse::<Attached>()));
    assert_eq!(Group::Coalesce.canonical(&once), once);
    let _ = found_by_name(text);
}

fn found_by_name(text: &str) -> bool {
    links().iter().any(|link| crate::model::uplinks::matches(text, link))
}

/// What serde reads and writes is read again as the same.
fn comes_back<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let found: T = serde_json::from_slice(bytes).ok()?;
    let once = serde_json::to_string(&found).unwrap();
    let again: T = serde_json::from_str(&once).expect(&once);
    assert_eq!(serde_json::to_string(&again).unwrap(), once);
    Some(found)
}

pub fn states(bytes: &[u8]) {
    let state: Option<State> = comes_back(bytes);
    let Some(want) = comes_back::<Want>(bytes) else { return };
    for from in ["4096 4096 4096", "rx=8 tx=1024", "2"].map(State::is).into_iter().chain(state) {
        if let Ok(to) = want.resolve(&from) {
            assert!(want.met_by(&to), "{want:?} {from:?} {to:?}");
        }
    }
    let _ = (want.merge(&want), want.to_string());
}

pub fn sysctl_values(bytes: &[u8]) {
    let text = text(bytes);
    let Some((key, value)) = text.split_once('\n') else { return };
    let facts = Facts::default();
    let once = sysctls::canonical(key, value, &facts);
    assert_eq!(sysctls::canonical(key, &once, &facts), once, "{key}");
    let value = sysctls::value_of(key);
    assert_eq!(sysctls::value_of(&value), value);
}

/// What a table's line made comes back as a line that makes the same.
pub fn nft_words(bytes: &[u8]) {
    let text = text(bytes);
    let line = text.trim_end_matches('\n');
    let Ok((kind, body)) = nft::table::parse(line) else { return };
    let whole = [&socket::nla(1, &socket::c_bytes("t"))[..], &body].concat();
    let attrs = socket::attrs(&whole);
    let again = match line.split(' ').next() {
        Some("chain") => nft::table::chain_text(attrs),
        Some("rule") => nft::table::rule_text(&attrs),
        _ => nft::flow::text(&attrs),
    };
    assert_eq!(
        nft::table::parse(again.trim_end_matches('\n')).expect(&again),
        (kind, body),
        "{line}"
    );
}

pub fn manifest(bytes: &[u8]) {
    with(&["etc/nettune/baked.json"], &[], bytes, |_, root| {
        if let Ok(Some(manifest)) = Manifest::load(&root) {
            comes_back::<Manifest>(serde_json::to_string(&manifest).unwrap().as_bytes());
        }
    });
}
