//! docs/check.svg: what `check --color always` prints of the node of tests/cases/lab-node, drawn.
//! `NETTUNE_UPDATE_DOCS=1 cargo test --test docs picture` draws it anew.

use std::fmt::Write;

use nettune::engine::plan::Scope;
use nettune::engine::store::Store;
use nettune::engine::verbs::{Ask, preview};
use nettune::model::Impact;
use nettune::profile::{Finder, Profile};
use nettune::report::{Manner, Report, View};

use crate::support::{Memory, case_facts, case_states, meta, tempdir};

/// As wide as `check` is where it does not know its terminal.
const COLUMNS: usize = 100;
/// Of one character and one line, and what is around them. A font of another width is set to this one.
const CHARACTER: f64 = 8.4;
const LINE: f64 = 19.0;
const MARGIN: f64 = 20.0;
const BAR: f64 = 34.0;

/// The same way as the verb: profile by name, what the node's state accepts, the report's table.
fn check() -> String {
    let mut facts = case_facts("lab-node");
    facts.node.boot_id = "boot".into();
    let finder = Finder { folders: Vec::new(), strict: false };
    let profile = Profile::load(&finder, "cilium-max", &[]).unwrap();
    let wanted = profile.wanted().unwrap();
    assert!(!facts.live(), "on a node with pods a reset waits for a word");
    let accept = [Impact::None, Impact::NewFlows, Impact::Node, Impact::LinkReset].into();
    let (selection, scope) = (wanted.selection(), Scope::default());
    let (strict, atomic, profile_told) = (false, false, profile.told_apart());
    let meta = meta("check");
    let ask = Ask { selection, scope, accept, strict, atomic, meta, profile: profile_told };
    let dir = tempdir();
    let host = Memory::new(facts.clone(), case_states("lab-node"));
    let store = Store::read(dir.path(), &facts).unwrap();
    let answer = preview(&host, &store, &facts, &ask).unwrap();
    let view = View {
        verb: "check",
        profile: Some(&profile),
        facts: &facts,
        store: &store,
        answer: &answer,
    };
    Report::shown(&view, true, COLUMNS, &Manner::default())
}

/// Classes for the colours that the report has, on a dark ground of the picture's own.
fn class(code: &str) -> &'static str {
    match code {
        "1" => "b",
        "31" => "r",
        "32" => "g",
        "33" => "y",
        "34" => "u",
        "35" => "m",
        "36" => "c",
        "90" => "d",
        other => panic!("the picture has no colour {other}"),
    }
}

/// Runs of one colour: class and text.
fn runs(line: &str) -> Vec<(&'static str, &str)> {
    let mut all = Vec::new();
    let mut parts = line.split("\u{1b}[");
    all.extend(parts.next().map(|plain| ("", plain)));
    for part in parts {
        let (code, text) = part.split_once('m').unwrap();
        all.push((if code == "0" { "" } else { class(code) }, text));
    }
    all.retain(|(_, text)| !text.is_empty());
    all
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn svg(command: &str, text: &str) -> String {
    let shown = format!("\u{1b}[90m$\u{1b}[0m \u{1b}[1m{command}\u{1b}[0m\n{text}");
    let lines: Vec<&str> = shown.lines().collect();
    let width = COLUMNS as f64 * CHARACTER + 2.0 * MARGIN;
    let height = lines.len() as f64 * LINE + BAR + 1.5 * MARGIN;
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{command} on a node of the lab">
<style>
text {{ font: 14px ui-monospace, SFMono-Regular, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; fill: #d5dbe3; white-space: pre }}
.b {{ fill: #ffffff; font-weight: 700 }} .r {{ fill: #ff7b72 }} .g {{ fill: #7ee787 }} .y {{ fill: #e3b341 }}
.u {{ fill: #79c0ff }} .m {{ fill: #d2a8ff }} .c {{ fill: #56d4dd }} .d {{ fill: #8b949e }}
</style>
<rect x="0.5" y="0.5" width="{}" height="{}" rx="9" fill="#161b22" stroke="#3d444d"/>
<circle cx="20" cy="19" r="5.5" fill="#ff5f57"/><circle cx="38" cy="19" r="5.5" fill="#febc2e"/><circle cx="56" cy="19" r="5.5" fill="#28c840"/>
"##,
        width - 1.0,
        height - 1.0
    );
    for (row, line) in lines.iter().enumerate() {
        let y = BAR + MARGIN + row as f64 * LINE;
        let mut column = 0;
        for (class, run) in runs(line) {
            let (begin, all) = (run.len() - run.trim_start().len(), run.chars().count());
            let words = run.trim();
            let x = MARGIN + (column + begin) as f64 * CHARACTER;
            column += all;
            if words.is_empty() {
                continue;
            }
            let length = words.chars().count() as f64 * CHARACTER;
            let class = if class.is_empty() { class.into() } else { format!(" class=\"{class}\"") };
            let words = escaped(words);
            writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\"{class} xml:space=\"preserve\">{words}</text>").unwrap();
        }
    }
    out + "</svg>\n"
}

#[test]
fn picture() {
    let text = check();
    let lines = text.lines().count();
    assert!(lines < 40, "{lines} lines are no screen");
    super::committed("docs/check.svg", &svg("nettune check", &text));
}
