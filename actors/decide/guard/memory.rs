//! What a guard keeps across restarts of the daemon.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::window::CapacityWindow;
use crate::model::{BlockedChange, Moment};

/// What a guard keeps across restarts of the daemon. Its fields stand beside those of what is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardMemory<L> {
    /// The list that an operator rejected, while the source shows it.
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
    /// How it differs from the list in service, and since when it is blocked; none in state that earlier versions saved.
    #[serde(default, rename = "rejected_change", skip_serializing_if = "Option::is_none")]
    pub change: Option<BlockedChange>,
}

/// The largest capacity within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// How many entries.
    pub entries: usize,
    /// When their number fell, in milliseconds since 1970; none while a blocked change keeps the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_unix_ms: Option<u64>,
}

impl Baseline {
    /// Kept by a blocked change.
    pub(super) fn kept(entries: usize) -> Self {
        Self { entries, until_unix_ms: None }
    }

    /// The largest capacity within the window that is no longer in service.
    pub(super) fn of_window(window: &CapacityWindow, length: Duration, now: Moment) -> Option<Self> {
        let past = window.largest_before(now, length)?;
        Some(Self { entries: past.entries, until_unix_ms: Some(past.until.unix_ms) })
    }

    /// Counts from now on, unless it has left the window.
    pub(super) fn enter_into(self, window: &mut CapacityWindow, length: Duration, now: Moment) {
        let age = self.until_unix_ms.map_or(0, |until| now.unix_ms.saturating_sub(until));
        if Duration::from_millis(age) <= length {
            window.renew(self.entries, now);
        }
    }
}

impl<L> GuardMemory<L> {
    /// The same about another form of the list.
    pub fn map<S>(self, form: impl FnOnce(L) -> S) -> GuardMemory<S> {
        let rejected = self.rejected.map(|RejectedList { list, change }| RejectedList { list: form(list), change });
        GuardMemory { rejected, baseline: self.baseline }
    }
}
