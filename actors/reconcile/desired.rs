//! The desired state: every service, its hosts, and the operators' overrides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::down_servers::DownServers;
use super::input::Overrides;
use super::server_life::ServerLife;
use crate::decide::deployment::SectionSpec;
use crate::decide::guard::GuardMemory;
use crate::decide::overlay::with_choices;
use crate::decide::proxy_plan::DisabledBy;
use crate::decide::server_ids::{Numbering, ServerIdRegistry};
use crate::decide::slots::SlotTable;
use crate::decide::update_strategy::{ChosenStrategy, slot_rules};
use crate::limits::PENDING_CHANGES_MAX;
use crate::model::{
    AdminState, Blocker, ChangeId, HostList, ListenAddress, PlanClass, Revision, ServerName, ServiceDefinition,
    ServiceName, UpdateStrategy,
};
use crate::port::{DefinitionList, SavedService, SavedState};

/// A change that is not applied yet.
#[derive(Debug, Clone, Copy)]
pub struct PendingChange {
    /// Its id.
    pub change: ChangeId,
    /// When its source learned of it.
    pub seen_at: Instant,
    /// How it is being applied, as far as that is decided.
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

/// The pending changes of one service, and the last applied one.
#[derive(Debug, Default)]
pub struct Changes {
    /// Not applied yet.
    pub pending: Vec<PendingChange>,
    /// The last applied one.
    pub last_applied: Option<AppliedChange>,
}

impl Changes {
    /// Tracks a change until it is applied. Beyond a limit newer changes are not tracked one by one.
    pub fn follow(&mut self, change: PendingChange) {
        if self.pending.len() < PENDING_CHANGES_MAX {
            self.pending.push(change);
        }
    }

    /// Returns the newest pending change.
    pub fn newest(&self) -> Option<&PendingChange> {
        self.pending.last()
    }
}

/// The state of the host list at its source.
#[derive(Debug, Default)]
pub struct SourceList {
    /// Whether the first read has ended, with a list or with a failure; the first start waits for it.
    pub known: bool,
    /// The revision of the list; `None` before the first list.
    pub revision: Option<Revision>,
    /// When the source showed it, in milliseconds since 1970.
    pub shown_unix_ms: u64,
    /// The state of its guard, kept for a restart; `None` before its watcher reported it.
    pub guard: Option<GuardMemory<Arc<HostList>>>,
}

/// The state of a service from an earlier run of the daemon, while it is still needed.
#[derive(Debug, Default)]
pub struct EarlierRun {
    /// The earlier definition, where it was updated before the first start.
    pub definition: Option<Arc<ServiceDefinition>>,
    /// The addresses that it listened on.
    pub listens: BTreeSet<ListenAddress>,
    /// The saved state, until its hosts are known.
    pub saved: Option<SavedService>,
}

/// The reason why a service does not run with its current definition, and since when.
#[derive(Debug, Clone)]
pub struct Blocked {
    /// The reason.
    pub by: Blocker,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// The retained state of a service that is not defined: from an earlier run of the daemon, or from before its removal.
#[derive(Debug, Default)]
pub struct Retained {
    /// The saved state, which is saved again until its hosts are known.
    pub saved: Option<SavedService>,
    /// The overrides.
    pub overrides: Overrides,
    /// The hosts that this run last received.
    pub discovered: Arc<HostList>,
    /// The slot of each server.
    pub slots: SlotTable,
    /// The id of each server.
    pub ids: ServerIdRegistry,
}

impl Retained {
    /// Retains what an earlier run saved.
    pub fn saved(saved: &SavedService) -> Self {
        let (overrides, slots) = (saved.choices.clone(), saved.slots.clone());
        let hosts = saved.hosts.clone().unwrap_or_default();
        let ids = ServerIdRegistry::restored(&saved.definition, &saved.ids, &hosts);
        Self { saved: Some(saved.clone()), overrides, slots, ids, ..Self::default() }
    }

