//! A fleet: one scenario on many machines, each with a seed of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::ancestors::Rule;
use super::day::{Day, percentile_rank};
use super::scenario::{Report, Scenario};

/// Results of a fleet.
#[derive(Debug, Default)]
pub struct Fleet {
    /// Days of the machines whose scenario has a load, by seed.
    pub days: Vec<DayInShort>,
    /// Number of updates by the milliseconds until they were applied, on all machines.
    pub took_ms: BTreeMap<u64, u64>,
    /// Number of machines whose run met all expectations.
    pub well: u64,
    /// The first machine that failed, by seed.
    pub failed: Option<Box<Report>>,
}

/// Summary of a machine's day, without its thousands of durations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayInShort {
    /// The machine's seed.
    pub seed: u64,
    /// Number of registrations and removals of hosts.
    pub updates: u64,
    /// Number of runtime commands.
    pub commands: u64,
    /// Reloads, without the first start.
    pub reloads: u64,
    /// How many more reloads a manager would have made that always reloads.
    pub reloads_avoided: u64,
    /// The reloads of each older rule.
    pub reloads_under: Vec<(Rule, u64)>,
    /// The time within which half of the updates was applied, in milliseconds.
    pub p50_ms: u64,
    /// The time within which 99 percent of the updates was applied, in milliseconds.
    pub p99_ms: u64,
    /// Largest number of updates that were not applied yet at one moment.
    pub backlog_max: u64,
    /// Updates that were not applied at the end of the day.
    pub never_in_force: u64,
}

impl DayInShort {
    fn of(seed: u64, day: &Day) -> Self {
        let ancestors = day.ancestors.iter();
        Self {
            seed,
            updates: day.updates as u64,
            commands: day.actors.commands as u64,
            reloads: day.actors.reloads as u64,
            reloads_avoided: day.reloads_avoided() as u64,
            reloads_under: ancestors.map(|(rule, figures)| (*rule, figures.reloads as u64)).collect(),
            p50_ms: day.actors.percentile_ms(50),
            p99_ms: day.actors.percentile_ms(99),
            backlog_max: day.actors.backlog_max as u64,
            never_in_force: day.actors.never_in_force as u64,
        }
    }
}

/// Distribution of a figure over the machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// Sum over all machines.
    pub total: u64,
    /// The smallest.
    pub min: u64,
    /// Median of the machines.
    pub median: u64,
    /// 99th percentile of the machines.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Spread {
    /// Computes the distribution of these figures, one for each machine.
    pub fn of(figures: impl IntoIterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = figures.into_iter().collect();
        sorted.sort_unstable();
        let at = |percent| sorted.get(percentile_rank(sorted.len(), percent)).copied().unwrap_or_default();
        Self {
            total: sorted.iter().sum(),
            min: sorted.first().copied().unwrap_or_default(),
            median: at(50),
            p99: at(99),
            max: sorted.last().copied().unwrap_or_default(),
        }
    }
}

impl Fleet {
    /// Computes the distribution of a figure of the day.
    pub fn spread(&self, figure: impl Fn(&DayInShort) -> u64) -> Spread {
        Spread::of(self.days.iter().map(figure))
    }

    /// Returns the time within which this percentage of the updates of all machines was applied, in milliseconds.
    pub fn percentile_ms(&self, percent: usize) -> u64 {
        let updates: u64 = self.took_ms.values().sum();
        let rank = percentile_rank(usize::try_from(updates).unwrap_or(usize::MAX), percent) as u64;
        let mut within = 0;
        let reached = self.took_ms.iter().find(|(_, updates)| {
            within += **updates;
            within > rank
        });
        reached.map_or(0, |(took_ms, _)| *took_ms)
    }

    fn add(&mut self, report: &Report) {
        self.well += 1;
        let Some(day) = &report.day else { return };
        self.days.push(DayInShort::of(report.seed, day));
        day.actors.took_ms.iter().for_each(|took_ms| *self.took_ms.entry(*took_ms).or_default() += 1);
    }
}

/// Runs a scenario on this number of machines and threads. The first machine has the scenario's own seed, each further
/// one the next. Stops at the first machine that fails; calls `done` for each other machine, with their number so far.
pub fn fleet(scenario: &Scenario, machines: u64, threads: usize, done: impl Fn(u64) + Sync) -> Fleet {
    let next = AtomicU64::new(0);
    let lowest = AtomicU64::new(machines);
    let found: Mutex<Fleet> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let machine = next.fetch_add(1, Ordering::Relaxed);
                    if machine >= lowest.load(Ordering::Relaxed) {
                        break;
                    }
                    let report = scenario.run_with(scenario.seed.wrapping_add(machine), false);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    if report.is_as_expected() {
                        found.add(&report);
                        done(found.well);
                    } else if lowest.fetch_min(machine, Ordering::Relaxed) > machine {
                        found.failed = Some(Box::new(report));
                    }
                }
            });
        }
    });
    let mut fleet = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    fleet.days.sort_by_key(|day| day.seed);
    fleet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_cover_all_machines() {
        let times = |took_ms: &[u64]| took_ms.iter().map(|took_ms| (*took_ms, 1)).collect();
        let even = Fleet { took_ms: times(&[1, 2, 3, 4]), ..Fleet::default() };
        assert_eq!((even.percentile_ms(50), even.percentile_ms(99)), (2, 4));
        let most = Fleet { took_ms: [(7, 98), (900, 1), (1_000, 1)].into(), ..Fleet::default() };
        assert_eq!((most.percentile_ms(50), most.percentile_ms(99)), (7, 900));
        assert_eq!(Fleet::default().percentile_ms(50), 0);
    }
}
