//! CPUs, their NUMA nodes and their frequencies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::cpulist::last;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Cpus {
    /// CPU lists, as the kernel writes them.
    pub online: String,
    pub possible: String,
    pub isolated: String,
    pub nohz_full: String,
    /// Given to pods for themselves, by the kubelet's CPU manager.
    pub exclusive: String,
    /// NUMA node number -> its CPUs.
    pub numa: BTreeMap<u32, String>,
    /// One entry a core: the CPUs that share it.
    pub cores: Vec<String>,
    pub cpufreq: Vec<CpuPolicy>,
    /// Whether each CPU has power/pm_qos_resume_latency_us.
    pub idle_latency: bool,
    /// Whether each CPU has power/energy_perf_bias.
    pub energy_perf_bias: bool,
    /// Whether there is an intel_pstate/min_perf_pct.
    pub min_perf_pct: bool,
    pub pstate: Option<Pstate>,
    /// Whether there is a cpufreq/boost.
    pub boost: bool,
    /// Uncore frequency domains of intel_uncore_frequency, and the most that each takes, in kHz.
    pub uncore: BTreeMap<String, u64>,
}

impl Cpus {
    /// As many CPUs as the kernel may ever have: its masks are that wide.
    pub fn bits(&self) -> u32 {
        last(&self.possible).or_else(|| last(&self.online)).unwrap_or(0) + 1
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Pstate {
    /// intel_pstate or amd_pstate.
    pub driver: String,
    /// active, passive, guided or off.
    pub mode: String,
    /// Whether it has no_turbo.
    pub turbo: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct CpuPolicy {
    /// "policy0".
    pub name: String,
    pub cpus: String,
    pub driver: String,
    pub governor: String,
    pub governors: Vec<String>,
    pub epp: Option<String>,
    pub epps: Vec<String>,
}
