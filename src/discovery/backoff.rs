//! Pauses between attempts: doubling, with jitter, so that many daemons do not come back in step.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The pauses after failures in a row.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    /// Pauses from `min` to `max`, different in each process.
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        // The standard library's own random keys spare a crate; zero would stay zero in a xorshift.
        let random = RandomState::new().build_hasher().finish() | 1;
        Self { min, max, next: min, random }
    }

    /// The next pause: between half and all of the current step.
    pub(super) fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half = step / 2;
        half + half.mul_f64((self.random >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_agree() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let pauses = |mut backoff: Backoff| Vec::from_iter((0..6).map(|_| backoff.pause()));
        let mine = pauses(Backoff::new(min, max));
        for (pause, step_ms) in mine.iter().zip([100, 200, 400, 800, 1000, 1000]) {
            let step = Duration::from_millis(step_ms);
            assert!((step / 2..=step).contains(pause), "{pause:?} of {step:?}");
        }
        assert_ne!(mine, pauses(Backoff::new(min, max)));
    }

    #[test]
    fn a_success_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        backoff.pause();
        backoff.pause();
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
