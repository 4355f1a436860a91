//! The desired state: every service, its hosts, and what operators chose for its servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::input::Overrides;
use super::server_life::ServerLife;
use crate::decide::deployment::SectionSpec;
use crate::decide::guard::GuardMemory;
use crate::decide::overlay::with_choices;
use crate::decide::proxy_plan::Holder;
use crate::decide::server_ids::{Numbering, ServerIdRegistry};
use crate::decide::slots::SlotTable;
use crate::decide::update_strategy::{ChosenStrategy, slot_rules};
use crate::limits::PENDING_CHANGES_MAX;
use crate::model::{
    AdminState, Blocker, ChangeId, HostList, PlanClass, Revision, ServerName, ServiceDefinition, ServiceName,
    UpdateStrategy,
};
use crate::port::{DefinitionList, SavedService, SavedState};

/// A change on its way to HAProxy.
#[derive(Debug, Clone, Copy)]
pub struct PendingChange {
    /// Which.
    pub change: ChangeId,
    /// When its source learned of it.
    pub seen_at: Instant,
    /// By what means it is being applied, as far as that is decided.
    pub class: Option<PlanClass>,
}

/// An applied change.
#[derive(Debug, Clone, Copy)]
pub struct AppliedChange {
    /// How it was applied.
    pub class: PlanClass,
    /// How long it took from the source's event, in microseconds.
    pub took_us: u64,
    /// When HAProxy had answered.
    pub at: Instant,
}

/// The changes of one service on their way, and the last one that was applied.
#[derive(Debug, Default)]
pub struct Changes {
    /// Not applied yet.
    pub pending: Vec<PendingChange>,
    /// The last applied one.
    pub last_applied: Option<AppliedChange>,
}

impl Changes {
    /// Follows a change until it is applied. Beyond a bound the newer ones are not followed one by one.
    pub fn follow(&mut self, change: PendingChange) {
        if self.pending.len() < PENDING_CHANGES_MAX {
            self.pending.push(change);
        }
    }

    /// The newest pending change.
    pub fn newest(&self) -> Option<&PendingChange> {
        self.pending.last()
    }
}

/// The list of hosts as its source shows it.
#[derive(Debug, Default)]
pub struct SourceList {
    /// Whether a list was seen, or the first read failed: either way there is nothing more to wait for.
    pub known: bool,
    /// The list's number; none before the first list.
    pub revision: Option<Revision>,
    /// When the source showed it, in milliseconds since 1970.
    pub shown_unix_ms: u64,
    /// What its guard needs to know after a restart; none before its watcher reported it.
    pub guard: Option<GuardMemory<Arc<HostList>>>,
}

/// What an earlier run of the daemon knew of a service, while it is still of use.
#[derive(Debug, Default)]
pub struct EarlierRun {
    /// Its definition, where that was updated before the first start.
    pub definition: Option<Arc<ServiceDefinition>>,
    /// What was saved of it, until its hosts are known.
    pub saved: Option<SavedService>,
}

/// Why a service is not served as its definition asks, and since when.
#[derive(Debug, Clone)]
pub struct Blocked {
    /// Why.
    pub by: Blocker,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// What is retained of a service that is not defined: by an earlier run of the daemon, or by its removal.
#[derive(Debug, Default)]
pub struct Retained {
    /// The service as it was saved, which is saved again until its hosts are known.
    pub saved: Option<SavedService>,
    /// What operators chose.
    pub overrides: Overrides,
    /// The hosts that this run last received.
    pub discovered: Arc<HostList>,
    /// Which server had which slot.
    pub slots: SlotTable,
    /// Which server had which id.
    pub ids: ServerIdRegistry,
}

impl Retained {
    /// What an earlier run saved.
    pub fn saved(saved: &SavedService) -> Self {
        let (overrides, slots) = (saved.choices.clone(), saved.slots.clone());
        let hosts = saved.hosts.clone().unwrap_or_default();
        let ids = ServerIdRegistry::restored(&saved.definition, &saved.ids, &hosts);
        Self { saved: Some(saved.clone()), overrides, slots, ids, ..Self::default() }
    }

