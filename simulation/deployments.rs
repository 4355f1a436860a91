//! Deployments that take time: how long checks, starts, writes and observations take in a run, and what makes them
//! hang. In an earlier version of the sweep checks took 80 ms at most, processes answered after 60 ms, and each run had
//! one refused definition at a time, so faults that only long deployments show were not found.

use std::time::Duration;

use proxymgr_actors::limits::CHECK_TIMEOUT;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::durations::Work;
use super::hosts::Shown;
use super::plan::{SERVICES, Step};
use super::random::Random;
use super::truth;
use super::world::World;

/// First number of the services that are refused by the dozen, above the numbers of all other services.
const REFUSED_FROM: u16 = 100;

/// How long each write to the disk hangs.
const DISK_HANGS: Duration = Duration::from_secs(30);

/// Speed of checks, starts and observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// A few services on an idle machine.
    #[default]
    Quick,
    /// A busy machine.
    Busy,
    /// 50,000 servers: 0.3 to 0.5 s to the first answer, 51 to 89 ms for an observation.
    Large,
}

impl Pace {
    /// Returns whether this is the default of plans.
    pub(super) fn is_quick(&self) -> bool {
        *self == Self::Quick
    }

    /// Returns the duration of each kind of work, in milliseconds.
    fn durations(self) -> &'static [(Work, u64, u64)] {
        match self {
            Self::Quick => &[],
            Self::Busy => &[(Work::Check, 20, 2_000), (Work::FirstAnswer, 20, 200), (Work::Write, 1, 400)],
            Self::Large => &[
                (Work::Check, 500, 900),
                (Work::FirstAnswer, 300, 500),
                (Work::Observe, 51, 89),
                (Work::Write, 20, 200),
            ],
        }
    }
}

impl World {
    /// Sets how long deployments take.
    pub(super) fn set_pace(&self, pace: Pace) {
        pace.durations().iter().for_each(|(work, low_ms, high_ms)| self.set_duration(*work, *low_ms, *high_ms));
    }

    /// Executes one of the steps that this file draws.
    pub(super) fn hamper_deployments(&self, step: &Step) {
        match step {
            Step::CheckHangs => self.with(|things| things.check_hangs = true),
            Step::DiskHangs => self.with(|things| things.disk_hangs = true),
            Step::NamesUnresolved => self.with(|things| things.names.clear()),
            Step::ManyRejected { count } => self.define_refused(*count),
            Step::ConfigRejectedElsewhere { service } => {
                self.with(|things| things.blames_another = true);
                self.change(service, |service| service.poison = Some(true));
                self.show_definitions();
            }
            _ => {}
        }
    }

    /// Ends the effects of those steps. Services that were refused by the dozen remain, with options that HAProxy
    /// accepts.
    pub(super) fn heal_deployments(&self) {
        self.with(|things| {
            things.check_hangs = false;
            things.disk_hangs = false;
            things.blames_another = false;
            things.names.extend(truth::names());
        });
    }

    /// Defines this number of services at once that HAProxy refuses.
    fn define_refused(&self, count: u8) {
        for number in 0..u16::from(count) {
            self.change(&format!("refused-{number:02}"), |service| {
                service.number = REFUSED_FROM + number;
                service.defined = true;
                service.poison = Some(number % 2 == 0);
                service.join(1, Shown::PLAIN);
            });
        }
        self.show_definitions();
    }

    /// Waits for the disk, which may hang.
    pub(super) async fn disk(&self) {
        if self.with(|things| things.disk_hangs) {
            sleep(DISK_HANGS).await;
            self.with(|things| things.calm.interrupt());
        }
    }

    /// Waits for a check that hangs until its time-out, as its adapter does.
    ///
    /// # Errors
    /// The check timed out.
    pub(super) async fn hanging_check(&self) -> Result<(), String> {
        if !self.with(|things| things.check_hangs) {
            return Ok(());
        }
        sleep(CHECK_TIMEOUT).await;
        self.with(|things| things.calm.fail_deployment());
        Err(format!("haproxy -c did not end within {} s", CHECK_TIMEOUT.as_secs()))
    }
}

/// Adds steps that slow down or hang deployments. Returns the pace of the plan.
pub(super) fn draw(seed: u64, services: &[(String, u8)], steps: &mut Vec<Step>) -> Pace {
    let mut random = Random::of_purpose(seed, "deployments");
    let pace = *random.pick(&[Pace::Quick, Pace::Quick, Pace::Busy, Pace::Large]);
    if random.chance(40) {
        for _ in 0..random.between(1, 3) {
            let step = match random.below(5) {
                0 => Step::CheckHangs,
                1 => Step::DiskHangs,
                2 => Step::NamesUnresolved,
                3 => Step::ManyRejected { count: u8::try_from(random.between(12, 40)).unwrap_or(12) },
                _ => Step::ConfigRejectedElsewhere { service: random.pick(services).0.clone() },
            };
            let place = usize::try_from(random.below(steps.len() as u64)).unwrap_or_default();
            steps.insert(place, step);
        }
    }
    if random.chance(20) {
        let count = u8::try_from(random.between(21, 40)).unwrap_or(21);
        let new = SERVICES[SERVICES.len() - 1].to_owned();
        steps.extend([Step::Heal, Step::Wait { ms: 70_000 }, Step::ManyRejected { count }]);
        steps.extend([Step::DefineService { service: new }, Step::Wait { ms: 45_000 }]);
    }
    pace
}
