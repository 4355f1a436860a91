//! A fleet: one scenario on many machines, each with a seed of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::day::{Day, Figures};
use super::scenario::{Report, Scenario};

/// What became of a fleet.
#[derive(Debug, Default)]
pub struct Fleet {
    /// The days of the machines whose scenario has a load, by their seeds.
    pub days: Vec<(u64, Day)>,
    /// The machines that did as expected.
    pub well: usize,
    /// The first machine that did not, by its seed.
    pub failed: Option<Box<Report>>,
}

/// How a figure is spread over the machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// Of all machines together.
    pub total: u64,
    /// The smallest.
    pub min: u64,
    /// That of the machine in the middle.
    pub median: u64,
    /// That which one machine in a hundred exceeds.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Spread {
    /// The spread of these figures, one for each machine.
    pub fn of(figures: impl IntoIterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = figures.into_iter().collect();
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).copied();
        Self {
            total: sorted.iter().sum(),
            min: sorted.first().copied().unwrap_or_default(),
            median: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            max: sorted.last().copied().unwrap_or_default(),
        }
    }
}

impl Fleet {
    /// How a figure of the actors is spread.
    pub fn spread(&self, figure: impl Fn(&Figures) -> u64) -> Spread {
        Spread::of(self.days.iter().map(|(_, day)| figure(&day.actors)))
    }

    /// How a figure of the ancestors' rule at this place is spread.
    pub fn spread_under(&self, place: usize, figure: impl Fn(&Figures) -> u64) -> Spread {
        Spread::of(self.days.iter().filter_map(|(_, day)| day.ancestors.get(place)).map(|(_, figures)| figure(figures)))
    }
}

/// Runs a scenario on so many machines, on as many threads as wished. The first has the scenario's own seed, each
/// further one the next. Ends with the first machine that does not do as expected.
pub fn fleet(scenario: &Scenario, machines: u64, threads: usize) -> Fleet {
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
                    if report.problem().is_none() {
                        found.well += 1;
                        found.days.extend(report.day.map(|day| (report.seed, day)));
                    } else if lowest.fetch_min(machine, Ordering::Relaxed) > machine {
                        found.failed = Some(Box::new(report));
                    }
                }
            });
        }
    });
    let mut fleet = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    fleet.days.sort_by_key(|(seed, _)| *seed);
    fleet
}
