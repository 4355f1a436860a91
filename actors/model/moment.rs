//! A point in time, for decisions that have no clock.

use std::time::{Duration, Instant};

/// One point in time on two clocks: the monotonic one, and the time of day for output and saved state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// On the monotonic clock.
    pub instant: Instant,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

impl Moment {
    /// Returns the time from `earlier` to this moment; zero where `earlier` is later.
    pub fn since(&self, earlier: Self) -> Duration {
        self.instant.saturating_duration_since(earlier.instant)
    }
}
