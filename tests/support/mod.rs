//! A node in memory, for what needs no kernel. What it believes about the kernel (which write
//! disturbs what) is shown once on a real one, in tests/netns.rs; a green run here proves the
//! engine, not the kernel.
#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

mod memory;
mod worlds;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use nettune::engine::plan::Scope;
use nettune::engine::row::{Owner, Selected, Selection};
use nettune::engine::run::Meta;
use nettune::engine::store::{Lock, Store};
use nettune::engine::verbs::{self, Answer, Ask, Rollback};
use nettune::engine::{Host, Observe, Wrote};
use nettune::model::facts::{Fact, Link, LinkId};
use nettune::model::{
    Context, Desired, Facts, Group, Impact, Proof, Resource, Side, State, Tweak, Want,
};

pub use memory::*;
pub use worlds::*;

/// A tweak that wants what the test says.
#[derive(Clone)]
pub struct Wants(pub Vec<(Resource, Want, Impact)>);

impl Tweak for Wants {
    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        Ok(self.0.iter().map(|(r, w, i)| Desired::new(r.clone(), w.clone(), *i)).collect())
    }
}

/// The node of a case: what its `facts.json` says, or what that says otherwise than the node of
/// tests/nodes that its `base` names. Null takes away; links and the like are told by their names.
pub fn case_facts(name: &str) -> Facts {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |path: PathBuf| -> serde_json::Value {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"))
    };
    let mut facts = read(tests.join("cases").join(name).join("facts.json"));
    if let Some(base) = facts.as_object_mut().unwrap().remove("base") {
        let mut node = read(tests.join(format!("nodes/{}.json", base.as_str().unwrap())));
        lay(&mut node, facts);
        facts = node;
    }
    let read: Facts =
        serde_json::from_value(facts.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
    // A report of a newer nettune may have more; a case may not, as that is a slip of the pen.
    known(&facts, &serde_json::to_value(&read).unwrap(), &name);
    read
}

/// Each field of what was written is one that was read.
fn known(written: &serde_json::Value, read: &serde_json::Value, at: &dyn std::fmt::Display) {
    use serde_json::Value;
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (key, value) in written {
                let at = format!("{at}.{key}");
                let Some(read) = read.get(key) else { panic!("{at} is no fact") };
                known(value, read, &at);
            }
        }
        (Value::Array(written), Value::Array(read)) => {
            let both = written.iter().zip(read).enumerate();
            both.for_each(|(n, (written, read))| known(written, read, &format!("{at}[{n}]")));
        }
        _ => {}
    }
}

fn lay(base: &mut serde_json::Value, over: serde_json::Value) {
    use serde_json::Value;
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    _ if value.is_null() => drop(base.remove(&key)),
                    Some(old) => lay(old, value),
                    None => drop(base.insert(key, value)),
                }
            }
        }
        (Value::Array(base), Value::Object(over)) => {
            for (name, mut value) in over {
                let at = base.iter().position(|one| one["name"] == *name);
                match (at, value.is_null()) {
                    (Some(at), true) => drop(base.remove(at)),
                    (Some(at), false) => lay(&mut base[at], value),
                    (None, _) => {
                        value["name"] = name.into();
                        base.push(value);
                    }
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// What there is on the node of a case: its `before.toml`, resource = state, and `{ foreign = .. }` what is somebody else's.
pub fn case_states(name: &str) -> States {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name);
    let text = std::fs::read_to_string(path.join("before.toml")).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap();
    let state = |value: &toml::Value| match value {
        toml::Value::String(text) => State::is(text.as_str()),
        toml::Value::Table(t) => State::Foreign {
            what: t["foreign"].as_str().unwrap().to_string(),
            owner: t.get("owner").and_then(|o| o.as_str()).map(str::to_string),
        },
        other => panic!("{other} is no state"),
    };
    table.iter().map(|(r, v)| (r.parse().unwrap(), state(v))).collect()
}

/// In memory where there is such a place: a test makes thousands of journal records.
pub fn tempdir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

pub fn want(resource: &str, want: Want) -> (Resource, Want, Impact) {
    (resource.parse().unwrap(), want, Impact::None)
}

pub fn selected(name: &'static str, tweak: Option<Wants>) -> Selected {
    let enable = tweak.is_some();
    let tweak: Box<dyn Tweak> = Box::new(tweak.unwrap_or(Wants(Vec::new())));
    let (side, required, owner, told) = (Side::Node, false, Owner::Auto, Vec::new());
    Selected { name, side, enable, required, owner, told, tweak }
}

pub fn meta(verb: &'static str) -> Meta {
    use std::sync::atomic::{AtomicU64, Ordering};
    static RUN: AtomicU64 = AtomicU64::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    Meta {
        verb,
        profile: Some("test".into()),
        version: "0",
        time: format!("t{run:06}"),
        by: Default::default(),
    }
}

pub fn ask<'a>(tweaks: &'a [Selected]) -> Ask<'a> {
    Ask {
        selection: Selection {
            tweaks: tweaks.iter().collect(),
            links: &[],
            pod_links: &[],
            cni: Default::default(),
        },
        scope: Scope::default(),
        accept: Impact::ALL.into(),
        strict: false,
        atomic: false,
        meta: meta("apply"),
        profile: String::new(),
    }
}

pub fn apply(host: &mut Memory, dir: &Path, tweaks: &[Selected]) -> Result<Answer> {
    apply_as(host, dir, &ask(tweaks))
}

pub fn apply_as(host: &mut Memory, dir: &Path, ask: &Ask) -> Result<Answer> {
    let facts = host.facts()?;
    let mut store = Store::write(Lock::take(dir, Duration::ZERO)?, &facts)?;
    verbs::apply(host, &mut store, &facts, ask)
}

pub fn rollback(host: &mut Memory, dir: &Path) -> Result<Answer> {
    rollback_as(host, dir, Scope::default(), false)
}

pub fn rollback_as(host: &mut Memory, dir: &Path, scope: Scope, force: bool) -> Result<Answer> {
    let facts = host.facts()?;
    let mut store = Store::write(Lock::take(dir, Duration::ZERO)?, &facts)?;
    let side = |_: &str| Side::Node;
    let ask = Rollback { scope, gentle: false, force, meta: meta("rollback"), side: &side };
    verbs::rollback(host, &mut store, &facts, &ask)
}

pub fn verify(host: &Memory, dir: &Path) -> Answer {
    let store = Store::read(dir, &host.facts().unwrap()).unwrap();
    nettune::engine::verbs::verify(host, &store, &host.facts)
}
