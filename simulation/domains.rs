//! Services with domains: which plans have some, and what the map of domains should be. Services with domains share a
//! port. Most domains belong to one service; some are wanted by several: the first service with a domain keeps it for
//! as long as its definition names it, and the others are reported. Which of several simultaneous services is first
//! depends on the order in which they were reported: it must be one of them.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::model::RawDefinition;
use proxymgr_actors::snapshot::HaproxyState;

use super::invariant::{Invariant, Violation};
use super::plan::{SERVICES, Step};
use super::random::Random;
use super::route_map::RouteMap;
use super::things::Things;
use super::truth::Service;

/// Highest number of the domains that a plan gives to a service, from 1 on.
const DOMAINS_MAX: u8 = 3;

/// First number of the domains that several services may want; plans use two of them.
const CONTESTED_FROM: u8 = 4;

/// In some plans, adds steps that give services domains, change them and remove them.
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

/// In some plans, adds steps in which services want the domain of another, next to their own domains or alone.
pub(super) fn draw_contests(seed: u64, defined: usize, steps: &mut Vec<Step>) {
    let mut random = Random::of_purpose(seed, "contests");
    if defined < 2 || !random.chance(25) {
        return;
    }
    for _ in 0..random.between(2, 7) {
        let service = (*random.pick(&SERVICES[..defined])).to_owned();
        let wanted = [(1, 30), (CONTESTED_FROM, 70), (CONTESTED_FROM + 1, 30)];
        let numbers = wanted.into_iter().filter(|(_, percent)| random.chance(*percent)).map(|(number, _)| number);
        let numbers = numbers.collect();
        let place = usize::try_from(random.below(steps.len() as u64)).unwrap_or_default();
        steps.insert(place, Step::Domains { service, numbers });
    }
}

/// A key of the map, and a service.
type Claim = (String, String);

/// The domains that services were seen to have.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Manager and process of the last check: new ones need not know which service was first.
    seen_with: (u64, Option<u32>),
    had: BTreeSet<Claim>,
    /// Claims at the last check.
    wanted: BTreeSet<Claim>,
    /// Claims that were given up. A service that claims the domain again before that was reported loses it nevertheless.
    let_go: BTreeSet<Claim>,
}

impl Service {
    fn domains(&self) -> impl Iterator<Item = String> {
        self.domains.iter().map(|domain| match *domain < CONTESTED_FROM {
            true => format!("d{domain}.s{}.example", self.number),
            false => format!("d{domain}.any.example"),
        })
    }

    /// Returns the domain keys of the service's definition.
    pub(super) fn domain_keys(&self) -> String {
        if self.domains.is_empty() {
            return String::new();
        }
        let domains: Vec<String> = self.domains().map(|domain| format!("{domain:?}")).collect();
        format!(r#", "domains": [{}]"#, domains.join(", "))
    }

    /// Returns the keys of the map that should lead to it.
    fn routes(&self) -> impl Iterator<Item = String> {
        let port = self.port();
        self.domains().map(move |domain| format!("0.0.0.0:{port}/{domain}/"))
    }
}

impl Things {
    /// Checks that every service that had a domain and never gave it up still has it.
    pub(super) fn domains_stay(&self, holders: &mut Holders) -> Result<(), Violation> {
        let seen_with = (self.generation, self.serving());
        if std::mem::replace(&mut holders.seen_with, seen_with) != seen_with {
            holders.had.clear();
        }
        let Some(reported) = &self.oracle.definitions else { return Ok(()) };
        let (map, wanted) = (self.map_that_serves(), self.claims_of(reported));
        let mut had = holders.had.intersection(&wanted);
        if let Some((key, holder)) = had.find(|(key, holder)| map.get(key) != Some(holder)) {
            let what = format!("{holder} had {key} and still wants it, but {:?} has it now", map.get(key));
            return Err(Violation { invariant: Invariant::ServicesStay, what });
        }
        holders.let_go.extend(holders.wanted.difference(&wanted).cloned());
        let has = |claim: &Claim| wanted.contains(claim) && !holders.let_go.contains(claim);
        holders.had = map.into_iter().filter(has).collect();
        holders.wanted = wanted;
        Ok(())
    }

    /// Returns the claims of these definitions. An unusable definition counts as none: its service keeps the last
    /// usable one, with unknown claims.
    fn claims_of(&self, reported: &BTreeMap<String, RawDefinition>) -> BTreeSet<Claim> {
        let is_told =
            |name: &String, service: &Service| service.defined && !self.definitions_gone && reported.contains_key(name);
        let usable = |service: &Service| !service.broken_definition && service.poison.is_none();
        let services = self.services.iter().filter(|(name, service)| is_told(name, service) && usable(service));
        let services = services.filter(|(name, _)| self.framed_with(name).is_none());
        services.flat_map(|(name, service)| service.routes().map(move |key| (key, name.clone()))).collect()
    }