    /// Retains the state of a removed service. HAProxy has its section until a reload; if the service is defined again
    /// before, its last hosts stay valid until a new list arrives.
    pub fn removed(service: DesiredService) -> Self {
        Self { discovered: service.discovered, slots: service.slots, ids: service.ids, ..Self::default() }
    }
}

/// The servers of an earlier process or run, by their names in HAProxy, with the reason why each was disabled; `None`
/// where it was ready.
pub type DisabledBefore = BTreeMap<ServerName, Option<DisabledBy>>;

/// Returns the servers that an earlier run of the daemon knew. Those of an external HAProxy are never in slots.
pub fn disabled_before(saved: &SavedService, may_be_in_slots: bool) -> DisabledBefore {
    let hosts = saved.hosts.iter().flat_map(|hosts| hosts.iter());
    let servers = hosts.map(|(name, host)| {
        let reason = match host.state {
            _ if saved.choices.contains_key(name) => Some(DisabledBy::Operator),
            AdminState::Ready => None,
            AdminState::Drain | AdminState::Maint => Some(DisabledBy::Discovery),
        };
        (if may_be_in_slots { saved.slots.in_haproxy(name) } else { name }.clone(), reason)
    });
    servers.collect()
}

/// The desired state of one service.
#[derive(Debug)]
pub struct DesiredService {
    /// Its definition.
    pub definition: Arc<ServiceDefinition>,
    /// Its state from an earlier run.
    pub earlier: EarlierRun,
    /// The state of its host list at the source.
    pub source: SourceList,
    /// Its hosts in discovery; before the first list, its hosts from before its last removal, if any.
    pub discovered: Arc<HostList>,
    /// Its hosts with the states that operators chose.
    pub hosts: Arc<HostList>,
    /// The servers that HAProxy should have for them: the hosts themselves, or in their slots.
    pub servers: Arc<HostList>,
    /// How changes reach the running HAProxy.
    pub strategy: ChosenStrategy,
    /// The slot of each server; empty where the strategy uses no slots.
    pub slots: SlotTable,
    /// The id of each server.
    pub ids: ServerIdRegistry,
    /// The overrides of its servers.
    pub overrides: Overrides,
    /// The servers that are in transition.
    pub life: ServerLife,
    /// Its servers that are down.
    pub down: DownServers,
    /// Its pending and last applied changes.
    pub changes: Changes,
    /// The reason why it does not run with its current definition.
    pub blocked: Option<Blocked>,
}

impl DesiredService {
    /// Creates a service whose hosts are not known yet, with its retained state.
    pub fn new(definition: Arc<ServiceDefinition>, strategy: ChosenStrategy, retained: Retained) -> Self {
        let down = retained.saved.as_ref().map(|saved| saved.down.clone()).unwrap_or_default();
        let mut service = Self {
            definition,
            earlier: EarlierRun {
                definition: None,
                listens: retained.saved.iter().flat_map(|saved| saved.definition.addresses()).collect(),
                saved: retained.saved,
            },
            source: SourceList::default(),
            discovered: retained.discovered,
            hosts: Arc::default(),
            servers: Arc::default(),
            strategy,
            slots: retained.slots,
            ids: retained.ids,
            overrides: retained.overrides,
            life: ServerLife::default(),
            down: DownServers::restored(down),
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
        // Before the first list, no slot can be known to be free.
        if self.source.revision.is_some() || self.slots.is_empty() {
            let life = &self.life;
            self.slots.place(&self.hosts, slot_rules(&self.definition), |server| life.is_leaving(server));
        }
        self.take_servers_of_slots();
    }

    /// Removes surplus slots. Only valid for a process that has not started yet.
    pub fn shrink_slots(&mut self) {
        if self.slots_in_use().is_some() {
            self.slots.shrink(slot_rules(&self.definition));
            self.take_servers_of_slots();
        }
    }

    /// Updates the servers from the slots. An unchanged list keeps its `Arc`, so that comparing two lists is cheap.
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

    /// Returns the spec of its section with this definition.
    pub fn section_by(&self, definition: &Arc<ServiceDefinition>) -> SectionSpec {
        SectionSpec { definition: definition.clone(), hosts: self.servers.clone(), ids: self.ids.ids().clone() }
    }

    /// Changes the strategy.
    pub fn update_by(&mut self, strategy: ChosenStrategy) {
        self.strategy = strategy;
        self.derive_servers();
    }

    /// Returns whether the desired servers are exactly the discovered hosts.
    pub fn is_as_discovered(&self) -> bool {
        Arc::ptr_eq(&self.servers, &self.discovered)
    }

    /// Returns its slot table, where its servers are in slots.
    pub fn slots_in_use(&self) -> Option<&SlotTable> {
        (self.strategy.strategy == UpdateStrategy::Slots).then_some(&self.slots)
    }

    /// Returns whether its definition cannot be applied now. A service with a section of an earlier definition
    /// (`loaded`) keeps it, and its hosts stay in sync; otherwise a new host list is worth another attempt.
    pub fn is_blocked(&self, loaded: Option<&ServiceDefinition>) -> bool {
        match self.blocker() {
            None => false,
            Some(Blocker::PortTaken { address, .. }) => self.definition.addresses().any(|held| held == *address),
            Some(Blocker::Rejected { definition, hosts, .. }) => {
                let goes_on_with_another = loaded.is_some_and(|loaded| *loaded != *self.definition);
                *definition == self.definition && (goes_on_with_another || *hosts == self.servers)
            }
        }
    }

    /// Returns whether HAProxy refuses its definition.
    pub fn is_rejected(&self, loaded: Option<&ServiceDefinition>) -> bool {
        matches!(self.blocker(), Some(Blocker::Rejected { .. })) && self.is_blocked(loaded)
    }

    /// Returns whether HAProxy refused the service with exactly these hosts.
    pub fn was_rejected_with(&self, seen: &HostList) -> bool {
        matches!(self.blocker(), Some(Blocker::Rejected { hosts, definition, .. })
            if **hosts == *seen && *definition == self.definition)
    }

    /// Returns the reason why it does not run with its current definition.
    pub fn blocker(&self) -> Option<&Blocker> {
        self.blocked.as_ref().map(|blocked| &blocked.by)
    }

    /// Forgets that a port was in use: it may be free, or no longer needed.
    pub fn retry_port(&mut self) {
        self.blocked.take_if(|blocked| matches!(blocked.by, Blocker::PortTaken { .. }));
    }

    /// Forgets a refusal by HAProxy: the definition may be accepted now.
    pub fn retry_definition(&mut self) {
        self.blocked.take_if(|blocked| matches!(blocked.by, Blocker::Rejected { .. }));
    }

    /// Returns the state to save, with the definition that `applies`.
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
            down: self.down.since_unix_ms().clone(),
        }
    }
}

/// The desired state of all services.
#[derive(Debug, Default)]
pub struct Desired {
    /// By name.
    pub services: BTreeMap<ServiceName, DesiredService>,
    /// The retained state of services that are not defined, or not yet.
    pub retained: BTreeMap<ServiceName, Retained>,
    /// The reasons why servers were disabled by an earlier run of the daemon, or in an earlier external process.
    pub disabled_before: BTreeMap<ServiceName, DisabledBefore>,
    /// The state of the definitions' guard, kept only for the next run.
    pub definitions_guard: GuardMemory<DefinitionList>,
    /// When the definitions were first read; `None` before.
    pub loaded_at: Option<Instant>,
}

impl Desired {
    /// Creates a desired state without services, with what an earlier run of the daemon saved.
    pub fn restored(saved: &[SavedService], may_be_in_slots: bool) -> Self {
        let name = |saved: &SavedService| saved.definition.name.clone();
        Self {
            retained: saved.iter().map(|saved| (name(saved), Retained::saved(saved))).collect(),
            disabled_before: saved.iter().map(|saved| (name(saved), disabled_before(saved, may_be_in_slots))).collect(),
            ..Self::default()
        }
    }

    /// Returns whether the first read of every service has ended, so that the first start is complete.
    pub fn is_complete(&self) -> bool {
        self.loaded_at.is_some() && self.services.values().all(|service| service.source.known)
    }

    /// Returns the newest change that is not applied yet.
    pub fn newest_change(&self) -> Option<ChangeId> {
        self.services.values().flat_map(|service| &service.changes.pending).map(|pending| pending.change).max()
    }

    /// Returns whether the servers of this service are in slots.
    pub fn has_slots(&self, name: &ServiceName) -> bool {
        self.services.get(name).is_some_and(|service| service.slots_in_use().is_some())
    }

    /// Returns the state to save for a restart of the daemon, with the definitions that `apply`.
    pub fn to_save(&self, applies: impl Fn(&DesiredService) -> Arc<ServiceDefinition>) -> SavedState {
        let mut services: Vec<SavedService> =
            self.services.values().map(|service| service.to_save(applies(service))).collect();
        if self.loaded_at.is_none() {
            // For services that are not defined yet, the state saved by the earlier run is more complete.
            services.extend(self.retained.values().filter_map(|retained| retained.saved.clone()));
        }
        SavedState { services, definitions_guard: self.definitions_guard.clone() }
    }
}
