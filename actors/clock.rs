//! The clock, derived only from tokio's, so that simulation can control it.

use tokio::time::Instant;

use crate::model::Moment;

/// Derives the time of day from the start of the daemon and the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    origin_unix_ms: u64,
}

impl Clock {
    /// Creates a clock that reads `unix_ms` milliseconds since 1970 now.
    pub fn starting_at(unix_ms: u64) -> Self {
        Self { origin: Instant::now(), origin_unix_ms: unix_ms }
    }

    /// Returns the time of day, in milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        self.unix_ms_at(Instant::now())
    }

    /// Returns the current moment, for decisions and state machines that take time as an argument.
    pub fn now(&self) -> Moment {
        let instant = Instant::now();
        Moment { instant: instant.into_std(), unix_ms: self.unix_ms_at(instant) }
    }

    /// Returns the time of day at this instant, in milliseconds since 1970.
    pub fn unix_ms_at(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.origin);
        self.origin_unix_ms + u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
