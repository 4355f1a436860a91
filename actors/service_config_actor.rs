//! Owns the definitions of all services. Starts, updates and stops one WatcherActor per service.

mod guarded;
mod owners;
mod progress;
mod quotas;
mod reading;
mod removal;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, Recipient, SpawnHandle};
use slog::{Logger, info, warn};

use self::progress::Reading;
use crate::clock::Clock;
use crate::confirmation::Confirmation;
use crate::decide::absences::Absences;
use crate::decide::grants::HostGrant;
use crate::decide::guard::{Guard, GuardLimits};
use crate::decide::option_policy::OptionPolicy;
use crate::decide::route_owners::RouteOwners;
use crate::decide::service_definition::ParsedDefinition;
use crate::decide::{server_order, unknown_keys};
use crate::journal::{Event, JournalEntry};
use crate::limits::DEFINITIONS_MAX;
use crate::listeners::Listeners;
use crate::message::{
    DefinitionsGuardChanged, DefinitionsLoaded, DefinitionsSeen, GetState, ListWatchers, PolicyChanged, Record,
    Redefine, Refresh, RefreshService, ServiceDefined, ServiceRemoved, StopWatching, WatcherHandle,
};
use crate::model::{DiscoveryPolicy, RawDefinition, ServiceDefinition, ServiceName};
use crate::operator::OrderRefused;
use crate::port::{DefinitionList, DefinitionSource, HostSources, OpenSource, SavedService, SavedState};
use crate::snapshot::{ActorState, ServiceConfigState, SourceHealth};

/// Starts the watcher of one service, with the saved state of an earlier run of the daemon.
pub type StartWatcher = Box<dyn Fn(Arc<ServiceDefinition>, HostGrant, Option<SavedService>) -> WatcherHandle>;

/// The recipients of the ServiceConfigActor's messages.
pub struct ServiceConfigPeers {
    /// Receives new services and updated definitions.
    pub defined: Listeners<ServiceDefined>,
    /// Receives removed services.
    pub removed: Listeners<ServiceRemoved>,
    /// Is notified after the first list of all services.
    pub loaded: Listeners<DefinitionsLoaded>,
    /// Saves the state of the guard for a restart.
    pub guard: Recipient<DefinitionsGuardChanged>,
    /// Records events.
    pub journal: Recipient<Record>,
}

/// The ports of the ServiceConfigActor.
pub struct ServiceConfigPorts {
    /// The source of definitions.
    pub definitions: Rc<dyn DefinitionSource>,
    /// The sources of hosts, which receive the policy for host options; opened by the watchers.
    pub host_sources: Rc<dyn HostSources>,
}

/// The limits for definitions.
pub struct ServicePolicy {
    /// The options that they may use, and their defaults.
    pub options: OptionPolicy,
    /// The largest share of the services that may be removed within the window of the guard.
    pub removal_max: f64,
    /// How discovery is read.
    pub discovery: DiscoveryPolicy,
}

impl ServicePolicy {
    fn host_grant(&self, definition: &ServiceDefinition) -> HostGrant {
        self.options.grants.hosts_of(definition.name.as_str())
    }

    fn guard_limits(&self) -> GuardLimits {
        GuardLimits::of_services(self.removal_max, self.options.removal.window)
    }
}

/// Owner of the service definitions.
pub struct ServiceConfigActor {
    ports: ServiceConfigPorts,
    source: Option<Box<dyn OpenSource>>,
    health: Health,
    policy: ServicePolicy,
    services: BTreeMap<Arc<str>, Service>,
    /// The owners of domains and paths before the newest list.
    owners: RouteOwners,
    problems: BTreeMap<String, Vec<String>>,
    guard: Guard<DefinitionList>,
    reading: Reading,
    removals: Removals,
    /// What an earlier run saved, until it is restored; then the last state of the guard that was sent to be saved.
    saved: SavedState,
    start_watcher: StartWatcher,
    peers: ServiceConfigPeers,
    clock: Clock,
    log: Logger,
}

/// Whether the sources can be read.
struct Health {
    definitions: SourceHealth,
    /// `None` where nothing was reported yet.
    annotations: Option<SourceHealth>,
    /// When the definitions are read again in any case.
    confirmation: Confirmation,
}

/// The removals that wait for the end of a grace period.
struct Removals {
    /// The services that the newest list lacks.
    absences: Absences,
    /// Ends the next grace period.
    timer: Option<SpawnHandle>,
    /// The services that blocked lists added. They do not stand in for those that such a list lacks.
    added_meanwhile: BTreeSet<Arc<str>>,
}

