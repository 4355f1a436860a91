//! Domains and paths stay with the services that had them first.

use std::sync::Arc;

use super::ServiceConfigActor;
use crate::decide::route_owners::RouteOwners;
use crate::decide::routing::{keys, routed_at};
use crate::model::{RouteKey, ServiceDefinition, ServiceName};

/// The owners of domains and paths before the newest list.
#[derive(Default)]
pub(super) struct Owners {
    routes: RouteOwners,
    /// Whether definitions changed since.
    is_stale: bool,
}

impl Owners {
    /// Records that a definition changed.
    pub(super) fn changed(&mut self) {
        self.is_stale = true;
    }
}

impl ServiceConfigActor {
    /// Makes the services that run now the owners of their domains.
    pub(super) fn update_owners(&mut self) {
        if std::mem::take(&mut self.owners.is_stale) {
            let good = self.services.values().filter_map(|service| service.good.as_ref());
            self.owners.routes.update(good.map(|(definition, _)| &**definition));
        }
    }

    /// Removes from a definition the domains with which it would take requests from running services. Returns why.
    pub(super) fn leave_out_owned(&self, definition: &mut ServiceDefinition) -> Vec<String> {
        let is_claimed = |owner: &ServiceName, key: &RouteKey| {
            let owner = self.good(owner.as_str());
            let listen = owner.and_then(|owner| Some((routed_at(owner)?, owner)));
            listen.is_some_and(|(listen, owner)| keys(listen, owner).any(|claimed| claimed == *key))
        };
        let before = self.good(definition.name.as_str()).cloned();
        let left_out = self.owners.routes.leave_out(definition, before.as_deref(), is_claimed);
        left_out.iter().map(ToString::to_string).collect()
    }

    /// Reads the definitions again of which a part was left out: its owner may have given it up.
    pub(super) fn read_left_out(&mut self) {
        let waiting = self.services.iter().filter(|(_, service)| service.is_partial);
        let waiting: Vec<_> =
            waiting.filter_map(|(name, service)| Some((name.clone(), service.raw.clone()?))).collect();
        for (name, raw) in waiting {
            self.read(&name, raw);
        }
    }

    /// Returns the definition of a service that runs.
    pub(super) fn good(&self, name: &str) -> Option<&Arc<ServiceDefinition>> {
        self.services.get(name)?.good.as_ref().map(|(definition, _)| definition)
    }
}
