//! States that say more than one thing, each as a type with one Display and one FromStr, which are each other's
//! inverse (`tests.rs` here); the text is that of the journal. Nothing is made up: a text that does not say all of
//! it is refused. What is one value, or pairs of `key=value` that the driver names, is read by `State` itself.
//! Uses `State` and facts. Begin with `file.rs`.

pub mod attached;
pub mod file;
pub mod qdisc;
mod rss;
#[cfg(test)]
mod tests;
pub mod tuned;

use super::State;

/// What a state says as a `T`; None where it is none.
pub fn of<T: std::str::FromStr>(state: &State) -> Option<T> {
    state.text()?.parse().ok()
}