    /// What a service retains that is removed. HAProxy has its section until a reload, and where it is defined again before,
    /// nothing is known against its hosts until it receives others.
    pub fn removed(service: DesiredService) -> Self {
        Self { discovered: service.discovered, slots: service.slots, ids: service.ids, ..Self::default() }
    }
}

/// The servers of an earlier process or run, by their names in HAProxy, and why each was kept from traffic; none where it
/// was ready.
pub type DisabledBefore = BTreeMap<ServerName, Option<Holder>>;

/// The servers that an earlier run of the daemon knew. Those of an external HAProxy are never in slots.
pub fn disabled_before(saved: &SavedService, may_be_in_slots: bool) -> DisabledBefore {
    let hosts = saved.hosts.iter().flat_map(|hosts| hosts.iter());
    let servers = hosts.map(|(name, host)| {
        let reason = match host.state {
            _ if saved.choices.contains_key(name) => Some(Holder::Operator),
            AdminState::Ready => None,
            AdminState::Drain | AdminState::Maint => Some(Holder::Discovery),
        };
        (if may_be_in_slots { saved.slots.in_haproxy(name) } else { name }.clone(), reason)
    });
    servers.collect()
}

/// One service as it should be.
#[derive(Debug)]
pub struct DesiredService {
    /// Its definition.
    pub definition: Arc<ServiceDefinition>,
    /// What an earlier run knew of it.
    pub earlier: EarlierRun,
    /// Its list of hosts, as the source shows it.
    pub source: SourceList,
    /// Its hosts as discovery shows them; before the first list those that it had when it was last removed, if any.
    pub discovered: Arc<HostList>,
    /// Its hosts with the states that operators chose.
    pub hosts: Arc<HostList>,
    /// The servers that HAProxy should have for them: the hosts themselves, or in their slots.
    pub servers: Arc<HostList>,
    /// How changes reach the running HAProxy.
    pub strategy: ChosenStrategy,
    /// Which server has which slot; empty where the strategy needs none.
    pub slots: SlotTable,
    /// Which server has which id.
    pub ids: ServerIdRegistry,
    /// What operators chose for its servers.
    pub overrides: Overrides,
    /// The servers that are in transition.
    pub life: ServerLife,
    /// Its changes on their way.
    pub changes: Changes,
    /// Why it is not served as its definition asks.
    pub blocked: Option<Blocked>,
}

impl DesiredService {
    /// A service whose hosts are not known yet, with what is retained of it.
    pub fn new(definition: Arc<ServiceDefinition>, strategy: ChosenStrategy, retained: Retained) -> Self {
        let mut service = Self {
            definition,
            earlier: EarlierRun { definition: None, saved: retained.saved },
            source: SourceList::default(),
            discovered: retained.discovered,
            hosts: Arc::default(),
            servers: Arc::default(),
            strategy,
            slots: retained.slots,
            ids: retained.ids,
            overrides: retained.overrides,
            life: ServerLife::default(),
            changes: Changes::default(),
            blocked: None,
        };
        service.derive_servers();
        service
    }

    /// Derives the servers that HAProxy should have from the discovered hosts, the overrides and the slots.
    pub fn derive_servers(&mut self) {
        let states = self.overrides.iter().map(|(server, choice)| (server, choice.state));
        self.hosts = with_choices(&self.discovered, states);
        if self.strategy.strategy != UpdateStrategy::Slots {
            self.slots = SlotTable::default();
            self.servers = self.hosts.clone();
            self.assign_ids();
            return;
        }
        // Before the first list nothing is known against who has a slot.
        if self.source.revision.is_some() || self.slots.is_empty() {
            let life = &self.life;
            self.slots.place(&self.hosts, slot_rules(&self.definition), |server| life.is_leaving(server));
        }
        self.take_servers_of_slots();
    }

    /// Gives up slots that are too many. Only for a process that has yet to start.
    pub fn shrink_slots(&mut self) {
        if self.slots_in_use().is_some() {
            self.slots.shrink(slot_rules(&self.definition));
            self.take_servers_of_slots();
        }
    }

    /// The same list stays the same value, so that it can be told apart from a new one at a glance.
    fn take_servers_of_slots(&mut self) {
        let servers = self.slots.servers(&self.hosts);
        if *self.servers != servers {
            self.servers = Arc::new(servers);
        }
        self.assign_ids();
    }

    fn assign_ids(&mut self) {
        self.ids.assign(&self.servers, Numbering::of(&self.definition, self.strategy.strategy));
    }

    /// What its section is made of, by this definition.
    pub fn section_by(&self, definition: &Arc<ServiceDefinition>) -> SectionSpec {
        SectionSpec { definition: definition.clone(), hosts: self.servers.clone(), ids: self.ids.ids().clone() }
    }

    /// Changes the strategy.
    pub fn update_by(&mut self, strategy: ChosenStrategy) {
        self.strategy = strategy;
        self.derive_servers();
    }

    /// Whether the servers that HAProxy should have are the very hosts that discovery shows.
    pub fn is_as_discovered(&self) -> bool {
        Arc::ptr_eq(&self.servers, &self.discovered)
    }

    /// Its slots, where its servers are in slots.
    pub fn slots_in_use(&self) -> Option<&SlotTable> {
        (self.strategy.strategy == UpdateStrategy::Slots).then_some(&self.slots)
    }

