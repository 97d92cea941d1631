//! The node as it was read once, for those who only look: gathering facts has read some resources already, and two
//! plans of one preview ask for the same. A stage that writes asks the node itself.

use std::cell::RefCell;
use std::collections::BTreeMap;

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
        let new: Vec<Resource> =
            resources.iter().filter(|r| !seen.contains_key(*r)).cloned().collect();
        let mut fresh = self.host.read_many(&new).into_iter();
        // What could not be told is asked again, and answered in the order in which it was.
        let mut answer = |resource: &Resource| match seen.get(resource) {
            Some(state) => Ok(state.clone()),
            None => {
                let state = fresh.next().unwrap_or_else(|| self.host.read(resource))?;
                seen.insert(resource.clone(), state.clone());
                Ok(state)
            }
        };
        resources.iter().map(&mut answer).collect()
    }
}
