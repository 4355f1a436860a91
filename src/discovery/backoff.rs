//! Pauses between retries: exponential, with jitter, so that many daemons do not retry at the same time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Random numbers, seeded by the standard library's random hash keys. Not for secrets.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A new sequence.
    pub(super) fn new() -> Self {
        // A xorshift never leaves zero.
        Self(RandomState::new().build_hasher().finish() | 1)
    }

    /// The next number, from 0 to less than 1.
    pub(super) fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts items into a random order.
    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let other = (self.fraction() * (last + 1) as f64) as usize;
            things.swap(last, other.min(last));
        }
    }
}

/// The pauses after consecutive failures.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: Random,
}

impl Backoff {
    /// Pauses that grow from `min` to `max`.
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

    /// Starts from the shortest pause again, after a success.
    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let pauses = |mut backoff: Backoff| Vec::from_iter((0..6).map(|_| backoff.pause()));
        let first = pauses(Backoff::new(min, max));
        for (pause, step_ms) in first.iter().zip([100, 200, 400, 800, 1000, 1000]) {
            let step = Duration::from_millis(step_ms);
            assert!((step / 2..=step).contains(pause), "{pause:?} of {step:?}");
        }
        assert_ne!(first, pauses(Backoff::new(min, max)));
    }

    #[test]
    fn shuffle_yields_every_order() {
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
    fn reset_starts_from_the_minimum() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        backoff.pause();
        backoff.pause();
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
