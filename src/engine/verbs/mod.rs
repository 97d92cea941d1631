//! The verbs as the engine sees them: check is the plan, apply carries it out, verify asks whether
//! the plan of what was applied is empty, rollback is the plan for a profile that wants nothing.

mod apply;
mod ask;
mod became;
mod clear;
mod preview;
mod rollback;
mod verify;

pub use apply::apply;
pub use ask::{Answer, Ask};
pub use clear::{clear, pending};
pub use preview::preview;
pub use rollback::{Rollback, rollback, rollback_preview};
pub use verify::verify;
