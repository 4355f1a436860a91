//! The serving capacity within a window of time.

use std::collections::VecDeque;
use std::time::Duration;

use super::capacity::Capacity;
use crate::model::Moment;

/// The serving capacity now, and the larger ones before it.
#[derive(Debug, Default)]
pub(super) struct CapacityWindow {
    /// `None` before the first list.
    serving: Option<usize>,
    /// The entries that discovery took out of service and has not returned since. Earlier capacities include those that
    /// it had taken out by then, so that a decision lowers the baseline, and its end raises it again.
    taken_out: usize,
    /// Earlier, larger capacities with the end of their time in service, sorted by descending size and ascending end.
    /// It has at most as many elements as entries were in service within the window.
    before: VecDeque<Past>,
}

/// A capacity that is no longer in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    /// The number of entries.
    pub(super) entries: usize,
    /// When their number fell.
    pub(super) until: Moment,
}

impl CapacityWindow {
    /// Returns the number of serving entries; `None` before the first list.
    pub(super) fn serving(&self) -> Option<usize> {
        self.serving
    }

    /// Records the capacity from now on.
    pub(super) fn record(
        &mut self,
        Capacity { serving, taken_out, returned }: Capacity,
        now: Moment,
        window: Duration,
    ) {
        let before = self.serving.map(|serving| serving + self.taken_out);
        self.serving = Some(serving);
        self.taken_out = self.taken_out.saturating_sub(returned) + taken_out;
        let entries = serving + self.taken_out;
        if let Some(before) = before {
            self.keep(Past { entries: before, until: now });
        }
        while self.before.back().is_some_and(|past| past.entries <= entries) {
            self.before.pop_back();
        }
        while self.before.front().is_some_and(|past| !is_within(past, now, window)) {
            self.before.pop_front();
        }
    }

    /// Records a baseline as in service until now.
    pub(super) fn renew(&mut self, baseline: usize, now: Moment) {
        if self.serving.is_none_or(|serving| serving < baseline) {
            self.keep(Past { entries: baseline + self.taken_out, until: now });
        }
    }

    /// Adds a capacity that ended later than all others.
    fn keep(&mut self, past: Past) {
        while self.before.back().is_some_and(|known| known.entries <= past.entries) {
            self.before.pop_back();
        }
        self.before.push_back(past);
    }

    /// Returns the largest capacity within the window, without the entries that discovery took out of service.
    pub(super) fn baseline(&self, now: Moment, window: Duration) -> usize {
        let past = self.largest_before(now, window).map_or(0, |past| past.entries);
        past.max(self.serving.unwrap_or_default())
    }

    /// Returns the largest capacity within the window that is no longer in service, without the entries that discovery
    /// took out of service.
    pub(super) fn largest_before(&self, now: Moment, window: Duration) -> Option<Past> {
        let past = self.before.iter().find(|past| is_within(past, now, window))?;
        Some(Past { entries: past.entries.saturating_sub(self.taken_out), ..*past })
    }
}

fn is_within(past: &Past, now: Moment, window: Duration) -> bool {
    now.since(past.until) <= window
}
