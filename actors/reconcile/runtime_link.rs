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
