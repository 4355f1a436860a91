//! Pauses between attempts: doubling, with jitter, so that many daemons do not come back in step.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Numbers that differ in each process. The standard library's own random keys spare a crate.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A sequence of its own.
    pub(super) fn new() -> Self {
        // Zero would stay zero in a xorshift.
        Self(RandomState::new().build_hasher().finish() | 1)
    }

    /// The next number, from 0 to less than 1.
    pub(super) fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts things into an order that differs from process to process.
    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let other = (self.fraction() * (last + 1) as f64) as usize;
            things.swap(last, other.min(last));
        }
    }
}

/// The pauses after failures in a row.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: Random,
}

impl Backoff {
    /// Pauses from `min` to `max`, different in each process.
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min, random: Random::new() }
    }

    /// The next pause: between half and all of the current step.
    pub(super) fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        let half = step / 2;
        half + half.mul_f64(self.random.fraction())
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
    fn every_order_comes_up_and_nothing_is_lost() {
        let mut random = Random::new();
        let mut firsts = [0; 3];
        for _ in 0..300 {
            let mut things = [0, 1, 2];
            random.shuffle(&mut things);
            firsts[things[0]] += 1;
            things.sort_unstable();
            assert_eq!(things, [0, 1, 2]);
        }
        assert!(firsts.iter().all(|count| *count > 30), "{firsts:?}");
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
