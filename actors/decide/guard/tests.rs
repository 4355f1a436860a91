//! Tests of the guard's states, with lists of numbers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::*;
use crate::model::{MaxRemoval, Removal};

/// A list of entries: those that serve, and those that are out of service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub serving: BTreeSet<u32>,
    pub out: BTreeSet<u32>,
}

impl GuardedList for Numbers {
    fn shows_the_same(&self, other: &Self) -> bool {
        self == other
    }
}

/// A guarded list: the list of its source, and the one in service.
pub(super) struct Stage {
    pub guard: Guard<Numbers>,
    pub limits: GuardLimits,
    /// The serving entries of the list in service.
    pub in_service: BTreeSet<u32>,
    out: BTreeSet<u32>,
    start: Instant,
}

impl Stage {
    /// Starts with entries 1 to `entries` in service at 0 ms.
    pub fn new(entries: u32, limits: GuardLimits) -> Self {
        let start = Instant::now();
        let (in_service, out) = Default::default();
        let mut stage = Self { guard: Guard::default(), limits, in_service, out, start };
        assert_eq!(stage.show(0, 1..=entries), Ok(None));
        stage
    }

    pub fn at(&self, ms: u64) -> Moment {
        Moment { instant: self.start + Duration::from_millis(ms), unix_ms: 1_000_000 + ms }
    }

    /// Shows these entries. Returns the ended change if they pass, or the result of blocking them.
    pub fn show(&mut self, ms: u64, entries: impl IntoIterator<Item = u32>) -> Result<Option<Ended>, Blocking> {
        self.show_states(ms, entries, [])
    }

    /// Like [`Stage::show`], with further entries that are listed and out of service.
    pub fn show_states(
        &mut self,
        ms: u64,
        serving: impl IntoIterator<Item = u32>,
        out: impl IntoIterator<Item = u32>,
    ) -> Result<Option<Ended>, Blocking> {
        let now = self.at(ms);
        let list = Numbers { serving: serving.into_iter().collect(), out: out.into_iter().collect() };
        let capacity = self.capacity(&list);
        match self.guard.check(capacity, &self.limits, now) {
            Ok(()) => {
                (self.in_service, self.out) = (list.serving, list.out);
                Ok(self.guard.passed(capacity, &self.limits, now))
            }
            Err(reason) => {
                let change = BlockedChange {
                    reason: reason.to_string(),
                    since_unix_ms: now.unix_ms,
                    entries: list.serving.len() + list.out.len(),
                    ..BlockedChange::default()
                };
                Err(self.guard.block(list, change, &self.limits, now))
            }
        }
    }

    /// Accepts the blocked list for an operator.
    pub fn accept(&mut self, ms: u64) -> Result<(), NothingBlocked> {
        let (list, _) = self.guard.accept()?;
        self.guard.passed(Capacity::serving(list.serving.len()), &self.limits, self.at(ms));
        (self.in_service, self.out) = (list.serving, list.out);
        Ok(())
    }

    fn capacity(&self, list: &Numbers) -> Capacity {
        Capacity {
            serving: list.serving.len(),
            taken_out: list.out.intersection(&self.in_service).count(),
            returned: list.serving.intersection(&self.out).count(),
        }
    }

    /// Checks a list whose entries all serve.
    pub fn check(&self, ms: u64, entries: usize) -> Result<(), BlockReason> {
        self.guard.check(Capacity::serving(entries), &self.limits, self.at(ms))
    }
}

/// Returns limits of hosts: `min_hosts` 1 and this share within 30 s.
pub(super) fn hosts(max_removal: f64) -> GuardLimits {
    let max_removal = MaxRemoval::Share(max_removal);
    GuardLimits {
        subject: Subject::Hosts,
        min_entries: 1,
        max_removal,
        always_removable: 0,
        window: Duration::from_secs(30),
    }
}

