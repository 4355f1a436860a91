//! Services with domains: which plans have some, and what the map of domains ought to be.
//!
//! Those that have any share a port, and none wants what another has: who comes first depends on when each was heard of.

use std::collections::BTreeMap;

use super::invariant::{Invariant, Violation};
use super::plan::{SERVICES, Step};
use super::random::Random;
use super::route_map::RouteMap;
use super::truth::Service;
use super::world::Things;

/// The domains that a plan gives to a service are numbered from 1 to this.
const DOMAINS_MAX: u8 = 3;

/// In some plans services come to have domains among the other steps, get others and lose them.
pub(super) fn draw(seed: u64, defined: usize, steps: &mut Vec<Step>) {
    let mut random = Random::of_purpose(seed, "domains");
    if !random.chance(30) {
        return;
    }
    for _ in 0..random.between(2, 8) {
        let known = if random.chance(85) { defined } else { SERVICES.len() };
        let service = (*random.pick(&SERVICES[..known])).to_owned();
        let numbers = (1..=DOMAINS_MAX).filter(|_| random.chance(60)).collect();
        let place = usize::try_from(random.below(steps.len() as u64)).unwrap_or_default();
        steps.insert(place, Step::Domains { service, numbers });
    }
}

impl Service {
    fn domains(&self) -> impl Iterator<Item = String> {
        self.domains.iter().map(|domain| format!("d{domain}.s{}.example", self.number))
    }

    /// What the service's definition says of them.
    pub(super) fn domain_keys(&self) -> String {
        if self.domains.is_empty() {
            return String::new();
        }
        let domains: Vec<String> = self.domains().map(|domain| format!("{domain:?}")).collect();
        format!(r#", "domains": [{}]"#, domains.join(", "))
    }

    /// The keys that ought to lead to it.
    fn routes(&self) -> impl Iterator<Item = String> {
        let port = self.port();
        self.domains().map(move |domain| format!("0.0.0.0:{port}/{domain}/"))
    }
}

impl Things {
    /// Whether the map of the process that serves is what the definitions say.
    pub(super) fn domains_lead_to_their_services(&self) -> Result<(), Violation> {
        let defined = self.services.iter().filter(|(_, service)| service.defined);
        let wanted: BTreeMap<String, String> =
            defined.flat_map(|(name, service)| service.routes().map(|key| (key, name.clone()))).collect();
        let serving = self.serving().and_then(|pid| self.processes.get(&pid));
        let map = serving.and_then(|process| process.map.as_ref()).map(RouteMap::show).unwrap_or_default();
        let map: BTreeMap<String, String> =
            map.into_iter().map(|(key, service)| (key.as_str().to_owned(), service)).collect();
        if map == wanted {
            return Ok(());
        }
        let what = format!("the map of domains should be {wanted:?}, and is {map:?}");
        Err(Violation { invariant: Invariant::Converges, what })
    }
}
