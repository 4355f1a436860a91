//! The quotas of services and slots: what came first stays.

use std::sync::Arc;

use slog::warn;

use super::ServiceConfigActor;
use super::progress::{Parsed, parse};
use crate::limits::LEFT_OUT_NAMES_MAX;
use crate::model::{RawDefinition, ServiceDefinition, SlotRules};
use crate::port::DefinitionList;
use crate::snapshot::SERVICES_QUOTA;

impl ServiceConfigActor {
    /// Returns as many of these definitions as the quota of services allows: first those of known services.
    pub(super) fn within_quota(&mut self, list: DefinitionList) -> DefinitionList {
        let quota = self.policy.discovery.quotas.services;
        if list.len() <= quota {
            self.problems.remove(SERVICES_QUOTA);
            return list;
        }
        let is_known = |name: &Arc<str>| self.services.get(name).is_some_and(|service| service.good.is_some());
        let mut room = quota.saturating_sub(list.keys().filter(|name| is_known(name)).count());
        let mut left_out = Vec::new();
        let mut is_used = |name: &Arc<str>| {
            let is_used = is_known(name) || room > 0;
            if !is_known(name) {
                room = room.saturating_sub(1);
            }
            if !is_used && left_out.len() < LEFT_OUT_NAMES_MAX {
                left_out.push(name.to_string());
            }
            is_used
        };
        let used = list.iter().filter(|(name, _)| is_used(name)).map(|(name, raw)| (name.clone(), raw.clone()));
        let used = Arc::new(used.collect());
        let problem = format!(
            "there are {} definitions, and quotas.services is {quota}; new services are left out: {}, ...",
            list.len(),
            left_out.join(", ")
        );
        if self.problems.insert(SERVICES_QUOTA.to_owned(), vec![problem.clone()]).is_none() {
            warn!(self.log, "services are left out because of a quota"; "problem" => problem);
        }
        used
    }

    /// Returns the parsed definition, checked against the quotas.
    ///
    /// # Errors
    /// All mistakes.
    pub(super) fn parsed(&mut self, name: &Arc<str>, raw: &RawDefinition) -> Parsed {
        let parsed = self.reading.take_parsed(name, raw).unwrap_or_else(|| parse(name, raw, &self.policy.options))?;
        let own = slots_of(&parsed.definition);
        if own == 0 {
            return Ok(parsed);
        }
        let others = self.services.iter().filter(|(other, _)| *other != name);
        let others = others.filter_map(|(_, service)| service.good.as_ref());
        let others: usize = others.map(|(definition, _)| slots_of(definition)).sum();
        let quota = self.policy.discovery.quotas.slots;
        if others + own > quota {
            let exceeded = format!("\"slots\": {own}, with {others} of other services, exceeds quotas.slots: {quota}");
            return Err(vec![exceeded]);
        }
        Ok(parsed)
    }
}

fn slots_of(definition: &ServiceDefinition) -> usize {
    definition.update.slots.map_or(0, SlotRules::counted)
}
