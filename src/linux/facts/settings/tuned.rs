//! What TuneD's profiles set: those that levers of ours could set too.

use std::collections::BTreeMap;

use crate::linux::root::Root;
use crate::model::Resource;
use crate::model::settings::Setting;

/// 2.24 moved its own profiles one folder down.
const FOLDERS: [&str; 4] =
    ["etc/tuned/profiles", "etc/tuned", "usr/lib/tuned/profiles", "usr/lib/tuned"];
/// Deep enough for the longest chain that TuneD ships, and an end to one that includes itself.
const DEEPEST: u32 = 8;

/// The active profile, as TuneD wrote it down, and those that a profile of ours asks for.
pub fn profiles(root: &Root) -> BTreeMap<String, Vec<Setting>> {
    let active = root.line("etc/tuned/active_profile").unwrap_or_default();
    let names = [active.as_str(), "network-latency", "network-throughput"];
    let mut all = BTreeMap::new();
    for name in names.into_iter().filter(|n| !n.is_empty()) {
        let mut settings = Vec::new();
        for one in name.split_whitespace() {
            lay(root, one, &mut settings, 0);
        }
        if !settings.is_empty() {
            all.insert(name.to_string(), settings);
        }
    }
    all
}

/// Each resource that one of `profiles` (names with spaces between) sets, a pattern as all that it fits.
pub fn resources(root: &Root, profiles: &str) -> Vec<Resource> {
    let mut settings = Vec::new();
    profiles.split_whitespace().for_each(|one| lay(root, one, &mut settings, 0));
    let expand = |setting: Setting| match setting.resource.split_once('*') {
        None => vec![setting.resource],
        Some((head, tail)) => {
            let folder = head.replacen("sysfs:", "sys/", 1);
            let names = root.list(&folder).unwrap_or_default();
            names.into_iter().map(|name| format!("{head}{name}{tail}")).collect()
        }
    };
    settings.into_iter().flat_map(expand).filter_map(|name| name.parse().ok()).collect()
}

/// What is included first, then its own: the last value of a resource counts.
fn lay(root: &Root, name: &str, settings: &mut Vec<Setting>, depth: u32) {
    if depth > DEEPEST || name.contains('/') {
        return;
    }
    let path = |folder: &&str| format!("{folder}/{name}/tuned.conf");
    let Some(file) = FOLDERS.iter().map(path).find(|path| root.exists(path)) else { return };
    let pairs = super::pairs(&root.read(&file).unwrap_or_default());
    for (_, section, key, value) in &pairs {
        if section == "main" && key == "include" {
            let names = value.split([',', ' ']).filter(|n| !n.is_empty());
            names.for_each(|included| lay(root, included, settings, depth + 1));
        }
    }
    for (line, section, key, value) in pairs {
        let Some(resource) = resource(&section, &key) else { continue };
        settings.retain(|s| s.resource != resource);
        // A variable is TuneD's to work out.
        let value = (!value.contains("${")).then_some(value);
        let (agent, file) = ("TuneD".to_string(), format!("/{file}"));
        settings.push(Setting { agent, file, line, resource, key: None, value });
    }
}

fn resource(section: &str, key: &str) -> Option<String> {
    let cpu = "sysfs:devices/system/cpu";
    match (section, key) {
        ("sysctl", key) => Some(Resource::sysctl(key).to_string()),
        ("sysfs", key) => Some(format!("sysfs:{}", key.strip_prefix("/sys/")?)),
        ("vm", "transparent_hugepages") => {
            Some("sysfs:kernel/mm/transparent_hugepage/enabled".to_string())
        }
        ("cpu", "governor") => Some(format!("{cpu}/cpufreq/*/scaling_governor")),
        ("cpu", "min_perf_pct") => Some(format!("{cpu}/intel_pstate/min_perf_pct")),
        _ => None,
    }
}
