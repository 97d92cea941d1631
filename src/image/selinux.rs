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
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_fits_and_an_exact_one_before_all() {
        let lines = "\
# comment
/.*	system_u:object_r:default_t:s0
/etc(/.*)?	system_u:object_r:etc_t:s0
/etc/udev/rules\\.d(/.*)?	system_u:object_r:udev_rules_t:s0
/usr/(.*/)?bin(/.*)?	system_u:object_r:bin_t:s0
/usr/lib/systemd/system(/.*)?	--	system_u:object_r:systemd_unit_file_t:s0
/etc/exact	system_u:object_r:exact_t:s0
/etc/sysctl\\.d(/.*)?	-d	system_u:object_r:folder_t:s0
/run/.*	<<none>>
";
        let contexts = Contexts {
            specs: lines.lines().filter_map(spec).collect(),
            aliases: vec![("/etc/systemd/system".into(), "/usr/lib/systemd/system".into())],
        };
        let label = |path: &str, kind| {
            contexts.label(path, kind).map(|l| l.split(':').nth(2).unwrap_or("").to_string())
        };
        assert_eq!(
            label("/etc/udev/rules.d/90-nettune.rules", Kind::File).as_deref(),
            Some("udev_rules_t")
        );
        assert_eq!(label("/usr/bin/nettune", Kind::File).as_deref(), Some("bin_t"));
        assert_eq!(
            label("/etc/systemd/system/a.service", Kind::File).as_deref(),
            Some("systemd_unit_file_t")
        );
        assert_eq!(label("/etc/systemd/systemx", Kind::File).as_deref(), Some("etc_t"));
        assert_eq!(label("/etc/exact", Kind::File).as_deref(), Some("exact_t"));
        assert_eq!(label("/etc/sysctl.d/x", Kind::File).as_deref(), Some("etc_t"));
        assert_eq!(label("/run/x", Kind::File), None);
    }

    #[test]
    fn a_pattern_that_cannot_be_read_makes_up_no_label() {
        let specs =
            ["/etc(/.*)?\tsystem_u:object_r:etc_t:s0", "/etc/(?!x).*\tsystem_u:object_r:y_t:s0"];
        let contexts =
            Contexts { specs: specs.iter().filter_map(|l| spec(l)).collect(), aliases: Vec::new() };
        assert_eq!(contexts.label("/etc/a", Kind::File), None);
        assert!(contexts.label("/etc", Kind::Folder).is_some());
    }
}
