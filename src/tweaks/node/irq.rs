//! NIC vectors to CPUs.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::cpulist::{self, CpuSet};
use crate::model::facts::{AgentConfig, Cpus, Fact, Link, Role, Vector};
use crate::model::placement::Placement;
use crate::model::typed::file::{File, Meta};
use crate::model::{Context, Desired, Impact, Need, Resource, Side, Tweak, UnitAspect, Want};
use crate::tweaks::entry::{Doc, Entry, More, lever};

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
    more: More { early: true, ..More::NONE },
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

/// Characters of the longest list of bans that every irqbalance takes. Older ones cut after 481, in
/// the middle of a number (sock_handle() of its irqbalance.c).
const LONGEST_BANS: usize = 255;

impl Irq {
    fn placed(&self) -> Placement {
        Placement { numa_local: self.policy == Policy::NumaLocal, cpus: self.cpus.clone() }
    }

    fn place<'a>(&self, cpus: &Cpus, uplinks: &[&Link], link: &'a Link) -> Vec<(&'a Vector, u32)> {
        let order = self.placed().of_link(cpus, uplinks, link);
        // The vectors of one queue, in and out, share its core.
        let core = |queue: u32| order.get(queue as usize % order.len().max(1)).copied();
        link.serving().filter_map(|(vector, queue)| Some((vector, core(queue)?))).collect()
    }

    /// Those that irqbalance shall leave alone.
    fn vectors(&self, cx: &Context) -> BTreeSet<u32> {
        let uplinks = cx.uplinks();
        let links = self.links(cx).into_iter();
        let placed = links.flat_map(|link| self.place(&cx.facts.cpus, &uplinks, link));
        placed.map(|(vector, _)| vector.irq).collect()
    }

    fn bans(&self, cx: &Context) -> String {
        let list: Vec<String> = self.vectors(cx).iter().map(u32::to_string).collect();
        list.join(" ")
    }

    /// The uplinks that have vectors, or of which that is not known.
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
        let agents = &cx.facts.agents;
        let unseen = agents.irqbalance.unseen && !agents.irqbalance_socket;
        if unseen && self.irqbalance != Irqbalance::Leave {
            let why = "whether an irqbalance runs is not known: nobody keeps track of services, and there are more \
                       processes than are asked";
            let fix = "irq.irqbalance = \"leave\" where none runs; else start it with --pid=/run/irqbalance.pid";
            needs.push(Need::unknown("irqbalance-unseen", why, Some(fix)));
        }
        for link in &links {
            if let Fact::Unknown { unknown } = &link.vectors {
                needs.push(Need::unknown(
                    "msi-vectors",
                    unknown.clone(),
                    Some("sudo nettune check"),
                ));
            }
            if let Some((why, fix)) = untold(link) {
                needs.push(Need::unknown("vector-roles", why, Some(fix)));
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

    fn masks(&self) -> &'static [&'static str] {
        if self.irqbalance == Irqbalance::Stop { &["irqbalance.service"] } else { &[] }
    }

    fn placement(&self) -> Option<Placement> {
        Some(self.placed())
    }

    fn remarks(&self, cx: &Context) -> Vec<String> {
        let config = cx.facts.agents.irqbalance_config.is_some();
        let missing = self.irqbalance == Irqbalance::Configure && !config;
        let text = "irq.irqbalance: its unit names no configuration that takes arguments";
        let mut remarks: Vec<String> = missing.then(|| text.to_string()).into_iter().collect();
        let without = |l: &&Link| l.bus.is_some() && l.vectors.known().is_some_and(Vec::is_empty);
        for link in cx.uplinks().into_iter().filter(without) {
            remarks.push(format!("{} has no interrupt vectors of its own", link.name));
        }
        let bans = self.bans(cx);
        let told = cx.facts.agents.irqbalance_socket && self.irqbalance != Irqbalance::Leave;
        if told && bans.len() > LONGEST_BANS {
            remarks.push(format!(
                "irqbalance is stopped: it cannot be told of so many vectors ({} characters, it takes \
                 {LONGEST_BANS})",
                bans.len()
            ));
        }
        remarks
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let mut desired = Vec::new();
        let uplinks = cx.uplinks();
        for link in self.links(cx) {
            for (vector, cpu) in self.place(&cx.facts.cpus, &uplinks, link) {
                let resource = Resource::Irq { link: link.name.clone(), vector: vector.irq };
                desired.push(Desired::new(resource, Want::is(cpu.to_string()), Impact::None));
            }
        }
        let cpus = &cx.facts.cpus;
        let usable = self.placed().usable(cpus);
        if self.default_affinity == Later::Auto && usable != parse(&cpus.online) {
            let mask =
                cpulist::to_mask(&usable, cpulist::last(&cpus.possible).map_or(1, |c| c + 1));
            desired.push(Desired::new(Resource::IrqDefault, Want::is(mask), Impact::None));
        }
        let agents = &cx.facts.agents;
        if self.irqbalance == Irqbalance::Configure
            && let Some(config) = &agents.irqbalance_config
        {
            let resource = Resource::File { path: config.path.clone() };
            let want = Want::is(banning(config, &self.vectors(cx)));
            desired.push(Desired::new(resource, want, Impact::None));
        }
        if self.irqbalance == Irqbalance::Leave || agents.irqbalance_later {
            return Ok(desired);
        }
        let bans = self.bans(cx);
        // One that was stopped stays wanted as stopped, or the next apply would start it again.
        let there =
            agents.irqbalance.pid.is_some() || agents.systemd && agents.irqbalance.installed;
        if self.irqbalance != Irqbalance::Stop
            && agents.irqbalance_socket
            && bans.len() <= LONGEST_BANS
        {
            let want = Want::Includes(bans);
            desired.push(Desired::new(Resource::IrqbalanceBans, want, Impact::None));
        } else if there {
            let unit = Resource::Unit { name: UNIT.into(), aspect: UnitAspect::Active };
            desired.push(Desired::new(unit, Want::is("inactive"), Impact::None));
        }
        Ok(desired)
    }
}

