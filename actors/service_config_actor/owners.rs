//! Domains and paths stay with the services that had them first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ServiceConfigActor;
use super::progress::Parsed;
use crate::decide::routing::{keys, routed_at};
use crate::model::{RawDefinition, RouteKey, ServiceDefinition, ServiceName};

impl ServiceConfigActor {
    /// Makes the services that run now the owners of their domains.
    pub(super) fn update_owners(&mut self) {
        let good = self.services.values().filter_map(|service| service.good.as_ref());
        self.owners.update(good.map(|(definition, _)| &**definition));
    }

    /// Leaves out the domains of a definition with which it would take requests from running services. Returns whether
    /// there are some. A definition of which no domain remains is refused: it must not get the whole port instead.
    pub(super) fn without_claimed(&self, name: &Arc<str>, parsed: Parsed) -> (Parsed, bool) {
        let mut parsed = match parsed {
            Ok(parsed) => parsed,
            mistakes => return (mistakes, false),
        };
        let is_claimed = |owner: &ServiceName, key: &RouteKey| {
            let owner = self.good(owner.as_str());
            let listen = owner.and_then(|owner| Some((routed_at(owner)?, owner)));
            listen.is_some_and(|(listen, owner)| keys(listen, owner).any(|claimed| claimed == *key))
        };
        let left_out = self.owners.leave_out(&mut parsed.definition, self.good(name).map(|good| &**good), is_claimed);
        if left_out.is_empty() {
            return (Ok(parsed), false);
        }
        let reasons = left_out.iter().map(ToString::to_string);
        if routed_at(&parsed.definition).is_none() {
            return (Err(reasons.collect()), true);
        }
        parsed.warnings.extend(reasons);
        (Ok(parsed), true)
    }

    /// Returns the definitions of which a part was left out: its owner may have given it up.
    pub(super) fn left_out(&self) -> BTreeMap<Arc<str>, RawDefinition> {
        let waiting = self.services.iter().filter(|(_, service)| service.is_partial);
        waiting.filter_map(|(name, service)| Some((name.clone(), service.raw.clone()?))).collect()
    }

    /// Returns the definition of a service that runs.
    pub(super) fn good(&self, name: &str) -> Option<&Arc<ServiceDefinition>> {
        self.services.get(name)?.good.as_ref().map(|(definition, _)| definition)
    }
}
