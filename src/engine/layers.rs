//! What we found while an agent has something from us to set is a layer: the agent's value over the machine's
//! own. Whoever takes that away (undo.sh, the agent's own tool) has the agent put the machine's own there.

use std::borrow::Cow;

use super::Observe;
use super::ledger::{Ledger, Owned};
use crate::model::agents::{Keeps, keeps, sets};
use crate::model::{Change, Facts, Resource, glob};

/// What agents have from us that they set by themselves, and what they keep of what they find.
fn given(ledger: &Ledger) -> impl Iterator<Item = (&Resource, &Owned, Keeps)> {
    ledger.owned.iter().filter_map(|(r, o)| Some((r, o, keeps(r)?)))
}

/// Of `changes`, those over a value that an agent has set for what it has from us.
pub fn layered(
    host: &impl Observe,
    ledger: &Ledger,
    facts: &Facts,
    changes: &[Change],
) -> Vec<Resource> {
    let mut layered = Vec::new();
    for (agent, owned, keeps) in given(ledger) {
        let settings = sets(agent, owned.present(), facts);
        let set = |name: String| settings.iter().any(|s| glob(&s.resource, &name));
        let over = |c: &&Change| keeps(&c.resource) && !c.back() && set(c.resource.to_string());
        let over: Vec<Resource> = changes.iter().filter(over).map(|c| c.resource.clone()).collect();
        if !over.is_empty() && host.read(agent).is_ok_and(|now| now == *owned.present()) {
            layered.extend(over);
        }
    }
    layered
}

/// The ledger without what an agent took along when it left what it had from us: neither what we found nor what
/// we wrote is there any more, and what is there is nobody's to undo.
pub fn without_taken<'a>(host: &impl Observe, ledger: &'a Ledger) -> Cow<'a, Ledger> {
    let layers = ledger.owned.iter().filter(|(_, o)| o.layered).map(|(r, _)| r.clone());
    let layers: Vec<Resource> = layers.collect();
    let left = |(agent, owned, _): (&Resource, &Owned, Keeps)| {
        host.read(agent).ok().as_ref() != Some(owned.present())
    };
    let mut ledger = Cow::Borrowed(ledger);
    if layers.is_empty() || !given(&ledger).any(left) {
        return ledger;
    }
    for (resource, state) in layers.iter().zip(host.read_many(&layers)) {
        if state.is_ok_and(|now| ledger.owned[resource].drifted(&now)) {
            let ledger = ledger.to_mut();
            ledger.owned.remove(resource);
            ledger.stale = true;
        }
    }
    ledger
}
