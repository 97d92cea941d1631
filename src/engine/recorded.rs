//! A node as it was recorded: what was read of it while it was looked at, and that again without it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::Observe;
use crate::model::{Facts, Resource, State};

/// Keeps what is read of a node.
pub struct Recorder<'a, H> {
    host: &'a H,
    pub states: RefCell<BTreeMap<Resource, State>>,
}

impl<'a, H: Observe> Recorder<'a, H> {
    pub fn new(host: &'a H, facts: &Facts) -> Self {
        Recorder { host, states: RefCell::new(host.told(facts)) }
    }
}

impl<H: Observe> Observe for Recorder<'_, H> {
    fn facts(&self) -> Result<Facts> {
        self.host.facts()
    }

    fn read_many(&self, resources: &[Resource]) -> Vec<Result<State>> {
        let read = self.host.read_many(resources);
        let mut states = self.states.borrow_mut();
        for (resource, state) in resources.iter().zip(&read) {
            if let Ok(state) = state {
                states.insert(resource.clone(), state.clone());
            }
        }
        read
    }
}

/// Answers as that node did.
pub struct Recorded {
    pub facts: Facts,
    pub states: BTreeMap<Resource, State>,
}

impl Observe for Recorded {
    fn facts(&self) -> Result<Facts> {
        Ok(self.facts.clone())
    }

    fn read_many(&self, resources: &[Resource]) -> Vec<Result<State>> {
        let state = |resource: &Resource| match self.states.get(resource) {
            Some(state) => Ok(state.clone()),
            None => bail!("{resource} was not recorded"),
        };
        resources.iter().map(state).collect()
    }
}
