//! The capacity that was in service within a window of time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Moment;

/// The capacity in service now, and the larger ones before it.
#[derive(Debug, Default)]
pub(super) struct CapacityWindow {
    /// `None` before the first list.
    in_service: Option<usize>,
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
    /// Returns the number of entries in service; `None` before the first list.
    pub(super) fn in_service(&self) -> Option<usize> {
        self.in_service
    }

    /// Records the number of entries in service from now on.
    pub(super) fn record(&mut self, entries: usize, now: Moment, window: Duration) {
        if let Some(before) = self.in_service.replace(entries) {
            self.keep(Past { entries: before, until: now });
        }
        while self.before.back().is_some_and(|past| past.entries <= entries) {
            self.before.pop_back();
        }
        while self.before.front().is_some_and(|past| !is_within(past, now, window)) {
            self.before.pop_front();
        }
    }

    /// Records a number of entries as in service until now.
    pub(super) fn renew(&mut self, entries: usize, now: Moment) {
        if self.in_service.is_none_or(|in_service| in_service < entries) {
            self.keep(Past { entries, until: now });
        }
    }

    /// Adds a capacity that ended later than all others.
    fn keep(&mut self, past: Past) {
        while self.before.back().is_some_and(|known| known.entries <= past.entries) {
            self.before.pop_back();
        }
        self.before.push_back(past);
    }

    /// Returns the largest capacity in service within the window.
    pub(super) fn baseline(&self, now: Moment, window: Duration) -> usize {
        let past = self.largest_before(now, window).map_or(0, |past| past.entries);
        past.max(self.in_service.unwrap_or_default())
    }

    /// Returns the largest capacity within the window that is no longer in service.
    pub(super) fn largest_before(&self, now: Moment, window: Duration) -> Option<Past> {
        self.before.iter().find(|past| is_within(past, now, window)).copied()
    }
}

fn is_within(past: &Past, now: Moment, window: Duration) -> bool {
    now.since(past.until) <= window
}