const REPORT: &str = "report it with the output of: sudo nettune facts --json";

/// Why it cannot be said which vectors serve the queues of a link, and what to do.
fn untold(link: &Link) -> Option<(String, &'static str)> {
    let count = |side: &str, all: u32| link.queues(side).unwrap_or(all);
    let (rx, tx) = (count("rx", link.rx_queues), count("tx", link.tx_queues));
    let missing = |side: Role, used: u32| {
        let of_side = link.serving().filter(|(v, _)| v.role == side || v.role == Role::Both);
        let served: CpuSet = of_side.map(|(_, queue)| queue).collect();
        (0..used).filter(|queue| !served.contains(*queue)).count()
    };
    let vectors = link.vectors.known()?;
    let (rx_missing, tx_missing) = (missing(Role::Rx, rx), missing(Role::Tx, tx));
    if rx_missing + tx_missing == 0 {
        return None;
    }
    let name = &link.name;
    if let Some(v) = vectors.iter().find(|v| v.role == Role::Unknown) {
        let why = format!(
            "the name of vector {} of {name} ({:?}) does not tell what it serves, and no vector is \
             known of {rx_missing} of {rx} receive and {tx_missing} of {tx} transmit queues",
            v.irq, v.name
        );
        return Some((why, REPORT));
    }
    let unused = vectors.iter().any(|v| v.role == Role::Unused);
    if link.serving().next().is_some() || rx.max(tx) < 2 || link.up && !unused {
        return None;
    }
    if link.up {
        return Some((format!("no vector of {name} is known to serve one of its queues"), REPORT));
    }
    let why = format!("{name} is down, and drivers ask for their vectors when it comes up");
    Some((why, "set it up, then nettune check"))
}

fn parse(list: &str) -> CpuSet {
    cpulist::parse(list).unwrap_or_default()
}

/// The file with `--banirq` for each vector among the arguments that it has already.
fn banning(config: &AgentConfig, vectors: &BTreeSet<u32>) -> String {
    let there = config.state.as_deref().and_then(|state| state.parse().ok());
    let (meta, text) = match there {
        Some(File::Text { meta, content }) => (meta, content),
        _ => (Meta::FRESH, String::new()),
    };
    let bans: Vec<String> = vectors.iter().map(|v| format!("--banirq={v}")).collect();
    let ours = |line: &str| line.trim_start().starts_with(&format!("{}=", config.variable));
    // As the unit reads it, the last line wins.
    let old = text.lines().rfind(|l| ours(l)).and_then(|l| l.split_once('=')).map_or("", |l| l.1);
    let kept = old.trim().trim_matches(['"', '\'']).split_whitespace();
    let kept = kept.filter(|word| !bans.iter().any(|ban| ban == word)).map(str::to_string);
    let words: Vec<String> = kept.chain(bans.iter().cloned()).collect();
    let line = format!("{}=\"{}\"", config.variable, words.join(" "));
    let mut lines: Vec<&str> = text.lines().filter(|l| !ours(l)).collect();
    lines.push(&line);
    File::Text { meta, content: lines.join("\n") + "\n" }.to_string()
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
        // Stopped, by us or by somebody else: the next apply wants it no other way.
        facts.agents = Default::default();
        assert!(wished(&facts).is_empty());
        (facts.agents.systemd, facts.agents.irqbalance.installed) = (true, true);
        assert_eq!(wished(&facts), ["unit:irqbalance.service/active"]);
    }

    #[test]
    fn queues_in_use_are_placed_and_an_irqbalance_that_cannot_take_the_list_is_stopped() {
        let vector = |queue: u32| Vector {
            irq: 1000 + queue,
            name: format!("mlx5_comp{queue}@pci:0000:17:00.0"),
            role: Role::Both,
            queue: Some(queue),
            affinity: "0-3".into(),
        };
        let mut link = Link { name: "eth0".into(), index: 2, ..Link::default() };
        link.vectors = Fact::Known((0..64).map(vector).collect());
        let mut facts = Facts { links: vec![link], ..Facts::default() };
        facts.cpus.online = "0-3".into();
        facts.agents.irqbalance.pid = Some(7);
        facts.agents.irqbalance_socket = true;
        let with = |channels: &str| {
            let mut facts = facts.clone();
            facts.links[0].channels = Some(channels.into());
            let links = ["eth0".to_string()];
            let cx = Context::new(&facts, &links);
            let all = Irq::default().desired(&cx).unwrap();
            let last = all.last().unwrap().resource.to_string();
            (all.len() - 1, last, Irq::default().remarks(&cx).len())
        };
        // 51 numbers of four digits have 254 characters.
        assert_eq!(with("combined=51 combined-max=64"), (51, "irqbalance:bans".into(), 0));
        assert_eq!(with("rx=4 tx=8 combined=2"), (10, "irqbalance:bans".into(), 0));
        let stopped = "unit:irqbalance.service/active";
        assert_eq!(with("combined=52 combined-max=64"), (52, stopped.into(), 1));
        assert_eq!(with("combined=0"), (64, stopped.into(), 1));
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
