//! What is generated is what is committed. `NETTUNE_UPDATE_DOCS=1 cargo test --test docs` rewrites.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "docs/links.rs"]
mod links;
#[path = "docs/picture.rs"]
mod picture;
mod support;
#[path = "docs/words.rs"]
mod words;

use std::fmt::Write;
use std::path::Path;

use nettune::cilium::live::CONFIG_KEYS;
use nettune::cilium::told::{FIELDS, MACROS, Place, SEEN};
use nettune::model::Side;
use nettune::model::helm::KEYS;
use nettune::tweaks::{TWEAKS, keys};

fn committed(file: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("NETTUNE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == generated,
        "{file} is not what nettune generates: NETTUNE_UPDATE_DOCS=1 cargo test --test docs"
    );
}

#[test]
fn tweaks() {
    let mut out = String::from(
        "# Tweaks\n\nGenerated from `TWEAKS`; the same as `nettune explain TWEAK`, without this node's values. \
         Every table\nof a profile also takes `enable`, `required` (a blocker or failure undoes the whole run) and \
         `owner`\n(`\"nettune\"`: also on a node where Cilium would decide).\n",
    );
    for entry in TWEAKS {
        let side = format!("{:?}", entry.side).to_lowercase();
        writeln!(out, "\n## `{}` ({side})\n\n{}.\n", entry.name, entry.summary).unwrap();
        let doc = &entry.doc;
        writeln!(out, "{}\n\n- Cost: {}", doc.what, doc.cost).unwrap();
        writeln!(out, "- Needs: {}\n- Impact: {}\n- Source: {}", doc.needs, doc.impact, doc.source)
            .unwrap();
        writeln!(out, "\n| key | meaning |\n|---|---|").unwrap();
        for key in keys(entry) {
            writeln!(out, "| `{}` | {} |", key.name, key.about.replace('\n', " ")).unwrap();
        }
    }
    committed("docs/tweaks.md", &out);
}

/// What each row of Cilium's goes by: the list that the readers go by, lever by lever.
#[test]
fn sources_of_cilium() {
    let mut table = String::from(
        "| lever | what | read from | versions | left out, its object there |\n|---|---|---|---|---|\n",
    );
    for entry in TWEAKS {
        let lever = entry.name;
        for name in entry.told() {
            for field in FIELDS.iter().filter(|f| f.name == name) {
                let place = match field.place {
                    Place::Healthz => "socket `/v1/healthz`",
                    Place::Config => "socket `/v1/config`",
                    Place::Own => {
                        "socket `/v1/config` daemonConfigurationMap; `agent-runtime-config.json`"
                    }
                };
                let absent = field.absent.unwrap_or("not told");
                let (path, versions) = (field.path, field.cilium);
                writeln!(table, "| {lever} | {name} | {place}: `{path}` | {versions} | {absent} |")
                    .unwrap();
            }
            for (define, tells) in MACROS {
                for (_, value) in tells.iter().filter(|(what, _)| *what == name) {
                    let place = format!("`globals/node_config.h`: `{define}` proves `{value}`");
                    writeln!(table, "| {lever} | {name} | {place} | | not told |").unwrap();
                }
            }
            for (_, place) in SEEN.iter().filter(|(what, _)| *what == name) {
                writeln!(table, "| {lever} | {name} | {place} | | not told |").unwrap();
            }
            if !FIELDS.iter().any(|f| f.name == name) && CONFIG_KEYS.contains(&name) {
                let place = "`viper-agent-config.yaml`, where the agent writes it";
                writeln!(table, "| {lever} | {name} | {place}: `{name}` | | not told |").unwrap();
            }
        }
    }
    let (begin, end) = ("<!-- sources -->\n", "<!-- /sources -->");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cilium.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    committed("docs/cilium.md", &format!("{head}{begin}{table}{end}{tail}"));
}

/// A key that some lever asks of the cluster is one that its configuration is read for.
#[test]
fn every_key_of_helm_is_read_from_the_configuration() {
    for key in KEYS {
        assert!(CONFIG_KEYS.contains(&key.config), "{}", key.config);
    }
}

/// No name of the list is of nothing.
#[test]
fn every_name_of_a_lever_is_read_somewhere() {
    for entry in TWEAKS {
        let lever = entry.name;
        for name in entry.told() {
            let read = FIELDS.iter().any(|f| f.name == name)
                || SEEN.iter().any(|(what, _)| *what == name)
                || CONFIG_KEYS.contains(&name);
            assert!(read, "{lever}: {name}");
        }
    }
}

#[test]
fn units_of_the_packages() {
    for (name, text) in nettune::persist::packaged() {
        committed(&format!("packaging/systemd/{name}"), &text);
    }
}

#[test]
fn schema() {
    let schema = serde_json::to_string_pretty(&nettune::report::json::schema()).unwrap() + "\n";
    committed("docs/schema.json", &schema);
}

/// What no compiler asks for: the lists that people read, and the lab's.
#[test]
fn every_lever_is_told_of_and_tried_in_the_lab() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let scenario = read("tests/lab/scenarios/each-tweak");
    let line =
        scenario.lines().find_map(|l| l.strip_prefix("tweaks=(")?.strip_suffix(')')).unwrap();
    let tried: Vec<&str> = line.split(' ').collect();
    for entry in TWEAKS {
        for path in ["README.md", "CHANGELOG.md"] {
            assert!(read(path).contains(&format!("`{}`", entry.name)), "{path}: {}", entry.name);
        }
        let own = root.join("tests/lab/scenarios").join(entry.name).exists();
        let there = own || tried.contains(&entry.name);
        assert!(there || entry.side == Side::Cilium, "each-tweak: {}", entry.name);
    }
}
