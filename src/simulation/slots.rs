//! Services that are updated by slots: which plans have one, and which host a server of HAProxy stands for.
//!
//! The actors keep a table of that. Here it is worked out in another way: a slot stands for the host at its address.

use std::collections::BTreeMap;

use proxymgr_actors::model::{ObservedServer, RuntimeCommand, ServerId};
use serde::{Deserialize, Serialize};

use super::haproxy_model::HaproxyModel;
use super::processes::ready_in;
use super::random::Random;
use super::tampering::server;
use super::truth::{number_of, number_of_server};
use super::world::numbers;

/// How many slots a service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// At the least, and so many more at once when they run short.
    pub base: u8,
    /// They run short when fewer than this are free.
    pub min_free: u8,
    /// Whether they are used where HAProxy can add servers as well.
    pub always: bool,
}

impl Slots {
    /// The service that is updated by slots in the plan of this seed; none in most.
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

    /// What the service's definition says of them.
    pub(super) fn keys(self) -> String {
        let Self { base, min_free, always } = self;
        let update = if always { "slots" } else { "auto" };
        format!(r#", "update": "{update}", "slots": {{"base": {base}, "min_free": {min_free}}}"#)
    }
}

/// The host that a server stands for; none where it is not one of ours.
pub(super) fn host_of(model: &HaproxyModel, id: &ServerId) -> Option<u8> {
    number_of_server(id.server.as_str()).or_else(|| number_of(&observed(model, id)?.address))
}

/// The host that the server of each of these commands stands for when its turn comes.
pub(super) fn hosts_of(model: &HaproxyModel, commands: &[RuntimeCommand]) -> Vec<Option<u8>> {
    // Where the batch itself has moved a slot to by then.
    let mut moved = BTreeMap::new();
    let mut hosts = Vec::with_capacity(commands.len());
    for command in commands {
        if let RuntimeCommand::SetAddress(id, endpoint) = command {
            moved.insert(id, number_of(&endpoint.address.to_string()));
        }
        let id = command.server();
        let by_name = number_of_server(id.server.as_str());
        hosts.push(by_name.or_else(|| moved.get(id).copied().unwrap_or_else(|| host_of(model, id))));
    }
    hosts
}

/// What HAProxy calls the server of a host: by its name, or by its slot; rather one in use than one that is free.
pub(super) fn server_in(model: &HaproxyModel, service: &str, host: u8) -> Option<ServerId> {
    let id = server(service, host)?;
    if model.has(&id) {
        return Some(id);
    }
    let observation = model.observe(Some(std::slice::from_ref(&id.service)));
    let servers = observation.services.get(&id.service)?;
    let its = servers.iter().filter(|(_, server)| number_of(&server.address) == Some(host));
    let (name, _) = its.min_by_key(|(_, server)| server.in_maintenance())?;
    Some(ServerId { service: id.service, server: name.clone() })
}

/// Whether a host takes traffic, by whichever server stands for it.
pub(super) fn takes_traffic(model: &HaproxyModel, service: &str, host: u8) -> bool {
    ready_in(model).get(service).is_some_and(|hosts| hosts.contains_key(&host))
}

/// Whether another server than this one takes the traffic of the host.
pub(super) fn is_served_by_another(model: &HaproxyModel, id: &ServerId, host: u8) -> bool {
    let observation = model.observe(Some(std::slice::from_ref(&id.service)));
    let servers = observation.services.get(&id.service);
    let others = servers.into_iter().flat_map(|servers| servers.iter()).filter(|(name, _)| **name != id.server);
    numbers(others.map(|(_, server)| server)).contains_key(&host)
}

fn observed(model: &HaproxyModel, id: &ServerId) -> Option<ObservedServer> {
    let observation = model.observe(Some(std::slice::from_ref(&id.service)));
    observation.services.get(&id.service)?.get(&id.server).cloned()
}
