//! The serving capacity of a guarded list.

/// The serving capacity of a list, with what discovery decided about entries that it still lists.
///
/// Only entries that serve are capacity: an entry in maintenance or drain does not make up for one that leaves. An entry
/// that was serving, is still listed and is taken out of service by discovery is a decision, not a loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    /// The entries that serve.
    pub serving: usize,
    /// The entries that served before and that the list takes out of service.
    pub taken_out: usize,
    /// The entries that were out of service before and that the list returns to service.
    pub returned: usize,
}

impl Capacity {
    /// Returns the capacity of a list whose entries all serve.
    pub fn serving(entries: usize) -> Self {
        Self { serving: entries, ..Self::default() }
    }

    /// Returns the entries that are not lost: a guard compares them with its limits.
    pub(super) fn remaining(self) -> usize {
        self.serving + self.taken_out
    }
}
