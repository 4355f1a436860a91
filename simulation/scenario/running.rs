//! Runs a scenario.

use std::fmt;
use std::time::Duration;

use actix::spawn;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Entry, Expectation, Scenario, What, When};
use crate::Pace;
use crate::checks::Memory;
use crate::chronicle::Chronicle;
use crate::day::{self, Day};
use crate::invariant::Violation;
use crate::load::Way;
use crate::plan::Plan;
use crate::run::watched;
use crate::trace::{TraceLine, last_of};
use crate::world::World;

/// How long an expectation without a time may take to be met.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pause between two checks of an expectation.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Number of trace lines that are kept under a load.
const LINES_BESIDE_LOAD: usize = 200;

/// An expectation that was not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Its line in the file.
    pub line: u64,
    /// The expected and the observed value.
    pub what: String,
    /// When the check ended, in milliseconds of virtual time.
    pub at_ms: u64,
}

/// Result of a scenario.
#[derive(Debug, Clone)]
pub struct Report {
    /// The file it was read from.
    pub file: String,
    /// The seed it was run with.
    pub seed: u64,
    /// The way in which HAProxy was driven, if not by the best strategy of this version.
    pub way: Option<Way>,
    /// The first expectation that was not met; the run ended there.
    pub unmet: Option<Unmet>,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// The trace; under a load only the last lines, and only after a failure, unless all were to be kept.
    pub lines: Vec<TraceLine>,
    /// The run as intervals.
    pub chronicle: Chronicle,
    /// The figures of the load, if there is one.
    pub day: Option<Day>,
}

impl Report {
    /// Returns whether all expectations were met and all invariants held.
    pub fn is_as_expected(&self) -> bool {
        self.violation.is_none() && self.unmet.is_none()
    }

    /// Returns a description of the failure, with the last trace lines and the command that reproduces it.
    pub fn problem(&self) -> Option<String> {
        let way = self.way.map(|way| format!(" ({way})")).unwrap_or_default();
        let what = match (&self.violation, &self.unmet) {
            (Some(violation), _) => format!("{}{way}: an invariant is broken: {violation}", self.file),
            (None, Some(unmet)) => {
                let after = Duration::from_millis(unmet.at_ms);
                let after = humantime::format_duration(after);
                format!("{}:{}: not as expected after {after}{way}: {}", self.file, unmet.line, unmet.what)
            }
            (None, None) => return None,
        };
        let lines: String = last_of(&self.lines).iter().map(|line| format!("\n{line}")).collect();
        Some(format!("{what}\n\nLast events:{lines}\n\n{}", again(&self.file, self.seed)))
    }
}

/// Returns the command that runs a scenario with this seed.
fn again(file: &str, seed: u64) -> String {
    format!("Again: proxymgr simulate --scenario {file} --seed {seed}")
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl Scenario {
    /// Runs it, up to the first failure.
    pub fn run(&self) -> Report {
        self.run_with(self.seed, false)
    }

    /// Runs it with the latencies and the load of this seed. With `keeps_all`, all trace lines are kept even under a
    /// load.
    pub fn run_with(&self, seed: u64, keeps_all: bool) -> Report {
        let mut report = self.run_in(None, seed, keeps_all);
        for way in self.load.iter().flat_map(|load| load.ways.iter().copied()) {
            let is_as_expected = report.is_as_expected();
            let Some(day) = report.day.as_mut().filter(|_| is_as_expected) else { break };
            match self.run_in(Some(way), seed, false) {
                Report { unmet: None, violation: None, day: Some(other), .. } => day.ways.push((way, other.actors)),
                failed => return failed,
            }
        }
        report
    }

    fn run_in(&self, way: Option<Way>, seed: u64, keeps_all: bool) -> Report {
        if self.load.is_none() || keeps_all {
            return self.run_keeping(usize::MAX, way, seed);
        }
        let report = self.run_keeping(0, way, seed);
        if report.unmet.is_none() && report.violation.is_none() {
            return report;
        }
        // Repeats the run with its trace.
        self.run_keeping(LINES_BESIDE_LOAD, way, seed)
    }

    /// Runs it once and keeps at most this number of trace lines.
    fn run_keeping(&self, lines_max: usize, way: Option<Way>, seed: u64) -> Report {
        let words = || format!("seed {seed} of {}\n{}", self.file, again(&self.file, seed));
        let (mut report, panicked) = watched(seed, words, async |world| {
            world.trace().keep_last(lines_max);
            let (unmet, day) = self.play(&world, way).await;
            Report {
                file: self.file.clone(),
                seed,
                way,
                unmet,
                violation: world.violation(),
                lines: world.trace().lines(),
                chronicle: world.chronicle(),
                day,
            }
        });
        report.violation = panicked.or(report.violation);
        report
    }

    async fn play(&self, world: &World, way: Option<Way>) -> (Option<Unmet>, Option<Day>) {
        let services = self.services.iter().map(|(name, hosts)| (name.clone(), *hosts)).collect();
        world.furnish(&Plan {
            version: self.version,
            services,
            mail_delay_max_ms: self.mail_delay_max_ms,
            takes_time: false,
            pace: Pace::Quick,
            besides: false,
            hashes: false,
            agents: false,
            base: false,
            slots: None,
            steps: Vec::new(),
        });
        self.load.iter().for_each(|load| load.furnish(world, way));
        world.with(|things| things.has_clients = self.load.is_none());
        world.keep_chronicle();
        let began = Instant::now();
        world.start_manager();
        let load = self.load.clone().map(|load| {
            let world = world.clone();
            spawn(async move { day::live_through(&load, &world).await })
        });
        let unmet = self.go_through(world, began).await;
        let day = match load {
            Some(load) if unmet.is_none() => load.await.ok(),
            Some(load) => {
                load.abort();
                None
            }
            None => None,
        };
        (unmet, day)
    }

    async fn go_through(&self, world: &World, began: Instant) -> Option<Unmet> {
        let mut memory = Memory::default();
        for entry in &self.entries {
            match entry.when {
                When::Next => {}
                When::At(time) => sleep_until(began + time).await,
                When::After(pause) => sleep(pause).await,
            }
            let outcome = match &entry.what {
                What::Happens(step) => {
                    world.apply(step).await;
                    Ok(())
                }
                What::Expects(expectation) => expected(world, entry, expectation).await,
            };
            world.look(&mut memory).await;
            if let Err(what) = outcome {
                let at_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                world.note("the scenario", "", format!("line {}: {what}", entry.line));
                return Some(Unmet { line: entry.line, what, at_ms });
            }
            if world.violation().is_some() {
                break;
            }
        }
        None
    }
}

/// Waits until an expectation is met, at most for its time.
async fn expected(world: &World, entry: &Entry, expectation: &Expectation) -> Result<(), String> {
    let patience = match (expectation.within, entry.when) {
        (Some(within), _) => within,
        (None, When::Next) => PATIENCE,
        (None, When::At(_) | When::After(_)) => Duration::ZERO,
    };
    let deadline = Instant::now() + patience;
    // Reports of this instant arrive first.
    let _ = world.states().await;
    loop {
        let outcome = expectation.holds(world).await;
        if outcome.is_ok() || Instant::now() >= deadline {
            return outcome;
        }
        sleep(LOOK_AGAIN).await;
    }
}
