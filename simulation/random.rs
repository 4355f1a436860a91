//! Random numbers from a seed: the same on every machine and in every build.

/// A stream of numbers (SplitMix64, Steele et al. 2014): small, fast, and sufficient to choose faults.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Creates the stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Creates a stream for one purpose, so that an additional draw in one does not change the others: a plan that lost
    /// a step keeps the latencies of the others.
    pub fn of_purpose(seed: u64, purpose: &str) -> Self {
        // FNV-1a separates the purposes.
        let hash = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut mixed = Self::new(seed ^ hash);
        mixed.next();
        mixed
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "an endless stream needs no Option")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to `bound - 1`; 0 if the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is below 2^-50 for the bounds used here.
        self.next() % bound.max(1)
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Returns true in this percentage of cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns one of these elements.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(from.len() as u64)).unwrap_or_default();
        &from[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_numbers() {
        let mut random = Random::new(0);
        // The first numbers of the reference implementation.
        assert_eq!([random.next(), random.next()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn purposes_have_streams_of_their_own() {
        assert_ne!(Random::of_purpose(1, "a").next(), Random::of_purpose(1, "b").next());
        assert_eq!(Random::of_purpose(1, "a").next(), Random::of_purpose(1, "a").next());
    }

    #[test]
    fn bounds_hold() {
        let mut random = Random::new(7);
        assert!((0..1000).all(|_| (3..=5).contains(&random.between(3, 5))));
        assert!(!random.chance(0) && random.chance(100));
    }
}
