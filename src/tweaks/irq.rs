//! NIC vectors to CPUs.

use std::collections::BTreeSet;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Doc, Entry, lever};
use crate::model::cpulist;
use crate::model::facts::{Cpus, Fact, Link, Role, Vector};
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
    lever: Some(lever::<Irq>()),
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Irq {
    /// "numa-local" (the NIC's node first) or "spread" (all nodes in turn)
    policy: Policy,
    /// CPU list by hand, such as "0-7"; isolated CPUs are taken only from here
    cpus: Option<String>,
    /// What becomes of irqbalance: "ban" (told to leave the vectors; stopped if it cannot be told),
    /// "stop" or "leave"
    irqbalance: Irqbalance,
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
    Stop,
    Leave,
}

const UNIT: &str = "irqbalance.service";

impl Irq {
    /// CPUs in the order in which queues take them.
    fn order(&self, cpus: &Cpus, numa: Option<u32>) -> Vec<u32> {
        let parse = |list: &str| cpulist::parse(list).unwrap_or_default();
        let online = parse(&cpus.online);
        let allowed: BTreeSet<u32> = match &self.cpus {
            Some(list) => parse(list).intersection(&online).copied().collect(),
            None => {
                let kept: BTreeSet<u32> =
                    parse(&cpus.isolated).union(&parse(&cpus.nohz_full)).copied().collect();
                online.difference(&kept).copied().collect()
            }
        };
        let local = numa
            .filter(|_| self.policy == Policy::NumaLocal)
            .and_then(|node| cpus.numa.get(&node))
            .map(|list| parse(list))
            .unwrap_or_default();
        let first_threads: BTreeSet<u32> =
            cpus.cores.iter().filter_map(|core| parse(core).first().copied()).collect();
        // First threads of cores before their siblings; the NIC's node before the others.
        let mut order: Vec<(bool, bool, u32)> = allowed
            .iter()
            .map(|cpu| {
                let first = first_threads.is_empty() || first_threads.contains(cpu);
                (!local.is_empty() && !local.contains(cpu), !first, *cpu)
            })
            .collect();
        order.sort();
        order.into_iter().map(|(_, _, cpu)| cpu).collect()
    }

    fn place<'a>(&self, cpus: &Cpus, link: &'a Link) -> Vec<(&'a Vector, u32)> {
        let order = self.order(cpus, link.numa_node);
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
        } else if self.order(&cx.facts.cpus, None).is_empty() {
            let why = "every CPU is isolated";
            needs.push(Need::blocked("cpus", why, "name CPUs in irq.cpus"));
        }
        needs
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let mut desired = Vec::new();
        let mut vectors = BTreeSet::new();
        for link in self.links(cx) {
            for (vector, cpu) in self.place(&cx.facts.cpus, link) {
                let resource = Resource::Irq { link: link.name.clone(), vector: vector.irq };
                desired.push(Desired::new(resource, Want::is(cpu.to_string()), Impact::None));
                vectors.insert(vector.irq);
            }
        }
        let running = cx.facts.agents.irqbalance.pid.is_some();
        let told = cx.facts.agents.irqbalance_socket;
        if running && self.irqbalance == Irqbalance::Ban && told {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus() -> Cpus {
        Cpus {
            online: "0-7".into(),
            numa: [(0, "0-1,4-5".into()), (1, "2-3,6-7".into())].into(),
            cores: ["0,4", "1,5", "2,6", "3,7"].map(String::from).into(),
            ..Cpus::default()
        }
    }

    #[test]
    fn the_nics_node_first_and_siblings_last() {
        let irq = Irq::default();
        assert_eq!(irq.order(&cpus(), Some(1)), [2, 3, 6, 7, 0, 1, 4, 5]);
        assert_eq!(irq.order(&cpus(), None), [0, 1, 2, 3, 4, 5, 6, 7]);
        let spread = Irq { policy: Policy::Spread, ..Irq::default() };
        assert_eq!(spread.order(&cpus(), Some(1)), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn isolated_cpus_are_left_out_unless_named() {
        let isolated = Cpus { isolated: "2-3".into(), nohz_full: "3".into(), ..cpus() };
        assert_eq!(Irq::default().order(&isolated, Some(1)), [6, 7, 0, 1, 4, 5]);
        let by_hand = Irq { cpus: Some("2,3,99".into()), ..Irq::default() };
        assert_eq!(by_hand.order(&isolated, Some(1)), [2, 3]);
    }
}
