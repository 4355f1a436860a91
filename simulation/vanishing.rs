//! Discovery that loses capacity: sessions expire one after another, files are deleted one by one, hosts are replaced by
//! hosts in maintenance.

use std::time::Duration;

use actix::spawn;
use proxymgr_actors::model::{AdminState, ServiceName};
use proxymgr_actors::operator::Order;
use tokio::time::sleep;

use super::plan::{HOSTS_MAX, Step};
use super::random::Random;
use super::world::World;

/// Adds to some plans a service with limits whose hosts vanish, and to a few that definitions vanish.
pub(super) fn draw(seed: u64, services: &[(String, u8)], steps: &mut Vec<Step>) {
    let mut random = Random::of_purpose(seed, "vanishing");
    let insert = |steps: &mut Vec<Step>, random: &mut Random, added: Vec<Step>| {
        let place = usize::try_from(random.between(0, steps.len() as u64)).unwrap_or_default();
        steps.splice(place..place, added);
    };
    if random.chance(25) {
        let (service, hosts) = random.pick(services).clone();
        let max_removal_percent = *random.pick(&[25, 50]);
        let mut added = vec![Step::Limits { service: service.clone(), min_hosts: 1, max_removal_percent }];
        added.extend((hosts + 1..=HOSTS_MAX).map(|host| Step::Join { service: service.clone(), host }));
        added.push(Step::Wait { ms: random.between(30, 3_000) });
        let every_ms = every_ms(&mut random);
        added.push(Step::Vanish { service, every_ms });
        insert(steps, &mut random, added);
    }
    if random.chance(10) {
        let every_ms = every_ms(&mut random);
        insert(steps, &mut random, vec![Step::ServicesVanish { every_ms }]);
    }
}

/// Adds to some plans a service whose hosts leave after others have registered in maintenance or drain.
pub(super) fn draw_replacements(seed: u64, services: &[(String, u8)], steps: &mut Vec<Step>) {
    let mut random = Random::of_purpose(seed, "replacements");
    if !random.chance(15) {
        return;
    }
    let (service, hosts) = random.pick(services).clone();
    let state = *random.pick(&[AdminState::Maint, AdminState::Drain]);
    let wait = Step::Wait { ms: random.between(30, 3_000) };
    let joining = hosts + 1..=HOSTS_MAX;
    let mut added: Vec<_> = joining.clone().map(|host| Step::Join { service: service.clone(), host }).collect();
    added.extend(joining.map(|host| Step::HostState { service: service.clone(), host, state }));
    added.push(wait);
    added.extend((1..=hosts).map(|host| Step::Leave { service: service.clone(), host }));
    let place = usize::try_from(random.between(0, steps.len() as u64)).unwrap_or_default();
    steps.splice(place..place, added);
}

/// Draws an interval: all removals are within the window of a guard, or only some.
fn every_ms(random: &mut Random) -> u64 {
    let (least, most) = *random.pick(&[(1, 60), (1, 60), (500, 12_000)]);
    random.between(least, most)
}

impl World {
    /// Removes the hosts of a service one after another.
    pub(super) async fn vanish(&self, service: &str, every_ms: u64) {
        let hosts = self.with(|things| things.services.get(service).map(|known| known.hosts.numbers()));
        for host in hosts.into_iter().flat_map(|hosts| hosts.iter()) {
            self.leave(service, host);
            sleep(Duration::from_millis(every_ms)).await;
        }
    }

    /// Removes the services one after another.
    pub(super) async fn services_vanish(&self, every_ms: u64) {
        let services: Vec<String> = self.with(|things| {
            let defined = things.services.iter().filter(|(_, service)| service.defined);
            defined.map(|(name, _)| name.clone()).collect()
        });
        for service in services {
            self.remove(&service);
            sleep(Duration::from_millis(every_ms)).await;
        }
    }

    /// Applies the newest list of this service although its guard blocks it, like a guard without its window.
    pub(super) fn ignore_the_window(&self, service: &str) {
        let is_blocked = self.with(|things| things.oracle.is_blocked_by_window(service));
        self.pass_the_guard(service, is_blocked);
    }

    /// Applies the newest list of this service although its guard blocks it, like a guard that counts every listed host.
    pub(super) fn ignore_states(&self, service: &str) {
        let is_blocked = self.with(|things| things.oracle.is_blocked_by_capacity(service));
        self.pass_the_guard(service, is_blocked);
    }

    fn pass_the_guard(&self, service: &str, is_blocked: bool) {
        let (Some(actors), Ok(name)) = (self.actors().filter(|_| is_blocked), ServiceName::new(service)) else {
            return;
        };
        spawn(async move { drop(actors.order(Order::Accept { service: Some(name) }).await) });
    }
}