struct Service {
    /// The last raw definition, valid or not; `None` where it comes from an earlier run and has not been read since.
    raw: Option<RawDefinition>,
    /// Whether domains are left out of it because other services have them.
    is_partial: bool,
    /// The last good definition; `None` where there never was one.
    good: Option<(Arc<ServiceDefinition>, WatcherHandle)>,
}

impl ServiceConfigActor {
    /// Creates an actor that has read nothing yet. Restored are the services of an earlier run, which stay until the
    /// source reports otherwise, and the list that was rejected then.
    pub fn new(
        ports: ServiceConfigPorts,
        policy: ServicePolicy,
        saved: SavedState,
        start_watcher: StartWatcher,
        peers: ServiceConfigPeers,
        clock: Clock,
        log: Logger,
    ) -> Self {
        let definitions = SourceHealth { since_unix_ms: clock.unix_ms(), ..SourceHealth::default() };
        let absences = Absences::of_source(ports.definitions.are_derived());
        Self {
            ports,
            source: None,
            health: Health {
                definitions,
                annotations: None,
                confirmation: Confirmation::every(policy.discovery.confirm_interval),
            },
            policy,
            services: BTreeMap::new(),
            owners: RouteOwners::default(),
            problems: BTreeMap::new(),
            guard: Guard::default(),
            reading: Reading::default(),
            removals: Removals { absences, timer: None, added_meanwhile: BTreeSet::new() },
            saved,
            start_watcher,
            peers,
            clock,
            log,
        }
    }

    fn restore(&mut self) {
        for saved in std::mem::take(&mut self.saved.services) {
            // What the base configuration says is no part of a definition.
            let definition = Arc::new(ServiceDefinition { in_base: None, ..(*saved.definition).clone() });
            if let Err(refusal) = self.policy.options.judge_definition(&definition) {
                warn!(self.log, "a saved service is left out, its options are not allowed";
                    "service" => %definition.name, "refusal" => refusal);
                continue;
            }
            let name: Arc<str> = definition.name.as_str().into();
            self.peers.defined.do_send(ServiceDefined { definition: definition.clone() });
            let watcher = (self.start_watcher)(definition.clone(), self.policy.host_grant(&definition), Some(saved));
            self.services.insert(name, Service { raw: None, is_partial: false, good: Some((definition, watcher)) });
        }
        self.owners.changed();
        self.restore_guard();
    }

    /// Reads a definition and applies it, if it is valid.
    fn read(&mut self, name: &Arc<str>, raw: RawDefinition) {
        let origin = raw.origin.clone();
        let parsed = self.parsed(name, &raw);
        let (parsed, is_partial) = self.without_claimed(name, parsed);
        let service =
            self.services.entry(name.clone()).or_insert_with(|| Service { raw: None, is_partial: false, good: None });
        service.raw = Some(raw);
        service.is_partial = is_partial;
        match parsed {
            Ok(ParsedDefinition { definition, mut warnings }) => {
                warnings.extend(unknown_keys::in_definition(&definition.source, self.ports.host_sources.kinds()));
                self.report_ignored(name, &origin, warnings);
                self.define(name, Arc::new(definition));
            }
            Err(mistakes) => {
                let kept = if service.good.is_some() { "its last good definition stays" } else { "it is left out" };
                self.report_mistakes(name, &origin, mistakes, kept);
            }
        }
    }

    fn define(&mut self, name: &Arc<str>, definition: Arc<ServiceDefinition>) {
        self.owners.changed();
        let grant = self.policy.host_grant(&definition);
        let Some(service) = self.services.get_mut(name) else { return };
        match &mut service.good {
            Some((known, _)) if *known == definition => return,
            Some((known, watcher)) => {
                info!(self.log, "definition updated"; "service" => %name);
                let ranks_change = server_order::ranks_all(known) != server_order::ranks_all(&definition);
                if known.source != definition.source || known.removal != definition.removal || ranks_change {
                    watcher.redefine.do_send(Redefine { definition: definition.clone(), grant, reopen: false });
                }
                *known = definition.clone();
            }
            none => {
                info!(self.log, "the service is new"; "service" => %name, "origin" => %definition.origin);
                *none = Some((definition.clone(), (self.start_watcher)(definition.clone(), grant, None)));
            }
        }
        let entry = JournalEntry::new(Event::ServiceDefined).service(&definition.name);
        self.peers.journal.do_send(Record(entry));
        self.peers.defined.do_send(ServiceDefined { definition });
    }

