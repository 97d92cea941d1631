//! Files of sysctls, of which the last line for a key wins.

use super::text::{self, number};
use crate::linux::root::Root;
use crate::model::Resource;
use crate::model::facts::Setting;

/// As sysctl.d(5) has them; Debian's /etc/sysctl.conf comes in by its link 99-sysctl.conf.
const FOLDERS: [&str; 5] =
    ["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"];
/// Without a link to it systemd-sysctl does not read it; `sysctl --system`, which other inits run, and TuneD do.
const ALONE: &str = "etc/sysctl.conf";

pub fn gather(root: &Root) -> Vec<Setting> {
    let mut all: Vec<Setting> = Vec::new();
    let files = super::folders::files(root, &FOLDERS, ".conf");
    for (file, text) in root.texts(files.clone()) {
        for setting in settings("systemd-sysctl", &file, &text) {
            all.retain(|s| s.resource != setting.resource);
            all.push(setting);
        }
    }
    let linked = |file: &String| root.readlink(file).is_ok_and(|to| to.ends_with("/sysctl.conf"));
    if !files.iter().any(linked) {
        let mut alone = settings("sysctl --system", ALONE, &root.read(ALONE).unwrap_or_default());
        let later =
            |at: usize, of: &[Setting]| of[at + 1..].iter().any(|s| s.resource == of[at].resource);
        let last: Vec<bool> = (0..alone.len()).map(|at| !later(at, &alone)).collect();
        let mut last = last.into_iter();
        alone.retain(|_| last.next().unwrap_or(true));
        all.extend(alone);
    }
    all
}

fn settings(agent: &str, file: &str, text: &str) -> Vec<Setting> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        let Some((key, value)) = line.trim_start_matches('-').split_once('=') else { continue };
        let key = path(key.trim());
        // Masks are written in hex without saying so.
        let mask = key.ends_with("mask") || key.ends_with("bitmap");
        let value = match mask {
            true => value.split_whitespace().collect::<Vec<_>>().join(" "),
            false => text::numbers(value),
        };
        found.push(Setting {
            agent: agent.to_string(),
            file: format!("/{file}"),
            line: number(at),
            resource: Resource::sysctl(&key).to_string(),
            key: None,
            value: Some(value),
        });
    }
    found
}

/// Where a dot comes first, dots separate and a slash stands for a dot: net.ipv4.conf.bond0/7.mtu.
fn path(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key[at..].starts_with('.') && key.contains('/') => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{root, told};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_the_kernel_reads_them_and_by_whom() {
        let (dir, root) = root(&[
            (
                "etc/sysctl.d/99-a.conf",
                "net.core.somaxconn = 0x80\nnet.ipv4.tcp_rmem\t=\t4096\t87380\t010\n\
                 net.core.rps_default_mask=00ff\nnet.ipv4.conf.bond0/7.rp_filter=1\n; kernel.a=1\n",
            ),
            ("etc/sysctl.conf", "net.core.somaxconn = 64\nnet.core.somaxconn = 128\n"),
            ("usr/lib/sysctl.d/50-v.conf", "net.core.rmem_max = 1\n"),
        ]);
        std::os::unix::fs::symlink("/dev/null", dir.path().join("etc/sysctl.d/50-v.conf")).unwrap();
        let alone = "/etc/sysctl.conf:2 sysctl:net.core.somaxconn = 128";
        let folders = [
            "/etc/sysctl.d/99-a.conf:1 sysctl:net.core.somaxconn = 128",
            "/etc/sysctl.d/99-a.conf:2 sysctl:net.ipv4.tcp_rmem = 4096 87380 8",
            "/etc/sysctl.d/99-a.conf:3 sysctl:net.core.rps_default_mask = 00ff",
            "/etc/sysctl.d/99-a.conf:4 sysctl:net/ipv4/conf/bond0.7/rp_filter = 1",
        ];
        let all = gather(&root);
        assert_eq!(told(&all)[..4], folders);
        assert_eq!(told(&all)[4..], [alone]);
        assert_eq!(
            (all[0].agent.as_str(), all[4].agent.as_str()),
            ("systemd-sysctl", "sysctl --system")
        );
        std::os::unix::fs::symlink(
            "../sysctl.conf",
            dir.path().join("etc/sysctl.d/99-sysctl.conf"),
        )
        .unwrap();
        let linked = "/etc/sysctl.d/99-sysctl.conf:2 sysctl:net.core.somaxconn = 128";
        assert_eq!(told(&gather(&root)), [&folders[1..], &[linked]].concat());
    }

    proptest! {
        #[test]
        fn any_file_is_read(text in "([-a-z0-9./=#;x* \té\n]){0,80}") {
            settings("a", "f", &text);
        }
    }
}