#[test]
fn empty_list_is_blocked_by_default() {
    let mut stage = Stage::new(2, hosts(1.0));
    assert_eq!(stage.show(1, []), Err(Blocking::Began));
    assert_eq!(stage.show(2, [2]), Ok(Some(Ended::Pending)));
}

#[test]
fn first_list_passes_whatever_it_is() {
    let stage = Stage::new(0, hosts(0.0));
    assert_eq!(stage.check(1, 0), Ok(()));
}

#[test]
fn min_hosts_zero_lets_a_service_run_empty() {
    let mut stage = Stage::new(1, GuardLimits { min_entries: 0, ..hosts(1.0) });
    assert_eq!(stage.show(1, []), Ok(None));
}

#[test]
fn list_below_the_minimum_passes_unless_it_shrinks() {
    let mut stage = Stage::new(2, GuardLimits { min_entries: 5, ..hosts(1.0) });
    assert_eq!(stage.show(1, [1, 2, 3]), Ok(None));
    assert_eq!(stage.show(2, [1, 2, 4]), Ok(None));
    let reason = stage.check(3, 2);
    assert_eq!(reason, Err(BlockReason::BelowMinimum { remaining: 2, in_service: 3, minimum: 5 }));
}

#[test]
fn share_is_counted_in_decimal() {
    let stage = Stage::new(100, hosts(0.29));
    assert_eq!(stage.check(1, 71), Ok(()));
    let Err(BlockReason::TooManyRemoved { baseline, required, .. }) = stage.check(1, 70) else {
        panic!("70 of 100 pass")
    };
    assert_eq!((baseline, required), (100, 71));
}

#[test]
fn one_service_may_always_be_removed() {
    let limits = GuardLimits::of_services(0.0, Duration::from_secs(30));
    let mut stage = Stage::new(3, limits);
    assert_eq!(stage.show(1, [1, 2]), Ok(None));
    assert_eq!(stage.show(5, [1]), Err(Blocking::Began), "the second within the window");
    assert_eq!(stage.show(6, [1, 2]), Ok(Some(Ended::Pending)));
    assert_eq!(stage.show(30_006, [1]), Err(Blocking::Began), "the baseline stays for one more window");
}

#[test]
fn pending_change_keeps_its_age_while_it_grows() {
    let mut stage = Stage::new(4, hosts(0.5));
    assert_eq!(stage.show(10, [1]), Err(Blocking::Began));
    assert_eq!(stage.show(20, []), Err(Blocking::Updated));
    let pending = stage.guard.pending().unwrap();
    assert_eq!((pending.since_unix_ms, pending.entries), (1_000_010, 0));
}

#[test]
fn rejected_change_stays_until_the_source_shows_another() {
    let mut stage = Stage::new(4, hosts(0.5));
    assert_eq!(stage.guard.reject(), Err(NothingBlocked));
    assert_eq!(stage.show(10, [1]), Err(Blocking::Began));
    assert!(matches!(stage.guard.reject(), Ok(Rejection::Rejected(_))));
    assert!(matches!(stage.guard.reject(), Ok(Rejection::AlreadyRejected(_))));
    assert_eq!(stage.show(90_000, [1]), Err(Blocking::StaysRejected));
    assert_eq!(stage.guard.pending(), None);
    assert_eq!(stage.guard.rejected().map(|change| change.since_unix_ms), Some(1_000_010));
    assert_eq!(stage.show(90_001, [2]), Err(Blocking::Began));
    assert_eq!(stage.guard.rejected(), None);
}

#[test]
fn rejected_change_can_be_accepted_later() {
    let mut stage = Stage::new(4, hosts(0.5));
    assert_eq!(stage.show(10, [1]), Err(Blocking::Began));
    stage.guard.reject().unwrap();
    assert_eq!(stage.accept(20), Ok(()));
    assert_eq!(stage.in_service, BTreeSet::from([1]));
    assert_eq!(stage.accept(21), Err(NothingBlocked));
}

