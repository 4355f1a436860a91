//! The health of the connection to the Runtime API.

use std::time::Instant;

use super::problem::Problem;
use super::time::backoff;
use crate::limits::{RUNTIME_FAILURES_BEFORE_RELOAD, RUNTIME_RETRY_MAX, RUNTIME_RETRY_MIN};
use crate::model::Moment;

/// Whether HAProxy answers, and the time of the next attempt where it does not.
#[derive(Debug)]
pub struct RuntimeLink {
    failures: u32,
    retry_at: Instant,
    /// Why it does not answer.
    pub problem: Problem,
}

impl RuntimeLink {
    /// Creates a connection that has not failed.
    pub fn new(now: Instant) -> Self {
        Self { failures: 0, retry_at: now, problem: Problem::default() }
    }

    /// Records an answer. Returns whether it ends a problem.
    pub fn answered(&mut self) -> bool {
        self.failures = 0;
        self.problem.clear()
    }

    /// Resets the state for another process, so that it gets requests at once.
    pub fn replaced(&mut self, now: Instant) {
        self.answered();
        self.retry_at = now;
    }

    /// Records a failure and schedules the next attempt. Returns whether the error is new.
    pub fn failed(&mut self, error: String, now: Moment) -> bool {
        self.failures += 1;
        self.retry_at = now.instant + backoff(self.failures, RUNTIME_RETRY_MIN, RUNTIME_RETRY_MAX);
        self.problem.set(error, now)
    }

    /// Records a problem that only time or another process can end.
    pub fn blocked(&mut self, error: String, now: Moment) {
        self.retry_at = now.instant + RUNTIME_RETRY_MAX;
        self.problem.set(error, now);
    }

    /// Returns the time of the next attempt.
    pub fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// Returns the number of failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns whether the last resort is due: a reload, or a search for another process.
    pub fn is_hung(&self) -> bool {
        self.failures >= RUNTIME_FAILURES_BEFORE_RELOAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn link() -> (RuntimeLink, Moment) {
        let now = Clock::starting_at(1_000).now();
        (RuntimeLink::new(now.instant), now)
    }

    #[test]
    fn pause_grows_with_each_failure() {
        let (mut link, now) = link();
        assert_eq!((link.failures(), link.retry_at()), (0, now.instant));
        for (failures, pause) in [(1, RUNTIME_RETRY_MIN), (2, 2 * RUNTIME_RETRY_MIN), (3, 4 * RUNTIME_RETRY_MIN)] {
            assert!(!link.is_hung());
            assert_eq!(link.failed("timeout".to_owned(), now), failures == 1, "an error is new once");
            assert_eq!((link.failures(), link.retry_at()), (failures, now.instant + pause));
        }
        assert!(link.is_hung());
        for _ in 0..20 {
            link.failed("timeout".to_owned(), now);
        }
        assert_eq!(link.retry_at(), now.instant + RUNTIME_RETRY_MAX);
    }

    #[test]
    fn answer_ends_the_problem() {
        let (mut link, now) = link();
        link.failed("timeout".to_owned(), now);
        assert!(link.answered() && !link.answered());
        assert_eq!((link.failures(), link.problem.text()), (0, None));
    }

    #[test]
    fn another_process_gets_requests_at_once() {
        let (mut link, now) = link();
        link.blocked("a stranger".to_owned(), now);
        assert_eq!((link.retry_at(), link.problem.text()), (now.instant + RUNTIME_RETRY_MAX, Some("a stranger")));
        link.replaced(now.instant);
        assert_eq!((link.retry_at(), link.problem.text()), (now.instant, None));
    }
}
