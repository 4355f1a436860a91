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

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    #[test]
    fn time_of_day_follows_the_monotonic_clock() {
        let now = Now { instant: Instant::now(), unix_ms: 10_000 };
        assert_eq!(now.unix_ms_at(now.instant), 10_000);
        assert_eq!(now.unix_ms_at(now.instant + Duration::from_millis(5)), 10_005);
        assert_eq!(now.unix_ms_at(now.instant - Duration::from_millis(5)), 9_995);
    }

    #[test]
    fn pause_doubles_within_its_bounds() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(5));
        let pauses = [0, 1, 2, 3, 4, 100].map(|failures| backoff(failures, min, max).as_secs());
        assert_eq!(pauses, [1, 1, 2, 4, 5, 5]);
    }

    #[test]
    fn durations_are_whole_units() {
        let duration = Duration::from_nanos(2_345_678);
        assert_eq!((millis(duration), micros(duration)), (2, 2_345));
    }
}
