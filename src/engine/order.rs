//! In which order changes are made.

use crate::model::facts::Facts;
use crate::model::kind::Stage;
use crate::model::uplinks::depth;
use crate::model::{Change, Resource, State};

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
    match (change.resource.kind().stage, &change.after, change.back()) {
        (Stage::Around, State::Absent, _) => Phase::Vanish,
        (Stage::Around, _, _) => Phase::Appear,
        (Stage::Two, _, true) => Phase::BackTwo,
        (Stage::One, _, true) => Phase::BackOne,
        (Stage::One, _, false) => Phase::One,
        (Stage::Two, _, false) => Phase::Two,
    }
}

/// Stable for equal keys, so that a plan reads in the order of the tweaks.
pub fn sort(changes: &mut [Change], facts: &Facts) {
    changes.sort_by_key(|c| (phase(c), c.resource.kind().rank(c.back()), level(c, facts)));
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
