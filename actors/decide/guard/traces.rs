//! Traces of deployments and outages as a source shows them, step by step.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::tests::{Stage, by_default, hosts};
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

#[test]
fn new_hosts_in_maintenance_do_not_replace_old_ones() {
    for limits in [hosts(0.5), by_default()] {
        let mut stage = Stage::new(5, limits);
        assert_eq!(stage.show_states(1_000, 1..=5, 6..=10), Ok(None));
        assert_eq!(stage.show_states(2_000, [], 6..=10), Err(Blocking::Began));
        assert_eq!(stage.show_states(3_000, 6..=7, 8..=10), Err(Blocking::Updated), "2 of 5 serve");
        assert_eq!(stage.show(4_000, 6..=10), Ok(Some(Ended::Pending)));
    }
}

#[test]
fn new_hosts_in_maintenance_do_not_replace_old_ones_one_by_one() {
    let mut stage = Stage::new(6, by_default());
    assert_eq!(stage.show_states(1_000, 1..=6, 7..=12), Ok(None));
    let passed: Vec<bool> =
        (1..=6).map(|gone| stage.show_states(2_000 + 10 * u64::from(gone), gone + 1..=6, 7..=12).is_ok()).collect();
    assert_eq!(passed, [true, true, true, false, false, false]);
}

#[test]
fn rolling_deployment_within_a_minute_passes_by_default() {
    for hosts in [1, 2, 3, 4, 8, 20] {
        let pause = 60_000 / (2 * u64::from(hosts));
        let mut adds_first = Stage::new(hosts, by_default());
        for step in 1..=hosts {
            let ms = 2 * u64::from(step) * pause;
            assert!(adds_first.show(ms, step..=hosts + step).is_ok());
            assert!(adds_first.show(ms + pause, step + 1..=hosts + step).is_ok());
        }
        assert_eq!(adds_first.in_service, numbers(hosts + 1..=2 * hosts));
    }
    for hosts in [2, 3, 4, 8, 20] {
        let pause = 60_000 / (2 * u64::from(hosts));
        let mut removes_first = Stage::new(hosts, by_default());
        for step in 1..=hosts {
            let ms = 2 * u64::from(step) * pause;
            assert!(removes_first.show(ms, step + 1..=hosts + step - 1).is_ok());
            assert!(removes_first.show(ms + pause, step + 1..=hosts + step).is_ok());
        }
        assert_eq!(removes_first.in_service, numbers(hosts + 1..=2 * hosts));
    }
}

#[test]
fn rolling_deployment_through_maintenance_passes_by_default() {
    let mut stage = Stage::new(8, by_default());
    for batch in 0..4 {
        let (ms, old, new) = (u64::from(batch) * 15_000, 2 * batch, 8 + 2 * batch);
        assert!(stage.show_states(ms + 1_000, old + 3..=new, old + 1..=old + 2).is_ok(), "two go into maintenance");
        assert!(stage.show(ms + 2_000, old + 3..=new).is_ok(), "they leave");
        assert!(stage.show_states(ms + 3_000, old + 3..=new, new + 1..=new + 2).is_ok(), "two register");
        assert!(stage.show(ms + 4_000, old + 3..=new + 2).is_ok(), "they become ready");
    }
    assert_eq!(stage.in_service, numbers(9..=16));
}

#[test]
fn blue_green_switch_passes_by_default() {
    let mut at_once = Stage::new(20, by_default());
    assert_eq!(at_once.show(1_000, 21..=40), Ok(None));
    let mut overlapping = Stage::new(20, by_default());
    assert_eq!(overlapping.show(1_000, 1..=40), Ok(None));
    assert_eq!(overlapping.show(2_000, 21..=40), Ok(None));
    let mut through_maintenance = Stage::new(20, by_default());
    assert_eq!(through_maintenance.show_states(1_000, 1..=20, 21..=40), Ok(None));
    assert_eq!(through_maintenance.show(2_000, 1..=40), Ok(None));
    assert_eq!(through_maintenance.show_states(3_000, 21..=40, 1..=20), Ok(None));
    assert_eq!(through_maintenance.show(4_000, 21..=40), Ok(None));
    assert_eq!(through_maintenance.show(5_000, 22..=40), Ok(None), "the switch does not count against one that fails");
}

#[test]
fn scale_in_by_half_passes_by_default_and_by_more_does_not() {
    for hosts in [4, 5, 8, 20] {
        let mut stage = Stage::new(hosts, by_default());
        let half = hosts.div_ceil(2);
        assert!(all_pass(&steps(&mut stage, 1_000, 100, hosts - half, |step| (1..=hosts - step - 1).collect())));
        assert_eq!(stage.show(20_000, 1..=half - 1), Err(Blocking::Began));
        assert_eq!(stage.show(20_001, 1..=half), Ok(Some(Ended::Pending)));
        assert_eq!(stage.show(90_000, 1..=half.div_ceil(2)), Ok(None), "the next half a window later");
    }
}

#[test]
fn mass_expiry_stops_at_half_by_default() {
    let mut one_by_one = Stage::new(20, by_default());
    let _ = steps(&mut one_by_one, 1_000, 30, 19, |step| (step + 2..=20).collect());
    assert_eq!(one_by_one.in_service.len(), 10);
    let mut at_once = Stage::new(20, by_default());
    assert_eq!(at_once.show(1_000, [7]), Err(Blocking::Began));
}

#[test]
fn cleared_tree_is_blocked_by_default_at_every_size() {
    for hosts in 1..=20 {
        let mut stage = Stage::new(hosts, by_default());
        assert_eq!(stage.show(1_000, []), Err(Blocking::Began));
        assert_eq!(stage.show(600_000, 1..=hosts), Ok(Some(Ended::Pending)));
    }
}
