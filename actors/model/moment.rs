//! A point in time, for decisions and state machines that have no clock.

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

    /// Returns the time of day at another instant, in milliseconds since 1970.
    pub fn unix_ms_at(&self, other: Instant) -> u64 {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let ahead = millis(other.saturating_duration_since(self.instant));
        let behind = millis(self.instant.saturating_duration_since(other));
        self.unix_ms.saturating_add(ahead).saturating_sub(behind)
    }
}
