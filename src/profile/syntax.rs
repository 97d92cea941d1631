//! What a profile may say. Every error names file, line and, for a wrong name, the nearest right one.

use anyhow::Result;
use toml::de::{DeTable, DeValue};

use super::shape;
use crate::engine::{Exit, Refusal};
use crate::model::{Impact, Side};
use crate::tweaks::{self, Entry, TWEAKS};

/// Keys of every tweak's table.
pub const COMMON: [&str; 3] = ["enable", "required", "owner"];
/// Keys of the profile itself that are lists.
const LISTS: [&str; 4] = ["include", "links", "pod-links", "accept"];
pub const TOP: [&str; 7] = ["summary", "include", "links", "pod-links", "accept", "cni", "cilium"];

/// A file whose names and types are right.
#[derive(Debug)]
pub struct Checked {
    pub table: toml::Table,
    /// What a lever says of one of its keys alone: path and sentence, with file and line. Only together with all that
    /// the profile sets is it known to be wrong.
    pub doubts: Vec<(String, String)>,
}

/// Parses a file and checks its names and types.
pub fn check(text: &str, origin: &str) -> Result<Checked> {
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let wrong = |at: usize, why: String| {
        // What was typed on the command line has one.
        let place = match origin.starts_with("--set ") {
            true => origin.to_string(),
            false => format!("{origin}:{}", line(at)),
        };
        Refusal::with(Exit::Config, format!("{place}: {why}"))
    };
    let spanned = DeTable::parse(text)
        .map_err(|e| wrong(e.span().map_or(0, |s| s.start), e.message().to_string()))?;
    let table: toml::Table = toml::from_str(text)
        .map_err(|e| wrong(e.span().map_or(0, |s| s.start), e.message().into()))?;
    let mut doubts = Vec::new();
    for (key, value) in spanned.get_ref() {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        if TOP.contains(&name) {
            if let Some(parsed) = table.get(name) {
                top(name, parsed).map_err(|why| wrong(at, why))?;
            }
            continue;
        }
        let Some(entry) = tweaks::find(name) else {
            let known = TOP.into_iter().chain(TWEAKS.iter().map(|t| t.name));
            let kind = if value.get_ref().is_table() { "table" } else { "key" };
            return Err(wrong(at, format!("unknown {kind} {name:?}{}", nearest(name, known))));
        };
        let DeValue::Table(keys) = value.get_ref() else {
            return Err(wrong(at, format!("{name} is a tweak: write it as a table, [{name}]")));
        };
        let parsed = table.get(name).and_then(|v| v.as_table()).cloned().unwrap_or_default();
        for key in keys.keys() {
            let at = key.span().start;
            let doubt = check_key(entry, key.get_ref(), &parsed).map_err(|why| wrong(at, why))?;
            let path = || format!("{name}.{}", key.get_ref());
            doubts.extend(doubt.map(|why| (path(), wrong(at, why).to_string())));
        }
    }
    Ok(Checked { table, doubts })
}

fn top(name: &str, value: &toml::Value) -> Result<(), String> {
    let strings = || -> Result<Vec<&str>, String> {
        let list = value.as_array().ok_or_else(|| format!("{name} is a list of names"))?;
        list.iter()
            .map(|v| v.as_str().ok_or_else(|| format!("{name} is a list of names")))
            .collect()
    };
    match name {
        "summary" => value.as_str().map(drop).ok_or_else(|| "summary is a text".into()),
        "accept" => {
            let known = || Impact::ALL.iter().map(|i| i.name());
            match strings()?.into_iter().find(|s| Impact::parse(s).is_none()) {
                Some(s) => Err(format!("unknown impact {s:?}{}", nearest(s, known()))),
                None => Ok(()),
            }
        }
        "cni" => {
            let known = ["auto", "cilium", "other", "none"];
            let text = value.as_str().unwrap_or_default();
            if known.contains(&text) {
                return Ok(());
            }
            Err(format!("cni is one of {}", known.join(", ")))
        }
        "cilium" => cilium(value),
        "links" | "pod-links" => {
            for selector in strings()? {
                let name = selector.replace('*', "x");
                let kinds = ["driver:", "pci:", "mac:"];
                let special = kinds.iter().any(|kind| selector.starts_with(kind));
                if !special {
                    crate::model::resource::valid_link(&name)?;
                }
            }
            Ok(())
        }
        _ => strings().map(drop),
    }
}

