//! What TuneD's profiles set: those that levers of ours could set too.

use std::collections::BTreeMap;

use super::spread::{Set, cover, spread};
use super::text::{self, fnmatch};
use super::tuned_profile::{self, Entry, Unit, open};
use crate::linux::root::Root;
use crate::model::Resource;
use crate::model::facts::Link;
use crate::model::facts::Setting;
use crate::model::group::GROUPS;

const AGENT: &str = "TuneD";
const CPU: &str = "sysfs:devices/system/cpu";
const IRQBALANCE: [&str; 2] = ["irqbalance:bans", "file:/etc/sysconfig/irqbalance"];

/// The active profile, as TuneD wrote it down, and those that a profile of ours asks for.
pub fn profiles(root: &Root, links: &[Link]) -> BTreeMap<String, Vec<Setting>> {
    let links = super::folders::sorted(links);
    let active = root.line("etc/tuned/active_profile").unwrap_or_default();
    let names = [active.as_str(), "network-latency", "network-throughput"];
    let mut all = BTreeMap::new();
    for name in names.into_iter().filter(|n| !n.is_empty()) {
        let settings = settings(root, name, &links);
        if !settings.is_empty() {
            all.insert(name.to_string(), settings);
        }
    }
    all
}

/// Each sysctl and file of /sys that one of `profiles` (names with spaces between) sets, a pattern as all
/// that it fits.
pub fn resources(root: &Root, profiles: &str) -> Vec<Resource> {
    let expand = |setting: Setting| match setting.resource.split_once('*') {
        None => vec![setting.resource],
        Some((head, tail)) => {
            let folder = head.replacen("sysfs:", "sys/", 1);
            let names = root.list(&folder).unwrap_or_default();
            names.into_iter().map(|name| format!("{head}{name}{tail}")).collect()
        }
    };
    let settings = settings(root, profiles, &[]);
    settings.into_iter().flat_map(expand).filter_map(|name| name.parse().ok()).collect()
}

fn settings(root: &Root, profiles: &str, links: &[&Link]) -> Vec<Setting> {
    let mut all: Vec<Setting> = Vec::new();
    for (_, unit) in tuned_profile::load(root, profiles) {
        for setting in of(&unit, links) {
            all.retain(|s| (&s.resource, &s.key) != (&setting.resource, &setting.key));
            all.push(setting);
        }
    }
    all
}

fn of(unit: &Unit, links: &[&Link]) -> Vec<Setting> {
    let sets: Vec<Set> = unit.options.iter().flat_map(|option| sets(unit, option)).collect();
    if unit.kind != "net" {
        return spread(AGENT, &sets, &[String::new()]);
    }
    let names: Vec<&str> = links.iter().map(|l| l.name.as_str()).collect();
    let group: Vec<&str> =
        links.iter().filter(|l| tunes(unit, l)).map(|l| l.name.as_str()).collect();
    let (own, whole): (Vec<Set>, Vec<Set>) =
        sets.into_iter().partition(|s| s.resource.contains('%'));
    let mut all = spread(AGENT, &whole, &[String::new()]);
    all.extend(spread(AGENT, &own, &cover(&group, &names)));
    all
}

fn sets(unit: &Unit, option: &Entry) -> Vec<Set> {
    let Entry { file, line, key, .. } = option;
    let raw = unquoted(&option.value);
    let known = (!open(raw)).then(|| raw.to_string());
    let set = |resource: String, key: Option<String>, value: Option<String>| Set {
        file: file.clone(),
        line: *line,
        resource,
        key,
        value,
    };
    let one = |resource: String| vec![set(resource, None, known.clone())];
    let chosen = |resources: &[&str]| -> Vec<Set> {
        resources.iter().map(|resource| set(resource.to_string(), None, None)).collect()
    };
    match (unit.kind.as_str(), key.as_str()) {
        // A variable may leave the name itself open.
        (_, key) if open(key) => Vec::new(),
        ("sysctl", key) => {
            let value = known.as_deref().map(text::numbers);
            vec![set(Resource::sysctl(key).to_string(), None, value)]
        }
        ("sysfs", key) => match key.strip_prefix("/sys/") {
            Some(path) => one(format!("sysfs:{}", path.replace('?', "*"))),
            None => Vec::new(),
        },
        ("vm", "transparent_hugepages" | "transparent_hugepage") => {
            one("sysfs:kernel/mm/transparent_hugepage/enabled".into())
        }
        // The first of several that this CPU has.
        ("cpu", "governor" | "energy_performance_preference") => {
            let file = if key == "governor" { "scaling_governor" } else { key.as_str() };
            let value = known.clone().filter(|v| !v.contains('|'));
            vec![set(format!("{CPU}/cpufreq/*/{file}"), None, value)]
        }
        ("cpu", "pm_qos_resume_latency_us") => one(format!("{CPU}/*/power/{key}")),
        ("cpu", "energy_perf_bias") => vec![set(format!("{CPU}/*/power/{key}"), None, None)],
        ("cpu", "min_perf_pct" | "max_perf_pct" | "no_turbo") => {
            one(format!("{CPU}/intel_pstate/{key}"))
        }
        ("net", "mtu") => one("mtu:%".into()),
        ("net", "nf_conntrack_hashsize") => {
            one("sysfs:module/nf_conntrack/parameters/hashsize".into())
        }
        ("net", key) if GROUPS.iter().any(|row| row.tuned == key) => {
            let group = GROUPS.iter().find(|row| row.tuned == key).map_or(key, |row| row.name);
            let words: Vec<&str> =
                raw.split([' ', '\t', '\n', ':', ';', ',']).filter(|w| !w.is_empty()).collect();
            let pair = |pair: &[&str]| {
                let (key, value) = text::field(group, pair[0], pair[1]);
                set(format!("ethtool:%/{group}"), Some(key), value)
            };
            match open(raw) {
                true => vec![set(format!("ethtool:%/{group}"), None, None)],
                // TuneD takes no odd number of words.
                false if words.len() % 2 == 1 => Vec::new(),
                false => words.chunks_exact(2).map(pair).collect(),
            }
        }
        ("scheduler", "isolated_cores") if !raw.is_empty() => {
            let says =
                |key: &str| unit.options.iter().find(|o| o.key == key).map(|o| o.value.as_str());
            let moves = says("irq_process").is_none_or(tuned_profile::on);
            let default = says("default_irq_smp_affinity") != Some("ignore");
            chosen(match (moves, default) {
                (false, _) => &[],
                (true, false) => &["irq:*/*"],
                (true, true) => &["irq:*/*", "irq:default"],
            })
        }
        ("irqbalance", "banned_cpus") if !raw.is_empty() => chosen(&IRQBALANCE),
        _ => Vec::new(),
    }
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value)
}

