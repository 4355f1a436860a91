//! Minimizes a plan that violates an invariant (delta debugging, Zeller 1999).

use super::invariant::Invariant;
use super::plan::Plan;
use super::planted_bug::PlantedBug;
use super::run::{Outcome, run};

/// Maximum number of runs for one failure.
const RUNS_MAX: usize = 600;

/// A smaller plan that violates the same invariant.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// Indexes of its steps in the plan that was drawn.
    pub kept: Vec<usize>,
    /// Result of its run.
    pub outcome: Outcome,
}

/// Drops all steps that are not needed to violate `invariant`. `outcome` is that of the whole plan.
pub fn shrink(seed: u64, plan: &Plan, planted: Option<PlantedBug>, invariant: Invariant, outcome: Outcome) -> Shrunk {
    let mut runs = 0;
    let mut best = Shrunk { kept: (0..plan.steps.len()).collect(), outcome };
    let mut breaks = |kept: &[usize]| {
        runs += 1;
        let outcome = (runs <= RUNS_MAX).then(|| tried(seed, &plan.keeping(kept), planted))?;
        let same = outcome.violation.as_ref().is_some_and(|violation| violation.invariant == invariant);
        same.then_some(outcome)
    };
    let mut chunk = best.kept.len().div_ceil(2).max(1);
    loop {
        let mut smaller = false;
        let mut at = 0;
        while at < best.kept.len() {
            let end = (at + chunk).min(best.kept.len());
            let without: Vec<usize> = best.kept[..at].iter().chain(&best.kept[end..]).copied().collect();
            match breaks(&without) {
                Some(outcome) => {
                    best = Shrunk { kept: without, outcome };
                    smaller = true;
                }
                None => at = end,
            }
        }
        match (smaller, chunk) {
            (false, 1) => return best,
            (false, _) => chunk = chunk.div_ceil(2),
            (true, _) => chunk = chunk.min(best.kept.len().div_ceil(2).max(1)),
        }
    }
}

/// Runs a plan twice; different runs violate an invariant.
pub(super) fn tried(seed: u64, plan: &Plan, planted: Option<PlantedBug>) -> Outcome {
    let mut first = run(seed, plan, planted);
    let second = run(seed, plan, planted);
    if first.lines != second.lines {
        let differs = first.lines.iter().zip(&second.lines).find(|(one, other)| one != other);
        let what = match differs {
            Some((one, other)) => format!("the first run has\n  {one}\nbut the second run has\n  {other}"),
            None => format!("the first run has {} lines, the second {}", first.lines.len(), second.lines.len()),
        };
        first.violation = Some(super::invariant::Violation { invariant: Invariant::RunsRepeat, what });
    }
    first
}
