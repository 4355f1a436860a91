//! The grace period of removed definitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix::{AsyncContext, Context};
use slog::info;

use super::ServiceConfigActor;
use crate::decide::{rivals, routing};
use crate::model::{ListenAddress, ServiceDefinition};
use crate::port::DefinitionList;

impl ServiceConfigActor {
    /// Handles a list of the source.
    pub(super) fn list_seen(&mut self, list: DefinitionList, ctx: &mut Context<Self>) {
        let list = rivals::settle(list, |name| self.good(name).map(|running| running.origin.clone()));
        let list = self.within_quota(list);
        let missing =
            self.services.iter().filter(|(name, service)| service.good.is_some() && !list.contains_key(*name));
        let new = self.removals.absences.update(missing.map(|(name, _)| name), self.clock.now());
        for name in new {
            info!(self.log, "the definition is gone, its service is removed unless it returns";
                "service" => %name, "grace" => ?self.removals.absences.grace());
        }
        self.read_list(list, ctx);
    }

    /// Schedules the end of the next grace period.
    pub(super) fn schedule_removal(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.removals.timer.take() {
            ctx.cancel_future(timer);
        }
        let next = self.removals.absences.until_next_end(self.clock.now());
        self.removals.timer = next.map(|left| ctx.run_later(left, Self::grace_ended));
    }

    fn grace_ended(&mut self, ctx: &mut Context<Self>) {
        self.removals.timer = None;
        // The next list of a source that fails now decides.
        if self.health.definitions.error.is_none() {
            self.judge_again(ctx);
        }
    }

    /// Returns the missing services whose address a new or changed definition uses: a renamed service has the same
    /// clients, and must not wait for its port.
    pub(super) fn taken_over(&self, newest: &DefinitionList) -> BTreeSet<Arc<str>> {
        let missing = self.services.iter().filter(|(name, _)| !newest.contains_key(*name));
        let listens = missing.flat_map(|(name, service)| {
            let addresses = service.good.as_ref().map(|good| own_addresses(&good.0)).unwrap_or_default();
            addresses.into_iter().map(move |address| (address, name))
        });
        let listens: BTreeMap<ListenAddress, &Arc<str>> = listens.collect();
        if listens.is_empty() {
            return BTreeSet::new();
        }
        let of_list = self.reading.parsed().filter(|(name, _)| newest.contains_key(*name));
        let addresses = of_list.flat_map(|(_, definition)| own_addresses(definition));
        addresses.filter_map(|address| listens.get(&address).map(|name| (*name).clone())).collect()
    }
}

/// Returns the addresses that only this service uses; none where it shares them by domains.
fn own_addresses(definition: &ServiceDefinition) -> Vec<ListenAddress> {
    match routing::routed_at(definition) {
        None => definition.addresses().collect(),
        Some(_) => Vec::new(),
    }
}
