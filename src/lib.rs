//! Node network tuning with exact undo.
//!
//! `main -> commands -> {profile, tweaks, engine, linux, cilium, report} -> model`. A lever lives in
//! `tweaks/`, one file each, and only says what should be true; `engine/` reads what is, journals
//! the difference and carries it out; `linux/` has one file a kind of resource and is the only code
//! that touches the kernel.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test that cannot go on has failed"
    )
)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub mod cilium;
pub mod cli;
pub mod commands;
pub mod engine;
#[cfg(test)]
mod fuzz;
pub mod image;
pub mod linux;
pub mod model;
pub mod open;
pub mod persist;
pub mod profile;
mod replace;
pub mod report;
mod stop;
pub mod tweaks;
mod wait;
mod yaml;
