//! CPUs: which there are, which core and NUMA node they are of, and their frequency policies.

use std::collections::BTreeMap;

use crate::linux::root::Root;
use crate::model::cpulist::{self, CpuSet};
use crate::model::facts::{CpuPolicy, Cpus, Pstate};

const CPU: &str = "sys/devices/system/cpu";

pub fn gather(root: &Root) -> Cpus {
    let line = |file: &str| root.line(&format!("{CPU}/{file}")).unwrap_or_default();
    let online = line("online");
    Cpus {
        possible: line("possible"),
        isolated: line("isolated"),
        // "(null)" is how the kernel prints an empty mask here.
        nohz_full: Some(line("nohz_full")).filter(|t| t != "(null)").unwrap_or_default(),
        exclusive: exclusive(root),
        numa: numa(root),
        cores: cores(root, &online),
        cpufreq: cpufreq(root),
        idle_latency: root.exists(&format!("{CPU}/cpu0/power/pm_qos_resume_latency_us")),
        energy_perf_bias: root.exists(&format!("{CPU}/cpu0/power/energy_perf_bias")),
        min_perf_pct: root.exists(&format!("{CPU}/intel_pstate/min_perf_pct")),
        pstate: pstate(root),
        boost: root.exists(&format!("{CPU}/cpufreq/boost")),
        uncore: uncore(root),
        online,
    }
}

fn pstate(root: &Root) -> Option<Pstate> {
    ["intel_pstate", "amd_pstate"].iter().find_map(|driver| {
        let folder = format!("{CPU}/{driver}");
        Some(Pstate {
            driver: driver.to_string(),
            mode: root.line(&format!("{folder}/status"))?,
            turbo: root.exists(&format!("{folder}/no_turbo")),
        })
    })
}

fn uncore(root: &Root) -> BTreeMap<String, u64> {
    let folder = format!("{CPU}/intel_uncore_frequency");
    let names = root.list(&folder).unwrap_or_default();
    let domain = |name: String| {
        let most = root.line(&format!("{folder}/{name}/initial_max_freq_khz"))?.parse().ok()?;
        Some((name, most))
    };
    names.into_iter().filter_map(domain).collect()
}

/// {"policyName":"static","entries":{"POD":{"CONTAINER":"2-3"}}}; before Kubernetes 1.18 by container
/// alone.
fn exclusive(root: &Root) -> String {
    use serde_json::Value;
    let text = root.read("var/lib/kubelet/cpu_manager_state").unwrap_or_default();
    let json: Value = serde_json::from_str(&text).unwrap_or_default();
    let entries =
        json.get("entries").and_then(Value::as_object).into_iter().flat_map(|e| e.values());
    let lists = entries.flat_map(|entry| match entry {
        Value::Object(containers) => containers.values().collect(),
        list => vec![list],
    });
    let lists = lists.filter_map(|list| cpulist::parse(list.as_str()?));
    let none = CpuSet::default();
    cpulist::format(lists.fold(none, |all, list| all.or(&list)).iter())
}

fn numa(root: &Root) -> BTreeMap<u32, String> {
    let folder = "sys/devices/system/node";
    let names = root.list(folder).unwrap_or_default();
    let node = |name: &String| {
        let id = name.strip_prefix("node")?.parse().ok()?;
        Some((id, root.line(&format!("{folder}/{name}/cpulist"))?))
    };
    names.iter().filter_map(node).collect()
}

fn cores(root: &Root, online: &str) -> Vec<String> {
    let mut seen = CpuSet::default();
    let mut cores = Vec::new();
    for cpu in cpulist::parse(online).unwrap_or_default().iter() {
        if seen.contains(cpu) {
            continue;
        }
        let siblings = root
            .line(&format!("{CPU}/cpu{cpu}/topology/thread_siblings_list"))
            .unwrap_or_else(|| cpu.to_string());
        seen = seen.or(&cpulist::parse(&siblings).unwrap_or_default());
        cores.push(siblings);
    }
    cores
}

fn cpufreq(root: &Root) -> Vec<CpuPolicy> {
    let folder = format!("{CPU}/cpufreq");
    let mut policies: Vec<CpuPolicy> = root
        .list(&folder)
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.starts_with("policy"))
        .map(|name| {
            let line = |file: &str| root.line(&format!("{folder}/{name}/{file}"));
            let words = |file: &str| -> Vec<String> {
                line(file).unwrap_or_default().split_whitespace().map(str::to_string).collect()
            };
            CpuPolicy {
                cpus: line("affected_cpus").unwrap_or_default().replace(' ', ","),
                driver: line("scaling_driver").unwrap_or_default(),
                governor: line("scaling_governor").unwrap_or_default(),
                governors: words("scaling_available_governors"),
                epp: line("energy_performance_preference"),
                epps: words("energy_performance_available_preferences"),
                name,
            }
        })
        // One whose CPUs are all offline answers nothing, or what it was.
        .filter(|p| !p.cpus.is_empty())
        .collect();
    policies.sort_by_key(|p| p.name.trim_start_matches("policy").parse::<u32>().unwrap_or(0));
    policies
}
