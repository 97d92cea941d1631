//! The node as it was read once, for those who only look: gathering facts has read some resources already, and two
//! plans of one preview ask for the same. A stage that writes asks the node itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::Observe;
use crate::model::{Facts, Resource, State};

pub struct Seen<'a, H> {
    host: &'a H,
    states: RefCell<BTreeMap<Resource, State>>,
}

impl<'a, H: Observe> Seen<'a, H> {
    /// `facts` are of this host, just gathered.
    pub fn new(host: &'a H, facts: &Facts) -> Self {
        Seen { host, states: RefCell::new(host.told(facts)) }
    }
}

impl<H: Observe> Observe for Seen<'_, H> {
    fn facts(&self) -> Result<Facts> {
        self.host.facts()
    }

    fn read_many(&self, resources: &[Resource]) -> Vec<Result<State>> {
        let mut seen = self.states.borrow_mut();
        let new: BTreeSet<&Resource> =
            resources.iter().filter(|r| !seen.contains_key(*r)).collect();
        let new: Vec<Resource> = new.into_iter().cloned().collect();
        // What could not be told is not kept: it is asked again.
        let mut untold = BTreeMap::new();
        for (resource, state) in new.iter().zip(self.host.read_many(&new)) {
            match state {
                Ok(state) => drop(seen.insert(resource.clone(), state)),
                Err(e) => drop(untold.insert(resource, e)),
            }
        }
        let mut answer = |resource: &Resource| match seen.get(resource) {
            Some(state) => Ok(state.clone()),
            None => untold.remove(resource).map_or_else(|| self.host.read(resource), Err),
        };
        resources.iter().map(&mut answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with the resource's own name, or not at all, and counts.
    struct Host(RefCell<usize>);

    impl Observe for Host {
        fn facts(&self) -> Result<Facts> {
            Ok(Facts::default())
        }

        fn read_many(&self, resources: &[Resource]) -> Vec<Result<State>> {
            *self.0.borrow_mut() += resources.len();
            let answer = |r: &Resource| match r {
                Resource::IrqDefault => anyhow::bail!("no answer"),
                r => Ok(State::is(r.to_string())),
            };
            resources.iter().map(answer).collect()
        }
    }

    #[test]
    fn each_is_read_once_and_answered_as_itself() {
        let host = Host(RefCell::new(0));
        let seen = Seen::new(&host, &Facts::default());
        let all = ["mtu:b", "mtu:b", "irq:default", "mtu:a", "irq:default"];
        let all: Vec<Resource> = all.iter().map(|text| text.parse().unwrap()).collect();
        for read in [4, 6] {
            for (resource, state) in all.iter().zip(seen.read_many(&all)) {
                match resource {
                    Resource::IrqDefault => assert!(state.is_err()),
                    r => assert_eq!(state.unwrap(), State::is(r.to_string())),
                }
            }
            assert_eq!(*host.0.borrow(), read);
        }
    }
}
