//! A change that the guard blocked, as shown to operators and saved.

use serde::{Deserialize, Serialize};

use crate::limits::BLOCKED_NAMES_MAX;

/// A list of hosts or definitions that the guard blocked, compared with the list in service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedChange {
    /// The exceeded limit, as text.
    pub reason: String,
    /// When the guard first blocked it, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// The number of entries of the blocked list.
    pub entries: usize,
    /// The names that it would add to the list in service.
    pub adds: NameSample,
    /// The names that it would remove from the list in service.
    pub removes: NameSample,
}

/// A sample of names of hosts or services, with their total number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameSample {
    /// The total number.
    pub count: usize,
    /// The first names, at most [`BLOCKED_NAMES_MAX`].
    pub first: Vec<String>,
}

impl NameSample {
    /// Creates a sample of these names.
    pub fn of<T: ToString>(names: &[T]) -> Self {
        Self { count: names.len(), first: names.iter().take(BLOCKED_NAMES_MAX).map(ToString::to_string).collect() }
    }
}