/// Devices of hardware by default; a virtual one only where it is named, which a TuneD may heed or not.
fn tunes(unit: &Unit, link: &Link) -> bool {
    if open(&unit.devices) {
        return link.bus.is_some();
    }
    let Some(regex) = &unit.udev else { return listed(&unit.devices, link) };
    let bus = link.bus.as_deref().and_then(|bus| bus.strip_prefix("pci/"));
    let driver = link.driver.as_deref();
    let mut known = vec![format!("IFINDEX={}", link.index)];
    known.extend(driver.map(|driver| format!("ID_NET_DRIVER={driver}")));
    known.extend(bus.map(|slot| format!("ID_PATH=pci-{slot}")));
    known.extend([format!("INTERFACE={}", link.name), "SUBSYSTEM=net".to_string()]);
    known.sort();
    let text: String = known.iter().map(|property| format!("{property}\n")).collect();
    match tuned_profile::pattern(regex) {
        Some(pattern) if pattern.is_match(&text) => true,
        // It asks for something that the facts do not have.
        Some(_) => {
            link.bus.is_some() && !["INTERFACE", "ID_NET_DRIVER"].iter().any(|p| regex.contains(p))
        }
        None => link.bus.is_some(),
    }
}

/// "eth* !eth0": all without a positive rule.
fn listed(devices: &str, link: &Link) -> bool {
    let rules = || devices.split([' ', '\t', '\n', ',']).filter(|rule| !rule.is_empty());
    let fits = |rule: &str| fnmatch(rule, &link.name);
    let denied = rules().filter_map(|rule| rule.strip_prefix('!')).any(fits);
    let mut wanted = rules().filter(|rule| !rule.starts_with('!')).peekable();
    let all = wanted.peek().is_none();
    let named = wanted.any(|rule| fits(rule) && (link.bus.is_some() || rule != "*"));
    !denied && (named || all && link.bus.is_some())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{root, told};
    use super::*;

    fn link(name: &str, driver: Option<&str>) -> Link {
        Link {
            name: name.into(),
            driver: driver.map(str::to_string),
            bus: driver.map(|_| "pci/0000:81:00.0".to_string()),
            ..Link::default()
        }
    }

    fn of(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<(String, &str)> =
            files.iter().map(|(name, text)| (format!("{name}/tuned.conf"), *text)).collect();
        let mut files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        files.push(("etc/tuned/active_profile", "mine\n"));
        let (_dir, root) = root(&files);
        let links = [link("ens1", Some("ice")), link("eth9", None), link("lxc1", None)];
        told(profiles(&root, &links).get("mine").map_or(&[], Vec::as_slice))
            .into_iter()
            .map(|t| t.replace("/tuned.conf", ""))
            .collect()
    }

    #[test]
    fn quotes_signs_and_variables() {
        let base = "[main]\nsummary=b\n[sysctl]\nnet.ipv4.tcp_rmem=\"4096 87380 16777216\"\nnet.core.somaxconn=>4096 # c\nvm.swappiness=<10\n";
        let mine = "[main]\ninclude=base\n[variables]\nx=7\n[s2]\ntype=sysctl\nvm.dirty_ratio=${x}\nvm.min_free_kbytes=${f:exec:x}\n[off]\ntype=sysctl\nenabled=0\nkernel.a=1\n[other]\ntype=sysctl\nuname_regex=^Solaris\nkernel.b=1\n";
        assert_eq!(
            of(&[("usr/lib/tuned/base", base), ("etc/tuned/mine", mine)]),
            [
                "/usr/lib/tuned/base:4 sysctl:net.ipv4.tcp_rmem = 4096 87380 16777216",
                "/usr/lib/tuned/base:5 sysctl:net.core.somaxconn = >4096",
                "/usr/lib/tuned/base:6 sysctl:vm.swappiness = <10",
                "/etc/tuned/mine:7 sysctl:vm.dirty_ratio = 7",
                "/etc/tuned/mine:8 sysctl:vm.min_free_kbytes = ?",
            ]
        );
    }

    #[test]
    fn instances_of_any_name_and_what_they_are_for() {
        let mine = "[net_eth]\ntype=net\ndevices_udev_regex=^INTERFACE=eth9\nchannels=combined 2\nring=rx: 512, tx 256\nfeatures=gro off\ncoalesce=adaptive-rx on rx-usecs 50\nmtu=1500\npause=autoneg off rx on\n\
                    [all]\ntype=net\ndevices=!eth9\nmtu=9000\nnf_conntrack_hashsize=4096\n[drv]\ntype=net\ndevices_udev_regex=^ID_NET_DRIVER=(i40e|ice)$\nring=rx 1\n\
                    [scheduler]\nisolated_cores=1\n[irqbalance]\nbanned_cpus=2-3\n[sysfs]\n/sys/class/net/eth9/queues/rx-0/rps_cpus=3\n[cpu]\ngovernor=schedutil|ondemand\n";
        assert_eq!(
            of(&[("etc/tuned/profiles/mine", mine)]),
            [
                "/etc/tuned/profiles/mine:4 ethtool:eth9/channels combined = 2",
                "/etc/tuned/profiles/mine:5 ethtool:eth9/rings rx = 512",
                "/etc/tuned/profiles/mine:5 ethtool:eth9/rings tx = 256",
                "/etc/tuned/profiles/mine:6 ethtool:eth9/features rx-gro = off",
                "/etc/tuned/profiles/mine:7 ethtool:eth9/coalesce adaptive-rx = 1",
                "/etc/tuned/profiles/mine:7 ethtool:eth9/coalesce rx-usecs = 50",
                "/etc/tuned/profiles/mine:8 mtu:eth9 = 1500",
                "/etc/tuned/profiles/mine:9 ethtool:eth9/pause autoneg = 0",
                "/etc/tuned/profiles/mine:9 ethtool:eth9/pause rx = 1",
                "/etc/tuned/profiles/mine:14 sysfs:module/nf_conntrack/parameters/hashsize = 4096",
                "/etc/tuned/profiles/mine:13 mtu:ens1 = 9000",
                "/etc/tuned/profiles/mine:18 ethtool:ens1/rings rx = 1",
                "/etc/tuned/profiles/mine:20 irq:*/* = ?",
                "/etc/tuned/profiles/mine:20 irq:default = ?",
                "/etc/tuned/profiles/mine:22 irqbalance:bans = ?",
                "/etc/tuned/profiles/mine:22 file:/etc/sysconfig/irqbalance = ?",
                "/etc/tuned/profiles/mine:24 sysfs:class/net/eth9/queues/rx-0/rps_cpus = 3",
                "/etc/tuned/profiles/mine:26 sysfs:devices/system/cpu/cpufreq/*/scaling_governor = ?",
            ]
        );
    }

    #[test]
    fn includes_replace_drop_and_end() {
        let files = [
            ("usr/lib/tuned/mine", "[main]\ninclude=a,-none;b\n[sysctl]\nkernel.own=1\n"),
            (
                "etc/tuned/mine",
                "[main]\ninclude=mine\n[x]\ntype=sysctl\ndrop=kernel.x1\nkernel.x2=2\n",
            ),
            (
                "etc/tuned/a",
                "[main]\ninclude=b\n[sysctl]\nkernel.a=1\nkernel.b=1\n[x]\ntype=sysctl\nkernel.x1=1\nkernel.x2=1\n",
            ),
            ("etc/tuned/b", "[main]\ninclude=a\n[sysctl]\nkernel.b=2\n"),
        ];
        assert_eq!(
            of(&files),
            [
                "/etc/tuned/a:4 sysctl:kernel.a = 1",
                "/etc/tuned/a:5 sysctl:kernel.b = 1",
                "/usr/lib/tuned/mine:4 sysctl:kernel.own = 1",
                "/etc/tuned/mine:6 sysctl:kernel.x2 = 2",
            ]
        );
        let replaced = [
            ("etc/tuned/a", "[sysctl]\nkernel.a=1\n"),
            ("etc/tuned/mine", "[main]\ninclude=a\n[sysctl]\nreplace=1\nkernel.c=1\n"),
        ];
        assert_eq!(of(&replaced), ["/etc/tuned/mine:5 sysctl:kernel.c = 1"]);
        let gone = [("etc/tuned/mine", "[net]\ndevices=${d}\nring=rx 1 tx\nfeatures=${f}\n")];
        assert_eq!(of(&gone), ["/etc/tuned/mine:4 ethtool:ens1/features = ?"]);
    }
}
