//! Services that are updated by slots: which plans have one, and which host a server of HAProxy serves. The actors keep
//! a table of that; here it is derived independently: a slot serves the host at its address.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proxymgr_actors::model::{ObservedServer, ObservedServers, RuntimeCommand, ServerId, ServerName, ServiceName};
use serde::{Deserialize, Serialize};

use super::haproxy_model::HaproxyModel;
use super::hosts::Hosts;
use super::plan::NAMED_FROM;
use super::processes::ready_in;
use super::random::Random;
use super::tampering::{SLOW, server};
use super::things::{Things, numbers};
use super::truth::{Service, number_of, number_of_server};

/// How long after its drain time-out a server may take to leave its slot.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);

/// Settings of a service's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// Minimum of slots, and the number that is added when they run short.
    pub base: u8,
    /// They run short when fewer than this are free.
    pub min_free: u8,
    /// Whether slots are used even if HAProxy can add servers.
    pub always: bool,
}

impl Slots {
    /// Draws the service that is updated by slots in the plan of this seed; most plans have none.
    pub(super) fn draw(seed: u64, services: &[(String, u8)]) -> Option<(String, Self)> {
        let mut random = Random::of_purpose(seed, "slots");
        if !random.chance(30) {
            return None;
        }
        let (service, _) = random.pick(services);
        let mut small = |low, high| u8::try_from(random.between(low, high)).unwrap_or(1);
        let (base, min_free) = (small(1, 4), small(1, 2));
        Some((service.clone(), Self { base, min_free, always: random.chance(70) }))
    }

    /// Returns the slot keys of the service's definition.
    pub(super) fn keys(self) -> String {
        let Self { base, min_free, always } = self;
        let update = if always { "slots" } else { "auto" };
        format!(r#", "update": "{update}", "slots": {{"base": {base}, "min_free": {min_free}}}"#)
    }
}

/// Returns the host that a server serves; `None` if it is no simulated host.
pub(super) fn host_of(model: &HaproxyModel, id: &ServerId) -> Option<u8> {
    number_of_server(id.server.as_str()).or_else(|| number_of(observed(model, id)?.address?))
}

/// Returns, for each of these commands, the host of its server at the time of its execution.
pub(super) fn hosts_of(model: &HaproxyModel, commands: &[RuntimeCommand]) -> Vec<Option<u8>> {
    // Slots that earlier commands of the batch assign to another host.
    let mut moved = BTreeMap::new();
    let mut hosts = Vec::with_capacity(commands.len());
    for command in commands {
        if let RuntimeCommand::SetAddress(id, endpoint) = command {
            moved.insert(id, endpoint.ip().and_then(number_of));
        }
        let id = command.server();
        let by_name = number_of_server(id.server.as_str());
        hosts.push(by_name.or_else(|| moved.get(id).copied().unwrap_or_else(|| host_of(model, id))));
    }
    hosts
}

/// Returns the server of a host, by its name or its slot; servers in use are preferred to free ones.
pub(super) fn server_in(model: &HaproxyModel, service: &str, host: u8) -> Option<ServerId> {
    let id = server(service, host)?;
    if model.has(&id) {
        return Some(id);
    }
    let observation = model.observe(Some(std::slice::from_ref(&id.service)));
    let servers = observation.services.get(&id.service)?;
    let its = servers.iter().filter(|(_, server)| server.address.and_then(number_of) == Some(host));
    let (name, _) = its.min_by_key(|(_, server)| server.in_maintenance())?;
    Some(ServerId { service: id.service, server: name.clone() })
}

/// Returns whether a host takes traffic, through any server.
pub(super) fn takes_traffic(model: &HaproxyModel, service: &str, host: u8) -> bool {
    ready_in(model).get(service).is_some_and(|hosts| hosts.contains_key(&host))
}

/// Returns whether a server other than this one and those in `gone` takes the traffic of the host.
pub(super) fn is_served_by_another(model: &HaproxyModel, id: &ServerId, host: u8, gone: &[&ServerId]) -> bool {
    let observation = model.observe(Some(std::slice::from_ref(&id.service)));
    let servers = observation.services.get(&id.service);
    let stays = |name: &ServerName| {
        *name != id.server && !gone.iter().any(|gone| gone.service == id.service && gone.server == *name)
    };
    let others = servers.into_iter().flat_map(|servers| servers.iter()).filter(|(name, _)| stays(name));
    numbers(others.map(|(_, server)| server)).contains_key(&host)
}

impl Things {
    /// Notes a changed or first list of hosts, and whether that is a cause for a reload.
    pub(super) fn note_hosts(&mut self, service: &str, first: bool, changed: bool) {
        let dynamic = self.version.major > 2 || self.version.minor >= 6;
        let slots = self.services.get(service).and_then(|known| known.slots).filter(|slots| slots.always || !dynamic);
        // A new host that is given by name needs a reload.
        let is_named = |hosts: &Hosts| hosts.numbers().iter().any(|host| host >= NAMED_FROM);
        let is_referred = |hosts: &Hosts| hosts.numbers().iter().any(|host| self.is_referred(service, host));
        let needs_reload = self.oracle.applied(service).is_some_and(|hosts| is_named(hosts) || is_referred(hosts))
            || match slots {
                Some(slots) => self.slots_run_short(service, slots),
                None => !dynamic,
            };
        if first || (changed && needs_reload) {
            self.oracle.cause(format!("the hosts of {service}"));
        } else if changed && slots.is_some() {
            self.oracle.came_before_a_launch(format!("the hosts of {service}, of which the launch does not know"));
        }
    }

