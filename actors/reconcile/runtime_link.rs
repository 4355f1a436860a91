//! The health of the connection to the Runtime API.

use tokio::time::Instant;

use super::problem::Problem;
use super::time::{Now, backoff};
use crate::limits::{RUNTIME_FAILURES_BEFORE_RELOAD, RUNTIME_RETRY_MAX, RUNTIME_RETRY_MIN};

/// Whether HAProxy answers, and when it is asked again where it does not.
#[derive(Debug)]
pub struct RuntimeLink {
    failures: u32,
    retry_at: Instant,
    /// Why it does not answer.
    pub problem: Problem,
}

impl RuntimeLink {
    /// A connection that has not failed.
    pub fn new(now: Instant) -> Self {
        Self { failures: 0, retry_at: now, problem: Problem::default() }
    }

    /// HAProxy answered. Returns whether that ends a problem.
    pub fn answered(&mut self) -> bool {
        self.failures = 0;
        self.problem.clear()
    }

    /// Another process is there: it is asked at once.
    pub fn replaced(&mut self, now: Instant) {
        self.answered();
        self.retry_at = now;
    }

    /// HAProxy did not answer: it is asked again after a pause. Returns whether the error is new.
    pub fn failed(&mut self, error: String, now: Now) -> bool {
        self.failures += 1;
        self.retry_at = now.instant + backoff(self.failures, RUNTIME_RETRY_MIN, RUNTIME_RETRY_MAX);
        self.problem.set(error, now)
    }

    /// Something is wrong that only time or another process can end.
    pub fn blocked(&mut self, error: String, now: Now) {
        self.retry_at = now.instant + RUNTIME_RETRY_MAX;
        self.problem.set(error, now);
    }

    /// When HAProxy is asked again.
    pub fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// How often in a row it did not answer.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the last resort is due now: a reload, or a look for another process.
    pub fn is_hung(&self) -> bool {
        self.failures >= RUNTIME_FAILURES_BEFORE_RELOAD
    }
}
