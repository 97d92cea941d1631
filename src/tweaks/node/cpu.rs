//! CPU frequency governor, energy preference and idle latency.

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::cpulist;
use crate::model::facts::CpuPolicy;
use crate::model::{Context, Desired, Impact, Need, Resource, Side, Tweak, Want};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "cpu",
    side: Side::Node,
    summary: "scaling governor, energy preference, turbo, uncore, idle latency",
    doc: Doc {
        what: "Keeps cores at full frequency and, where asked, out of deep idle states, so that a \
               packet does not wait for a core to wake or to speed up.",
        cost: "More power and heat; on a core-bound node less turbo for the busy cores. Not for nodes \
               whose power is capped.",
        needs: "cpufreq (absent in most virtual machines: the hypervisor decides); idle latency needs \
                CPU power management in the kernel",
        impact: "none",
        source: "Cilium tuning guide (CPU frequency scaling); Linux admin-guide/pm/cpufreq.rst, \
                 intel_pstate.rst, amd-pstate.rst, ABI sysfs-devices-power",
    },
    lever: lever::<Cpu>(),
    more: More { early: true, ..More::NONE },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Cpu {
    /// Scaling governor, such as "performance"
    governor: Option<String>,
    /// Energy performance preference, such as "performance"; skipped where the governor fixes it
    epp: Option<String>,
    /// Longest wake-up from idle in microseconds; 0 means no bound
    idle_latency_us: Option<u32>,
    /// Intel's energy performance bias, 0 (performance) to 15; left out where CPUs have none
    energy_perf_bias: Option<u8>,
    /// intel_pstate's lowest performance in percent; left out under another driver
    min_perf_pct: Option<u8>,
    /// Mode of intel_pstate or amd_pstate: "active", "passive" or, for amd_pstate, "guided"; left out
    /// under another driver
    pstate: Option<String>,
    /// Whether cores may go above their base frequency; left out where there is no such switch
    turbo: Option<bool>,
    /// "max" keeps the uncore (mesh, caches, memory controllers) at its highest frequency; left out
    /// where the kernel cannot set it
    uncore: Option<Uncore>,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Uncore {
    Max,
}

const CPU: &str = "devices/system/cpu";

impl Cpu {
    /// With governor performance, intel_pstate and amd_pstate fix the EPP themselves (EBUSY).
    fn epp_of(&self, policy: &CpuPolicy) -> Option<&String> {
        let governor = self.governor.as_deref().unwrap_or(&policy.governor);
        let fixed = governor == "performance" && policy.driver.ends_with("pstate");
        self.epp
            .as_ref()
            .filter(|_| policy.epp.is_some() && !fixed && !policy.driver.ends_with("pstate-epp"))
    }
}

impl Tweak for Cpu {
    fn needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs = Vec::new();
        let policies = &cx.facts.cpus.cpufreq;
        let frequency = self.governor.is_some() || self.epp.is_some();
        if frequency && policies.is_empty() && self.idle_latency_us.is_none() {
            let why = match &cx.facts.agents.vm {
                Some(_) => "no cpufreq in this virtual machine: its host decides",
                None => "this kernel or firmware offers no cpufreq",
            };
            needs.push(Need::unsupported("cpufreq", why));
        }
        if let Some(governor) = &self.governor
            && let Some(policy) = policies.iter().find(|p| !p.governors.contains(governor))
        {
            let why = format!("{} ({}) has no governor {governor}", policy.name, policy.driver);
            let fix = format!("set cpu.governor to one of {}", policy.governors.join(", "));
            needs.push(Need::blocked("governor", why, fix));
        }
        if self.idle_latency_us.is_some() && !cx.facts.cpus.idle_latency {
            needs.push(Need::unsupported("idle-latency", "CPUs have no pm_qos_resume_latency_us"));
        }
        needs
    }

    fn validate(&self) -> Result<()> {
        let word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        };
        for (key, text) in [("governor", &self.governor), ("epp", &self.epp)] {
            if let Some(text) = text.as_ref().filter(|t| !word(t)) {
                bail!("{key} {text:?} is no word of the kernel's");
            }
        }
        for (key, value, most) in [
            ("energy-perf-bias", self.energy_perf_bias, 15),
            ("min-perf-pct", self.min_perf_pct, 100),
        ] {
            if let Some(value) = value.filter(|v| *v > most) {
                bail!("{key} {value} is more than {most}");
            }
        }
        match self.pstate.as_deref() {
            None | Some("active" | "passive" | "guided") => Ok(()),
            Some(mode) => bail!("pstate {mode:?} is none of active, passive, guided"),
        }
    }

    fn remarks(&self, cx: &Context) -> Vec<String> {
        let cpus = &cx.facts.cpus;
        let turbo = cpus.boost || cpus.pstate.as_ref().is_some_and(|p| p.turbo);
        let left = [
            (
                "energy-perf-bias",
                self.energy_perf_bias.is_some() && !cpus.energy_perf_bias,
                "these CPUs have none",
            ),
            (
                "min-perf-pct",
                self.min_perf_pct.is_some() && !cpus.min_perf_pct,
                "it is intel_pstate's, which does not run here",
            ),
            (
                "pstate",
                self.pstate.is_some() && cpus.pstate.is_none(),
                "neither intel_pstate nor amd_pstate runs here",
            ),
            ("turbo", self.turbo.is_some() && !turbo, "there is no switch for it here"),
            (
                "uncore",
                self.uncore.is_some() && cpus.uncore.is_empty(),
                "this kernel cannot set it here",
            ),
        ];
        let left = left.into_iter().filter(|(_, missing, _)| *missing);
        left.map(|(key, _, why)| format!("cpu.{key}: {why}")).collect()
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let mut desired = Vec::new();
        let mut want = |path: String, value: &str| {
            desired.push(Desired::new(Resource::sysfs(path), Want::is(value), Impact::None));
        };
        for policy in &cx.facts.cpus.cpufreq {
            let folder = format!("{CPU}/cpufreq/{}", policy.name);
            if let Some(governor) = &self.governor {
                want(format!("{folder}/scaling_governor"), governor);
            }
            if let Some(epp) = self.epp_of(policy) {
                want(format!("{folder}/energy_performance_preference"), epp);
            }
        }
        let cpus = &cx.facts.cpus;
        for cpu in cpulist::parse(&cpus.online).unwrap_or_default().iter() {
            let folder = format!("{CPU}/cpu{cpu}/power");
            if let Some(latency) = self.idle_latency_us {
                want(format!("{folder}/pm_qos_resume_latency_us"), &latency.to_string());
            }
            if let Some(bias) = self.energy_perf_bias.filter(|_| cpus.energy_perf_bias) {
                want(format!("{folder}/energy_perf_bias"), &bias.to_string());
            }
        }
        let pstate = cpus.pstate.as_ref();
        if let (Some(mode), Some(pstate)) = (&self.pstate, pstate) {
            want(format!("{CPU}/{}/status", pstate.driver), mode);
        }
        if let Some(turbo) = self.turbo {
            let bit = |on: bool| if on { "1" } else { "0" };
            match pstate.filter(|p| p.turbo) {
                Some(pstate) => want(format!("{CPU}/{}/no_turbo", pstate.driver), bit(!turbo)),
                None if cpus.boost => want(format!("{CPU}/cpufreq/boost"), bit(turbo)),
                None => {}
            }
        }
        for (domain, most) in cpus.uncore.iter().filter(|_| self.uncore.is_some()) {
            let file = format!("{CPU}/intel_uncore_frequency/{domain}/min_freq_khz");
            want(file, &most.to_string());
        }
        if let Some(percent) = self.min_perf_pct.filter(|_| cpus.min_perf_pct) {
            want(format!("{CPU}/intel_pstate/min_perf_pct"), &percent.to_string());
        }
        Ok(desired)
    }
}
