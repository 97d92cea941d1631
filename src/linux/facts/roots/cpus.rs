//! CPUs: cores, NUMA nodes, those that are kept for others, and their frequency.

use super::Tree;
use crate::linux::facts::cpus::gather;
use crate::model::facts::Cpus;
use crate::model::placement::Placement;

const CPU: &str = "sys/devices/system/cpu";

fn cpus(tree: &Tree) -> Cpus {
    gather(&tree.root())
}

/// Two sockets of four cores with two threads each: CPU n and n + 8 share a core.
fn two_sockets(tree: &Tree) {
    for file in ["online", "possible", "present"] {
        tree.file(&format!("{CPU}/{file}"), "0-15\n");
    }
    tree.file(&format!("{CPU}/isolated"), "\n");
    tree.file(&format!("{CPU}/nohz_full"), "  (null)\n");
    for cpu in 0..16 {
        let (low, high) = (cpu % 8, cpu % 8 + 8);
        let folder = format!("{CPU}/cpu{cpu}");
        tree.file(&format!("{folder}/topology/thread_siblings_list"), &format!("{low},{high}\n"));
        tree.file(&format!("{folder}/power/pm_qos_resume_latency_us"), "0\n");
    }
    tree.file("sys/devices/system/node/node0/cpulist", "0-3,8-11\n");
    tree.file("sys/devices/system/node/node1/cpulist", "4-7,12-15\n");
    tree.file("sys/devices/system/node/possible", "0-1\n");
}

fn order(tree: &Tree, node: u32) -> Vec<u32> {
    Placement::default().order(&cpus(tree), Some(node))
}

#[test]
fn sockets_threads_and_nodes() {
    let tree = Tree::new();
    two_sockets(&tree);
    let found = cpus(&tree);
    assert_eq!((found.online.as_str(), found.possible.as_str()), ("0-15", "0-15"));
    assert_eq!((found.isolated.as_str(), found.nohz_full.as_str()), ("", ""));
    assert_eq!(found.cores[..2], ["0,8", "1,9"]);
    assert_eq!(found.cores.len(), 8);
    assert_eq!(found.numa[&1], "4-7,12-15");
    assert!(found.idle_latency && !found.energy_perf_bias && found.pstate.is_none());
    assert_eq!(order(&tree, 1)[..8], [4, 5, 6, 7, 12, 13, 14, 15]);
    assert_eq!(order(&tree, 1)[8..], [0, 1, 2, 3, 8, 9, 10, 11]);
}

/// As a core's threads are numbered on other machines: 0 and 1 share one.
#[test]
fn threads_side_by_side() {
    let tree = Tree::new();
    tree.file(&format!("{CPU}/online"), "0-3\n");
    for cpu in 0..4 {
        let first = cpu / 2 * 2;
        let path = format!("{CPU}/cpu{cpu}/topology/thread_siblings_list");
        tree.file(&path, &format!("{first}-{}\n", first + 1));
    }
    assert_eq!(cpus(&tree).cores, ["0-1", "2-3"]);
    assert_eq!(Placement::default().order(&cpus(&tree), None), [0, 2, 1, 3]);
}

#[test]
fn isolated_and_nohz_full_cpus_get_no_queue() {
    let tree = Tree::new();
    two_sockets(&tree);
    tree.file(&format!("{CPU}/isolated"), "4-5,12-13\n");
    tree.file(&format!("{CPU}/nohz_full"), "6,14\n");
    assert_eq!(order(&tree, 1), [7, 15, 0, 1, 2, 3, 8, 9, 10, 11]);
}

/// An offline CPU keeps its folder, without a topology, and leaves its sibling a core of its own.
#[test]
fn offline_cpus_get_no_queue() {
    let tree = Tree::new();
    two_sockets(&tree);
    tree.file(&format!("{CPU}/online"), "0-6,8-13,15\n");
    tree.file("sys/devices/system/node/node1/cpulist", "4-6,12-13,15\n");
    for cpu in [7, 14] {
        let topology = tree.dir.path().join(format!("{CPU}/cpu{cpu}/topology"));
        std::fs::remove_dir_all(topology).unwrap();
    }
    tree.file(&format!("{CPU}/cpu6/topology/thread_siblings_list"), "6\n");
    tree.file(&format!("{CPU}/cpu15/topology/thread_siblings_list"), "15\n");
    let found = cpus(&tree);
    assert_eq!((found.online.as_str(), found.possible.as_str()), ("0-6,8-13,15", "0-15"));
    assert!(found.cores.contains(&"15".to_string()), "{:?}", found.cores);
    // 15 is the first thread of its core now, so it comes before 12 and 13.
    assert_eq!(order(&tree, 1)[..6], [4, 5, 6, 15, 12, 13]);
}

/// Memory without CPUs (CXL, HBM) is a node as well.
#[test]
fn a_node_without_cpus_is_nobodys_neighbour() {
    let tree = Tree::new();
    two_sockets(&tree);
    tree.file("sys/devices/system/node/node2/cpulist", "\n");
    assert_eq!(cpus(&tree).numa[&2], "");
    assert_eq!(order(&tree, 2), Placement::default().order(&cpus(&tree), None));
}

