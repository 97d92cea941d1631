//! What a fleet of nodes can be told: Helm values by version of Cilium, and how a live configuration
//! differs from what its nodes can take.

pub mod configmap;
pub mod contradictions;
pub mod diff;
pub mod fleet;
pub mod live;
pub mod render;
pub mod report;
pub mod rules;
pub mod told;
pub mod values;
pub mod version;
