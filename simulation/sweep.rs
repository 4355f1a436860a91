//! Runs many seeds twice, on several threads, and minimizes the first failure.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use super::invariant::Violation;
use super::plan::Plan;
use super::planted_bug::PlantedBug;
use super::run::Outcome;
use super::shrink::{Shrunk, shrink, tried};
use super::trace::{TraceLine, last_of};

/// Totals of all runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Number of seeds, each of which was run twice.
    pub seeds: u64,
    /// Total virtual time of their runs, in milliseconds.
    pub virtual_ms: u64,
    /// Starts and reloads of HAProxy.
    pub starts: usize,
    /// Number of runtime commands.
    pub commands: usize,
    /// Longest time until convergence, in virtual seconds.
    pub converged_after_s_max: u64,
}

impl Figures {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.virtual_ms += outcome.lines.last().map_or(0, |line| line.at_ms);
        self.starts += outcome.starts;
        self.commands += outcome.commands;
        self.converged_after_s_max = self.converged_after_s_max.max(outcome.converged_after_s);
    }

    fn merge(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.virtual_ms += other.virtual_ms;
        self.starts += other.starts;
        self.commands += other.commands;
        self.converged_after_s_max = self.converged_after_s_max.max(other.converged_after_s_max);
    }
}

/// A run that violated an invariant, minimized.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The planted bug, if any.
    pub planted: Option<PlantedBug>,
    /// The violation by the smallest plan.
    pub violation: Violation,
    /// The smallest plan found.
    pub plan: Plan,
    /// Number of steps of the original plan.
    pub steps_before: usize,
    /// Indexes of the remaining steps.
    pub kept: Vec<usize>,
    /// Last trace lines of its run.
    pub lines: Vec<TraceLine>,
}

impl Failure {
    fn of(seed: u64, planted: Option<PlantedBug>, plan: &Plan, outcome: Outcome) -> Option<Self> {
        let invariant = outcome.violation.as_ref()?.invariant;
        let Shrunk { kept, outcome } = shrink(seed, plan, planted, invariant, outcome);
        let lines = last_of(&outcome.lines).to_vec();
        let steps_before = plan.steps.len();
        let plan = plan.keeping(&kept);
        Some(Self { seed, planted, violation: outcome.violation?, plan, steps_before, kept, lines })
    }

    /// Returns the command that reproduces the smallest plan.
    pub fn command(&self) -> String {
        let kept: Vec<String> = self.kept.iter().map(ToString::to_string).collect();
        let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(",") };
        let planted = self.planted.map(|bug| format!(" --plant {bug}")).unwrap_or_default();
        format!("proxymgr simulate --seed {}{planted} --keep {kept} --trace", self.seed)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} breaks an invariant: {}", self.seed, self.violation)?;
        let services: Vec<_> =
            self.plan.services.iter().map(|(name, hosts)| format!("{name} ({hosts} hosts)")).collect();
        writeln!(
            f,
            "\nHAProxy {}, {}, messages up to {} ms late; {} of {} steps are left:",
            self.plan.version,
            services.join(", "),
            self.plan.mail_delay_max_ms,
            self.kept.len(),
            self.steps_before
        )?;
        for step in &self.plan.steps {
            writeln!(f, "    {}", serde_json::to_string(step).unwrap_or_else(|_| format!("{step:?}")))?;
        }
        writeln!(f, "\nLast events:")?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "\nAgain: {}", self.command())
    }
}

/// The totals, and the seed, plan and outcome of the first failed run.
type Found = (Figures, Option<(u64, Plan, Outcome)>);

/// Runs every seed of the range twice. Returns the failure with the lowest seed, minimized.
pub fn sweep(seeds: Range<u64>, planted: Option<PlantedBug>, threads: usize) -> (Figures, Option<Box<Failure>>) {
    let next = AtomicU64::new(seeds.start);
    let lowest = AtomicU64::new(seeds.end);
    let found: Mutex<Found> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut figures = Figures::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= lowest.load(Ordering::Relaxed) {
                        break;
                    }
                    let plan = Plan::draw(seed);
                    let outcome = tried(seed, &plan, planted);
                    figures.add(&outcome);
                    if outcome.violation.is_some() {
                        lowest.fetch_min(seed, Ordering::Relaxed);
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        if found.1.as_ref().is_none_or(|(known, ..)| seed < *known) {
                            found.1 = Some((seed, plan, outcome));
                        }
                    }
                }
                found.lock().unwrap_or_else(PoisonError::into_inner).0.merge(&figures);
            });
        }
    });
    let (figures, failed) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failure = failed.and_then(|(seed, plan, outcome)| Failure::of(seed, planted, &plan, outcome));
    (figures, failure.map(Box::new))
}

/// Runs one seed, with all steps or only those at these indexes, and does not minimize a failure.
pub fn replay(seed: u64, kept: Option<&[usize]>, planted: Option<PlantedBug>) -> (Plan, Outcome) {
    let plan = Plan::draw(seed);
    let plan = kept.map_or(plan.clone(), |kept| plan.keeping(kept));
    let outcome = tried(seed, &plan, planted);
    (plan, outcome)
}
