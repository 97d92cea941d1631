//! TuneD's profiles as TuneD merges them: files in Python's configparser syntax, which include each other.

use std::collections::BTreeMap;

use regex_lite::{Regex, RegexBuilder};

use super::text::{boolean, number};
use crate::linux::root::{Root, is_absent};

/// 2.24 moved its own profiles one folder down.
const FOLDERS: [&str; 4] =
    ["etc/tuned/profiles", "etc/tuned", "usr/lib/tuned/profiles", "usr/lib/tuned"];
/// Of files, however they include each other.
const MOST: usize = 64;
/// Of a value whose variables are filled in.
const LONGEST: usize = 64 << 10;

/// An option with where it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub file: String,
    pub line: u32,
    pub section: String,
    pub key: String,
    pub value: String,
}

/// One instance of a plugin.
#[derive(Debug, Clone, Default)]
pub struct Unit {
    pub kind: String,
    pub enabled: bool,
    pub replace: bool,
    pub drop: Vec<String>,
    pub devices: String,
    pub udev: Option<String>,
    pub cpuinfo: Option<String>,
    pub uname: Option<String>,
    pub options: Vec<Entry>,
}

/// The instances of `names` (with spaces between) and of what they include, in TuneD's order.
pub fn load(root: &Root, names: &str) -> Vec<(String, Unit)> {
    let mut merged = Merged::default();
    for name in names.split_whitespace() {
        merged.load(root, name);
    }
    let variables = variables(root, &merged.units);
    let mut units = merged.units;
    units.retain(|(name, unit)| name != "variables" && unit.enabled && unit.fits(root));
    for (_, unit) in &mut units {
        unit.devices = expand(&unit.devices, &variables);
        for option in &mut unit.options {
            option.value = expand(&option.value, &variables);
        }
    }
    units
}

/// Whether a variable or a function is left that TuneD alone can work out.
pub fn open(value: &str) -> bool {
    value.contains("${")
}

/// As Python's re.search over several lines; None where this is no pattern of ours.
pub fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).multi_line(true).size_limit(1 << 20).build().ok()
}

#[derive(Default)]
struct Merged {
    units: Vec<(String, Unit)>,
    read: Vec<String>,
}

impl Merged {
    /// What is included first, then its own. A file that was read is passed over for the next of that name.
    fn load(&mut self, root: &Root, name: &str) {
        let name = name.strip_prefix('-').unwrap_or(name);
        if self.read.len() >= MOST || name.contains('/') {
            return;
        }
        let paths = FOLDERS.iter().map(|folder| format!("{folder}/{name}/tuned.conf"));
        let mut unread = paths.filter(|path| !self.read.contains(path));
        let there = |path: String| match root.read(&path) {
            Ok(text) => Some((path, text)),
            Err(e) => (!is_absent(&e)).then_some((path, String::new())),
        };
        let Some((file, text)) = unread.find_map(there) else { return };
        self.read.push(file.clone());
        let entries = parse(&file, &text);
        let include = entries.iter().rev().find(|e| e.section == "main" && e.key == "include");
        for name in include.iter().flat_map(|e| e.value.split([',', ';'])) {
            self.load(root, virtual_choice(root, name.trim()));
        }
        units(entries).into_iter().for_each(|(name, unit)| self.add(name, unit));
    }

    fn add(&mut self, name: String, unit: Unit) {
        let Some((_, old)) = self.units.iter_mut().find(|(known, _)| *known == name) else {
            return self.units.push((name, unit));
        };
        if unit.replace {
            *old = unit;
            return;
        }
        old.options.retain(|option| !unit.drop.contains(&option.key));
        for option in unit.options {
            old.options.retain(|o| o.key != option.key);
            old.options.push(option);
        }
        (old.kind, old.enabled, old.devices) = (unit.kind, unit.enabled, unit.devices);
        old.udev = unit.udev.or(old.udev.take());
        old.cpuinfo = unit.cpuinfo.or(old.cpuinfo.take());
        old.uname = unit.uname.or(old.uname.take());
    }
}

/// "${f:virt_check:A:B}" is A in a virtual machine; OpenShift's profiles begin with it.
fn virtual_choice<'a>(root: &Root, name: &'a str) -> &'a str {
    let choice = name.strip_prefix("${f:virt_check:").and_then(|rest| rest.strip_suffix('}'));
    let Some((virtually, bare)) = choice.and_then(|rest| rest.split_once(':')) else { return name };
    let hypervisor = || {
        let cpus = root.read("proc/cpuinfo").unwrap_or_default();
        cpus.lines().any(|l| {
            l.starts_with("flags") && l.ends_with(" hypervisor") || l.contains(" hypervisor ")
        })
    };
    if root.exists("sys/hypervisor/type") || hypervisor() { virtually } else { bare }
}

impl Unit {
    /// What cannot be told fits.
    fn fits(&self, root: &Root) -> bool {
        let matches = |of: &Option<String>, text: &dyn Fn() -> String| {
            of.as_deref().and_then(pattern).is_none_or(|pattern| pattern.is_match(&text()))
        };
        let uname = || {
            let kernel =
                |name: &str| root.line(&format!("proc/sys/kernel/{name}")).unwrap_or_default();
            let [host, release, version] = ["hostname", "osrelease", "version"].map(kernel);
            format!("Linux {host} {release} {version} {}", std::env::consts::ARCH)
        };
        matches(&self.uname, &uname)
            && matches(&self.cpuinfo, &|| root.read("proc/cpuinfo").unwrap_or_default())
    }
}

