//! What the documents point to is there: files, headings, and commands that the command line takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Parser;
use nettune::cli::Cli;
use nettune::profile::{Finder, Profile};
use nettune::tweaks::TWEAKS;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// README, CHANGELOG and all of docs/.
fn documents() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<PathBuf> = docs.filter(|p| p.extension().is_some_and(|e| e == "md")).collect();
    all.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    all.sort();
    all
}

/// Each line, and whether it stands in a fenced block.
fn lines(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut fenced = false;
    text.lines().map(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (line, fenced || fence)
    })
}

/// As GitHub and mdBook name it: words in small letters, with hyphens between, what is said twice by a number.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for (line, fenced) in lines(text) {
        let words = line.trim_start_matches('#');
        if fenced || !line.starts_with('#') || !words.starts_with(' ') {
            continue;
        }
        let kept = words.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let name: String = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let count = seen.entry(name.clone()).or_default();
        all.insert(match *count {
            0 => name,
            again => format!("{name}-{again}"),
        });
        *count += 1;
    }
    all
}

/// Paragraphs outside of fenced blocks, each as what is prose and what stands between backticks, in turn.
fn paragraphs(text: &str) -> Vec<Vec<String>> {
    let plain = lines(text).map(|(line, fenced)| if fenced { "" } else { line });
    let plain = plain.collect::<Vec<_>>().join("\n");
    plain.split("\n\n").map(|p| p.split('`').map(str::to_string).collect()).collect()
}

/// What stands in `](..)` and `src=".."`, outside of code, which points nowhere.
fn targets(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for paragraph in paragraphs(text) {
        let prose = paragraph.into_iter().step_by(2).collect::<Vec<_>>().join("`");
        for (begin, end) in [("](", ')'), ("src=\"", '"')] {
            let found = prose.split(begin).skip(1);
            all.extend(found.filter_map(|rest| Some(rest.split_once(end)?.0.to_string())));
        }
    }
    all
}

/// What is wrong with one that is not of the network.
fn broken(document: &Path, text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = document.parent()?.join(file);
    if !file.is_empty() && !path.exists() {
        return Some(format!("{target}: there is no {file}"));
    }
    let there = match file {
        "" => anchors(text),
        _ if file.ends_with(".md") => anchors(&read(&path)),
        _ => BTreeSet::new(),
    };
    let missing = !anchor.is_empty() && !there.contains(anchor);
    missing.then(|| format!("{target}: no heading is #{anchor}"))
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for path in documents() {
        let text = read(&path);
        for target in targets(&text) {
            count += 1;
            let why = broken(&path, &text, &target);
            wrong.extend(why.map(|why| format!("{}: {why}", path.display())));
        }
    }
    assert!(count > 60, "only {count} links were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let here = root().join("docs/json.md");
    let text =
        "# One thing\n## One `thing`, twice: now\n## One thing\n`[no](link)` [a](#one-thing)\n";
    assert_eq!(targets(text), ["#one-thing"]);
    let is = |target: &str| broken(&here, text, target).is_none();
    for good in
        ["#one-thing", "#one-thing-1", "#one-thing-twice-now", "schema.json", "../README.md"]
    {
        assert!(is(good), "{good}");
    }
    for bad in ["#two-things", "no.md", "../docs/no.json", "journal.md#no", "../README.md#no"] {
        assert!(!is(bad), "{bad}");
    }
}

/// The words of one command line of nettune, without sudo, a comment and what follows a pipe.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    // Two columns of words: the second says what the first does.
    let line = line.split("  ").find(|part| !part.trim().is_empty()).unwrap_or_default();
    let line = line.split(" #").next().unwrap_or_default();
    let parts = line.split(['|', ';']).flat_map(|p| p.split("&&"));
    for part in parts.filter_map(|p| p.split(" > ").next()?.split(" < ").next()) {
        let part = part.trim().trim_start_matches("$ ").trim_end_matches(['\\', '"', ',']);
        let words = part.split_whitespace().map(|w| w.trim_matches(['"', '\'']));
        let words = words.skip_while(|w| *w == "sudo" || w.contains("EPOCH="));
        let words: Vec<String> = words.map(str::to_string).collect();
        // Alone it is the program's name, or a path of one of its own.
        if words.len() > 1 && words[0].rsplit('/').next() == Some("nettune") {
            all.push(words);
        }
    }
    all
}

/// Of fenced blocks each line, of the prose what stands between backticks and is no form (`[TWEAK ..]`).
fn every_command(text: &str) -> Vec<Vec<String>> {
    let fenced = lines(text).filter(|(_, fenced)| *fenced).map(|(line, _)| line.to_string());
    let code = paragraphs(text).into_iter().flat_map(|p| p.into_iter().skip(1).step_by(2));
    let code = code.filter(|code| !code.contains("..") && !code.contains('['));
    let code = code.map(|code| code.replace('\n', " "));
    fenced.chain(code).flat_map(|line| commands(&line)).collect()
}

/// Words in capitals stand for something: what may stand there is put there.
fn filled(word: &str) -> String {
    match word {
        "SECONDS" => "60".into(),
        "IMPACT" => "link-reset".into(),
        "SHELL" => "bash".into(),
        "VERB" => "apply".into(),
        "TWEAK" => TWEAKS[0].name.into(),
        word => word.into(),
    }
}

#[test]
fn every_command_in_the_documents_is_one() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for path in documents() {
        for words in every_command(&read(&path)) {
            count += 1;
            let parsed = Cli::try_parse_from(words.iter().map(|word| filled(word)));
            if let Err(e) = parsed
                && e.use_stderr()
            {
                let why = e.to_string().lines().next().unwrap_or_default().to_string();
                wrong.push(format!("{}: {}: {why}", path.display(), words.join(" ")));
            }
        }
    }
    assert!(count > 60, "only {count} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each block of TOML is a profile, or a part of one.
#[test]
fn every_profile_in_the_documents_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let finder = Finder { folders: Vec::new(), strict: false };
    let mut count = 0;
    for path in documents() {
        let text = read(&path);
        for (number, block) in text.split("```toml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap();
            let file = dir.path().join(format!("{number}.toml"));
            std::fs::write(&file, block).unwrap();
            let profile = Profile::load(&finder, file.to_str().unwrap(), &[]);
            let tweaks = profile.and_then(|profile| profile.tweaks());
            assert!(tweaks.is_ok(), "{}: {:#}", path.display(), tweaks.err().unwrap());
            count += 1;
        }
    }
    assert!(count > 1, "only {count} profiles were found");
}

/// The book has every document, none that is not there, and no way out of it but to the network.
#[test]
fn the_book_has_every_document() {
    let docs = root().join("docs");
    let summary = docs.join("SUMMARY.md");
    let named: Vec<String> = targets(&read(&summary));
    for path in documents() {
        if path.parent() != Some(&docs) || path == summary {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let times = named.iter().filter(|n| **n == name).count();
        assert_eq!(times, 1, "docs/SUMMARY.md has {name} {times} times");
        let out = targets(&read(&path)).into_iter().find(|target| target.starts_with(".."));
        assert_eq!(out, None, "{name} leads out of the book");
    }
    let readme = read(&root().join("README.md"));
    for name in named.iter().filter(|n| !n.contains("://")) {
        assert!(readme.contains(&format!("docs/{name})")), "README.md does not lead to {name}");
    }
}
