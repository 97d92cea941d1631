//! The vocabulary of nettune as plain data: what can be set (`resource.rs`, `kinds.rs`, `group.rs`), what it is
//! and should be (`state.rs`), what a lever is (`tweak.rs`), and what a node is (`facts/`).
//! What follows from a kind or a fact and nothing else is here too: what a change disturbs (`collateral.rs`), which
//! links are meant (`uplinks.rs`), canonical forms (`sysctls.rs`), the shell's words (`script/`).
//! Nothing here touches a kernel, and nothing here uses another module of ours. Begin with `resource.rs`.

pub mod agents;
pub mod bpf;
pub mod cilium;
pub mod collateral;
pub mod cpulist;
pub mod drivers;
pub mod facts;
pub mod features;
pub mod glob;
pub mod group;
pub mod helm;
mod hex;
pub mod impact;
pub mod kind;
mod kinds;
pub mod need;
pub mod placement;
pub mod places;
pub mod plan;
pub mod reach;
pub mod resource;
pub mod restore;
pub mod script;
pub mod settings;
pub mod state;
pub mod sysctls;
pub mod tweak;
pub mod typed;
pub mod uplinks;
pub mod xdp_limits;

pub use facts::Facts;
pub use glob::glob;
pub use group::{AUTO, Group};
pub use hex::hex;
pub use impact::Impact;
pub use need::{Need, Probe, Warning};
pub use plan::{Change, Claims, Desired, Outcome, Proof};
pub use resource::{Resource, UnitAspect};
pub use state::{State, Want};
pub use tweak::{Context, Live, NativeXdp, Side, Tweak};
