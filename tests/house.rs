//! How src is built, held as it is: no file takes from one that takes from it, none is long, no lever is named as
//! a string where the list of levers is to be asked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nettune::tweaks::TWEAKS;

/// A file of src: its module path, and its text without comments, strings and tests.
struct File {
    path: PathBuf,
    text: String,
    bare: String,
}

type Module = Vec<String>;
type House = BTreeMap<Module, File>;

fn house() -> House {
    fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, out),
                false => out.push(path),
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&src, &mut paths);
    paths.retain(|p| p.extension().is_some_and(|e| e == "rs") && !p.starts_with(src.join("fuzz")));
    let file = |path: PathBuf| {
        let inner = path.strip_prefix(&src).unwrap().with_extension("");
        let mut module: Module =
            inner.iter().map(|part| part.to_str().unwrap().to_string()).collect();
        if module.last().is_some_and(|last| last == "mod" || last == "lib") {
            module.pop();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let bare = bare(&text);
        (module, File { path: inner, text, bare })
    };
    paths.into_iter().map(file).collect()
}

fn bare(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let code = code.split("#[cfg(test)]\npub mod tests").next().unwrap();
    let code = code.split("#[cfg(test)]\npub(crate) mod tests").next().unwrap();
    let mut out = String::new();
    for line in code.lines() {
        let line = line.split("//").next().unwrap();
        // Of a line with strings what is outside them, near enough for paths.
        let parts = line.split('"').step_by(2);
        out.push_str(&parts.collect::<Vec<_>>().join("\"\""));
        out.push('\n');
    }
    out
}

/// `a::{b, c::{d, e}}` as single paths.
fn spread(text: &str) -> Vec<String> {
    let Some(open) = text.find('{') else { return vec![text.to_string()] };
    let (mut depth, mut from, mut out) = (0, open + 1, Vec::new());
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < open) {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 1 => {
                let item = text[from..at].trim();
                if !item.is_empty() {
                    out.extend(spread(&format!("{}{item}", &text[..open])));
                }
                from = at + 1;
                depth -= i32::from(c == '}');
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    out
}

/// Paths of `use`, without those that only hand a name on, and those that stand in the code.
fn paths(bare: &str, handed_on: bool) -> Vec<String> {
    let (mut out, mut code, rest) = (Vec::new(), String::new(), bare);
    // `use` statements hold braces: found by their end.
    let mut at = 0;
    while let Some(found) = rest[at..].find("use ") {
        let start = at + found;
        let before = rest[..start].trim_end();
        let starts = start == 0 || rest[..start].ends_with(['\n', ' ']);
        let public = before.ends_with("pub") || before.ends_with("pub(crate)");
        let Some(length) = rest[start..].find(';') else { break };
        let body: String = rest[start + 4..start + length].split_whitespace().collect();
        let is_use = starts && body.chars().all(|c| c.is_alphanumeric() || "_:{},*".contains(c));
        if is_use && public == handed_on {
            out.extend(spread(&body));
        }
        if is_use {
            code.push_str(&rest[at..start]);
        } else {
            code.push_str(&rest[at..start + 4]);
        }
        at = start + if is_use { length } else { 4 };
    }
    code.push_str(&rest[at..]);
    if !handed_on {
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let inline = code.split(|c| !word(c)).filter(|p| p.contains("::"));
        out.extend(inline.map(str::to_string));
    }
    out
}

/// The module that a path leads to, through names that are handed on.
fn lead(
    house: &House,
    handed: &BTreeMap<(Module, String), String>,
    from: &Module,
    path: &str,
    deep: u8,
) -> Option<Module> {
    let mut parts = path.split("::").peekable();
    let mut at: Module = match *parts.peek()? {
        "crate" => Vec::new(),
        "super" | "self" => from.clone(),
        first => {
            let child = [from.clone(), vec![first.to_string()]].concat();
            house.contains_key(&child).then(|| from.clone())?
        }
    };
    while let Some(part) = parts.next_if(|p| ["crate", "super", "self"].contains(p)) {
        if part == "super" {
            at.pop();
        }
    }
    for part in parts {
        let child = [at.clone(), vec![part.to_string()]].concat();
        if house.contains_key(&child) {
            at = child;
            continue;
        }
        if let Some(on) = handed.get(&(at.clone(), part.to_string())).filter(|_| deep < 5) {
            return lead(house, handed, &at, on, deep + 1);
        }
        break;
    }
    house.contains_key(&at).then_some(at)
}

/// All that a file takes from, and what that takes from.
fn reached(takes: &BTreeMap<&Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
    while let Some(module) = next.pop() {
        for to in takes.get(&module).into_iter().flatten() {
            if seen.insert(to.clone()) {
                next.push(to.clone());
            }
        }
    }
    seen
}

#[test]
fn no_file_takes_from_one_that_takes_from_it() {
    let house = house();
    let mut handed = BTreeMap::new();
    for (module, file) in &house {
        for path in paths(&file.bare, true) {
            let name = path.rsplit("::").next().unwrap().to_string();
            handed.insert((module.clone(), name), path);
        }
    }
    let mut takes: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, file) in &house {
        let led = paths(&file.bare, false);
        let led = led.iter().filter_map(|path| lead(&house, &handed, module, path, 0));
        takes.insert(module, led.filter(|to| to != module).collect());
    }
    let seen: usize = takes.values().map(BTreeSet::len).sum();
    assert!(seen > house.len(), "only {seen} arrows between {} files", house.len());
    let circle: Vec<String> = takes
        .keys()
        .filter(|module| reached(&takes, module).contains(**module))
        .map(|module| {
            let back = takes[module].iter().filter(|to| reached(&takes, to).contains(*module));
            let back: Vec<String> = back.map(|to| to.join("::")).collect();
            format!("{} -> {}", module.join("::"), back.join(", "))
        })
        .collect();
    assert!(circle.is_empty(), "circles:\n{}", circle.join("\n"));
}

