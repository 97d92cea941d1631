//! Cilium, pure: what its agent tells and where (`told.rs`, the list; `live.rs`, what it makes of that), which
//! values a fleet's nodes can all take (`fleet.rs`, `values.rs`, `render.rs`), and what a live configuration
//! has otherwise (`configmap.rs`, `diff.rs`, `rules.rs`).
//! Uses the model; the sockets and files are `linux/facts/cilium.rs`, the levers `tweaks/`.
//! Begin with `told.rs`.

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