/// Sections by name, without [main].
fn units(entries: Vec<Entry>) -> Vec<(String, Unit)> {
    let mut found: Vec<(String, Unit)> = Vec::new();
    let yes = |value: &str| matches!(value, "True" | "true" | "1");
    for entry in entries.into_iter().filter(|e| e.section != "main") {
        let at = found.iter().position(|(name, _)| *name == entry.section).unwrap_or_else(|| {
            let kind = entry.section.clone();
            let unit = Unit { kind, enabled: true, devices: "*".into(), ..Unit::default() };
            found.push((entry.section.clone(), unit));
            found.len() - 1
        });
        let Some((_, unit)) = found.get_mut(at) else { continue };
        let value = entry.value.clone();
        match entry.key.as_str() {
            "type" => unit.kind = value,
            "enabled" => unit.enabled = yes(&value),
            "replace" => unit.replace = yes(&value),
            "drop" => unit.drop = value.split([',', ';']).map(|k| k.trim().to_string()).collect(),
            "devices" => unit.devices = value,
            "devices_udev_regex" => unit.udev = Some(value),
            "cpuinfo_regex" => unit.cpuinfo = Some(value),
            "uname_regex" => unit.uname = Some(value),
            "" | "script_pre" | "script_post" | "priority" => {}
            _ => {
                unit.options.retain(|o| o.key != entry.key);
                unit.options.push(entry);
            }
        }
    }
    found
}

/// Python's configparser: comments by # and ; at the start of a line and by # after a space, and a line that
/// stands further in than its option goes on with it. The head of a section has no key.
pub fn parse(file: &str, text: &str) -> Vec<Entry> {
    let mut section = String::new();
    let mut found: Vec<Entry> = Vec::new();
    let mut open: Option<usize> = None;
    for (at, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let line = without_comment(line).trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let of = |section: &str, key: &str, value: &str| Entry {
            file: file.to_string(),
            line: number(at),
            section: section.to_string(),
            key: key.trim().to_string(),
            value: value.trim().to_string(),
        };
        if let Some(last) = found.last_mut().filter(|_| open.is_some_and(|of| indent > of)) {
            last.value.push('\n');
            last.value.push_str(line);
        } else if let Some((name, _)) = line.strip_prefix('[').and_then(|l| l.rsplit_once(']')) {
            section = name.to_string();
            open = None;
            found.push(of(&section, "", ""));
        } else if let Some((key, value)) = line.split_once('=') {
            open = Some(indent);
            found.push(of(&section, key, value));
        }
    }
    found
}

fn without_comment(line: &str) -> &str {
    let mut starts = line.match_indices('#').map(|(at, _)| at);
    let comment = starts.find(|at| line[..*at].ends_with(|c: char| c.is_whitespace()));
    comment.map_or(line, |at| &line[..at])
}

/// [variables], and the file that it includes, which TuneD's own profiles keep below /etc.
fn variables(root: &Root, units: &[(String, Unit)]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let own = units.iter().find(|(name, _)| name == "variables").map(|(_, unit)| unit);
    for option in own.iter().flat_map(|unit| &unit.options) {
        if option.key == "include" {
            let text = root.read(&option.value).unwrap_or_default();
            for entry in parse("", &text).into_iter().filter(|e| !e.key.is_empty()) {
                let value = expand(&entry.value, &found);
                found.insert(entry.key, value);
            }
        } else {
            let value = expand(&option.value, &found);
            found.insert(option.key.clone(), value);
        }
    }
    found
}

/// Puts in the variables that are known; what is left stays as it is.
fn expand(value: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = from.find('}').map_or(from.len(), |end| end + 1);
        let (name, after) = from.split_at(end);
        let known = name.strip_prefix("${").and_then(|n| n.strip_suffix('}'));
        match known.and_then(|name| variables.get(name)).filter(|v| out.len() + v.len() < LONGEST) {
            Some(value) => out.push_str(value),
            None => out.push_str(name),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A boolean as TuneD's plugins take it.
pub fn on(value: &str) -> bool {
    boolean(value).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_syntax_is_pythons() {
        let text = "# c\n[a.b]\nk = v # c\nx=1#2\n more\n; c\n[s] \n  y=a=b\n z=2\n";
        let told: Vec<String> = parse("f", text)
            .iter()
            .map(|e| format!("{} {} {}={}", e.line, e.section, e.key, e.value.replace('\n', "|")))
            .collect();
        assert_eq!(
            told,
            ["2 a.b =", "3 a.b k=v", "4 a.b x=1#2|more", "7 s =", "8 s y=a=b", "9 s z=2"]
        );
    }

    #[test]
    fn variables_are_filled_in_and_functions_are_not() {
        let known = BTreeMap::from([("a".to_string(), "2-3".to_string())]);
        assert_eq!(expand("x${a},${b}${f:exec:${a}}${", &known), "x2-3,${b}${f:exec:${a}}${");
    }

    proptest! {
        #[test]
        fn any_profile_is_read(lines in proptest::collection::vec("(\\[(main|net|variables|x)\\]| {0,3}(type|include|devices|drop|replace|a|b)=(\\$\\{(a|b|f:x:y)\\}|[ -~é]{0,12}){0,4}|[ -~é]{0,16})", 0..20)) {
            let text = lines.join("\n");
            let units = units(parse("f", &text));
            let mut known = BTreeMap::new();
            for option in units.iter().flat_map(|(_, unit)| &unit.options) {
                let value = expand(&option.value, &known);
                prop_assert!(value.len() <= LONGEST + option.value.len());
                known.insert(option.key.clone(), value);
            }
        }
    }
}