#[test]
fn no_file_is_long_and_every_folder_says_what_it_is() {
    let house = house();
    let mut lines: Vec<usize> = house.values().map(|f| f.text.lines().count()).collect();
    lines.sort_unstable();
    let median = lines[lines.len() / 2];
    assert!(median <= 150, "half of the files have more than {median} lines");
    for file in house.values() {
        let (name, lines) = (file.path.display(), file.text.lines().count());
        assert!(lines <= 500, "{name}: {lines} lines");
        let head = file.path.ends_with("mod") || file.path.ends_with("lib");
        let said = file.text.lines().take_while(|line| line.starts_with("//!")).count();
        // Of a folder of src: what it is, what it uses and where to begin.
        let least = if file.path.iter().count() == 2 { 4 } else { 1 };
        assert!(!head || said >= least, "{name} does not say what its folder is");
    }
}

/// What is to be known of a lever is asked of its entry or of itself. Two words are the kernel's and systemd's own.
#[test]
fn no_lever_is_named_outside_its_file() {
    const OTHERS: [(&str, &str); 1] = [("image/files", "preempt")];
    for file in house().values() {
        let of = ["engine", "persist", "image", "commands", "profile"];
        if !of.iter().any(|folder| file.path.starts_with(folder)) {
            continue;
        }
        let code = file.text.split("#[cfg(test)]").next().unwrap();
        let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
        for line in lines {
            for entry in TWEAKS {
                let word = OTHERS.contains(&(file.path.to_str().unwrap(), entry.name));
                let named = !word && line.contains(&format!("{:?}", entry.name));
                assert!(!named, "{}: {}", file.path.display(), line.trim());
            }
        }
    }
}

/// What an agent of the host does is in model/agents.rs and in the rows of kinds. The two sides of a row are this
/// node's and Cilium's, so five files speak of that one.
#[test]
fn the_engine_knows_no_agent() {
    let agents =
        ["tuned", "irqbalance", "networkd", "bpftune", "networkmanager", "cilium", "kubelet"];
    const SIDES: [&str; 5] =
        ["engine/reason", "engine/row", "engine/evaluate", "engine/share", "engine/verbs/ask"];
    for file in house().values().filter(|f| f.path.starts_with("engine")) {
        let code = file.text.split("#[cfg(test)]").next().unwrap().to_lowercase();
        let sides = SIDES.contains(&file.path.to_str().unwrap());
        let known = if sides { &agents[..5] } else { &agents[..] };
        for line in code.lines() {
            let named = known.iter().find(|a| line.contains(*a));
            assert!(named.is_none(), "{}: {}", file.path.display(), line.trim());
        }
    }
}

/// A verb reads like a table of contents.
#[test]
fn no_verb_is_long() {
    for file in house().values().filter(|f| f.path.starts_with("commands")) {
        let mut begun: Option<(usize, &str)> = None;
        for (at, line) in file.text.lines().enumerate() {
            if line.starts_with("pub fn ") {
                begun = Some((at, line));
            }
            if let ("}", Some((from, what))) = (line, begun) {
                let lines = at - from + 1;
                assert!(lines < 60, "{}: {lines} lines: {what}", file.path.display());
                begun = None;
            }
        }
    }
}

/// What the binary is made of comes from one registry, under licences that a vendor may ship. Advisories are not asked:
/// their list is no package.
#[test]
fn every_dependency_is_of_the_registry_and_may_be_shipped() {
    const FREE: [&str; 8] = [
        "MIT",
        "MIT-0",
        "Apache-2.0",
        "Zlib",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "Unicode-3.0",
        "ISC",
    ];
    let asked = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let all: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    let packages = all["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "{}", packages.len());
    for package in packages.iter().filter(|p| p["name"] != "nettune") {
        let of = |key: &str| package[key].as_str().unwrap_or_default().to_string();
        let name = format!("{} {}", of("name"), of("version"));
        assert!(of("source").ends_with("rust-lang/crates.io-index"), "{name}: {}", of("source"));
        // Each part of an AND, and of those one of its ORs.
        let license = of("license").replace(['(', ')'], "").replace('/', " OR ");
        let ships = |part: &str| part.split(" OR ").any(|one| FREE.contains(&one.trim()));
        assert!(license.split(" AND ").all(ships), "{name}: {license:?}");
    }
}
