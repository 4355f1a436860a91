//! Random sequences of lists and decisions, against a model that keeps the whole history.

use std::time::Duration;

use proptest::prelude::*;

use super::tests::{Stage, hosts};
use super::*;

const WINDOW_MS: u64 = 30_000;

/// One event of a sequence.
#[derive(Debug, Clone)]
enum Step {
    /// The source returns this many entries.
    Show(u32),
    Accept,
    Reject,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let pause = prop_oneof![4 => 0..100_u64, 2 => 1_000..10_000_u64, 1 => 29_990..30_010_u64, 1 => 30_000..90_000_u64];
    let step = prop_oneof![
        12 => (0..=12_u32).prop_map(Step::Show),
        1 => Just(Step::Accept),
        1 => Just(Step::Reject),
    ];
    (pause, step)
}

/// The number of entries in service, and since when; a list that an operator accepted begins a new history.
struct History(Vec<(u64, usize)>);

impl History {
    fn now(&self) -> usize {
        self.0.last().map_or(0, |(_, entries)| *entries)
    }

    /// Returns the most entries in service at any time within the window.
    fn largest(&self, ms: u64) -> usize {
        let ends = self.0.iter().skip(1).map(|(from, _)| *from).chain([ms]);
        let within = self.0.iter().zip(ends).filter(|(_, until)| *until + WINDOW_MS >= ms);
        within.map(|((_, entries), _)| *entries).max().unwrap_or_default()
    }
}

fn is_blocked(stage: &Stage) -> bool {
    stage.guard.pending().is_some() || stage.guard.rejected().is_some()
}

fn required(limits: &GuardLimits, percent: usize, baseline: usize) -> usize {
    let always_removable = limits.always_removable.min(baseline.saturating_sub(1));
    let removable = (percent * baseline / 100).max(always_removable);
    baseline.saturating_sub(removable)
}

proptest! {
    #[test]
    fn capacity_never_falls_below_the_limit(
        first in 1..=12_u32,
        percent in prop_oneof![Just(0_usize), Just(20), Just(25), Just(50), Just(100)],
        min_entries in 0..4_usize,
        always_removable in 0..2_usize,
        sequence in prop::collection::vec(step(), 0..40),
    ) {
        let max_removal = f64::from(u32::try_from(percent).expect("at most 100")) / 100.0;
        let window = Duration::from_millis(WINDOW_MS);
        let limits = GuardLimits { min_entries, always_removable, window, ..hosts(max_removal) };
        let mut stage = Stage::new(first, limits);
        let mut history = History(vec![(0, stage.in_service.len())]);
        // When the last block ended: its baseline stays for one more window.
        let mut recovered_at: Option<u64> = None;
        let mut ms = 0;
        for (pause, step) in sequence {
            ms += pause;
            match step {
                Step::Accept => {
                    if stage.accept(ms).is_ok() {
                        history = History(vec![(ms, stage.in_service.len())]);
                        recovered_at = None;
                    }
                }
                Step::Reject => drop(stage.guard.reject()),
                Step::Show(entries) => {
                    let (before, baseline) = (history.now(), history.largest(ms));
                    let keeps = is_blocked(&stage) || recovered_at.is_some_and(|at| at + WINDOW_MS >= ms);
                    let shown = stage.show(ms, 1..=entries);
                    let entries = usize::try_from(entries).expect("a step shows few entries");
                    let is_allowed = entries >= before
                        || (entries >= min_entries && entries >= required(&limits, percent, baseline));
                    prop_assert!(is_allowed || shown.is_err(), "{entries} of {before} pass, {baseline} in the window");
                    prop_assert!(shown.is_ok() || !is_allowed || keeps, "{entries} of {before} are blocked");
                    if let Ok(ended) = shown {
                        history.0.push((ms, entries));
                        recovered_at = ended.map(|_| ms).or(recovered_at);
                    }
                }
            }
            prop_assert_eq!(stage.in_service.len(), history.now());
        }
    }
}
