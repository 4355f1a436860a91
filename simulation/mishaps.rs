//! Mishaps of a source's watch: an event is lost, comes twice, or shows an older list. The actors are not notified, so only
//! the confirmation of the source can end what follows from it. An earlier version of the sweep did not find that a list
//! stayed wrong for ever: its sources reported every change.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::invariant::Invariant;
use super::plan::Step;
use super::random::Random;
use super::world::World;

/// How often sources are confirmed in a plan.
pub const CONFIRM_INTERVAL: Duration = Duration::from_secs(20);

/// How long a confirmation may take.
const CONFIRMING_MAX: Duration = Duration::from_secs(2);

/// A mishap of the next event of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mishap {
    /// It is lost.
    Lost,
    /// It comes twice.
    Twice,
    /// It shows the list before the change.
    Past,
}

/// Adds to some plans a mishap, the event that it concerns, and the time for a confirmation.
pub(super) fn draw(seed: u64, services: &[(String, u8)], steps: &mut Vec<Step>) {
    let mut random = Random::of_purpose(seed, "mishaps");
    if !random.chance(30) {
        return;
    }
    let (service, _) = random.pick(services).clone();
    let mishap = *random.pick(&[Mishap::Lost, Mishap::Lost, Mishap::Twice, Mishap::Past]);
    let change = match random.chance(50) {
        true => Step::Leave { service: service.clone(), host: 1 },
        false => Step::Join { service: service.clone(), host: 4 },
    };
    let wait = Step::Wait { ms: random.between(1_000, 30_000) };
    let place = usize::try_from(random.between(0, steps.len() as u64)).unwrap_or_default();
    let added = match random.chance(20) {
        true => [Step::DefinitionsMishap { mishap }, Step::ChangeOptions { service, variant: 1 }, wait],
        false => [Step::EventMishap { service, mishap }, change, wait],
    };
    steps.splice(place..place, added);
}

impl World {
    /// Lets this happen to the next event of a service's source.
    pub(super) fn expect_mishap(&self, service: &str, mishap: Mishap) {
        self.with(|things| things.links.mishaps.insert(service.to_owned(), mishap));
    }

    /// Schedules the check that a list which its watch did not report is found within the interval: of the hosts of a
    /// service, or of the definitions.
    pub(super) fn expect_confirmation(&self, service: Option<&str>) {
        let (world, service) = (self.clone(), service.map(str::to_owned));
        let lost = self.with(|things| things.links.lost(service.as_deref()));
        self.naturally(async move {
            sleep(CONFIRM_INTERVAL + CONFIRMING_MAX).await;
            if lost.is_some() && world.with(|things| things.links.lost(service.as_deref())) == lost {
                let of = service.unwrap_or_else(|| "the definitions".to_owned());
                let what = format!("a lost event of {of} was not noticed within {CONFIRM_INTERVAL:?}");
                world.violate(Invariant::ListsAreConfirmed, what);
            }
        });
    }
}
