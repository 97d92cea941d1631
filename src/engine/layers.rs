//! What we found while TuneD has a profile from us is a layer: that profile's value over the machine's
//! own. Whoever takes the profile away (undo.sh, tuned-adm) has TuneD put the machine's own there.

use std::borrow::Cow;

use super::Observe;
use super::ledger::{Ledger, Owned};
use crate::model::{Change, Facts, Resource, glob};

/// Of `changes`, those over a value that TuneD has set for the profile that it has from us.
pub fn layered(
    host: &impl Observe,
    ledger: &Ledger,
    facts: &Facts,
    changes: &[Change],
) -> Vec<Resource> {
    let Some(tuned) = ledger.owned.get(&Resource::Tuned) else { return Vec::new() };
    let profile = tuned.present().tuned_profile().unwrap_or_default();
    let Some(sets) = facts.tuned_profiles.get(&profile) else { return Vec::new() };
    let set = |name: String| sets.iter().any(|s| glob(&s.resource, &name));
    let over = |c: &&Change| in_reach(&c.resource) && !c.back() && set(c.resource.to_string());
    let over: Vec<Resource> = changes.iter().filter(over).map(|c| c.resource.clone()).collect();
    let has = || host.read(&Resource::Tuned).is_ok_and(|now| now == *tuned.present());
    if over.is_empty() || !has() { Vec::new() } else { over }
}

/// The ledger without what TuneD took along when it left the profile that it had from us: neither what
/// we found nor what we wrote is there any more, and what is there is nobody's to undo.
pub fn without_taken<'a>(host: &impl Observe, ledger: &'a Ledger) -> Cow<'a, Ledger> {
    let layers = ledger.owned.iter().filter(|(_, o)| o.layered).map(|(r, _)| r.clone());
    let layers: Vec<Resource> = layers.collect();
    let left = |tuned: &Owned| host.read(&Resource::Tuned).ok().as_ref() != Some(tuned.present());
    let mut ledger = Cow::Borrowed(ledger);
    if layers.is_empty() || !ledger.owned.get(&Resource::Tuned).is_some_and(left) {
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

/// What TuneD may set.
pub fn in_reach(resource: &Resource) -> bool {
    match resource {
        Resource::Sysctl { .. } => true,
        Resource::Sysfs { path } => !path.starts_with("class/net/"),
        file => file.sysctl_file(),
    }
}
