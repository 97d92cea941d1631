//! What the agents of a host do by themselves to what we write: the engine knows none of them by name.

use super::facts::{Facts, Setting};
use super::typed::tuned::Profile;
use super::{Resource, State, UnitAspect, typed};

/// What the agent behind `resource` keeps when it is changed: TuneD keeps what it finds when it sets a value, and
/// puts that back when it goes, over whatever is there then; and it reads the files of sysctl.d anew each time.
pub fn keeps(resource: &Resource) -> Option<Keeps> {
    (*resource == Resource::Tuned).then_some(tuned_reaches as Keeps)
}

pub type Keeps = fn(&Resource) -> bool;

fn tuned_reaches(resource: &Resource) -> bool {
    match resource {
        Resource::Sysctl { .. } => true,
        Resource::Sysfs { path } => !path.starts_with("class/net/"),
        file => file.sysctl_file(),
    }
}

/// What the agent behind `resource` sets itself once that is `state`.
pub fn sets<'a>(resource: &Resource, state: &State, facts: &'a Facts) -> &'a [Setting] {
    let profile =
        Some(state).filter(|_| *resource == Resource::Tuned).and_then(typed::of::<Profile>);
    profile.and_then(|p| facts.tuned_profiles.get(&p.spaced())).map_or(&[], Vec::as_slice)
}

/// What agents that run set now.
pub fn sets_now(facts: &Facts) -> &[Setting] {
    let tuned = facts.agents.tuned_profile.clone().filter(|_| facts.agents.tuned.pid.is_some());
    let profile = tuned.and_then(|name| facts.tuned_profiles.get(&name));
    profile.map_or(&[], Vec::as_slice)
}

/// Whether an agent that runs moves `resource` as it likes: where it is then is nobody's wish. It leaves alone
/// what it was told to, which is in the state of `told_off`.
pub fn wanders(resource: &Resource, facts: &Facts, told: Option<&State>) -> bool {
    let Resource::Irq { vector, .. } = resource else { return false };
    let list = told.and_then(State::text).unwrap_or_default();
    let told = || list.split_whitespace().any(|word| word.parse() == Ok(*vector));
    facts.agents.irqbalance.pid.is_some() && !told()
}

/// Whether it tells an agent what to leave alone.
pub fn tells(resource: &Resource) -> bool {
    *resource == Resource::IrqbalanceBans
}

/// The agent that was started since, by what tells of it: it knows nothing of what it was told, or runs where it
/// was stopped.
pub fn started_since(resource: &Resource, now: &State, baseline: &State) -> Option<&'static str> {
    let is = match resource {
        Resource::IrqbalanceBans => now == baseline,
        Resource::Unit { name, aspect: UnitAspect::Active } => {
            name == "irqbalance.service" && *now == State::is("active")
        }
        _ => false,
    };
    is.then_some(IRQBALANCE)
}

/// What tells the agent that moves `resource` to leave it alone.
pub fn told_off(resource: &Resource) -> Option<&'static Resource> {
    matches!(resource, Resource::Irq { .. }).then_some(&Resource::IrqbalanceBans)
}

/// The agent that moves a resource of this kind.
pub fn mover(resource: &Resource) -> Option<&'static str> {
    told_off(resource).map(|_| IRQBALANCE)
}

const IRQBALANCE: &str = "irqbalance";
