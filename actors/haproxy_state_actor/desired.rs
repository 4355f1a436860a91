//! The desired state: every service that is wanted, with its hosts.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::choices::Choices;
use super::life_cycle::LifeCycle;
use crate::decide::overlay::with_choices;
use crate::decide::proxy_plan::Holder;
use crate::decide::slots::SlotTable;
use crate::decide::update_strategy::{ChosenStrategy, slot_rules};
use crate::limits::PENDING_CHANGES_MAX;
use crate::model::{
    AdminState, Blocker, ChangeId, HostList, OperatorChoice, PlanClass, Revision, ServerName, ServiceDefinition,
    ServiceName, UpdateStrategy,
};
use crate::port::{RejectedDefinitions, SavedService, SavedState};

/// A change on its way to HAProxy.
#[derive(Debug, Clone, Copy)]
pub struct PendingChange {
    /// Which.
    pub change: ChangeId,
    /// When its source learned of it.
    pub seen_at: Instant,
    /// By what means it is being applied, as far as it is known.
    pub class: Option<PlanClass>,
}

/// A change in force.
#[derive(Debug, Clone, Copy)]
pub struct AppliedChange {
    /// How it was applied.
    pub class: PlanClass,
    /// How long it took from the source's event, in microseconds.
    pub took_us: u64,
    /// When HAProxy had answered.
    pub at: Instant,
}

/// What is left of a service that is not defined: by an earlier run of the daemon, or by its removal.
#[derive(Debug, Default)]
pub struct LeftBehind {
    /// The service as it was saved, which is worth saving again until its hosts are told.
    pub saved: Option<SavedService>,
    /// What operators chose.
    pub choices: BTreeMap<ServerName, OperatorChoice>,
    /// The hosts that this run was last told.
    pub discovered: Arc<HostList>,
    /// Which server had which slot.
    pub slots: SlotTable,
}

impl LeftBehind {
    /// What is saved of a service.
    pub fn of(saved: &SavedService) -> Self {
        let (choices, slots) = (saved.choices.clone(), saved.slots.clone());
        Self { saved: Some(saved.clone()), choices, slots, ..Self::default() }
    }

    /// What a service leaves that is removed. HAProxy has its section until a reload, and where it is defined again before,
    /// nothing is known against its hosts until it is told others.
    pub fn by(removed: DesiredService) -> Self {
        Self { discovered: removed.discovered, slots: removed.slots, ..Self::default() }
    }
}

/// The servers that were wanted, by their names in HAProxy, and for whom each was kept from traffic; none where it was
/// wanted ready.
pub type WantedBefore = BTreeMap<ServerName, Option<Holder>>;

/// The servers that an earlier run wanted. Those of a HAProxy that somebody else runs are never in slots.
pub fn wanted_before(saved: &SavedService, may_be_in_slots: bool) -> WantedBefore {
    let hosts = saved.hosts.iter().flat_map(|hosts| hosts.iter());
    let wanted = hosts.map(|(name, host)| {
        let holder = match host.state {
            _ if saved.choices.contains_key(name) => Some(Holder::Operator),
            AdminState::Ready => None,
            AdminState::Drain | AdminState::Maint => Some(Holder::Discovery),
        };
        (if may_be_in_slots { saved.slots.in_haproxy(name) } else { name }.clone(), holder)
    });
    wanted.collect()
}

