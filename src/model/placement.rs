//! Which CPU serves which queue: one order for the vectors (`irq`) and for what follows them
//! (`steering`).

use super::cpulist::{self, CpuSet};
use super::facts::{Cpus, Link};

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
    pub fn usable(&self, cpus: &Cpus) -> CpuSet {
        let online = parse(&cpus.online);
        match &self.cpus {
            Some(list) => parse(list).and(&online),
            None => {
                let kept = parse(&cpus.isolated).or(&parse(&cpus.nohz_full));
                online.minus(&kept).minus(&parse(&cpus.exclusive))
            }
        }
    }

    /// The CPUs of a link's queues, in their order. Links of one node take turns: each begins, among the
    /// CPUs near it, where the queues of the one before ended.
    pub fn of_link(&self, cpus: &Cpus, uplinks: &[&Link], link: &Link) -> Vec<u32> {
        let mut order = self.order(cpus, link.numa_node);
        let near = |l: &&&Link| {
            (!self.numa_local || l.numa_node == link.numa_node) && l.index < link.index
        };
        let taken: usize = uplinks.iter().filter(near).map(|l| queues(l)).sum();
        let local = self.local(cpus, link.numa_node);
        let close = order.iter().take_while(|cpu| local.contains(**cpu)).count();
        let close = if close == 0 { order.len() } else { close };
        order[..close].rotate_left(taken.checked_rem(close).unwrap_or(0));
        order
    }

    fn local(&self, cpus: &Cpus, numa: Option<u32>) -> CpuSet {
        let node = numa.filter(|_| self.numa_local).and_then(|node| cpus.numa.get(&node));
        node.map(|list| parse(list)).unwrap_or_default()
    }

    /// In the order in which queues take them: the NIC's node before the others, first threads of
    /// cores before their siblings.
    pub fn order(&self, cpus: &Cpus, numa: Option<u32>) -> Vec<u32> {
        let local = self.local(cpus, numa);
        let first_threads: CpuSet =
            cpus.cores.iter().filter_map(|core| parse(core).first()).collect();
        let mut order: Vec<(bool, bool, u32)> = self
            .usable(cpus)
            .iter()
            .map(|cpu| {
                let first = first_threads.is_empty() || first_threads.contains(cpu);
                (!local.is_empty() && !local.contains(cpu), !first, cpu)
            })
            .collect();
        order.sort();
        order.into_iter().map(|(_, _, cpu)| cpu).collect()
    }
}

/// Queues with a vector; one vector may serve one in and one out.
fn queues(link: &Link) -> usize {
    link.serving().map(|(_, queue)| queue).collect::<CpuSet>().len()
}

fn parse(list: &str) -> CpuSet {
    cpulist::parse(list).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::facts::Role;

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
    fn links_of_one_node_take_turns_near_it() {
        use crate::model::facts::{Fact, Vector};
        let link = |index, numa_node, queues| Link {
            index,
            numa_node,
            vectors: Fact::Known(
                (0..queues)
                    .map(|q| Vector { queue: Some(q), role: Role::Both, ..Vector::default() })
                    .collect(),
            ),
            ..Link::default()
        };
        let cpus = cpus();
        let (one, two, far) = (link(2, Some(1), 2), link(3, Some(1), 2), link(4, Some(0), 4));
        let all = [&one, &two, &far];
        let of = |l: &Link| Placement::default().of_link(&cpus, &all, l);
        assert_eq!(of(&one), [2, 3, 6, 7, 0, 1, 4, 5]);
        assert_eq!(of(&two), [6, 7, 2, 3, 0, 1, 4, 5]);
        assert_eq!(of(&far), [0, 1, 4, 5, 2, 3, 6, 7]);
        let (one, two) = (link(2, None, 3), link(3, None, 3));
        let of = |l: &Link| Placement::default().of_link(&cpus, &[&one, &two], l);
        assert_eq!(of(&two), [3, 4, 5, 6, 7, 0, 1, 2]);
        assert!(Placement::default().of_link(&Cpus::default(), &[&one], &two).is_empty());
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
