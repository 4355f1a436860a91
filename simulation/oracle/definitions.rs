//! What the actors should make of the reports of the definitions: grace periods, guard, and the services that are left.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::model::RawDefinition;
use tokio::time::Instant;

use super::*;

impl Oracle {
    /// Notes a report of the definitions.
    pub(crate) fn defined(&mut self, definitions: &BTreeMap<String, RawDefinition>) {
        self.definitions_lost = false;
        self.reported_definitions = Some(definitions.clone());
        self.rejected_before.take_if(|rejected| rejected != definitions);
        self.absent.retain(|name, _| !definitions.contains_key(name));
        for name in self.good.iter().filter(|name| !definitions.contains_key(*name)) {
            self.absent.entry(name.clone()).or_insert_with(Instant::now);
        }
        self.settle_definitions();
    }

    /// Notes that the definitions cannot be read.
    pub(crate) fn definitions_lost(&mut self) {
        self.definitions_lost = true;
    }

    /// Returns when the next grace period of a missing definition ends.
    pub(crate) fn next_removal(&self) -> Option<Instant> {
        let now = Instant::now();
        self.absent.values().map(|since| *since + DEFINITION_GRACE).filter(|end| *end > now).min()
    }

    /// Notes that a grace period has ended. While the source fails, nothing is removed.
    pub(crate) fn grace_ended(&mut self) {
        if !self.definitions_lost {
            self.settle_definitions();
        }
    }

    /// Applies the newest report: services that it lacks stay for their grace period, and as long as the guard blocks their
    /// removal. What it adds meanwhile does not stand in for them.
    fn settle_definitions(&mut self) {
        let Some(reported) = self.reported_definitions.clone() else { return };
        let now = Instant::now();
        let stays = |since: &Instant| self.rejected_before.is_none() && *since + DEFINITION_GRACE > now;
        let kept: BTreeSet<String> =
            self.absent.iter().filter(|(_, since)| stays(since)).map(|(name, _)| name.clone()).collect();
        let is_blocked = kept.len() < self.absent.len() && !self.blocked(|name| reported.contains_key(name)).is_empty();
        let kept = if is_blocked { self.absent.keys().cloned().collect() } else { kept };
        match is_blocked {
            true => self.added_meanwhile.extend(reported.keys().filter(|name| !self.good.contains(*name)).cloned()),
            false => self.added_meanwhile.clear(),
        }
        let mut applied = reported;
        for name in &kept {
            let known = self.definitions.as_ref().and_then(|definitions| definitions.get(name));
            let known = known.cloned().unwrap_or_else(|| RawDefinition::new("", "an earlier run"));
            applied.insert(name.clone(), known);
        }
        self.absent.retain(|name, _| kept.contains(name));
        if self.definitions.as_ref() != Some(&applied) {
            self.are_defined(&applied);
        }
        match is_blocked {
            true => self.guard.blocked(),
            false => self.guard.passed(Seen::services(self.good.len())),
        }
    }

    /// Notes an order to accept the blocked definitions.
    pub(crate) fn accept_definitions(&mut self) {
        self.accepting = true;
    }

    /// Notes the answer to that order. The accepted definitions are those of the last report.
    pub(crate) fn definitions_accepted(&mut self, is_done: bool) {
        self.accepting = false;
        if let Some(reported) = self.reported_definitions.clone().filter(|_| is_done) {
            self.are_defined(&reported);
            self.absent.clear();
            self.added_meanwhile.clear();
            self.rejected_before = None;
            self.guard.accepted(Seen::services(self.good.len()));
        }
    }

    /// Applies these definitions. Services that are gone are forgotten.
    fn are_defined(&mut self, definitions: &BTreeMap<String, RawDefinition>) {
        self.since.retain(|name, _| definitions.contains_key(name));
        self.limits.retain(|name, _| definitions.contains_key(name));
        self.choices.retain(|name| definitions.contains_key(name));
        for (name, raw) in definitions {
            let Some(now) = limits_of(raw) else { continue };
            let known = self.limits.get(name);
            if known.map_or(NO_LIMITS, |known| known.now) != now {
                let before = known.map_or(NO_LIMITS, |known| known.now);
                self.limits.insert(name.clone(), KnownLimits { now, before, since: Instant::now() });
            }
        }
        for name in definitions.keys() {
            self.since.entry(name.clone()).or_insert_with(Instant::now);
        }
        self.good.retain(|name| definitions.contains_key(name));
        let readable =
            |(_, raw): &(&String, &RawDefinition)| serde_json::from_str::<serde_json::Value>(&raw.text).is_ok();
        self.good.extend(definitions.iter().filter(readable).map(|(name, _)| name.clone()));
        let (stay, gone) =
            std::mem::take(&mut self.services).into_iter().partition(|(name, _)| definitions.contains_key(name));
        self.services = stay;
        let gone: BTreeMap<String, Expected> = gone;
        for (name, Expected { mut lists, .. }) in gone {
            *self.lives.entry(name.clone()).or_default() += 1;
            self.left.extend(lists.pop().map(|(_, hosts)| (name, hosts)));
        }
        self.definitions = Some(definitions.clone());
        self.cause("the definitions changed");
    }

    /// Returns the services that these definitions would remove, if the guard blocks that.
    pub(crate) fn blocked(&self, is_defined: impl Fn(&String) -> bool) -> BTreeSet<String> {
        let gone: BTreeSet<_> = self.good.iter().filter(|name| !is_defined(name)).cloned().collect();
        let stands = |name: &&String| is_defined(name) && !self.added_meanwhile.contains(*name);
        let remaining = self.good.iter().filter(stands).count();
        if self.guard.allows(Seen::services(remaining), SERVICE_LIMITS) { BTreeSet::new() } else { gone }
    }
}