/// One service as it should be.
#[derive(Debug)]
pub struct DesiredService {
    /// Its definition.
    pub definition: Arc<ServiceDefinition>,
    /// What it was in an earlier run of the daemon, where it has been defined anew before the first start.
    pub before: Option<Arc<ServiceDefinition>>,
    /// Its hosts as discovery shows them; before the first list those that it had when it was last removed, if any.
    pub discovered: Arc<HostList>,
    /// Its hosts as they are wanted: with what operators chose.
    pub hosts: Arc<HostList>,
    /// The servers that HAProxy should have for them: the hosts themselves, or in their slots.
    pub servers: Arc<HostList>,
    /// How changes reach the running HAProxy.
    pub strategy: ChosenStrategy,
    /// Which server has which slot; empty where the strategy needs none.
    pub slots: SlotTable,
    /// What operators chose.
    pub choices: Choices,
    /// The newest list of its hosts, where an operator rejected it.
    pub rejected: Option<Arc<HostList>>,
    /// The servers that are on their way.
    pub life: LifeCycle,
    /// What was saved of it, until its hosts are told: those of the earlier run are on their way, too.
    pub saved_before: Option<SavedService>,
    /// Whether a list was seen, or the first look failed: either way there is nothing more to wait for.
    pub known: bool,
    /// Of the hosts; none before the first list.
    pub revision: Option<Revision>,
    /// When the source showed the list, in milliseconds since 1970.
    pub shown_unix_ms: u64,
    /// The changes that are not in force yet.
    pub pending: Vec<PendingChange>,
    /// What stands in the way.
    pub blocker: Option<Blocker>,
    /// Since when, in milliseconds since 1970; of no meaning without an blocker.
    pub blocked_since_unix_ms: u64,
    /// The last change that came into force.
    pub last_applied: Option<AppliedChange>,
}

impl DesiredService {
    /// A service whose hosts are not told yet, with what is left of it.
    pub fn new(definition: Arc<ServiceDefinition>, strategy: ChosenStrategy, left: LeftBehind) -> Self {
        let mut service = Self {
            definition,
            before: None,
            discovered: left.discovered,
            hosts: Arc::default(),
            servers: Arc::default(),
            strategy,
            slots: left.slots,
            choices: Choices::restored(left.choices),
            rejected: None,
            life: LifeCycle::default(),
            saved_before: left.saved,
            known: false,
            revision: None,
            shown_unix_ms: 0,
            pending: Vec::new(),
            blocker: None,
            blocked_since_unix_ms: 0,
            last_applied: None,
        };
        service.choose();
        service
    }

    /// Puts what operators chose in the place of what discovery asks for.
    pub fn choose(&mut self) {
        self.hosts = with_choices(&self.discovered, self.choices.states());
        self.place();
    }

    /// Says which servers HAProxy should have for the hosts.
    fn place(&mut self) {
        if self.strategy.strategy != UpdateStrategy::Slots {
            self.slots = SlotTable::default();
            self.servers = self.hosts.clone();
            return;
        }
        // Before the first list nothing is known against who has a slot.
        if self.revision.is_some() || self.slots.is_empty() {
            self.place_in_slots();
        }
        self.take_servers_of_slots();
    }

    fn place_in_slots(&mut self) {
        let life = &self.life;
        self.slots.place(&self.hosts, slot_rules(&self.definition), |server| life.is_leaving(server));
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
    }

    /// Puts a strategy in force.
    pub fn update_by(&mut self, strategy: ChosenStrategy) {
        self.strategy = strategy;
        self.place();
    }

    /// Whether the servers that HAProxy should have are the very hosts that discovery shows.
    pub fn is_as_discovered(&self) -> bool {
        Arc::ptr_eq(&self.servers, &self.discovered)
    }

    /// Its slots, where its servers are in slots.
    pub fn slots_in_use(&self) -> Option<&SlotTable> {
        (self.strategy.strategy == UpdateStrategy::Slots).then_some(&self.slots)
    }

    /// Whether its definition cannot be put in force for now. A service whose section was loaded with an earlier
    /// definition goes on with that, and its hosts follow; else other hosts are worth another try.
    pub fn is_blocked(&self, loaded: Option<&ServiceDefinition>) -> bool {
        match &self.blocker {
            None => false,
            Some(Blocker::PortTaken { address, .. }) => self.definition.listen == Some(*address),
            Some(Blocker::Rejected { definition, hosts, .. }) => {
                let goes_on_with_another = loaded.is_some_and(|loaded| *loaded != *self.definition);
                *definition == self.definition && (goes_on_with_another || *hosts == self.servers)
            }
        }
    }

    /// Whether it is HAProxy that refuses its definition.
    pub fn is_rejected(&self, loaded: Option<&ServiceDefinition>) -> bool {
        matches!(self.blocker, Some(Blocker::Rejected { .. })) && self.is_blocked(loaded)
    }

