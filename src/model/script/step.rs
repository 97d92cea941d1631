use crate::model::{Resource, State};

/// One change, and what it takes along.
pub struct Step {
    pub resource: Resource,
    pub from: State,
    pub to: State,
    /// What may be overwritten; anything else is somebody's since. Nothing here asks nothing.
    pub ours: Vec<State>,
    pub disturbed: Vec<Disturbed>,
}

pub struct Disturbed {
    pub resource: Resource,
    pub now: State,
    /// None: what it is when the script runs.
    pub to: Option<State>,
    /// What may be overwritten by that; anything else stays as it is. Nothing here asks nothing.
    pub ours: Vec<State>,
}