/// `[cilium]`: `version`, `socket` and `want.LEVER = true | false`.
fn cilium(value: &toml::Value) -> Result<(), String> {
    let table = value.as_table().ok_or("cilium is a table: [cilium]")?;
    for (key, value) in table {
        match key.as_str() {
            "version" => {
                let text = value.as_str().ok_or("cilium.version is a text, such as \"1.18\"")?;
                crate::cilium::version::Version::parse(text)
                    .map_err(|e| format!("cilium.version: {e}"))?;
            }
            "socket" => {
                let path = value.as_str().filter(|p| p.starts_with('/'));
                path.ok_or("cilium.socket is an absolute path")?;
            }
            "want" => {
                let levers = value.as_table().ok_or("cilium.want is a table: [cilium.want]")?;
                let known = || TWEAKS.iter().filter(|t| t.side != Side::Node).map(|t| t.name);
                for (lever, on) in levers {
                    if !known().any(|k| k == lever) {
                        return Err(format!(
                            "unknown lever {lever:?} of Cilium{}",
                            nearest(lever, known())
                        ));
                    }
                    on.as_bool().ok_or_else(|| format!("cilium.want.{lever} is true or false"))?;
                }
            }
            _ => {
                let known = ["version", "socket", "want"].into_iter();
                return Err(format!("unknown key {key:?} in [cilium]{}", nearest(key, known)));
            }
        }
    }
    Ok(())
}

/// What is wrong with its type, or what the lever says of its value.
fn check_key(entry: &Entry, key: &str, table: &toml::Table) -> Result<Option<String>, String> {
    let value = table.get(key).cloned().unwrap_or(toml::Value::Boolean(false));
    match key {
        "enable" | "required" => {
            let told = || format!("{key} is true or false");
            return value.as_bool().map(|_| None).ok_or_else(told);
        }
        "owner" => {
            let known = matches!(value.as_str(), Some("auto" | "nettune"));
            return if known { Ok(None) } else { Err("owner is \"auto\" or \"nettune\"".into()) };
        }
        _ => {}
    }
    // Alone, so that the error is about this key.
    let alone = toml::Table::from_iter([(key.to_string(), value)]);
    let tweak = (entry.lever.build)(alone).map_err(|e| {
        // The list of keys is made only where somebody has to read it.
        let known = tweaks::keys(entry);
        if known.iter().any(|k| k.name == key) {
            return format!("{}.{key}: {}", entry.name, plain(entry, key, e.message()));
        }
        let names = known.iter().map(|k| k.name.as_str()).chain(COMMON);
        format!("unknown key {key:?} in [{}]{}", entry.name, nearest(key, names))
    })?;
    Ok(tweak.validate().err().map(|e| format!("{}.{key}: {e:#}", entry.name)))
}

/// The parser speaks of its own types; an operator wants to know what to write.
fn plain(entry: &Entry, key: &str, message: &str) -> String {
    let own = ["invalid type", "invalid value", "unknown variant", "data did not match"];
    let message = message.trim();
    if !own.iter().any(|o| message.starts_with(o)) {
        return message.to_string();
    }
    let may = shape::told(entry, key).unwrap_or_else(|| message.to_string());
    let near = || {
        let word = message.strip_prefix("unknown variant `")?.split('`').next()?;
        Some(nearest(word, may.split('"').skip(1).step_by(2)))
    };
    let near = near().unwrap_or_default();
    may + &near
}

/// ", did you mean ...?", or nothing when nothing is near.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .filter(|(typos, _)| *typos <= (name.len() / 3).max(1))
        .min();
    near.map_or(String::new(), |(_, k)| format!(", did you mean {k:?}?"))
}

/// `tweak.key=value`, the value in TOML or as a bare word; of a list its words with commas between.
pub fn assignment(set: &str) -> Result<toml::Table> {
    let wrong = |why: &str| Refusal::with(Exit::Config, format!("--set {set}: {why}"));
    let (path, value) = set.split_once('=').ok_or_else(|| wrong("write it as tweak.key=value"))?;
    if path.trim() == "include" {
        return Err(wrong("a profile includes others in its file: include = [\"NAME\"]"));
    }
    let table: Result<toml::Table, _> =
        toml::from_str(&format!("{path} = {value}")).or_else(|_| {
            let quoted = toml::Value::String(value.trim().to_string());
            toml::from_str(&format!("{path} = {quoted}"))
        });
    let mut table = table.map_err(|_| wrong("not a key and a value"))?;
    for (name, value) in &mut table {
        match (tweaks::find(name), value) {
            (None, value) if LISTS.contains(&name.as_str()) => listed(value),
            (Some(entry), toml::Value::Table(keys)) => {
                let lists = keys.iter_mut().filter(|(key, _)| shape::is_list(entry, key));
                lists.for_each(|(_, value)| listed(value));
            }
            _ => {}
        }
    }
    Ok(table)
}

