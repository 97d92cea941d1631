//! The vocabulary of nettune as plain data: what can be set, what it is, what it should be, and what
//! a node is. Nothing here touches a kernel, and nothing here uses another module of ours.

pub mod bpf;
pub mod cilium;
pub mod collateral;
pub mod cpulist;
pub mod drivers;
pub mod facts;
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
