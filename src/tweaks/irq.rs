//! NIC vectors to CPUs.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Doc, Entry, lever};
use crate::model::cpulist;
use crate::model::facts::{AgentConfig, Cpus, Fact, Link, Role, Vector};
use crate::model::placement::Placement;
use crate::model::{Context, Desired, Impact, Need, Resource, Side, Tweak, UnitAspect, Want};

pub const ENTRY: Entry = Entry {
    name: "irq",
    side: Side::Node,
    summary: "NIC vectors to CPUs, and irqbalance told to keep off or stopped",
    doc: Doc {
        what: "Gives each queue of the uplinks a core of its own, on the NIC's NUMA node first and \
               SMT siblings last, and keeps irqbalance from moving it. Management vectors stay where \
               they are.",
        cost: "A fixed placement does not follow load. Not for nodes whose workloads pin themselves \
               to the cores next to the NIC.",
        needs: "MSI vectors; a vector that the kernel manages itself is left where it is and named",
        impact: "none",
        source: "Cilium tuning guide (irqbalance, pinning); Linux core-api/irq/irq-affinity.rst; \
                 irqbalance(1)",
    },
    lever: lever::<Irq>(),
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Irq {
    /// "numa-local" (the NIC's node first) or "spread" (all nodes in turn)
    policy: Policy,
    /// CPU list by hand, such as "0-7"; isolated CPUs are taken only from here
    cpus: Option<String>,
    /// What becomes of irqbalance: "ban" (told to leave the vectors; stopped if it cannot be told),
    /// "configure" (that, and --banirq in its own configuration for when it starts again), "stop" or
    /// "leave"
    irqbalance: Irqbalance,
    /// Where vectors go that are requested later: "auto" (off the CPUs that queues may not use, where
    /// there are such) or "leave"
    default_affinity: Later,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Later {
    #[default]
    Auto,
    Leave,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    #[default]
    NumaLocal,
    Spread,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Irqbalance {
    #[default]
    Ban,
    Configure,
    Stop,
    Leave,
}

const UNIT: &str = "irqbalance.service";

impl Irq {
    fn placed(&self) -> Placement {
        Placement { numa_local: self.policy == Policy::NumaLocal, cpus: self.cpus.clone() }
    }

    fn place<'a>(&self, cpus: &Cpus, uplinks: &[&Link], link: &'a Link) -> Vec<(&'a Vector, u32)> {
        let order = self.placed().of_link(cpus, uplinks, link);
        let vectors = link.vectors.known().into_iter().flatten();
        vectors
            .filter_map(|v| {
                let queue =
                    v.queue.filter(|_| !matches!(v.role, Role::Management | Role::Unused))?;
                // The vectors of one queue, in and out, share its core.
                let cpu = order.get(queue as usize % order.len().max(1))?;
                Some((v, *cpu))
            })
            .collect()
    }

    fn links<'a>(&self, cx: &Context<'a>) -> Vec<&'a Link> {
        let has = |l: &&Link| l.vectors.known().is_none_or(|v| !v.is_empty());
        cx.uplinks().into_iter().filter(has).collect()
    }
}

impl Tweak for Irq {
    fn validate(&self) -> Result<()> {
        match &self.cpus {
            Some(list) if cpulist::parse(list).is_none_or(|cpus| cpus.is_empty()) => {
                bail!("cpus {list:?} is no CPU list such as \"0-7,16\"")
            }
            _ => Ok(()),
        }
    }

    fn needs(&self, cx: &Context) -> Vec<Need> {
        let links = self.links(cx);
        if links.is_empty() {
            return vec![Need::unsupported(
                "msi-vectors",
                "no uplink has interrupt vectors of its own",
            )];
        }
        let mut needs = Vec::new();
        for link in &links {
            if let Fact::Unknown { unknown } = &link.vectors {
                needs.push(Need::unknown(
                    "msi-vectors",
                    unknown.clone(),
                    Some("sudo nettune check"),
                ));
            }
        }
        if let Some(list) = &self.cpus {
            let online = cpulist::parse(&cx.facts.cpus.online).unwrap_or_default();
            let given = cpulist::parse(list);
            if given.as_ref().is_none_or(|g| g.is_empty() || !g.is_subset(&online)) {
                let why =
                    format!("irq.cpus {list:?} are not all online CPUs ({})", cx.facts.cpus.online);
                needs.push(Need::blocked("cpus", why, "correct irq.cpus in the profile"));
            }
        } else if self.placed().usable(&cx.facts.cpus).is_empty() {
            let why = "every CPU is isolated";
            needs.push(Need::blocked("cpus", why, "name CPUs in irq.cpus"));
        }
        needs
    }

    fn placement(&self) -> Option<Placement> {
        Some(self.placed())
    }