    /// Whether its definition cannot be applied for now. A service whose section was `loaded` with an earlier definition
    /// goes on with that, and its hosts follow; else other hosts are worth another try.
    pub fn is_blocked(&self, loaded: Option<&ServiceDefinition>) -> bool {
        match self.blocker() {
            None => false,
            Some(Blocker::PortTaken { address, .. }) => self.definition.listen == Some(*address),
            Some(Blocker::Rejected { definition, hosts, .. }) => {
                let goes_on_with_another = loaded.is_some_and(|loaded| *loaded != *self.definition);
                *definition == self.definition && (goes_on_with_another || *hosts == self.servers)
            }
        }
    }

    /// Whether HAProxy refuses its definition.
    pub fn is_rejected(&self, loaded: Option<&ServiceDefinition>) -> bool {
        matches!(self.blocker(), Some(Blocker::Rejected { .. })) && self.is_blocked(loaded)
    }

    /// Whether HAProxy refused the service with these very hosts.
    pub fn was_rejected_with(&self, seen: &HostList) -> bool {
        matches!(self.blocker(), Some(Blocker::Rejected { hosts, definition, .. })
            if **hosts == *seen && *definition == self.definition)
    }

    /// Why it is not served as its definition asks.
    pub fn blocker(&self) -> Option<&Blocker> {
        self.blocked.as_ref().map(|blocked| &blocked.by)
    }

    /// A port that was taken may be free, or not be needed any more.
    pub fn retry_port(&mut self) {
        self.blocked.take_if(|blocked| matches!(blocked.by, Blocker::PortTaken { .. }));
    }

    /// What HAProxy refused may be accepted now.
    pub fn retry_definition(&mut self) {
        self.blocked.take_if(|blocked| matches!(blocked.by, Blocker::Rejected { .. }));
    }

    /// What is worth saving of it, with the definition that `applies`.
    fn to_save(&self, applies: Arc<ServiceDefinition>) -> SavedService {
        let before = self.earlier.saved.as_ref().filter(|_| self.source.revision.is_none());
        let guard = self.source.guard.clone();
        SavedService {
            definition: applies,
            hosts: match before {
                Some(before) => before.hosts.clone(),
                None => self.source.revision.is_some().then(|| self.discovered.clone()),
            },
            seen_at_unix_ms: before.map_or(self.source.shown_unix_ms, |before| before.seen_at_unix_ms),
            choices: self.overrides.clone(),
            guard: guard.or_else(|| Some(before?.guard.clone())).unwrap_or_default(),
            slots: self.slots.clone(),
            ids: self.ids.remembered(),
        }
    }
}

/// All services as they should be.
#[derive(Debug, Default)]
pub struct Desired {
    /// By name.
    pub services: BTreeMap<ServiceName, DesiredService>,
    /// What is retained of services that are not defined, or not yet.
    pub retained: BTreeMap<ServiceName, Retained>,
    /// Why servers were kept from traffic by an earlier run of the daemon, or in an earlier external process.
    pub disabled_before: BTreeMap<ServiceName, DisabledBefore>,
    /// What the guard of the definitions needs to know after a restart. It is kept for the next run alone.
    pub definitions_guard: GuardMemory<DefinitionList>,
    /// When the definitions were first read; none before.
    pub loaded_at: Option<Instant>,
}

impl Desired {
    /// Nothing is defined yet; this is what an earlier run of the daemon saved.
    pub fn restored(saved: &[SavedService], may_be_in_slots: bool) -> Self {
        let name = |saved: &SavedService| saved.definition.name.clone();
        Self {
            retained: saved.iter().map(|saved| (name(saved), Retained::saved(saved))).collect(),
            disabled_before: saved.iter().map(|saved| (name(saved), disabled_before(saved, may_be_in_slots))).collect(),
            ..Self::default()
        }
    }

    /// Whether every service has been heard of, so that the first start is a complete one.
    pub fn is_complete(&self) -> bool {
        self.loaded_at.is_some() && self.services.values().all(|service| service.source.known)
    }

    /// The newest change that is not applied yet.
    pub fn newest_change(&self) -> Option<ChangeId> {
        self.services.values().flat_map(|service| &service.changes.pending).map(|pending| pending.change).max()
    }

    /// Whether the servers of this service are in slots.
    pub fn has_slots(&self, name: &ServiceName) -> bool {
        self.services.get(name).is_some_and(|service| service.slots_in_use().is_some())
    }

    /// What a restart of the daemon needs, with the definitions that `apply`.
    pub fn to_save(&self, applies: impl Fn(&DesiredService) -> Arc<ServiceDefinition>) -> SavedState {
        let mut services: Vec<SavedService> =
            self.services.values().map(|service| service.to_save(applies(service))).collect();
        if self.loaded_at.is_none() {
            // Of services that are not defined yet the earlier run knew more than this one.
            services.extend(self.retained.values().filter_map(|retained| retained.saved.clone()));
        }
        SavedState { services, definitions_guard: self.definitions_guard.clone() }
    }
}
