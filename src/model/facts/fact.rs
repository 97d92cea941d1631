//! What may not be known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that may not be readable without root: unknown is not absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Fact<T> {
    Unknown { unknown: String },
    Known(T),
}

impl<T> Fact<T> {
    pub fn known(&self) -> Option<&T> {
        match self {
            Fact::Known(value) => Some(value),
            Fact::Unknown { .. } => None,
        }
    }

    pub fn unknown(why: impl Into<String>) -> Self {
        Fact::Unknown { unknown: why.into() }
    }
}

impl<T: Default> Default for Fact<T> {
    fn default() -> Self {
        Fact::Known(T::default())
    }
}