    fn remarks(&self, cx: &Context) -> Vec<String> {
        let config = cx.facts.agents.irqbalance_config.is_some();
        let missing = self.irqbalance == Irqbalance::Configure && !config;
        let text = "irq.irqbalance: its unit names no configuration that takes arguments";
        missing.then(|| text.to_string()).into_iter().collect()
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let mut desired = Vec::new();
        let mut vectors = BTreeSet::new();
        let uplinks = cx.uplinks();
        for link in self.links(cx) {
            for (vector, cpu) in self.place(&cx.facts.cpus, &uplinks, link) {
                let resource = Resource::Irq { link: link.name.clone(), vector: vector.irq };
                desired.push(Desired::new(resource, Want::is(cpu.to_string()), Impact::None));
                vectors.insert(vector.irq);
            }
        }
        let cpus = &cx.facts.cpus;
        let usable = self.placed().usable(cpus);
        if self.default_affinity == Later::Auto && usable != parse(&cpus.online) {
            let mask = cpulist::to_mask(&usable, parse(&cpus.possible).last().map_or(1, |c| c + 1));
            desired.push(Desired::new(Resource::IrqDefault, Want::is(mask), Impact::None));
        }
        let agents = &cx.facts.agents;
        let running = agents.irqbalance.pid.is_some() && !agents.irqbalance_later;
        let told = agents.irqbalance_socket;
        let ban = matches!(self.irqbalance, Irqbalance::Ban | Irqbalance::Configure);
        if self.irqbalance == Irqbalance::Configure
            && let Some(config) = &agents.irqbalance_config
        {
            let resource = Resource::File { path: config.path.clone() };
            let want = Want::is(banning(config, &vectors));
            desired.push(Desired::new(resource, want, Impact::None));
        }
        if running && ban && told {
            let list: Vec<String> = vectors.iter().map(u32::to_string).collect();
            let want = Want::Includes(list.join(" "));
            desired.push(Desired::new(Resource::IrqbalanceBans, want, Impact::None));
        } else if running && self.irqbalance != Irqbalance::Leave {
            let unit = Resource::Unit { name: UNIT.into(), aspect: UnitAspect::Active };
            desired.push(Desired::new(unit, Want::is("inactive"), Impact::None));
        }
        Ok(desired)
    }
}

fn parse(list: &str) -> BTreeSet<u32> {
    cpulist::parse(list).unwrap_or_default()
}

/// The file with `--banirq` for each vector among the arguments that it has already.
fn banning(config: &AgentConfig, vectors: &BTreeSet<u32>) -> String {
    let fresh = "mode=0644 owner=0:0\n";
    let state = config.state.as_deref().unwrap_or(fresh);
    let bans: Vec<String> = vectors.iter().map(|v| format!("--banirq={v}")).collect();
    let ours = |line: &str| line.trim_start().starts_with(&format!("{}=", config.variable));
    // As the unit reads it, the last line wins.
    let old = state.lines().rfind(|l| ours(l)).and_then(|l| l.split_once('=')).map_or("", |l| l.1);
    let kept = old.trim().trim_matches(['"', '\'']).split_whitespace();
    let kept = kept.filter(|word| !bans.iter().any(|ban| ban == word)).map(str::to_string);
    let words: Vec<String> = kept.chain(bans.iter().cloned()).collect();
    let line = format!("{}=\"{}\"", config.variable, words.join(" "));
    let mut lines: Vec<&str> = state.lines().filter(|l| !ours(l)).collect();
    lines.push(&line);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Facts;

    #[test]
    fn an_irqbalance_is_told_or_stopped_but_not_while_it_is_being_started() {
        let mut facts = Facts::default();
        facts.agents.irqbalance.pid = Some(7);
        let wished = |facts: &Facts| {
            let desired = Irq::default().desired(&Context::new(facts, &[])).unwrap();
            desired.into_iter().map(|d| d.resource.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(wished(&facts), ["unit:irqbalance.service/active"]);
        facts.agents.irqbalance_socket = true;
        assert_eq!(wished(&facts), ["irqbalance:bans"]);
        facts.agents.irqbalance_later = true;
        assert!(wished(&facts).is_empty());
    }

    #[test]
    fn bans_join_the_arguments_that_are_there_and_are_named_once() {
        let config = |state: Option<&str>| AgentConfig {
            path: "/etc/default/irqbalance".into(),
            variable: "IRQBALANCE_ARGS".into(),
            state: state.map(str::to_string),
        };
        let head = "mode=0644 owner=0:0\n";
        let vectors = BTreeSet::from([34, 35]);
        let new = banning(&config(None), &vectors);
        assert_eq!(new, format!("{head}IRQBALANCE_ARGS=\"--banirq=34 --banirq=35\"\n"));
        assert_eq!(banning(&config(Some(&new)), &vectors), new);
        let old = format!("{head}# theirs\nIRQBALANCE_ARGS=\"--debug\"\nX=1\n");
        let new = banning(&config(Some(&old)), &vectors);
        let line = "IRQBALANCE_ARGS=\"--debug --banirq=34 --banirq=35\"";
        assert_eq!(new, format!("{head}# theirs\nX=1\n{line}\n"));
    }
}