/// The checkpoint of the kubelet's CPU manager.
#[test]
fn what_the_kubelet_gave_to_pods_for_themselves() {
    let tree = Tree::new();
    two_sockets(&tree);
    let state = |text: &str| {
        tree.file("var/lib/kubelet/cpu_manager_state", text);
        cpus(&tree).exclusive
    };
    let none = r#"{"policyName":"none","defaultCpuSet":"","checksum":1353318690}"#;
    assert_eq!(state(none), "");
    let fixed = r#"{"policyName":"static","defaultCpuSet":"0-3,6-11,14-15","entries":
        {"0a7c1c1e-93b4-4b0c-9a3e-2d7f6a1b0c55":{"app":"4,12","side":"5"},
         "5e1d2c3b-0000-4b0c-9a3e-2d7f6a1b0c55":{"app":"13"}},"checksum":4141502832}"#;
    assert_eq!(state(fixed), "4-5,12-13");
    assert_eq!(order(&tree, 1)[..4], [6, 7, 14, 15]);
    // Version 1, of kubelets before 1.18: by container alone.
    let first = r#"{"policyName":"static","defaultCpuSet":"0,2-3","entries":{"9f3a":"1"}}"#;
    assert_eq!(state(first), "1");
    assert_eq!(state("not json"), "");
}

fn policy(tree: &Tree, name: &str, files: &[(&str, &str)]) {
    for (file, text) in files {
        tree.file(&format!("{CPU}/cpufreq/{name}/{file}"), &format!("{text}\n"));
    }
}

#[test]
fn intel_pstate_with_its_energy_preference_and_uncore() {
    let tree = Tree::new();
    two_sockets(&tree);
    for n in [0, 10, 2] {
        policy(
            &tree,
            &format!("policy{n}"),
            &[
                ("affected_cpus", &n.to_string()),
                ("scaling_driver", "intel_pstate"),
                ("scaling_governor", "powersave"),
                ("scaling_available_governors", "performance powersave "),
                ("energy_performance_preference", "balance_performance"),
                (
                    "energy_performance_available_preferences",
                    "default performance balance_performance balance_power power ",
                ),
            ],
        );
    }
    for (file, text) in
        [("status", "active"), ("no_turbo", "0"), ("min_perf_pct", "25"), ("max_perf_pct", "100")]
    {
        tree.file(&format!("{CPU}/intel_pstate/{file}"), &format!("{text}\n"));
    }
    for domain in ["package_00_die_00", "package_01_die_00"] {
        let folder = format!("{CPU}/intel_uncore_frequency/{domain}");
        tree.file(&format!("{folder}/initial_max_freq_khz"), "2400000\n");
        tree.file(&format!("{folder}/min_freq_khz"), "800000\n");
    }
    tree.file(&format!("{CPU}/cpu0/power/energy_perf_bias"), "6\n");
    let found = cpus(&tree);
    let names: Vec<&str> = found.cpufreq.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["policy0", "policy2", "policy10"]);
    let first = &found.cpufreq[0];
    assert_eq!(first.governors, ["performance", "powersave"]);
    assert_eq!(first.epp.as_deref(), Some("balance_performance"));
    assert_eq!(first.epps.len(), 5);
    let pstate = found.pstate.unwrap();
    assert_eq!((pstate.driver.as_str(), pstate.mode.as_str()), ("intel_pstate", "active"));
    assert!(pstate.turbo && found.min_perf_pct && found.energy_perf_bias && !found.boost);
    assert_eq!(found.uncore["package_01_die_00"], 2_400_000);
}

#[test]
fn amd_pstate_and_acpi_cpufreq() {
    let tree = Tree::new();
    two_sockets(&tree);
    tree.file(&format!("{CPU}/amd_pstate/status"), "guided\n");
    tree.file(&format!("{CPU}/amd_pstate/prefcore"), "enabled\n");
    tree.file(&format!("{CPU}/cpufreq/boost"), "1\n");
    policy(
        &tree,
        "policy0",
        &[
            ("affected_cpus", "0 8"),
            ("scaling_driver", "amd-pstate"),
            ("scaling_governor", "schedutil"),
            ("scaling_available_governors", "ondemand performance schedutil "),
        ],
    );
    let found = cpus(&tree);
    let pstate = found.pstate.unwrap();
    assert_eq!((pstate.driver.as_str(), pstate.mode.as_str()), ("amd_pstate", "guided"));
    assert!(!pstate.turbo && found.boost && !found.min_perf_pct && found.uncore.is_empty());
    assert_eq!(found.cpufreq[0].cpus, "0,8");
    assert_eq!(found.cpufreq[0].epp, None);
}

#[test]
fn a_machine_without_any_of_it() {
    let tree = Tree::new();
    tree.file(&format!("{CPU}/online"), "0\n");
    let found = cpus(&tree);
    assert_eq!(found.cores, ["0"]);
    assert!(found.cpufreq.is_empty() && found.numa.is_empty() && !found.idle_latency);
}
