//! Traces of deployments and outages as a source shows them, step by step.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::tests::{Stage, hosts};
use super::*;

/// Shows the list at each of these times, with the entries that `at` gives for the step.
fn steps(stage: &mut Stage, from_ms: u64, every_ms: u64, count: u32, at: impl Fn(u32) -> Vec<u32>) -> Vec<bool> {
    (0..count).map(|step| stage.show(from_ms + every_ms * u64::from(step), at(step)).is_ok()).collect()
}

fn all_pass(steps: &[bool]) -> bool {
    steps.iter().all(|passes| *passes)
}

fn numbers(range: RangeInclusive<u32>) -> BTreeSet<u32> {
    range.collect()
}

#[test]
fn rolling_deployment_that_adds_first_passes() {
    let mut stage = Stage::new(20, hosts(0.2));
    for step in 1..=20 {
        let ms = u64::from(step) * 1_000;
        assert!(stage.show(ms, step..=20 + step).is_ok());
        assert!(stage.show(ms + 500, step + 1..=20 + step).is_ok());
    }
    assert_eq!(stage.in_service, numbers(21..=40));
}

#[test]
fn rolling_deployment_that_removes_first_passes() {
    let mut stage = Stage::new(20, hosts(0.2));
    for batch in 1..=5 {
        let ms = u64::from(batch) * 10_000;
        assert!(stage.show(ms, 4 * batch + 1..=16 + 4 * batch).is_ok());
        assert!(stage.show(ms + 5_000, 4 * batch + 1..=20 + 4 * batch).is_ok());
    }
    assert_eq!(stage.in_service, numbers(21..=40));
}

#[test]
fn rolling_deployment_in_whole_lists_passes() {
    let mut stage = Stage::new(20, hosts(0.2));
    assert!(all_pass(&steps(&mut stage, 1_000, 1_000, 20, |step| (step + 2..=step + 21).collect())));
    assert_eq!(stage.in_service, numbers(21..=40));
}

#[test]
fn blue_green_swap_in_one_list_passes() {
    let mut stage = Stage::new(20, hosts(0.2));
    assert_eq!(stage.show(1_000, 21..=40), Ok(None));
}

#[test]
fn blue_green_with_overlap_needs_half() {
    for (max_removal, left) in [(0.5, numbers(21..=40)), (0.2, numbers(1..=40))] {
        let mut stage = Stage::new(20, hosts(max_removal));
        assert_eq!(stage.show(1_000, 1..=40), Ok(None));
        let _ = stage.show(90_000, 21..=40);
        assert_eq!(stage.in_service, left);
    }
}

#[test]
fn slow_scale_in_passes() {
    let mut stage = Stage::new(20, hosts(0.2));
    assert!(all_pass(&steps(&mut stage, 40_000, 40_000, 15, |step| (1..=19 - step).collect())));
    assert_eq!(stage.in_service.len(), 5);
}

#[test]
fn mass_expiry_one_by_one_stops_at_the_limit() {
    let mut stage = Stage::new(20, hosts(0.2));
    let passed = steps(&mut stage, 1_000, 30, 16, |step| (step + 2..=20).collect());
    assert_eq!(passed.iter().filter(|passes| **passes).count(), 4);
    assert_eq!(stage.in_service.len(), 16);
    assert_eq!(stage.guard.pending().map(|change| change.entries), Some(4));
}

#[test]
fn cleared_tree_stays_until_it_recovers_above_the_limit() {
    let mut stage = Stage::new(5, hosts(0.2));
    assert_eq!(stage.show(1_000, []), Err(Blocking::Began));
    for recovered in 1..=3 {
        let ms = 600_000 + u64::from(recovered);
        assert_eq!(stage.show(ms, 1..=recovered), Err(Blocking::Updated));
        assert_eq!(stage.in_service.len(), 5);
    }
    assert_eq!(stage.show(700_000, 1..=4), Ok(Some(Ended::Pending)));
}

#[test]
fn recovery_to_the_limit_does_not_lower_the_limit() {
    let mut stage = Stage::new(20, hosts(0.2));
    assert_eq!(stage.show(1_000, 1..=16), Ok(None));
    assert_eq!(stage.show(2_000, 1..=15), Err(Blocking::Began));
    assert_eq!(stage.show(90_000, 1..=16), Ok(Some(Ended::Pending)));
    assert_eq!(stage.show(100_000, 1..=15), Err(Blocking::Began));
}
