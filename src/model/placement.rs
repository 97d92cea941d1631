//! Which CPU serves which queue: one order for the vectors (`irq`) and for what follows them
//! (`steering`).

use std::collections::BTreeSet;

use super::cpulist;
use super::facts::Cpus;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The NIC's NUMA node first.
    pub numa_local: bool,
    /// CPUs by hand; isolated ones are taken only from here.
    pub cpus: Option<String>,
}

impl Default for Placement {
    fn default() -> Self {
        Placement { numa_local: true, cpus: None }
    }
}

impl Placement {
    /// The CPUs that may serve queues.
    pub fn usable(&self, cpus: &Cpus) -> BTreeSet<u32> {
        let online = parse(&cpus.online);
        match &self.cpus {
            Some(list) => &parse(list) & &online,
            None => {
                let kept = &parse(&cpus.isolated) | &parse(&cpus.nohz_full);
                &(&online - &kept) - &parse(&cpus.exclusive)
            }
        }
    }

    /// In the order in which queues take them: the NIC's node before the others, first threads of
    /// cores before their siblings.
    pub fn order(&self, cpus: &Cpus, numa: Option<u32>) -> Vec<u32> {
        let local = numa
            .filter(|_| self.numa_local)
            .and_then(|node| cpus.numa.get(&node))
            .map(|list| parse(list))
            .unwrap_or_default();
        let first_threads: BTreeSet<u32> =
            cpus.cores.iter().filter_map(|core| parse(core).first().copied()).collect();
        let mut order: Vec<(bool, bool, u32)> = self
            .usable(cpus)
            .into_iter()
            .map(|cpu| {
                let first = first_threads.is_empty() || first_threads.contains(&cpu);
                (!local.is_empty() && !local.contains(&cpu), !first, cpu)
            })
            .collect();
        order.sort();
        order.into_iter().map(|(_, _, cpu)| cpu).collect()
    }
}

fn parse(list: &str) -> BTreeSet<u32> {
    cpulist::parse(list).unwrap_or_default()
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
        let local = Placement::default();
        assert_eq!(local.order(&cpus(), Some(1)), [2, 3, 6, 7, 0, 1, 4, 5]);
        assert_eq!(local.order(&cpus(), None), [0, 1, 2, 3, 4, 5, 6, 7]);
        let spread = Placement { numa_local: false, cpus: None };
        assert_eq!(spread.order(&cpus(), Some(1)), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn isolated_cpus_are_left_out_unless_named() {
        let isolated = Cpus { isolated: "2-3".into(), nohz_full: "3".into(), ..cpus() };
        assert_eq!(Placement::default().order(&isolated, Some(1)), [6, 7, 0, 1, 4, 5]);
        let given = Cpus { exclusive: "0-1".into(), ..isolated.clone() };
        assert_eq!(Placement::default().order(&given, Some(1)), [6, 7, 4, 5]);
        let by_hand = Placement { cpus: Some("2,3,99".into()), ..Placement::default() };
        assert_eq!(by_hand.order(&isolated, Some(1)), [2, 3]);
    }
}
