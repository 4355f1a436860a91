//! How long changes took, counted by bounds.

use serde::{Deserialize, Serialize};

use crate::limits::APPLY_LATENCY_BOUNDS_US;

/// How many times took how long. The room it takes does not grow with what it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyHistogram {
    /// How many took at most as long as each of [`APPLY_LATENCY_BOUNDS_US`], and longer than the bound before; the last
    /// are those that took longer than every bound.
    pub counts: Vec<u64>,
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl LatencyHistogram {
    /// Counts one more.
    pub fn observe(&mut self, took_us: u64) {
        let place = APPLY_LATENCY_BOUNDS_US.partition_point(|bound| *bound < took_us);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum_us = self.sum_us.saturating_add(took_us);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { counts: vec![0; APPLY_LATENCY_BOUNDS_US.len() + 1], sum_us: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_under_the_first_bound_that_holds_it() {
        let mut histogram = LatencyHistogram::default();
        let last = APPLY_LATENCY_BOUNDS_US.len();
        for took_us in [0, 100, 101, 30_000_000, 30_000_001] {
            histogram.observe(took_us);
        }
        assert_eq!(histogram.counts[..2], [2, 1]);
        assert_eq!(histogram.counts[last - 1..], [1, 1]);
        assert_eq!((histogram.count(), histogram.sum_us), (5, 60_000_202));
    }
}