    /// Notes that the manager has learned HAProxy's version: services leave their slots if it can add servers, except
    /// hosts that are given by name, or that the operator's lines refer to.
    pub(super) fn note_slots_left(&mut self) {
        let dynamic = self.version.major > 2 || self.version.minor >= 6;
        let leave = |known: &Service| known.slots.is_some_and(|slots| !slots.always && dynamic);
        let leaving: Vec<String> =
            self.services.iter().filter(|(_, known)| leave(known)).map(|(name, _)| name.clone()).collect();
        for name in leaving {
            let needs_reload = |host| host >= NAMED_FROM || self.is_referred(&name, host);
            let hosts = self.oracle.applied(&name);
            if hosts.is_some_and(|hosts| hosts.numbers().iter().any(needs_reload)) {
                self.oracle.cause(format!("{name} has a host that needs a reload and leaves its slots"));
            }
        }
    }

    /// Returns whether the applied hosts exceed the slots, or leave too few of them free.
    fn slots_run_short(&self, service: &str, slots: Slots) -> bool {
        let Some(hosts) = self.oracle.applied(service) else { return true };
        // The number of slots of a starting process is not known here.
        if self.oracle.is_launching() {
            return true;
        }
        let Ok(name) = ServiceName::new(service) else { return true };
        let sections = self.processes.values().filter(|process| !process.draining).map(|process| {
            let servers = process.model.observe(Some(std::slice::from_ref(&name))).services.remove(&name);
            (servers.unwrap_or_default(), process.was_faulty)
        });
        let mut sections = sections.peekable();
        let there_is_none = sections.peek().is_none();
        there_is_none
            || sections.any(|(servers, was_faulty)| {
                let has = servers.keys().filter(|server| number_of_server(server.as_str()).is_none()).count();
                // A server with a host name cannot get another address at run time.
                let has_names = servers.values().any(|server| server.fqdn.is_some());
                let too_few = has < hosts.len() + usize::from(slots.min_free);
                has_names
                    || too_few
                    || (self.takes_time && (was_faulty || self.slots_are_left_slowly(service, &servers)))
            })
    }

    /// Returns whether there are more new hosts than slots without a draining host.
    fn slots_are_left_slowly(&self, service: &str, servers: &ObservedServers) -> bool {
        let Some(hosts) = self.oracle.applied(service) else { return true };
        let before = self.oracle.lately_in_force(service, SLOW.drain_timeout + LEAVES_WITHIN);
        let in_use = servers.values().filter(|server| !server.in_maintenance());
        let in_use = in_use.filter_map(|server| server.address.and_then(number_of)).chain(before);
        let in_use: BTreeSet<u8> = in_use.collect();
        let new = hosts.numbers().iter().filter(|host| !in_use.contains(host)).count();
        new > 0 && in_use.len() + new > servers.len()
    }
}

fn observed(model: &HaproxyModel, id: &ServerId) -> Option<ObservedServer> {
    let observation = model.observe(Some(std::slice::from_ref(&id.service)));
    observation.services.get(&id.service)?.get(&id.server).cloned()
}
