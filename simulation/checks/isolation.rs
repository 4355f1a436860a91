//! Checks that a service that HAProxy accepts is served, however many others it refuses. An earlier version of the
//! sweep did not find that valid services were given up after 20 rounds of isolation: it refused one definition at a
//! time, and expected all services to be served only after every definition was valid again.

use std::time::Duration;

use proxymgr_actors::limits::RELOAD_RETRY_MAX;
use tokio::time::{Instant, sleep};

use crate::invariant::Invariant;
use crate::plan::Step;
use crate::things::Things;
use crate::world::World;

/// How long a valid service may wait for the isolation of the refused ones, without other faults.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// Tracks faults other than refused definitions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calm {
    /// Since when there is no such fault; `None` during one.
    since: Option<Instant>,
}

impl Calm {
    /// Starts without a fault.
    pub(crate) fn from_now() -> Self {
        Self { since: Some(Instant::now()) }
    }

    /// Notes a step of the plan.
    pub(crate) fn disturb(&mut self, step: &Step) {
        let refuses = matches!(
            step,
            Step::ManyRejected { .. } | Step::ConfigRejected { .. } | Step::ConfigRejectedElsewhere { .. }
        );
        self.since = match step {
            // A deployment that failed by what is healed now is retried after a pause.
            Step::Heal => Some(Instant::now() + RELOAD_RETRY_MAX),
            step if refuses || is_usual(step) => self.since,
            step if step.lasts() => None,
            _ => return self.interrupt(),
        };
    }

    /// Notes that a short fault has just ended.
    pub(crate) fn interrupt(&mut self) {
        self.resume_at(Instant::now());
    }

    /// Notes that a fault has just made a deployment fail, which is retried after a pause.
    pub(crate) fn fail_deployment(&mut self) {
        self.resume_at(Instant::now() + RELOAD_RETRY_MAX);
    }

    /// Ends the checks: convergence is checked instead.
    pub(crate) fn end(&mut self) {
        self.since = None;
    }

    /// No fault's end makes that of another one earlier.
    fn resume_at(&mut self, at: Instant) {
        self.since = self.since.map(|since| since.max(at));
    }

    fn lasts_for(self, duration: Duration) -> bool {
        self.since.is_some_and(|since| since + duration < Instant::now())
    }
}

/// Returns whether a step is part of normal operation.
fn is_usual(step: &Step) -> bool {
    matches!(
        step,
        Step::Join { .. }
            | Step::Leave { .. }
            | Step::Flap { .. }
            | Step::Vanish { .. }
            | Step::Weight { .. }
            | Step::HostState { .. }
            | Step::DefineService { .. }
            | Step::Wait { .. }
    )
}

impl World {
    /// Schedules the check after a change of the definitions: in time, every service that HAProxy accepts must be
    /// served.
    pub(crate) fn expect_good_services(&self) {
        if !self.with(|things| things.looks_for(Invariant::GoodServicesAreServed)) {
            return;
        }
        let world = self.clone();
        self.naturally(async move {
            sleep(SERVED_WITHIN + Duration::from_secs(1)).await;
            if let Some(name) = world.with(|things| things.neglected_service()) {
                let what = format!("{name} is valid, but was not served within {} s", SERVED_WITHIN.as_secs());
                world.violate(Invariant::GoodServicesAreServed, what);
            }
        });
    }
}

impl Things {
    /// Returns a service that should be served by now and is not.
    fn neglected_service(&self) -> Option<String> {
        if !self.calm.lasts_for(SERVED_WITHIN) || self.mail.iter().any(|mail| mail.len() > 0) {
            return None;
        }
        let serving = self.serving().and_then(|pid| self.processes.get(&pid));
        let is_served = |name: &str| serving.is_some_and(|process| process.sections.contains(name));
        let good = self.defined().filter(|(_, service)| service.is_accepted());
        let mut due = good.filter(|(name, _)| self.oracle.should_be_served(name, SERVED_WITHIN));
        due.find(|(name, _)| !is_served(name)).map(|(name, _)| name.clone())
    }
}
