//! In which order changes are made.

use crate::model::facts::Facts;
use crate::model::uplinks::depth;
use crate::model::{Change, Group, Resource, State, UnitAspect};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// What takes packets around other rules goes away first ...
    Vanish,
    /// ... then what is given back, in reverse ...
    BackTwo,
    BackOne,
    /// ... then what reshapes links and agents, after which facts are gathered again ...
    One,
    Two,
    /// ... and what takes packets around other rules comes last.
    Appear,
}

impl Phase {
    /// Phases that are journaled and written before facts are gathered again.
    pub fn first_stage(self) -> bool {
        self < Phase::Two
    }
}

pub fn phase(change: &Change) -> Phase {
    match (&change.resource, &change.after, change.back(), change.resource.stage_one()) {
        (r, State::Absent, _, _) if around(r) => Phase::Vanish,
        (r, _, _, _) if around(r) => Phase::Appear,
        (_, _, true, false) => Phase::BackTwo,
        (_, _, true, true) => Phase::BackOne,
        (_, _, false, true) => Phase::One,
        (_, _, false, false) => Phase::Two,
    }
}

/// What takes packets around other rules.
fn around(resource: &Resource) -> bool {
    matches!(resource, Resource::Nft { .. } | Resource::Bpf { .. } | Resource::Flow { .. })
}

/// Stable for equal keys, so that a plan reads in the order of the tweaks.
pub fn sort(changes: &mut [Change], facts: &Facts) {
    changes.sort_by_key(|c| (phase(c), rank(c), level(c, facts)));
}

fn rank(change: &Change) -> i32 {
    let back = change.back();
    // Stage one is undone in reverse; within stage two the order is the same both ways, but for
    // irqbalance, which must keep off while vectors move.
    let reversed = |rank: i32| if back { -rank } else { rank };
    match &change.resource {
        // It must not be there while TuneD switches, nor before what it holds is in the journal.
        Resource::File { .. } if change.resource.sysctl_file() => 23,
        Resource::File { .. } => reversed(0),
        Resource::Unit { aspect: UnitAspect::Enabled, .. } => reversed(1),
        Resource::Tuned => reversed(2),
        Resource::Unit { aspect: UnitAspect::Active, .. } => reversed(3),
        Resource::Ethtool { group: Group::Channels, .. } => reversed(4),
        Resource::Ethtool { group: Group::Rings, .. } => reversed(5),
        Resource::Ethtool { group: Group::Features, .. } => reversed(6),
        Resource::Mtu { .. } => reversed(7),
        Resource::Rss { .. } => 9,
        Resource::LinkSizes { .. } => 10,
        Resource::Sysctl { key } if key == "net/core/default_qdisc" => 11,
        Resource::Qdisc { .. } => 12,
        Resource::Sysctl { .. } => 13,
        Resource::Sysfs { .. } if change.resource.pstate() => reversed(3),
        Resource::Sysfs { path } if path.ends_with("/scaling_governor") => 14,
        Resource::Sysfs { .. } | Resource::RouteMtu { .. } => 15,
        Resource::IrqbalanceBans => {
            if back {
                18
            } else {
                16
            }
        }
        Resource::Irq { .. } | Resource::IrqDefault => 17,
        Resource::Ethtool { group: Group::Coalesce, .. } => 19,
        // A flowtable's links come after their table, and go before it.
        Resource::Nft { .. } => reversed(20),
        Resource::Flow { .. } => reversed(21),
        Resource::Bpf { .. } => reversed(22),
    }
}

/// A larger MTU goes to the lower device first, a smaller one to the upper first. A folder comes
/// before what is in it, and goes after it.
fn level(change: &Change, facts: &Facts) -> i64 {
    if let Resource::File { path } = &change.resource {
        let depth = path.matches('/').count() as i64;
        return if change.back() { -depth } else { depth };
    }
    let Resource::Mtu { link } = &change.resource else { return 0 };
    let number = |s: &State| s.text().and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
    let depth = i64::from(depth(facts, link));
    if number(&change.after) >= number(&change.before) { depth } else { -depth }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::facts::Link;
    use crate::model::{Claims, Impact, Want};

    fn change(resource: &str, before: &str, after: &str, back: bool) -> Change {
        let state = |t: &str| if t.is_empty() { State::Absent } else { State::is(t) };
        let claim = ("t".to_string(), Want::is(after));
        Change {
            resource: resource.parse().unwrap(),
            before: state(before),
            after: state(after),
            impact: Impact::None,
            claims: if back { Claims::new() } else { Claims::from([claim]) },
            tweaks: vec!["t".into()],
        }
    }

    fn sorted(mut changes: Vec<Change>, facts: &Facts) -> Vec<String> {
        sort(&mut changes, facts);
        changes.iter().map(|c| c.resource.to_string()).collect()
    }

    #[test]
    fn an_mtu_rises_from_below_and_falls_from_above() {
        let eth0 = Link { name: "eth0".into(), index: 2, ..Link::default() };
        let vlan = Link {
            name: "e0.7".into(),
            index: 3,
            parent: Some("eth0".into()),
            kind: Some("vlan".into()),
            ..Link::default()
        };
        let facts = Facts { links: vec![eth0, vlan], ..Facts::default() };
        let both = |a: &str, b: &str, back| {
            vec![change("mtu:e0.7", a, b, back), change("mtu:eth0", a, b, back)]
        };
        assert_eq!(sorted(both("1500", "9000", false), &facts), ["mtu:eth0", "mtu:e0.7"]);
        assert_eq!(sorted(both("9000", "1500", true), &facts), ["mtu:e0.7", "mtu:eth0"]);
    }

    #[test]
    fn default_qdisc_and_governor_lead_in_both_directions() {
        for back in [false, true] {
            let names = sorted(
                vec![
                    change("sysfs:a/energy_performance_preference", "a", "b", back),
                    change("sysfs:a/scaling_governor", "a", "b", back),
                    change("qdisc:eth0", "a", "b", back),
                    change("sysctl:net.core.default_qdisc", "a", "b", back),
                ],
                &Facts::default(),
            );
            assert_eq!(
                names,
                [
                    "sysctl:net.core.default_qdisc",
                    "qdisc:eth0",
                    "sysfs:a/scaling_governor",
                    "sysfs:a/energy_performance_preference"
                ]
            );
        }
    }

    #[test]
    fn tables_go_first_and_come_last() {
        let names = sorted(
            vec![
                change("nft:nettune-notrack", "", "new", false),
                change("sysctl:net.core.somaxconn", "1", "2", false),
                change("mtu:eth0", "1", "2", false),
                change("sysctl:net.core.rmem_max", "2", "1", true),
                change("nft:nettune-flow", "old", "", true),
            ],
            &Facts::default(),
        );
        assert_eq!(
            names,
            [
                "nft:nettune-flow",
                "sysctl:net.core.rmem_max",
                "mtu:eth0",
                "sysctl:net.core.somaxconn",
                "nft:nettune-notrack"
            ]
        );
    }
}
