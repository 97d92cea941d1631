//! The preemption model, where the kernel lets it be chosen at run time.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::facts::{Fact, Preempt as Facts};
use crate::model::{Context, Desired, Impact, Need, Resource, Side, Tweak, Want};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "preempt",
    side: Side::Node,
    summary: "preemption model: none, or lazy where none is gone",
    doc: Doc {
        what: "A kernel that preempts less spends less time switching while it moves packets. Sets \
               the mode of a kernel with PREEMPT_DYNAMIC through debugfs, until the next boot.",
        cost: "Tasks wait longer for a busy core: not for nodes that run latency-bound work on the \
               cores that serve the NIC.",
        needs: "PREEMPT_DYNAMIC with its switch in debugfs (6.1 has it, 5.10 does not); from 7.0 x86 has no \
                none and no voluntary, and lazy is the nearest; no kernel lockdown",
        impact: "node",
        source: "Cilium tuning guide (CONFIG_PREEMPT_NONE); Linux kernel/sched/core.c and debug.c",
    },
    lever: lever::<Preempt>(),
    more: More { early: true, ..More::NONE },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Preempt {
    /// "none", "voluntary", "full" or "lazy"; default: none, or lazy where the kernel has no none
    mode: Option<Mode>,
}

#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Mode {
    None,
    Voluntary,
    Full,
    Lazy,
}

const SWITCH: &str = "kernel/debug/sched/preempt";

impl Preempt {
    fn wanted(&self, facts: &Facts) -> &'static str {
        match self.mode {
            Some(Mode::None) => "none",
            Some(Mode::Voluntary) => "voluntary",
            Some(Mode::Full) => "full",
            Some(Mode::Lazy) => "lazy",
            None if facts.modes.iter().any(|m| m == "none") => "none",
            None => "lazy",
        }
    }
}

impl Tweak for Preempt {
    fn needs(&self, cx: &Context) -> Vec<Need> {
        let kernel = &cx.facts.kernel;
        let facts = &kernel.preempt;
        let wanted = self.wanted(facts);
        match &facts.current {
            // Built so already: nothing to switch, nothing to read.
            _ if facts.build.as_deref() == Some(wanted) && facts.dynamic == Some(false) => {
                vec![Need::met("preempt-mode")]
            }
            Fact::Unknown { unknown } => {
                let fix = match unknown.contains("not mounted") {
                    true => "mount -t debugfs debugfs /sys/kernel/debug",
                    false if !cx.facts.node.root => "sudo nettune check",
                    false => "cat /sys/kernel/debug/sched/preempt says what is wrong",
                };
                vec![Need::unknown("preempt-switch", unknown.clone(), Some(fix))]
            }
            Fact::Known(None) => {
                let build = facts.build.as_deref().unwrap_or("unknown");
                let why =
                    format!("built {build}, and this kernel cannot change that while it runs");
                vec![Need::unsupported("preempt-switch", why)]
            }
            Fact::Known(Some(_)) if !facts.modes.iter().any(|m| m == wanted) => {
                let why = format!("this kernel has {}, not {wanted}", facts.modes.join(", "));
                vec![Need::unsupported("preempt-mode", why)]
            }
            Fact::Known(Some(now)) if now != wanted => match kernel.lockdown.as_deref() {
                Some("none") | None => vec![Need::met("preempt-mode")],
                Some(mode) => {
                    let why = format!("kernel lockdown ({mode}) keeps debugfs read-only");
                    let fix = format!("boot with preempt={wanted}");
                    vec![Need::blocked("lockdown", why, fix)]
                }
            },
            Fact::Known(Some(_)) => vec![Need::met("preempt-mode")],
        }
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let facts = &cx.facts.kernel.preempt;
        if facts.dynamic == Some(false) || facts.current.known() == Some(&None) {
            return Ok(Vec::new());
        }
        let want = Want::is(self.wanted(facts));
        Ok(vec![Desired::new(Resource::sysfs(SWITCH), want, Impact::Node)])
    }
}
