//! The state of a guard that is saved across restarts of the daemon.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::window::CapacityWindow;
use crate::model::{BlockedChange, Moment};

/// The state of a guard that is saved across restarts of the daemon. Its fields are flattened into the saved object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardMemory<L> {
    /// The list that an operator rejected, as long as the source returns it.
    #[serde(flatten)]
    pub rejected: Option<RejectedList<L>>,
    /// The baseline, where it is larger than the list in service.
    #[serde(default, rename = "guard_baseline", skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
}

impl<L> Default for GuardMemory<L> {
    fn default() -> Self {
        Self { rejected: None, baseline: None }
    }
}

/// A list that an operator rejected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RejectedList<L> {
    /// The list.
    #[serde(rename = "rejected")]
    pub list: L,
    /// Its difference from the list in service, and since when it is blocked; `None` in state saved by earlier
    /// versions.
    #[serde(default, rename = "rejected_change", skip_serializing_if = "Option::is_none")]
    pub change: Option<BlockedChange>,
}

/// The largest capacity within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The number of entries.
    pub entries: usize,
    /// When their number fell, in milliseconds since 1970; `None` while a blocked change keeps the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_unix_ms: Option<u64>,
}

impl Baseline {
    /// Creates a baseline that a blocked change keeps.
    pub(super) fn kept(entries: usize) -> Self {
        Self { entries, until_unix_ms: None }
    }

    /// Returns the largest capacity within the window that is no longer in service.
    pub(super) fn of_window(window: &CapacityWindow, length: Duration, now: Moment) -> Option<Self> {
        let past = window.largest_before(now, length)?;
        Some(Self { entries: past.entries, until_unix_ms: Some(past.until.unix_ms) })
    }

    /// Adds the capacity to the window, unless it is older than the window.
    pub(super) fn enter_into(self, window: &mut CapacityWindow, length: Duration, now: Moment) {
        let age = self.until_unix_ms.map_or(0, |until| now.unix_ms.saturating_sub(until));
        if Duration::from_millis(age) <= length {
            window.renew(self.entries, now);
        }
    }
}

impl<L> GuardMemory<L> {
    /// Converts the list to another form.
    pub fn map<S>(self, form: impl FnOnce(L) -> S) -> GuardMemory<S> {
        let rejected = self.rejected.map(|RejectedList { list, change }| RejectedList { list: form(list), change });
        GuardMemory { rejected, baseline: self.baseline }
    }
}