/// One value, or words with commas between, where a list is meant.
fn listed(value: &mut toml::Value) {
    let words = match &*value {
        toml::Value::Array(_) | toml::Value::Table(_) => return,
        toml::Value::String(text) => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            words.map(|word| toml::Value::String(word.to_string())).collect()
        }
        other => vec![other.clone()],
    };
    *value = toml::Value::Array(words);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        match check(text, "p.toml") {
            Ok(checked) => {
                checked.doubts.into_iter().map(|(_, why)| why).next().unwrap_or_default()
            }
            Err(e) => format!("{e}"),
        }
    }

    #[test]
    fn errors_name_file_line_and_the_nearest_name() {
        assert_eq!(error("\n[tpc]\n"), "p.toml:2: unknown table \"tpc\", did you mean \"tcp\"?");
        assert_eq!(
            error("[cpu]\n\ngoverner = \"performance\"\n"),
            "p.toml:3: unknown key \"governer\" in [cpu], did you mean \"governor\"?"
        );
        assert!(error("[mtu]\nmtu = \"big\"\n").starts_with("p.toml:2: mtu.mtu: "));
        assert_eq!(
            error("[steering]\nxps = \"atuo\"\n"),
            "p.toml:2: steering.xps: it is \"auto\" or \"off\", did you mean \"auto\"?"
        );
        assert!(error("[steering]\nrfs = -1\n").ends_with("it is a whole number, 0 or more"));
        assert!(error("[tcp\n").starts_with("p.toml:1: "));
        assert!(error("accept = [\"link-rest\"]").contains("did you mean \"link-reset\"?"));
        assert!(
            error("[tcp.sysctl]\n\"../../etc/passwd\" = 1\n").starts_with("p.toml:1: tcp.sysctl: ")
        );
        assert_eq!(
            error("[cilium]\nversoin = \"1.18\"\n"),
            "p.toml:1: unknown key \"versoin\" in [cilium], did you mean \"version\"?"
        );
        assert!(error("[cilium]\nversion = \"1.2\"\n").contains("1.13 to 1.21"));
        assert!(error("[cilium]\nsocket = \"run/x\"\n").contains("absolute path"));
        assert!(error("[cilium.want]\nnetkt = false\n").contains("did you mean \"netkit\"?"));
        assert!(error("[cilium.want]\ntcp = false\n").contains("unknown lever \"tcp\""));
        assert_eq!(error("[cilium]\nversion = \"1.18\"\nwant.netkit = false\n"), "");
        assert!(error("links = [\"../../etc/passwd\"]").contains("is not a link name"));
        assert_eq!(error("[tcp.sysctl]\n\"net.core.somaxconn\" = { at-least = 4096 }\n"), "");
    }

    #[test]
    fn assignments_are_toml_or_a_bare_word() {
        let value = |s: &str| assignment(s).map(|t| t.to_string()).unwrap_or_default();
        assert_eq!(value("mtu.mtu=9000").trim(), "[mtu]\nmtu = 9000");
        assert_eq!(value("mtu.mtu=max").trim(), "[mtu]\nmtu = \"max\"");
        assert_eq!(value("mtu.probe=[\"10.0.0.1\"]").trim(), "[mtu]\nprobe = [\"10.0.0.1\"]");
        let cidrs = "[notrack]\ncidrs = [\"10.0.0.0/8\", \"fd00::/8\"]";
        for said in
            ["10.0.0.0/8,fd00::/8", "\"10.0.0.0/8, fd00::/8\"", "[\"10.0.0.0/8\", \"fd00::/8\"]"]
        {
            assert_eq!(value(&format!("notrack.cidrs={said}")).trim(), cidrs, "{said}");
        }
        assert_eq!(value("links=eth0").trim(), "links = [\"eth0\"]");
        assert!(assignment("mtu").is_err());
    }
}
