//! What of ours stands aside while TuneD switches. It keeps what it finds when it sets a value, and
//! puts that back when it goes, over whatever is there then: with ours in the way it would keep our
//! value for the machine's own, or lay the machine's over ours. So they are back at their baselines
//! for the moment of the switch, and set again over what is there after it.

use super::Observe;
use super::ledger::Ledger;
use super::plan::claims_merged;
use crate::model::{Change, Claims, Impact, Resource, State};

/// What stood aside, and who claims it.
pub struct Aside {
    pub changes: Vec<Change>,
    claims: Vec<Claims>,
}

/// The way there: nothing unless TuneD switches among these changes.
pub fn aside(ledger: &Ledger, host: &impl Observe, changes: &[Change]) -> Aside {
    let mut aside = Aside { changes: Vec::new(), claims: Vec::new() };
    if !changes.iter().any(|c| c.resource == Resource::Tuned && !c.claim_only()) {
        return aside;
    }
    let in_reach = |r: &Resource| match r {
        Resource::Sysctl { .. } => true,
        Resource::Sysfs { path } => !path.starts_with("class/net/"),
        _ => false,
    };
    let free = |r: &Resource| changes.iter().all(|c| c.resource != *r);
    let owned = ledger.owned.iter().filter(|(r, o)| in_reach(r) && !o.claims.is_empty() && free(r));
    let (resources, owned): (Vec<Resource>, Vec<_>) = owned.map(|(r, o)| (r.clone(), o)).unzip();
    for ((resource, owned), state) in resources.iter().zip(owned).zip(host.read_many(&resources)) {
        // What somebody else changed since is left alone here, too.
        let Some(before) = state.ok().filter(|s| s == owned.present() && *s != owned.baseline)
        else {
            continue;
        };
        aside.claims.push(owned.claims.clone());
        aside.changes.push(Change {
            resource: resource.clone(),
            before,
            after: owned.baseline.clone(),
            impact: Impact::None,
            claims: Claims::new(),
            tweaks: owned.claims.keys().cloned().collect(),
        });
    }
    aside
}

impl Aside {
    /// The way back, from what is there now; only what did stand aside.
    pub fn again(&self, ledger: &Ledger, host: &impl Observe) -> Vec<Change> {
        let resources: Vec<Resource> = self.changes.iter().map(|c| c.resource.clone()).collect();
        let states = host.read_many(&resources);
        let all = self.changes.iter().zip(&self.claims).zip(states);
        let again = |((change, claims), state): ((&Change, &Claims), anyhow::Result<State>)| {
            let before = state.ok().filter(|_| !ledger.owned.contains_key(&change.resource))?;
            let want = claims_merged(claims, &change.resource).ok()?;
            let after = change.resource.canonical(want.resolve(&before).ok()?);
            let (claims, tweaks) = (claims.clone(), change.tweaks.clone());
            let resource = change.resource.clone();
            Some(Change { resource, before, after, impact: Impact::None, claims, tweaks })
        };
        // Where TuneD wants what we want there is nothing of ours left.
        all.filter_map(again).filter(|c| c.before != c.after).collect()
    }
}
