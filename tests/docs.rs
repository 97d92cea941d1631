//! What is generated is what is committed. `NETTUNE_UPDATE_DOCS=1 cargo test --test docs` rewrites.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::path::Path;

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
