//! The lists of words in the documents are those of the program.

use std::path::Path;

use nettune::engine::row::Status;
use nettune::model::{Impact, Outcome};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What a JSON Schema lists for a type.
fn listed<T: schemars::JsonSchema>() -> Vec<String> {
    let schema = schemars::schema_for!(T).to_value();
    let consts = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let plain = schema["enum"].as_array().cloned().unwrap_or_default();
    let each = consts.into_iter().flat_map(|one| match one.get("enum") {
        Some(all) => all.as_array().unwrap().clone(),
        None => vec![one["const"].clone()],
    });
    each.chain(plain).map(|word| word.as_str().unwrap().to_string()).collect()
}

/// Each stands in the glossary, between backticks.
#[test]
fn the_glossary_has_every_status_outcome_impact_and_reason() {
    let glossary = read("docs/glossary.md");
    let source = read("src/engine/reason.rs");
    let (_, codes) = source.split_once("pub fn code(").unwrap();
    let (codes, _) = codes.split_once("pub fn of(").unwrap();
    let codes =
        codes.split("=> \"").skip(1).map(|rest| rest.split('"').next().unwrap().to_string());
    let mut words: Vec<String> = codes.collect();
    assert!(words.len() > 20, "only {words:?}");
    for list in [listed::<Status>(), listed::<Outcome>()] {
        assert!(list.len() > 6, "only {list:?}");
        words.extend(list);
    }
    words.extend(Impact::ALL.map(|impact| impact.name().to_string()));
    for word in words {
        assert!(glossary.contains(&format!("`{word}`")), "docs/glossary.md has no {word}");
    }
}

/// A code that people look for is one that a lever gives.
#[test]
fn the_known_trouble_of_cilium_has_codes_that_there_are() {
    let text = read("docs/cilium.md");
    let (_, table) = text.split_once("## Known trouble that is looked for").unwrap();
    let (table, _) = table.split_once("\nNot seen:").unwrap();
    let mut source = String::new();
    for folder in ["src/tweaks/node", "src/tweaks/cluster", "src/tweaks"] {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap()
        {
            source += &std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        }
    }
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let codes: Vec<&str> = cells.flat_map(|cell| cell.split(['`', ',', ' '])).collect();
    let codes: Vec<&str> = codes.into_iter().filter(|code| !code.is_empty()).collect();
    assert!(codes.len() > 30, "only {codes:?}");
    for code in codes {
        assert!(source.contains(&format!("\"{code}\"")), "no lever says {code}");
    }
}

/// Median, quartiles and ratios of the README stand so in docs/performance.md.
#[test]
fn the_figures_of_the_readme_are_those_of_the_benches() {
    let (readme, benches) = (read("README.md"), read("docs/performance.md"));
    let (_, section) = readme.split_once("## Before and after").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = rows.flat_map(|row| row.split('|').map(str::trim).skip(2).collect::<Vec<_>>());
    let figures: Vec<&str> = cells.filter(|cell| cell.ends_with(')')).collect();
    assert_eq!(figures.len(), 6, "{figures:?}");
    for figure in figures {
        assert!(benches.contains(figure), "docs/performance.md has no {figure}");
    }
}
