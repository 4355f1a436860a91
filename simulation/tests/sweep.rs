//! Runs the actors against simulated worlds: hundreds of seeds, for each invariant a planted bug that it must find, and
//! the plans that once found a bug.
//!
//! `SIM_SEED=N` runs one seed, `SIM_SEEDS=N` this number of seeds; a failure is reported with the command that repeats
//! it.

use std::env;

use proxymgr_simulation::{Plan, PlantedBug, replay, run, sweep};

/// Default number of seeds.
const SEEDS: u64 = 500;

/// Limits for each planted bug: the number of seeds within which it must be found, and the number of steps of the smallest
/// of its first plans.
const SEEDS_PER_BUG: u64 = 1_000;
const STEPS_PER_BUG_MAX: usize = 6;
const FAILURES_PER_BUG_MAX: usize = 3;

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

#[test]
fn invariants_hold_for_all_seeds() {
    if let Some(seed) = number("SIM_SEED") {
        let (_, outcome) = replay(seed, None, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (figures, failure) = sweep(0..number("SIM_SEEDS").unwrap_or(SEEDS), None, threads);
    if let Some(failure) = failure {
        panic!("{failure}");
    }
    assert!(figures.commands > 0 && figures.starts > 0, "nothing happened: {figures:?}");
}

#[test]
fn planted_bugs_are_found_and_shrunk() {
    for bug in PlantedBug::all() {
        let mut from = 0;
        let mut smallest = usize::MAX;
        for _ in 0..FAILURES_PER_BUG_MAX {
            let (_, failure) = sweep(from..SEEDS_PER_BUG, Some(bug), 2);
            let failure =
                failure.unwrap_or_else(|| panic!("{bug} was not found from seed {from} on, {smallest} steps"));
            assert_eq!(failure.violation.invariant, bug.breaks(), "{bug} was found as another:\n{failure}");
            assert!(failure.to_string().contains(&failure.command()));
            (from, smallest) = (failure.seed + 1, smallest.min(failure.kept.len()));
            if smallest <= STEPS_PER_BUG_MAX {
                break;
            }
        }
        assert!(smallest <= STEPS_PER_BUG_MAX, "{bug} needs {smallest} steps");
    }
}

/// Failures that the sweep once found: seed, smallest plan and problem. The plans are complete, so that they do not
/// change when plans are drawn in another way. One JSON object per line.
const FOUND: &str = include_str!("found.jsonl");

#[derive(serde::Deserialize)]
struct Found {
    seed: u64,
    plan: Plan,
    what: String,
}

#[test]
fn found_plans_stay_fixed() {
    for line in FOUND.lines() {
        let found: Found = serde_json::from_str(line).unwrap();
        let outcome = run(found.seed, &found.plan, None);
        assert_eq!(outcome.violation, None, "seed {}: {}", found.seed, found.what);
    }
}
