//! Numbers of host lists and changes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Counts the accepted host lists of one service; grows by one with each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// Returns the next revision.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The id of one change, from its event to HAProxy's answer. Unique within a run of the daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChangeId(pub u64);

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}
