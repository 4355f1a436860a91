//! A change that the guard blocked, as it is shown to operators and saved.

use serde::{Deserialize, Serialize};

use crate::limits::BLOCKED_NAMES_MAX;

/// A list of hosts or definitions that the guard blocked, compared with the list in service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedChange {
    /// The limit that it breaks, in words.
    pub reason: String,
    /// When the guard first blocked it, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// How many entries the blocked list has.
    pub entries: usize,
    /// What it would add to the list in service.
    pub adds: NameSample,
    /// What it would remove from the list in service.
    pub removes: NameSample,
}

/// Names of hosts or services: the first of them, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameSample {
    /// How many there are.
    pub count: usize,
    /// The first of them, at most [`BLOCKED_NAMES_MAX`].
    pub first: Vec<String>,
}

impl NameSample {
    /// The first of these names, and how many there are.
    pub fn of<T: ToString>(names: &[T]) -> Self {
        Self { count: names.len(), first: names.iter().take(BLOCKED_NAMES_MAX).map(ToString::to_string).collect() }
    }
}
