//! The delay before a crashed HAProxy is started again. Pure: time is an argument.

use tokio::time::{Duration, Instant};

use crate::limits::{CRASH_FREE_RUN, RESTART_BACKOFF_MAX, RESTART_BACKOFF_MIN};

/// The delay before the next start: none after the first failure, then [`RESTART_BACKOFF_MIN`], doubled with each further
/// failure up to [`RESTART_BACKOFF_MAX`].
#[derive(Debug, Clone, Copy)]
pub(super) struct RestartBackoff {
    /// Failures in a row: starts that failed, and crashes soon after a restart.
    failures: u32,
    /// Crashes and failed starts so far.
    crashes: u64,
    not_before: Instant,
}

impl RestartBackoff {
    /// Creates a backoff without failures.
    pub(super) fn new(now: Instant) -> Self {
        Self { failures: 0, crashes: 0, not_before: now }
    }

    /// Returns the earliest time of the next start.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Returns the number of crashes and failed starts so far.
    pub(super) fn crashes(&self) -> u64 {
        self.crashes
    }

    /// Returns the delay after the last failure.
    pub(super) fn delay(&self) -> Duration {
        match self.failures {
            0 | 1 => Duration::ZERO,
            repeated => (RESTART_BACKOFF_MIN * 2_u32.saturating_pow(repeated - 2)).min(RESTART_BACKOFF_MAX),
        }
    }

    /// Records that a new process took over from a running one, which resets the failures.
    pub(super) fn replaced(&mut self) {
        self.failures = 0;
    }

    /// Records a crash of the process that served, after it `ran_for` this long.
    pub(super) fn crashed(&mut self, ran_for: Duration, now: Instant) {
        if ran_for >= CRASH_FREE_RUN {
            self.failures = 0;
        }
        self.failed(now);
    }

    /// Records a failed start.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.crashes += 1;
        self.not_before = now + self.delay();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(2);

    fn delays(backoff: &mut RestartBackoff, crashes: usize) -> Vec<Duration> {
        let now = Instant::now();
        let crash = |_| {
            backoff.crashed(SOON, now);
            assert_eq!(backoff.not_before(), now + backoff.delay());
            backoff.delay()
        };
        (0..crashes).map(crash).collect()
    }

    #[test]
    fn first_crash_after_a_start_restarts_at_once() {
        assert_eq!(delays(&mut RestartBackoff::new(Instant::now()), 1), [Duration::ZERO]);
    }

    #[test]
    fn repeated_crashes_wait_longer_each_time() {
        let seconds = [0, 1, 2, 4, 8, 16, 30, 30].map(Duration::from_secs);
        assert_eq!(delays(&mut RestartBackoff::new(Instant::now()), 8), seconds);
    }

    #[test]
    fn crash_after_a_long_run_restarts_at_once() {
        let mut backoff = RestartBackoff::new(Instant::now());
        delays(&mut backoff, 3);
        backoff.crashed(CRASH_FREE_RUN, Instant::now());
        assert_eq!(backoff.delay(), Duration::ZERO);
        backoff.crashed(SOON, Instant::now());
        assert_eq!(backoff.delay(), RESTART_BACKOFF_MIN);
    }

    #[test]
    fn crash_soon_after_a_reload_restarts_at_once() {
        let mut backoff = RestartBackoff::new(Instant::now());
        delays(&mut backoff, 3);
        backoff.replaced();
        assert_eq!(delays(&mut backoff, 2), [Duration::ZERO, RESTART_BACKOFF_MIN]);
    }

    #[test]
    fn failed_starts_wait_like_crashes() {
        let mut backoff = RestartBackoff::new(Instant::now());
        for _ in 0..40 {
            backoff.failed(Instant::now());
        }
        assert_eq!(backoff.delay(), RESTART_BACKOFF_MAX);
    }
}