    fn remove(&mut self, name: &Arc<str>) {
        self.owners.changed();
        let Some(Service { good: Some((definition, watcher)), .. }) = self.services.remove(name) else { return };
        info!(self.log, "the service was removed"; "service" => %name);
        watcher.stop.do_send(StopWatching);
        self.peers.removed.do_send(ServiceRemoved { service: definition.name.clone() });
        let entry = JournalEntry::new(Event::ServiceRemoved).service(&definition.name);
        self.peers.journal.do_send(Record(entry));
    }

    /// Logs and shows what has no effect in a definition that is used.
    fn report_ignored(&mut self, name: &Arc<str>, origin: &str, warnings: Vec<String>) {
        let problems: Vec<String> = warnings.iter().map(|warning| format!("{origin}: {warning}")).collect();
        if self.problems.get(name.as_ref()) == Some(&problems) {
            return;
        }
        for warning in &warnings {
            warn!(self.log, "a part of a service's definition has no effect";
                "service" => %name, "origin" => origin, "problem" => warning);
        }
        self.show(name, problems);
    }

    /// Logs, records and shows the mistakes of a definition that cannot be used.
    fn report_mistakes(&mut self, name: &Arc<str>, origin: &str, mistakes: Vec<String>, consequence: &str) {
        let problems: Vec<String> = mistakes.iter().map(|mistake| format!("{mistake}; {consequence}")).collect();
        let shown: Vec<String> = problems.iter().map(|problem| format!("{origin}: {problem}")).collect();
        if self.problems.get(name.as_ref()) == Some(&shown) {
            return;
        }
        for problem in &problems {
            warn!(self.log, "a service's definition is invalid";
                "service" => %name, "origin" => origin, "problem" => problem);
            let mut entry = JournalEntry::new(Event::InputRefused { problem: format!("{origin}: {problem}") });
            entry.service = ServiceName::new(name).ok();
            self.peers.journal.do_send(Record(entry));
        }
        self.show(name, shown);
    }

    fn show(&mut self, name: &Arc<str>, problems: Vec<String>) {
        if problems.is_empty() {
            self.problems.remove(name.as_ref());
        } else {
            self.problems.insert(name.to_string(), problems);
        }
    }

    /// Has the source confirmed, and schedules the next confirmation.
    fn confirm(&mut self, ctx: &mut Context<Self>) {
        if let Some(source) = &self.source {
            source.confirm();
            if self.health.confirmation.requested() && self.health.definitions.error.is_none() {
                self.source_failed(self.health.confirmation.error());
            }
        }
        ctx.run_later(self.health.confirmation.pause(), Self::confirm);
    }

    /// Records a change that the watch of the source did not report.
    fn change_missed(&mut self) {
        self.health.definitions.missed_changes += 1;
        warn!(self.log, "the source of definitions did not report a change, the periodic confirmation found it");
        self.peers.journal.do_send(Record(JournalEntry::new(Event::ChangeMissed)));
    }

    fn source_read(&mut self) {
        let now = self.clock.unix_ms();
        let first = self.health.definitions.read_at_unix_ms.replace(now).is_none();
        if self.health.definitions.error.take().is_some() {
            info!(self.log, "the service definitions can be read again");
            self.health.definitions.since_unix_ms = now;
            self.peers.journal.do_send(Record(JournalEntry::new(Event::SourceBack)));
        }
        if first {
            self.reading.is_first = true;
        }
    }

    fn source_failed(&mut self, error: String) {
        if self.health.definitions.error.is_none() {
            warn!(self.log, "the service definitions cannot be read, the services known so far stay";
                "error" => &error, "services" => self.services.len());
            self.health.definitions.since_unix_ms = self.clock.unix_ms();
            self.peers.journal.do_send(Record(JournalEntry::new(Event::SourceLost { error: error.clone() })));
        }
        self.health.definitions.error = Some(error);
        let first = self.health.definitions.read_at_unix_ms.is_none();
        if first && !self.services.is_empty() {
            // Only the services of the earlier run are known: serve them.
            self.peers.loaded.do_send(DefinitionsLoaded);
        }
    }
}

impl ServiceConfigActor {
    /// Handles the state of the annotations' source. Definitions stay valid without annotations, or with old ones.
    fn annotations_heard(&mut self, heard: Result<(), String>) {
        let now = self.clock.unix_ms();
        let health =
            self.health.annotations.get_or_insert_with(|| SourceHealth { since_unix_ms: now, ..Default::default() });
        let event = match heard {
            Ok(()) => {
                health.read_at_unix_ms = Some(now);
                health.error.take().map(|_| Event::AnnotationsBack)
            }
            Err(error) => {
                let was_away = health.error.replace(error.clone()).is_some();
                (!was_away).then_some(Event::AnnotationsLost { error })
            }
        };
        if let Some(event) = event {
            health.since_unix_ms = now;
            self.peers.journal.do_send(Record(JournalEntry::new(event)));
        }
    }
}