#[test]
fn accepted_list_is_the_new_baseline() {
    let mut stage = Stage::new(20, hosts(0.5));
    assert_eq!(stage.show(10, 1..=4), Err(Blocking::Began));
    stage.accept(20).unwrap();
    assert_eq!(stage.show(30, 1..=2), Ok(None));
    assert_eq!(stage.show(40, 1..=1), Err(Blocking::Began));
}

#[test]
fn restart_keeps_rejection_and_baseline() {
    let mut stage = Stage::new(20, hosts(0.2));
    for remaining in (15..20).rev() {
        let _ = stage.show(30 * u64::from(20 - remaining), 1..=remaining);
    }
    stage.guard.reject().unwrap();
    let memory = stage.guard.memory(&stage.limits, stage.at(200), Clone::clone);
    assert_eq!(memory.baseline, Some(Baseline { entries: 20, until_unix_ms: None }));
    let unused = |_: &Numbers| BlockedChange::default();
    stage.guard = Guard::restored(memory, Some(16), &stage.limits, stage.at(60_000), unused);
    assert_eq!(stage.guard.rejected().map(|change| change.entries), Some(15));
    assert_eq!(stage.show(60_010, 1..=15), Err(Blocking::StaysRejected));
    assert_eq!(stage.show(99_000, 2..=16), Err(Blocking::Began));
}

#[test]
fn baseline_that_left_the_window_is_not_restored() {
    let mut stage = Stage::new(20, hosts(0.5));
    assert_eq!(stage.show(10, 1..=10), Ok(None));
    let memory = stage.guard.memory(&stage.limits, stage.at(20), Clone::clone);
    assert_eq!(memory.baseline, Some(Baseline { entries: 20, until_unix_ms: Some(1_000_010) }));
    for (restart, baseline) in [(30_010, 20), (30_011, 10)] {
        let unused = |_: &Numbers| BlockedChange::default();
        let guard = Guard::restored(memory.clone(), Some(10), &stage.limits, stage.at(restart), unused);
        assert_eq!(guard.baseline(&stage.limits, stage.at(restart)), baseline);
    }
}

#[test]
fn baseline_that_cannot_block_is_not_saved() {
    let mut stage = Stage::new(20, hosts(1.0));
    assert_eq!(stage.show(10, 1..=10), Ok(None));
    assert_eq!(stage.guard.memory(&stage.limits, stage.at(20), Clone::clone), GuardMemory::default());
}

#[test]
fn reason_names_the_limit_and_what_must_remain() {
    let stage = Stage::new(20, hosts(0.2));
    let reason = stage.check(1, 15).unwrap_err().to_string();
    assert_eq!(reason, "15 of 20 serving hosts would remain, at least 16 must: max_removal is 0.2 within 30s");
    let stage = Stage::new(5, by_default());
    let reason = stage.check(1, 2).unwrap_err().to_string();
    assert_eq!(reason, "2 of 5 serving hosts would remain, at least 3 must: max_removal is 0.5 by default within 30s");
    let stage = Stage::new(2, hosts(1.0));
    let reason = stage.check(1, 0).unwrap_err().to_string();
    assert_eq!(reason, "0 of 2 serving hosts would remain and min_hosts is 1");
}

/// Returns the limits of a service without its own under settings without limits.
pub(super) fn by_default() -> GuardLimits {
    GuardLimits::from(&Removal::default())
}

#[test]
fn default_share_needs_four_hosts() {
    for (entries, least) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 3), (6, 3), (20, 10)] {
        let stage = Stage::new(entries, by_default());
        assert_eq!(stage.check(1, least), Ok(()), "of {entries}");
        assert!(stage.check(1, least - 1).is_err(), "of {entries}");
    }
}

#[test]
fn default_share_counts_the_baseline() {
    let mut stage = Stage::new(4, by_default());
    assert_eq!(stage.show(1, [1, 2]), Ok(None));
    assert_eq!(stage.show(2, [1]), Err(Blocking::Began), "the baseline is still 4");
}

