//! The plan of a run, as data. Every step is valid in every world, so a plan without some of its steps is still a plan.

mod kinds;
mod step;

use serde::{Deserialize, Serialize};

use proxymgr_actors::model::ProxyVersion;

use self::kinds::{KINDS, draw_step};
pub use self::step::{Refused, StartFailure, Step, Tampering};
use crate::deployments::Pace;
use crate::orders::draw_decisions;
use crate::random::Random;
use crate::slots::Slots;
use crate::{agents, annotations, backends, besides, deployments, domains, mishaps, operator_base, vanishing};

/// The services of plans, each with a port of its own.
pub const SERVICES: [&str; 4] = ["web", "api", "mail", "search"];

/// Highest number of the hosts that a plan gives to a service, from 1 on.
pub const HOSTS_MAX: u8 = 6;

/// First number of the hosts that are given by name; plans use two of them, loads none.
pub const NAMED_FROM: u8 = 250;

/// The versions of HAProxy that plans are drawn for; common ones are repeated.
const VERSIONS: [ProxyVersion; 5] = [
    ProxyVersion { major: 2, minor: 2 },
    ProxyVersion { major: 2, minor: 6 },
    ProxyVersion { major: 2, minor: 6 },
    ProxyVersion { major: 3, minor: 0 },
    ProxyVersion { major: 3, minor: 2 },
];

/// Maximum delays of messages between actors, in milliseconds.
const MAIL_DELAYS_MS: [u64; 4] = [0, 0, 3, 40];

/// The initial world and the steps of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of HAProxy.
    pub version: ProxyVersion,
    /// The services defined at the beginning, each with the number of its hosts.
    pub services: Vec<(String, u8)>,
    /// Maximum delay of a message between two actors, in milliseconds. Messages to one actor keep their order.
    #[serde(default)]
    pub mail_delay_max_ms: u64,
    /// Whether servers drain and ramp up slowly, and old processes have narrow limits.
    #[serde(default)]
    pub takes_time: bool,
    /// How long checks, starts and observations take.
    #[serde(default, skip_serializing_if = "Pace::is_quick")]
    pub pace: Pace,
    /// Whether an external HAProxy and an output are kept in sync as well.
    #[serde(default)]
    pub besides: bool,
    /// Whether every service distributes its requests by a consistent hash.
    #[serde(default)]
    pub hashes: bool,
    /// Whether every server has an agent.
    #[serde(default)]
    pub agents: bool,
    /// Whether the operator has a haproxy.cfg.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base: bool,
    /// The service that is updated by slots, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<(String, Slots)>,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Draws the plan of this seed. Swarm testing (Groce et al. 2012): each plan omits some kinds of steps and prefers
    /// others, so that rare combinations occur.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::of_purpose(seed, "plan");
        let version = *random.pick(&VERSIONS);
        let count = usize::try_from(random.between(1, 3)).unwrap_or(1);
        let services =
            SERVICES[..count].iter().map(|name| ((*name).to_owned(), u8::try_from(random.between(1, 4)).unwrap_or(1)));
        let services: Vec<_> = services.collect();
        let weights = KINDS.map(|(kind, weight)| {
            let factor = *random.pick(&[0, 0, 1, 1, 1, 1, 1, 4]);
            (kind, weight * factor)
        });
        let mut steps = vec![Step::Wait { ms: random.between(0, 3_000) }];
        for _ in 0..random.between(6, 24) {
            steps.push(draw_step(&weights, count, &mut random));
            if random.chance(60) {
                let pause = *random.pick(&[(1, 30), (50, 900), (50, 900), (1_000, 6_000), (10_000, 70_000)]);
                steps.push(Step::Wait { ms: random.between(pause.0, pause.1) });
            }
        }
        let mail_delay_max_ms = *random.pick(&MAIL_DELAYS_MS);
        let takes_time = random.chance(40);
        let besides = besides::draw(seed, &mut steps);
        annotations::draw(seed, &services, &mut steps);
        domains::draw(seed, count, &mut steps);
        domains::draw_contests(seed, count, &mut steps);
        draw_decisions(seed, &mut steps);
        vanishing::draw(seed, &services, &mut steps);
        vanishing::draw_replacements(seed, &services, &mut steps);
        mishaps::draw(seed, &services, &mut steps);
        let slots = Slots::draw(seed, &services);
        let pace = deployments::draw(seed, &services, &mut steps);
        let agents = agents::draw(seed, &services, &mut steps);
        let hashes = Random::of_purpose(seed, "hashes").chance(50);
        let base = operator_base::draw(seed);
        let version = backends::draw_version(seed, version);
        backends::draw(seed, version, &mut steps);
        Self { version, services, mail_delay_max_ms, takes_time, pace, besides, hashes, agents, base, slots, steps }
    }

    /// Returns the plan with only the steps at these indexes.
    #[must_use]
    pub fn keeping(&self, places: &[usize]) -> Self {
        let steps = places.iter().filter_map(|place| self.steps.get(*place)).cloned().collect();
        Self { steps, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_plan() {
        assert_eq!(Plan::draw(3), Plan::draw(3));
        assert_ne!(Plan::draw(3), Plan::draw(4));
    }

    #[test]
    fn a_plan_can_be_written_and_read_back() {
        let plan = Plan::draw(5);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }

    #[test]
    fn every_step_kind_is_drawn() {
        let kinds: std::collections::BTreeSet<String> = (0..500)
            .flat_map(|seed| Plan::draw(seed).steps)
            .map(|step| format!("{step:?}").split(' ').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(kinds.len(), 59, "{kinds:?}");
    }
}
