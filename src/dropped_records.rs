//! The number of log records that were dropped, because the log could not be written fast enough.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the dropped records of a log.
#[derive(Debug, Default)]
pub struct DroppedRecords {
    count: AtomicU64,
    last_unix_ms: AtomicU64,
}

impl DroppedRecords {
    /// Counts one that is dropped now.
    pub fn add(&self, now_unix_ms: u64) {
        self.last_unix_ms.store(now_unix_ms, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many were dropped since the start.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns when the last one was dropped, in milliseconds since 1970.
    pub fn last_unix_ms(&self) -> Option<u64> {
        (self.count() > 0).then(|| self.last_unix_ms.load(Ordering::Relaxed))
    }
}