    /// Checks that the map of the serving process follows the definitions, and that every service without a domain that
    /// it wants is reported.
    pub(super) fn domains_lead_to_their_services(&self, haproxy: &HaproxyState) -> Result<(), Violation> {
        let mut wanted: BTreeMap<String, BTreeSet<&String>> = BTreeMap::new();
        for (name, service) in self.defined().filter(|(name, _)| self.framed_with(name).is_none()) {
            service.routes().for_each(|key| wanted.entry(key).or_default().extend([name]));
        }
        let unlike = |what: String| Err(Violation { invariant: Invariant::Converges, what });
        let map = self.map_that_serves();
        let leads = |key: &String| map.get(key).is_some_and(|holder| wanted[key].contains(holder));
        if !map.keys().eq(wanted.keys()) || !wanted.keys().all(leads) {
            return unlike(format!("the map of domains should be {wanted:?}, but is {map:?}"));
        }
        let lost = |name: &str| {
            let keys = wanted.iter().filter(|(_, services)| services.iter().any(|service| *service == name));
            keys.map(|(key, _)| &map[key]).find(|holder| *holder != name)
        };
        for (name, state) in &haproxy.services {
            let problem = state.problem.as_deref();
            match lost(name.as_str()) {
                Some(_) if problem.is_some_and(|problem| problem.contains("belongs to the service")) => {}
                None if problem.is_none() => {}
                Some(holder) => {
                    return unlike(format!("{name} wants a domain that {holder} has, and its problem is {problem:?}"));
                }
                None => return unlike(format!("{name}: {}", problem.unwrap_or_default())),
            }
        }
        Ok(())
    }

    fn map_that_serves(&self) -> BTreeMap<String, String> {
        let serving = self.serving().and_then(|pid| self.processes.get(&pid));
        let map = serving.and_then(|process| process.map.as_ref()).map(RouteMap::show).unwrap_or_default();
        map.into_iter().map(|(key, service)| (key.as_str().to_owned(), service)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{ProxyVersion, RouteCommand, RouteKey, ServiceName};

    use super::*;
    use crate::Pace;
    use crate::checks::Memory;
    use crate::plan::Plan;
    use crate::world::{World, in_virtual_time};

    const KEY: &str = "0.0.0.0:8951/d4.any.example/";

    fn of_two_services(story: impl AsyncFnOnce(World)) {
        in_virtual_time(1, async |world| {
            let services = vec![("api".to_owned(), 1), ("web".to_owned(), 1)];
            let version = ProxyVersion { major: 2, minor: 6 };
            let (mail_delay_max_ms, takes_time, besides, slots) = (0, false, false, None);
            world.furnish(&Plan {
                version,
                services,
                mail_delay_max_ms,
                takes_time,
                pace: Pace::Quick,
                besides,
                hashes: false,
                agents: false,
                base: false,
                slots,
                steps: Vec::new(),
            });
            world.start_manager();
            world.wait(5).await;
            story(world).await;
        });
    }

    /// Makes the service want the contested domain, or not, and waits until that is applied.
    async fn want(world: &World, service: &str, numbers: Vec<u8>) {
        world.apply(&Step::Domains { service: service.to_owned(), numbers }).await;
        world.wait(20).await;
    }

    fn holder(world: &World) -> Option<String> {
        world.with(|things| things.map_that_serves().get(KEY).cloned())
    }

    #[test]
    fn contested_domain_stays_with_first_holder() {
        of_two_services(async |world| {
            want(&world, "web", vec![4]).await;
            want(&world, "api", vec![1, 4]).await;
            assert_eq!(holder(&world).as_deref(), Some("web"));
            assert_eq!(world.at_rest().await, Ok(()));
            want(&world, "web", vec![2]).await;
            assert_eq!(holder(&world).as_deref(), Some("api"));
            assert_eq!(world.at_rest().await, Ok(()));
        });
    }

    #[test]
    fn stolen_domain_is_found() {
        of_two_services(async |world| {
            want(&world, "web", vec![4]).await;
            want(&world, "api", vec![4]).await;
            let mut memory = Memory::default();
            world.look(&mut memory).await;
            assert_eq!(world.violation(), None);
            world.with(|things| {
                let pid = things.serving().expect("it serves");
                let map = things.processes.get_mut(&pid).and_then(|process| process.map.as_mut()).expect("it has one");
                map.run(&RouteCommand::Set(RouteKey::observed(KEY), ServiceName::new("api").unwrap()));
            });
            world.look(&mut memory).await;
            let violation = world.violation().expect("it is found");
            assert_eq!(violation.invariant, Invariant::ServicesStay);
            let unmet = world.at_rest().await.expect_err("the wrong one is reported as the one without");
            assert!(unmet.what.starts_with("api: 0.0.0.0:8951") || unmet.what.starts_with("api: d4.any"), "{unmet}");
        });
    }
}