#[test]
fn explicit_share_counts_at_every_size() {
    let mut stage = Stage::new(3, hosts(0.5));
    assert_eq!(stage.show(1, [1]), Err(Blocking::Began));
    let mut stage = Stage::new(20, hosts(1.0));
    assert_eq!(stage.show(1, [1]), Ok(None));
}

#[test]
fn hosts_out_of_service_are_no_capacity() {
    let mut stage = Stage::new(0, hosts(0.5));
    assert_eq!(stage.show_states(1, 1..=4, 5..=8), Ok(None));
    assert_eq!(stage.guard.serving(), 4);
    assert_eq!(stage.show_states(2, [1], 5..=8), Err(Blocking::Began));
    assert_eq!(stage.show(3, 1..=4), Ok(Some(Ended::Pending)), "hosts that do not serve may leave");
}

#[test]
fn maintenance_is_a_decision() {
    let mut stage = Stage::new(4, hosts(0.5));
    assert_eq!(stage.show_states(1, [], 1..=4), Ok(None), "all of them, whatever min_hosts is");
    assert_eq!(stage.show(2, []), Ok(None), "none of them was serving");
}

#[test]
fn maintenance_lowers_the_baseline_and_return_raises_it() {
    let mut stage = Stage::new(10, hosts(0.5));
    assert_eq!(stage.show_states(1, 1..=4, 5..=10), Ok(None));
    let baseline = |stage: &Stage, ms| stage.guard.baseline(&stage.limits, stage.at(ms));
    assert_eq!(baseline(&stage, 2), 4);
    assert_eq!(stage.show_states(3, 1..=3, 5..=10), Ok(None), "3 of 4");
    assert_eq!(baseline(&stage, 4), 4);
    assert_eq!(stage.show_states(5, 1..=3, 6..=10), Ok(None), "a host in maintenance leaves");
    assert_eq!(baseline(&stage, 6), 4);
    assert_eq!(stage.show_states(7, [1, 2, 3, 6, 7], 8..=10), Ok(None));
    assert_eq!(baseline(&stage, 8), 6);
    assert_eq!(baseline(&stage, 40_000), 5);
}

#[test]
fn flapping_maintenance_does_not_lower_the_baseline() {
    let mut stage = Stage::new(20, hosts(0.5));
    assert_eq!(stage.show(10, 1..=12), Ok(None));
    for flap in 0..8 {
        assert_eq!(stage.show_states(20 + 2 * flap, 2..=12, [1]), Ok(None));
        assert_eq!(stage.show(21 + 2 * flap, 1..=12), Ok(None));
    }
    assert_eq!(stage.show(100, 1..=9), Err(Blocking::Began), "9 of 20");
}

#[test]
fn last_service_is_everything() {
    let limits = |share| GuardLimits::of_services(share, Duration::from_secs(30));
    for share in [0.0, 0.5, 0.99] {
        let mut stage = Stage::new(2, limits(share));
        assert_eq!(stage.show(1, []), Err(Blocking::Began), "two of two");
        assert_eq!(stage.show(2, [1]), Ok(Some(Ended::Pending)));
        assert_eq!(stage.show(90_000, []), Err(Blocking::Began), "one of one");
    }
    let mut stage = Stage::new(1, limits(1.0));
    assert_eq!(stage.show(1, []), Ok(None));
}

#[test]
fn recounted_entries_are_the_ones_that_may_be_lost() {
    let mut stage = Stage::new(4, hosts(0.5));
    stage.guard.recount(10, &stage.limits.clone(), stage.at(1));
    assert_eq!(stage.show(2, 1..=4), Err(Blocking::Began));
    let mut unused = Guard::<Numbers>::default();
    unused.recount(10, &stage.limits, stage.at(1));
    assert_eq!(unused.check(Capacity::serving(4), &stage.limits, stage.at(2)), Ok(()), "no list was in service yet");
}