impl Actor for ServiceConfigActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.restore();
        self.source = Some(self.ports.definitions.open(ctx.address().recipient()));
        ctx.run_later(self.health.confirmation.first_pause("the definitions"), Self::confirm);
    }
}

impl Handler<DefinitionsSeen> for ServiceConfigActor {
    type Result = ();

    fn handle(&mut self, DefinitionsSeen { result, missed, annotations }: DefinitionsSeen, ctx: &mut Self::Context) {
        self.health.confirmation.answered();
        if let Some(heard) = annotations {
            self.annotations_heard(heard);
        }
        match result {
            Err(error) => self.source_failed(error),
            Ok(seen) if seen.len() > DEFINITIONS_MAX => {
                self.source_failed(format!("there are {} definitions, at most {DEFINITIONS_MAX} are read", seen.len()));
            }
            Ok(seen) => {
                if missed {
                    self.change_missed();
                }
                self.source_read();
                self.list_seen(Arc::new(seen), ctx);
            }
        }
    }
}

impl Handler<Refresh> for ServiceConfigActor {
    type Result = ();

    fn handle(&mut self, _: Refresh, _: &mut Self::Context) {
        info!(self.log, "reading everything again");
        self.source.iter().for_each(|source| source.refresh());
        for (_, watcher) in self.services.values().filter_map(|service| service.good.as_ref()) {
            watcher.refresh.do_send(Refresh);
        }
    }
}

impl Handler<PolicyChanged> for ServiceConfigActor {
    type Result = ();

    /// Reads every definition again, and has every source read its entries again, under the new policy.
    fn handle(&mut self, PolicyChanged { options, services_removal_max, .. }: PolicyChanged, ctx: &mut Self::Context) {
        let discovery = self.policy.discovery;
        let policy = ServicePolicy { options, removal_max: services_removal_max, discovery };
        let before = std::mem::replace(&mut self.policy, policy);
        let options = &self.policy.options;
        let guard_changed = before.guard_limits() != self.policy.guard_limits();
        let entries_change = before.options.extra != options.extra || before.options.grants != options.grants;
        if before.options != *options {
            self.ports.host_sources.change_options(options);
            self.update_owners();
            self.read_all_again(ctx);
            let watchers = self.services.values().filter_map(|service| service.good.as_ref());
            for (definition, watcher) in watchers.filter(|_| entries_change) {
                let grant = self.policy.host_grant(definition);
                watcher.redefine.do_send(Redefine { definition: definition.clone(), grant, reopen: true });
            }
        }
        self.recount();
        if guard_changed {
            // A blocked change may pass now.
            self.source.iter().for_each(|source| source.refresh());
        }
    }
}

impl Handler<RefreshService> for ServiceConfigActor {
    type Result = Result<String, OrderRefused>;

    fn handle(&mut self, RefreshService { service }: RefreshService, _: &mut Self::Context) -> Self::Result {
        match self.watcher(&service) {
            Some(watcher) => {
                watcher.refresh.do_send(Refresh);
                Ok(format!("the source of {service} is being read again"))
            }
            None => Err(OrderRefused::UnknownService(service)),
        }
    }
}

impl Handler<ListWatchers> for ServiceConfigActor {
    type Result = MessageResult<ListWatchers>;

    fn handle(&mut self, _: ListWatchers, _: &mut Self::Context) -> Self::Result {
        let good = self.services.values().filter_map(|service| service.good.as_ref());
        MessageResult(good.map(|(_, watcher)| watcher.state.clone()).collect())
    }
}

impl Handler<GetState> for ServiceConfigActor {
    type Result = MessageResult<GetState>;

    fn handle(&mut self, _: GetState, _: &mut Self::Context) -> Self::Result {
        let good = self.services.values().filter_map(|service| service.good.as_ref());
        MessageResult(ActorState::ServiceConfig(ServiceConfigState {
            source: self.health.definitions.clone(),
            annotations: self.health.annotations.clone(),
            services: good.map(|(definition, _)| definition.name.clone()).collect(),
            problems: self.problems.clone(),
            held: self.guard.pending().cloned(),
            rejected: self.guard.rejected().cloned(),
        }))
    }
}
