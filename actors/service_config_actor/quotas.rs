//! The quotas of services, slots, stick tables and rules: what came first stays.

use std::sync::Arc;

use slog::warn;

use super::ServiceConfigActor;
use super::progress::{Parsed, parse};
use crate::decide::grammar::facts::stick_table_entries;
use crate::decide::routing;
use crate::limits::{CONDITIONAL_SERVICES_MAX, LEFT_OUT_NAMES_MAX};
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
        let definition = &parsed.definition;
        let exceeded = self.beyond_slots(name, definition).or_else(|| self.beyond_tables(name, definition));
        let exceeded = exceeded.or_else(|| self.beyond_rules(name, definition));
        exceeded.map_or(Ok(parsed), |exceeded| Err(vec![exceeded]))
    }

    fn beyond_slots(&self, name: &Arc<str>, definition: &ServiceDefinition) -> Option<String> {
        let own = Some(slots_of(definition)).filter(|own| *own > 0)?;
        let others: usize = self.others(name).map(slots_of).sum();
        let quota = self.policy.discovery.quotas.slots;
        (others + own > quota)
            .then(|| format!("\"slots\": {own}, with {others} of other services, exceeds quotas.slots: {quota}"))
    }

    fn beyond_tables(&self, name: &Arc<str>, definition: &ServiceDefinition) -> Option<String> {
        let entries_of = |definition: &ServiceDefinition| stick_table_entries(&definition.listen_options);
        let own = Some(entries_of(definition)).filter(|own| *own > 0)?;
        let others = self.others(name).map(entries_of).fold(0, u64::saturating_add);
        let quota = self.policy.discovery.quotas.stick_table_entries;
        (others.saturating_add(own) > quota).then(|| {
            format!(
                "\"listen_options\": a stick table of {own} entries, with {others} of other services, exceeds \
                 quotas.stick_table_entries: {quota}"
            )
        })
    }

    /// HAProxy tries the rules of services with conditions one after the other, for every request.
    fn beyond_rules(&self, name: &Arc<str>, definition: &ServiceDefinition) -> Option<String> {
        let is_beyond = routing::has_rule(definition)
            && self.others(name).filter(|other| routing::has_rule(other)).count() >= CONDITIONAL_SERVICES_MAX;
        is_beyond.then(|| {
            format!(
                "\"match\": {CONDITIONAL_SERVICES_MAX} other services have headers, methods or sources, as many as may"
            )
        })
    }

    /// Returns the good definitions of all services but this one.
    fn others(&self, name: &Arc<str>) -> impl Iterator<Item = &ServiceDefinition> {
        let others = self.services.iter().filter(move |(other, _)| *other != name);
        others.filter_map(|(_, service)| Some(&**service.good.as_ref().map(|(definition, _)| definition)?))
    }
}

fn slots_of(definition: &ServiceDefinition) -> usize {
    definition.update.slots.map_or(0, SlotRules::counted)
}