    /// Whether HAProxy refused the service with these very hosts.
    pub fn was_rejected_with(&self, seen: &HostList) -> bool {
        matches!(&self.blocker, Some(Blocker::Rejected { hosts, definition, .. })
            if **hosts == *seen && *definition == self.definition)
    }

    /// Remembers a change until it is in force. Beyond a bound the newer ones are not followed one by one.
    pub fn remember(&mut self, change: PendingChange) {
        if self.pending.len() < PENDING_CHANGES_MAX {
            self.pending.push(change);
        }
    }
}

/// All services as they should be.
#[derive(Debug, Default)]
pub struct Desired {
    /// By name.
    pub services: BTreeMap<ServiceName, DesiredService>,
    /// The newest list of definitions, where an operator rejected it. It is kept for the next run alone.
    pub rejected_definitions: Option<RejectedDefinitions>,
    /// When the definitions were first read; none before.
    pub loaded_at: Option<Instant>,
}

impl Desired {
    /// Whether every service has been heard of, so that the first start is a complete one.
    pub fn is_complete(&self) -> bool {
        self.loaded_at.is_some() && self.services.values().all(|service| service.known)
    }

    /// The newest change that is not in force yet.
    pub fn newest_change(&self) -> Option<ChangeId> {
        self.services.values().flat_map(|service| &service.pending).map(|pending| pending.change).max()
    }

    /// What is worth keeping across restarts of the daemon, with the definitions that are `in_force`.
    pub fn to_save(&self, in_force: impl Fn(&DesiredService) -> Arc<ServiceDefinition>) -> SavedState {
        let saved = |service: &DesiredService| {
            let before = service.saved_before.as_ref().filter(|_| service.revision.is_none());
            SavedService {
                definition: in_force(service),
                hosts: match before {
                    Some(before) => before.hosts.clone(),
                    None => service.revision.is_some().then(|| service.discovered.clone()),
                },
                seen_at_unix_ms: before.map_or(service.shown_unix_ms, |before| before.seen_at_unix_ms),
                choices: service.choices.all().clone(),
                rejected: service.rejected.clone().or_else(|| before.and_then(|before| before.rejected.clone())),
                slots: service.slots.clone(),
            }
        };
        let services = self.services.values().map(saved).collect();
        SavedState { services, rejected_definitions: self.rejected_definitions.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::service_definition;
    use crate::decide::update_strategy::choose;
    use crate::model::{Address, Endpoint, Host, RawDefinition, UpdateChoice};

    fn saved() -> SavedService {
        let raw = RawDefinition::new(r#"{"type": "file", "path": "/x", "port": 80}"#, "a test");
        let definition = service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap().definition;
        let endpoint = Endpoint { address: Address::Name("a".into()), port: 80.try_into().unwrap() };
        let hosts = Arc::new(HostList::from_iter([(ServerName::new("a:80").unwrap(), Host::at(endpoint).into())]));
        SavedService {
            definition: Arc::new(definition),
            hosts: Some(hosts.clone()),
            seen_at_unix_ms: 7,
            choices: BTreeMap::new(),
            rejected: Some(hosts),
            slots: SlotTable::default(),
        }
    }

    #[test]
    fn what_is_saved_before_the_hosts_of_the_earlier_run_are_told_still_has_them() {
        let saved = saved();
        let in_force = |service: &DesiredService| service.definition.clone();
        let mut desired = Desired::default();
        let strategy = choose(&saved.definition, UpdateChoice::Auto, None, false);
        let service = DesiredService::new(saved.definition.clone(), strategy, LeftBehind::of(&saved));
        desired.services.insert(saved.definition.name.clone(), service);
        assert_eq!(desired.to_save(in_force).services, std::slice::from_ref(&saved));
        let service = desired.services.values_mut().next().unwrap();
        service.revision = Some(Revision::default());
        let told = SavedService { hosts: Some(Arc::default()), seen_at_unix_ms: 0, rejected: None, ..saved };
        assert_eq!(desired.to_save(in_force).services, [told], "what is told counts");
    }
}
