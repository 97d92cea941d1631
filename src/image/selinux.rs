//! Labels as the image's own policy has them: `file_contexts` and what stands beside it.

use regex_lite::Regex;

use crate::linux::root::Root;

pub const ATTRIBUTE: &str = "security.selinux";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Link,
}

/// One line, in the order of the files.
struct Spec {
    pattern: Pattern,
    kind: Option<Kind>,
    /// None: explicitly without one.
    label: Option<String>,
}

enum Pattern {
    Exact(String),
    Regex(Regex),
    /// Nobody here can tell what it means; where it might be meant, no label is made up.
    Unread(String),
}

pub struct Contexts {
    specs: Vec<Spec>,
    /// A path that begins so is looked up as if it began otherwise.
    aliases: Vec<(String, String)>,
}

impl Contexts {
    /// None: the image has no SELinux policy.
    pub fn load(root: &Root) -> Option<Self> {
        let config = root.read("etc/selinux/config").ok()?;
        let policy = config.lines().find_map(|l| l.trim().strip_prefix("SELINUXTYPE="))?.trim();
        if policy.is_empty() || policy.contains('/') {
            return None;
        }
        let base = format!("etc/selinux/{policy}/contexts/files/file_contexts");
        let main = root.long(&base).ok()?;
        let mut contexts = Contexts { specs: Vec::new(), aliases: Vec::new() };
        for text in [Some(main), root.long(&format!("{base}.local")).ok()].into_iter().flatten() {
            contexts.specs.extend(text.lines().filter_map(spec));
        }
        for file in ["subs_dist", "subs"] {
            let text = root.read(&format!("{base}.{file}")).unwrap_or_default();
            contexts.aliases.extend(text.lines().filter_map(alias));
        }
        Some(contexts)
    }

    /// The label of a path: an exact line before a pattern, a later line before an earlier one.
    /// None: the policy gives it none, or none that could be told.
    pub fn label(&self, path: &str, kind: Kind) -> Option<String> {
        let path = self.canonical(path);
        let fits = |s: &&Spec| s.kind.is_none_or(|k| k == kind);
        let exact = |s: &&Spec| matches!(&s.pattern, Pattern::Exact(p) if *p == path);
        let found = self.specs.iter().rev().filter(fits).find(exact);
        if let Some(spec) = found {
            return spec.label.clone();
        }
        for spec in self.specs.iter().rev().filter(fits) {
            match &spec.pattern {
                Pattern::Regex(regex) if regex.is_match(&path) => return spec.label.clone(),
                Pattern::Unread(stem) if path.starts_with(stem.as_str()) => return None,
                _ => {}
            }
        }
        None
    }

    fn canonical(&self, path: &str) -> String {
        let longest = self
            .aliases
            .iter()
            .filter(|(from, _)| {
                path.strip_prefix(from.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .max_by_key(|(from, _)| from.len());
        match longest {
            Some((from, to)) => format!("{to}{}", &path[from.len()..]),
            None => path.to_string(),
        }
    }
}

/// `regex [-type] context`.
fn spec(line: &str) -> Option<Spec> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let (pattern, kind, label) = match words[..] {
        [pattern, label] => (pattern, None, label),
        [pattern, "--", label] => (pattern, Some(Kind::File), label),
        [pattern, "-d", label] => (pattern, Some(Kind::Folder), label),
        [pattern, "-l", label] => (pattern, Some(Kind::Link), label),
        // Sockets, pipes and devices: bake writes none.
        _ => return None,
    };
    let label = (label != "<<none>>").then(|| label.to_string());
    Some(Spec { pattern: read(pattern), kind, label })
}

fn read(pattern: &str) -> Pattern {
    let special = |c: char| ".^$?*+|[({\\".contains(c);
    let stem = || pattern.split(special).next().unwrap_or_default().to_string();
    if !pattern.contains(special) {
        return Pattern::Exact(pattern.to_string());
    }
    match Regex::new(&format!("^(?:{pattern})$")) {
        Ok(regex) => Pattern::Regex(regex),
        Err(_) => Pattern::Unread(stem()),
    }
}

fn alias(line: &str) -> Option<(String, String)> {
    let mut words = line.split_whitespace();
    let from = words.next().filter(|w| w.starts_with('/'))?;
    Some((from.to_string(), words.next()?.to_string()))
}

#[cfg(test)]
mod tests;
