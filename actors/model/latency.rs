//! Histogram of latencies.

use serde::{Deserialize, Serialize};

use crate::limits::APPLY_LATENCY_BOUNDS_US;

/// A histogram of latencies with fixed bounds, so that its size is constant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyHistogram {
    /// The number of latencies in each class: up to each of [`APPLY_LATENCY_BOUNDS_US`] and above the previous bound;
    /// the last class is above all bounds.
    pub counts: Vec<u64>,
    /// The sum of all latencies, in microseconds.
    pub sum_us: u64,
}

impl LatencyHistogram {
    /// Adds a latency.
    pub fn observe(&mut self, took_us: u64) {
        let place = APPLY_LATENCY_BOUNDS_US.partition_point(|bound| *bound < took_us);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum_us = self.sum_us.saturating_add(took_us);
    }

    /// Returns the number of counted latencies.
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
    fn latency_counts_under_the_first_bound_above_it() {
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
