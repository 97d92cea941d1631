//! The node as the first stage is going to leave it: a preview of what follows must not speak of
//! queues that will be gone, nor call blocked what the same run makes fit. The run itself asks the
//! node again.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::facts::{Fact, Facts, Link, Role};
use crate::model::{Change, Group, Resource, State};

/// Nothing when no change reshapes a link.
pub fn after(facts: &Facts, changes: &[Change]) -> Option<Facts> {
    let shapes = |c: &&Change| {
        matches!(
            c.resource,
            Resource::Mtu { .. }
                | Resource::Ethtool { group: Group::Channels | Group::Features, .. }
        )
    };
    let changes: Vec<&Change> = changes.iter().filter(shapes).filter(|c| !c.claim_only()).collect();
    if changes.is_empty() {
        return None;
    }
    let mut facts = facts.clone();
    for change in changes {
        let name = change.resource.link().unwrap_or_default();
        let Some(link) = facts.links.iter_mut().find(|l| l.name == name) else { continue };
        reshape(link, &change.resource, &change.after);
    }
    Some(facts)
}

fn reshape(link: &mut Link, resource: &Resource, state: &State) {
    match resource {
        Resource::Mtu { .. } => {
            link.mtu = state.text().and_then(|t| t.parse().ok()).unwrap_or(link.mtu);
        }
        Resource::Ethtool { group: Group::Channels, .. } => {
            if let Some(old) = &link.channels {
                let new = |(key, value): (&str, &str)| {
                    format!("{key}={}", state.field(key).unwrap_or(value))
                };
                let text: Vec<String> = crate::model::state::fields(old).map(new).collect();
                link.channels = Some(text.join(" "));
            }
            let queues = |side| Some(state.count("combined")? + state.count(side)?);
            if let (Fact::Known(vectors), Some(rx), Some(tx)) =
                (&mut link.vectors, queues("rx"), queues("tx"))
            {
                vectors.retain(|v| match v.role {
                    Role::Rx => v.queue.is_none_or(|q| q < rx),
                    Role::Tx => v.queue.is_none_or(|q| q < tx),
                    Role::Both => v.queue.is_none_or(|q| q < rx.max(tx)),
                    Role::Management | Role::Unused | Role::Unknown => true,
                });
            }
        }
        Resource::Ethtool { group: Group::Features, .. } => {
            let Some(features) = link.features.as_mut().map(Arc::make_mut) else { return };
            let mut active: BTreeSet<String> = features.active.drain(..).collect();
            for (name, value) in state.text().into_iter().flat_map(crate::model::state::fields) {
                match value {
                    "on" => active.insert(name.to_string()),
                    _ => active.remove(name),
                };
            }
            features.active = active.into_iter().collect();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::facts::{Features, Vector};
    use crate::model::{Claims, Impact};

    #[test]
    fn fewer_channels_take_their_vectors_along() {
        let vector = |queue, role| Vector { queue, role, ..Vector::default() };
        let link = Link {
            name: "eth0".into(),
            channels: Some("rx=0 combined=4 combined-max=8".into()),
            vectors: Fact::Known(
                [vector(None, Role::Management)]
                    .into_iter()
                    .chain((0..4).map(|q| vector(Some(q), Role::Both)))
                    .collect(),
            ),
            features: Some(Arc::new(Features {
                active: vec!["rx-lro".into()],
                ..Features::default()
            })),
            mtu: 9000,
            ..Link::default()
        };
        let facts = Facts { links: vec![link], ..Facts::default() };
        let change = |resource: &str, after: &str| Change {
            resource: resource.parse().unwrap(),
            before: State::Absent,
            after: State::is(after),
            impact: Impact::None,
            claims: Claims::new(),
            tweaks: Vec::new(),
        };
        let changes = [
            change("ethtool:eth0/channels", "rx=0 tx=0 combined=2"),
            change("ethtool:eth0/features", "rx-lro=off rx-gro=on"),
            change("mtu:eth0", "3498"),
        ];
        let after = after(&facts, &changes).unwrap();
        let link = &after.links[0];
        assert_eq!(link.channels.as_deref(), Some("rx=0 combined=2 combined-max=8"));
        assert_eq!(link.vectors.known().unwrap().len(), 3);
        assert_eq!(link.features.as_ref().unwrap().active, ["rx-gro"]);
        assert_eq!(link.mtu, 3498);
        assert!(super::after(&facts, &[change("sysctl:net.core.somaxconn", "1")]).is_none());
    }
}
