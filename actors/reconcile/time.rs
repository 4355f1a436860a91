//! Arithmetic with durations.

use std::time::Duration;

/// Converts a duration to whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Converts a duration to whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the pause before the next attempt: doubled after each failure, within bounds.
pub fn backoff(failures: u32, min: Duration, max: Duration) -> Duration {
    min.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    use std::time::Duration;

    #[test]
    fn time_of_day_follows_the_monotonic_clock() {
        let now = Clock::starting_at(10_000).now();
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
