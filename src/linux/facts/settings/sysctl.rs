//! systemd-sysctl's files, of which the last line for a key wins.

use crate::linux::root::Root;
use crate::model::Resource;
use crate::model::settings::Setting;

/// As sysctl.d(5) has them; Debian's /etc/sysctl.conf comes in by its link 99-sysctl.conf.
const FOLDERS: [&str; 5] =
    ["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"];

pub fn gather(root: &Root) -> Vec<Setting> {
    let mut all: Vec<Setting> = Vec::new();
    for (file, text) in root.texts(super::files(root, &FOLDERS, ".conf")) {
        for (at, line) in text.lines().enumerate() {
            let line = line.trim().trim_start_matches('-');
            let Some((key, value)) = line.split_once('=') else { continue };
            if line.starts_with(['#', ';']) {
                continue;
            }
            let resource = Resource::sysctl(key.trim()).to_string();
            all.retain(|s| s.resource != resource);
            all.push(Setting {
                agent: "systemd-sysctl".to_string(),
                file: format!("/{file}"),
                line: at as u32 + 1,
                resource,
                key: None,
                value: Some(value.split_whitespace().collect::<Vec<_>>().join(" ")),
            });
        }
    }
    all
}
