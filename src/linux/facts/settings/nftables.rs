//! Whether loading the node's nftables rules begins with taking all rules away, ours with them.

use super::text::number;
use crate::linux::root::Root;
use crate::model::facts::Setting;

/// What goes with the whole ruleset: our tables, and the links of a flowtable in one.
pub const OURS: [&str; 2] = ["nft:nettune-*", "flow:*"];

const UNITS: [&str; 4] =
    ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
/// Debian's, RHEL's and Alpine's, where no unit names one.
const FILES: [&str; 3] = ["etc/nftables.conf", "etc/sysconfig/nftables.conf", "etc/nftables.nft"];
/// Of files, however they include each other.
const MOST: usize = 64;

pub fn gather(root: &Root) -> Vec<Setting> {
    let mut files = loaded(root);
    let mut at = 0;
    while let Some(file) = files.get(at).cloned() {
        let (flush, includes) = parse(&root.read(&file).unwrap_or_default());
        if let Some(line) = flush {
            // One line is enough: after it nothing is left.
            return OURS.iter().map(|ours| flushed(&file, line, ours)).collect();
        }
        for path in includes.iter().flat_map(|path| included(root, path)) {
            if files.len() < MOST && !files.contains(&path) {
                files.push(path);
            }
        }
        at += 1;
    }
    Vec::new()
}

fn flushed(file: &str, line: u32, resource: &str) -> Setting {
    Setting {
        agent: "nftables.service".into(),
        file: format!("/{file}"),
        line,
        resource: resource.into(),
        key: None,
        value: None,
    }
}

/// The files that the service loads: its unit or a drop-in of it says which.
fn loaded(root: &Root) -> Vec<String> {
    let unit = UNITS.iter().map(|folder| format!("{folder}/nftables.service"));
    let unit = unit.into_iter().find(|path| root.exists(path));
    let drop_ins: Vec<String> = UNITS.iter().map(|f| format!("{f}/nftables.service.d")).collect();
    let drop_ins: Vec<&str> = drop_ins.iter().map(String::as_str).collect();
    let mut files = Vec::new();
    for path in unit.into_iter().chain(super::folders::files(root, &drop_ins, ".conf")) {
        let text = root.read(&path).unwrap_or_default();
        for value in text.lines().filter_map(|line| line.trim().strip_prefix("ExecStart=")) {
            // An empty one takes back those before it.
            if value.is_empty() {
                files.clear();
            }
            let words: Vec<&str> = value.split_whitespace().collect();
            let file = words.iter().position(|w| matches!(*w, "-f" | "--file"));
            files.extend(
                file.and_then(|at| words.get(at + 1))
                    .map(|f| f.trim_start_matches('/').to_string()),
            );
        }
    }
    if files.is_empty() { FILES.iter().map(|f| f.to_string()).collect() } else { files }
}

/// nft looks for what does not begin with a slash below /etc.
fn included(root: &Root, path: &str) -> Vec<String> {
    let path = match path.strip_prefix('/') {
        Some(path) => path.to_string(),
        None => format!("etc/{}", path.trim_start_matches("./")),
    };
    super::folders::expand(root, &path)
}

/// The line that flushes tables of family inet, and what is included.
fn parse(text: &str) -> (Option<u32>, Vec<String>) {
    let (mut flush, mut includes) = (None, Vec::new());
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        for statement in line.split(';') {
            match statement.split_whitespace().collect::<Vec<_>>()[..] {
                ["flush", "ruleset"] | ["flush", "ruleset", "inet"] => {
                    flush = flush.or(Some(number(at)));
                }
                ["include", ref path @ ..] => {
                    includes.push(path.join(" ").trim_matches(['"', '\'']).to_string());
                }
                _ => {}
            }
        }
    }
    (flush, includes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{root, told};
    use super::*;
    use proptest::prelude::*;

    fn of(files: &[(&str, &str)]) -> Vec<String> {
        let (_dir, root) = root(files);
        told(&gather(&root))
    }

    #[test]
    fn a_flush_in_what_the_service_loads() {
        let conf = "#!/usr/sbin/nft -f\n# flush ruleset\ntable inet f { }; flush   ruleset\n";
        assert_eq!(
            of(&[("etc/nftables.conf", conf)]),
            ["/etc/nftables.conf:3 nft:nettune-* = ?", "/etc/nftables.conf:3 flow:* = ?"]
        );
        let rhel = [
            ("etc/nftables.conf", conf),
            (
                "usr/lib/systemd/system/nftables.service",
                "[Service]\nExecStart=/sbin/nft -f /etc/sysconfig/nftables.conf\n",
            ),
            ("etc/sysconfig/nftables.conf", "include \"/etc/nftables/*.nft\"\n"),
            ("etc/nftables/a.nft", "flush ruleset ip6\nflush table inet x\n"),
            ("etc/nftables/b.nft", "flush ruleset inet\n"),
        ];
        assert_eq!(of(&rhel)[0], "/etc/nftables/b.nft:1 nft:nettune-* = ?");
        let drop_in = [
            rhel[0],
            rhel[1],
            (
                "etc/systemd/system/nftables.service.d/x.conf",
                "[Service]\nExecStart=\nExecStart=/sbin/nft -f /srv/rules\n",
            ),
            ("srv/rules", "include \"nft.d/x\"\n"),
            ("etc/nft.d/x", "flush ruleset\n"),
        ];
        assert_eq!(of(&drop_in)[0], "/etc/nft.d/x:1 nft:nettune-* = ?");
        assert!(
            of(&[("etc/nftables.conf", "flush ruleset ip\ninclude \"/etc/nftables.conf\"\n")])
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn any_rules_are_read(text in "((flush|ruleset|inet|include|\"/a\\*\"|#|;|\n| )[ -~é]{0,8}){0,24}") {
            parse(&text);
        }
    }
}
