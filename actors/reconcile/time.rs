//! The time of a call, passed as an argument, because the reconciler has no clock.

use tokio::time::Instant;

/// One moment, on the monotonic clock and as time of day.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// On the monotonic clock.
    pub instant: Instant,
    /// The same moment in milliseconds since 1970.
    pub unix_ms: u64,
}

impl Now {
    /// Returns the time of day of another moment, in milliseconds since 1970.
    pub fn unix_ms_at(self, other: Instant) -> u64 {
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        match other.checked_duration_since(self.instant) {
            Some(ahead) => self.unix_ms.saturating_add(millis(ahead)),
            None => self.unix_ms.saturating_sub(millis(self.instant.saturating_duration_since(other))),
        }
    }
}

/// Converts a duration to whole microseconds.
pub fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Converts a duration to whole milliseconds.
pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the pause before the next attempt: doubled after each failure, within bounds.
pub fn backoff(failures: u32, min: std::time::Duration, max: std::time::Duration) -> std::time::Duration {
    min.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(max)
}
