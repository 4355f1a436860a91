//! A day under a load, as the production actors handle it and as the rules of older managers would have.

use std::collections::BTreeMap;
use std::time::Duration;

use proxymgr_actors::snapshot::ActorState;
use tokio::time::{Instant, sleep, sleep_until};

use super::ancestors::{Rule, under_rule};
use super::checks::Memory;
use super::load::{Change, Load, Update, Way};
use super::plan::NAMED_FROM;
use super::slots::Slots;
use super::world::World;

/// How long HAProxy may take to start before the load begins.
const START: Duration = Duration::from_secs(60);

/// How long after the end of the load changes may still be applied.
const REST: Duration = Duration::from_secs(60);

/// Minimum of free slots: two concurrent deploys each have one host more for a while.
const SLOTS_FREE: u8 = 2;

/// Updates between two checks of the invariants that query every actor.
const UPDATES_PER_LOOK: usize = 200;

/// Results of one way of driving HAProxy through a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Runtime commands, to HAProxy and to a second one.
    pub commands: usize,
    /// Reloads, without the first start.
    pub reloads: usize,
    /// Reloads by cause; a reload with several causes counts under each.
    pub reload_causes: BTreeMap<String, u64>,
    /// Time from the change in discovery until HAProxy matched it, in milliseconds of virtual time, sorted; one entry
    /// for each applied update.
    pub took_ms: Vec<u64>,
    /// Largest number of updates that were not applied yet at one moment.
    pub backlog_max: usize,
    /// Updates that were undone before they were applied, and the updates that undid them.
    pub overtaken: usize,
    /// Updates that were not applied at the end of the day.
    pub never_in_force: usize,
}

impl Figures {
    /// Returns the time within which this percentage of the updates was applied, in milliseconds.
    pub fn percentile_ms(&self, percent: usize) -> u64 {
        self.took_ms.get(percentile_rank(self.took_ms.len(), percent)).copied().unwrap_or_default()
    }
}

/// Returns the index, from 0, of the value that bounds this percentage of the sorted values.
pub(super) fn percentile_rank(values: usize, percent: usize) -> usize {
    (values * percent).div_ceil(100).max(1) - 1
}

/// A day of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// Number of registrations and removals of hosts.
    pub updates: usize,
    /// Results of the actors.
    pub actors: Figures,
    /// Results of the actors on the same trace, in the other ways that the load names.
    pub ways: Vec<(Way, Figures)>,
    /// Results of each older rule on the same trace.
    pub ancestors: Vec<(Rule, Figures)>,
}

impl Day {
    /// Returns how many more reloads a manager would have made that always reloads.
    pub fn reloads_avoided(&self) -> usize {
        let always = self.ancestors.iter().find(|(rule, _)| *rule == Rule::AlwaysReload);
        always.map_or(0, |(_, figures)| figures.reloads.saturating_sub(self.actors.reloads))
    }
}

impl Load {
    /// Checks that such a day can be drawn.
    ///
    /// # Errors
    /// The value that makes it impossible.
    pub(super) fn check(&self) -> Result<(), String> {
        let parts = self.deploys.saturating_add(self.flaps).saturating_add(self.outages);
        if parts > 100 {
            return Err(format!("deploys, flaps and outages are percents of the updates, and add up to {parts}"));
        }
        for (key, value, max) in [("services", usize::from(self.services), 900), ("updates", self.updates, 10_000_000)]
        {
            if value == 0 || value > max {
                return Err(format!("{key} is {value}, and must be from 1 to {max}"));
            }
        }
        if self.hosts == 0 || self.hosts >= NAMED_FROM {
            return Err(format!("hosts is {}, and must be from 1 to {}", self.hosts, NAMED_FROM - 1));
        }
        if self.over < Duration::from_secs(60) {
            return Err("the load must last a minute at least".to_owned());
        }
        Ok(())
    }

