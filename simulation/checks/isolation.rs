//! A service that HAProxy accepts is served, however many others it refuses.
//!
//! The earlier sweep could not see that good services were given up after 20 rounds of isolation: it had one refused
//! definition at a time, and asked whether everything is served only once every definition was good again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::invariant::Invariant;
use crate::plan::Step;
use crate::things::Things;
use crate::world::World;

/// How long a good service may wait for the refused ones to be isolated, where nothing else is wrong.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// What is wrong with the world beside refused definitions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calm {
    /// Since when nothing is; none while something is.
    since: Option<Instant>,
}

impl Calm {
    /// From now on nothing is wrong.
    pub(crate) fn from_now() -> Self {
        Self { since: Some(Instant::now()) }
    }

    /// A step of the plan happens.
    pub(crate) fn disturb(&mut self, step: &Step) {
        let refuses = matches!(
            step,
            Step::ManyRejected { .. } | Step::ConfigRejected { .. } | Step::ConfigRejectedElsewhere { .. }
        );
        self.since = match step {
            Step::Heal => Some(Instant::now()),
            step if refuses || is_usual(step) => self.since,
            step if step.lasts() => None,
            _ => return self.interrupt(),
        };
    }

    /// Something was wrong for a moment until now.
    pub(crate) fn interrupt(&mut self) {
        self.since = self.since.map(|_| Instant::now());
    }

    fn lasts_for(self, duration: Duration) -> bool {
        self.since.is_some_and(|since| since + duration < Instant::now())
    }
}

/// Whether a step is what happens on a good day.
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
    /// The definitions changed: in time, every service that HAProxy accepts is served.
    pub(crate) fn expect_good_services(&self) {
        if !self.with(|things| things.looks_for(Invariant::GoodServicesAreServed)) {
            return;
        }
        let world = self.clone();
        self.naturally(async move {
            sleep(SERVED_WITHIN + Duration::from_secs(1)).await;
            if let Some(name) = world.with(|things| things.neglected_service()) {
                let what = format!("{name} is good, and was not served within {} s", SERVED_WITHIN.as_secs());
                world.violate(Invariant::GoodServicesAreServed, what);
            }
        });
    }
}

impl Things {
    /// A service that should be served by now, and is not.
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