    /// Defines the services and their hosts for this way.
    pub(super) fn furnish(&self, world: &World, way: Option<Way>) {
        let names: Vec<String> = (0..self.services).map(Self::service).collect();
        if way == Some(Way::SecondTarget) {
            world.have_besides(names.iter().map(String::as_str));
        }
        let base = u8::try_from(self.slots()).unwrap_or(u8::MAX);
        let slots = (way == Some(Way::Slots)).then_some(Slots { base, min_free: SLOTS_FREE, always: true });
        for service in names {
            world.update_by_slots(&service, slots);
            world.define(&service);
            (1..=self.hosts).for_each(|host| world.join(&service, host));
        }
    }
}

/// Applies a day's load to the world.
pub(super) async fn live_through(load: &Load, world: &World) -> Day {
    let updates = load.draw(world.seed());
    let names: Vec<String> = (0..load.services).map(Load::service).collect();
    sleep(START).await;
    let (mut causes, mut memory) = (Causes::default(), Memory::default());
    causes.take_in(world.look(&mut memory).await);
    let at_first = causes.so_far();
    let commands_so_far = || world.commands() + world.commands_besides();
    let (commands, starts, start) = (commands_so_far(), world.starts(), Instant::now());
    for (at, update) in updates.iter().enumerate() {
        sleep_until(start + Duration::from_millis(update.at_ms)).await;
        let service = &names[usize::from(update.service)];
        match update.change {
            Change::Join(host) => world.join(service, host),
            Change::Leave(host) => world.leave(service, host),
            Change::Options => world.change_options(service),
        }
        if at % UPDATES_PER_LOOK == 0 {
            causes.take_in(world.look(&mut memory).await);
        }
    }
    sleep(REST).await;
    causes.take_in(world.look(&mut memory).await);
    let mut reload_causes = causes.so_far();
    reload_causes.iter_mut().for_each(|(cause, times)| *times -= at_first.get(cause).copied().unwrap_or_default());
    reload_causes.retain(|_, times| *times > 0);
    let chronicle = world.chronicle();
    let mut took_ms: Vec<u64> = chronicle.applied.iter().map(|change| change.took_ms).collect();
    took_ms.sort_unstable();
    let actors = Figures {
        commands: commands_so_far() - commands,
        reloads: world.starts() - starts,
        reload_causes,
        took_ms,
        backlog_max: chronicle.backlog_max,
        overtaken: chronicle.overtaken,
        never_in_force: chronicle.never_in_force(),
    };
    let ancestors = Rule::all(load).map(|rule| (rule, under_rule(rule, load, &updates, world.seed())));
    Day { updates: count(&updates), actors, ways: Vec::new(), ancestors: ancestors.into() }
}

fn count(updates: &[Update]) -> usize {
    updates.iter().filter(|update| update.change != Change::Options).count()
}

/// Why HAProxy was reloaded, as reported by all managers so far.
#[derive(Default)]
struct Causes {
    of_earlier_managers: BTreeMap<String, u64>,
    newest: BTreeMap<String, u64>,
}

impl Causes {
    fn take_in(&mut self, states: Vec<ActorState>) {
        let counts = states.into_iter().find_map(|state| match state {
            ActorState::HaproxyState(haproxy) => Some(haproxy.counts.reload_causes),
            _ => None,
        });
        let Some(counts) = counts else { return };
        let counts: BTreeMap<String, u64> =
            counts.into_iter().map(|(cause, times)| (cause.as_str().to_owned(), times)).collect();
        // A new manager counts from zero.
        let is_new = self.newest.iter().any(|(cause, times)| counts.get(cause).is_none_or(|now| now < times));
        if is_new {
            self.of_earlier_managers = self.so_far();
        }
        self.newest = counts;
    }

    fn so_far(&self) -> BTreeMap<String, u64> {
        let mut sum = self.of_earlier_managers.clone();
        for (cause, times) in &self.newest {
            *sum.entry(cause.clone()).or_default() += times;
        }
        sum
    }
}
