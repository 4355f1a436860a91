//! Watches the hosts of one service: owns its source, and reports changes of the list in service.

mod decisions;
mod source_health;

use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, MessageResult, Recipient, SpawnHandle};
use slog::{Logger, info, warn};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::confirmation::Confirmation;
use crate::decide::grants::HostGrant;
use crate::decide::guard::{GuardLimits, GuardMemory};
use crate::decide::host_networks::HostNetworks;
use crate::decide::hosts_diff::HostsDiff;
use crate::decide::service_hosts::{GuardNews, ServiceHosts, Shown};
use crate::decide::{server_order, unknown_keys};
use crate::host_quota::{HostQuota, HostShare};
use crate::journal::{Event, JournalEntry};
use crate::listeners::Listeners;
use crate::message::{
    GetState, GuardChanged, HostsChanged, HostsSeen, HostsUnknown, Record, Redefine, Refresh, StopWatching,
};
use crate::model::{ChangeId, DiscoveryPolicy, HostList, Revision, ServiceDefinition};
use crate::port::{HostSources, OpenSource, SavedService};
use crate::snapshot::{ActorState, SourceHealth, WatcherState};

/// The counter for the ids of changes in one run of the daemon.
pub type ChangeNumbers = Rc<std::cell::Cell<u64>>;

/// The recipients of a watcher's messages.
#[derive(Clone)]
pub struct WatcherPeers {
    /// Receives changed lists.
    pub changed: Listeners<HostsChanged>,
    /// Is notified that the first read returned no usable list.
    pub unknown: Listeners<HostsUnknown>,
    /// Saves the state of the guard for a restart.
    pub guard: Recipient<GuardChanged>,
    /// Records events.
    pub journal: Recipient<Record>,
}

/// The sources that a watcher can open.
#[derive(Clone)]
pub struct WatcherSources {
    /// The sources of every kind.
    pub sources: Rc<dyn HostSources>,
    /// How they are read.
    pub policy: DiscoveryPolicy,
    /// The quota of hosts.
    pub quota: HostQuota,
    /// The addresses that hosts may have.
    pub networks: Rc<HostNetworks>,
    /// What the service may have beyond that, or only.
    pub grant: HostGrant,
}

/// The watcher of one service.
pub struct WatcherActor {
    definition: Arc<ServiceDefinition>,
    sources: Rc<dyn HostSources>,
    source: Option<Box<dyn OpenSource>>,
    health: SourceHealth,
    confirmation: Confirmation,
    /// The next read for the return of a host that is kept out because it flaps.
    return_at: SpawnHandle,
    hosts: ServiceHosts,
    bounds: HostBounds,
    revision: Revision,
    /// The last state that was sent to be saved.
    saved_guard: GuardMemory<Arc<HostList>>,
    problems: Problems,
    changes: ChangeNumbers,
    peers: WatcherPeers,
    clock: Clock,
    log: Logger,
}

/// The bounds of its hosts.
struct HostBounds {
    networks: Rc<HostNetworks>,
    share: HostShare,
}

/// The problems besides those of single hosts.
#[derive(Default)]
struct Problems {
    /// The warning about unknown keys of the newest list's entries.
    unknown_keys: Option<String>,
    /// Why the source of the newest definition could not be opened, while the previous source stays open.
    definition: Option<String>,
}

impl WatcherActor {
    /// Creates a watcher of this service. `restored` is what an earlier run of the daemon saved.
    pub fn new(
        definition: Arc<ServiceDefinition>,
        restored: Option<SavedService>,
        WatcherSources { sources, policy, quota, networks, grant }: WatcherSources,
        changes: ChangeNumbers,
        peers: WatcherPeers,
        clock: Clock,
        log: &Logger,
    ) -> Self {
        let networks = Rc::new(networks.granted(&grant));
        let log = log.new(slog::o!("service" => definition.name.to_string()));
        let read_at_unix_ms = restored.as_ref().map(|saved| saved.seen_at_unix_ms);
        let (hosts, saved_guard) = restored.map_or_else(Default::default, |saved| (saved.hosts, saved.guard));
        // The settings may have changed since the last run.
        let hosts = hosts.map(|hosts| networks.allowed_of(hosts));
        let limits = GuardLimits::from(&definition.removal);
        let hosts = ServiceHosts::restored(hosts, read_at_unix_ms, saved_guard.clone(), &limits, clock.now());
        let hosts = if policy.damping { hosts } else { hosts.undamped() };
        let mut share = quota.share(hosts.in_service().map_or(0, |hosts| hosts.len()));
        share.grant(&grant);
        Self {
            definition,
            sources,
            source: None,
            health: SourceHealth { since_unix_ms: clock.unix_ms(), read_at_unix_ms, ..SourceHealth::default() },
            confirmation: Confirmation::every(policy.confirm_interval),
            return_at: SpawnHandle::default(),
            hosts,
            bounds: HostBounds { networks, share },
            revision: Revision::default(),
            saved_guard,
            problems: Problems::default(),
            changes,
            peers,
            clock,
            log,
        }
    }

    fn limits(&self) -> GuardLimits {
        GuardLimits::from(&self.definition.removal)
    }

    fn report(&mut self, Shown { diff, new_problems, guard }: Shown, seen_at: Instant) {
        for (entry, problem) in new_problems {
            warn!(self.log, "an entry of the source cannot be used"; "entry" => &entry, "problem" => &problem);
            self.record(None, Event::InputRefused { problem: format!("{entry}: {problem}") });
        }
        match guard {
            Some(GuardNews::Blocked(reason)) => {
                let reason = reason.to_string();
                warn!(self.log, "change blocked by guard, the hosts in service stay"; "reason" => &reason);
                self.record(None, Event::ChangeHeld { reason });
            }
            Some(GuardNews::Recovered) => {
                info!(self.log, "the source returned a list that passes the guard, no change is pending any longer");
                self.record(None, Event::HoldEnded);
            }
            Some(GuardNews::RejectionEnded) => info!(self.log, "the source no longer returns the rejected list"),
            None => {}
        }
        if let Some(diff) = diff {
            self.announce(diff, seen_at);
        }
        self.save_guard();
    }

    /// Schedules a read of the source for when a host that is kept out may return.
    fn expect_return(&mut self, ctx: &mut Context<Self>) {
        ctx.cancel_future(std::mem::take(&mut self.return_at));
        if let Some(pause) = self.hosts.next_return(self.clock.now()) {
            self.return_at =
                ctx.run_later(pause, |watcher, _| watcher.source.iter().for_each(|source| source.refresh()));
        }
    }

    fn report_unknown_keys(&mut self, unknown: Option<String>) {
        if let Some(problem) = unknown.as_ref().filter(|_| unknown != self.problems.unknown_keys) {
            warn!(self.log, "entries of the source have keys that have no effect"; "problem" => problem);
        }
        self.problems.unknown_keys = unknown;
    }

    fn announce(&mut self, diff: HostsDiff, seen_at: Instant) {
        let Some(hosts) = self.hosts.in_service().cloned() else { return };
        self.changes.set(self.changes.get() + 1);
        let change = ChangeId(self.changes.get());
        self.revision = self.revision.next();
        let (added, removed, changed) = (diff.added.len(), diff.removed.len(), diff.changed.len());
        let service = self.definition.name.clone();
        let shown_unix_ms = self.hosts.confirmed_unix_ms().unwrap_or_else(|| self.clock.unix_ms());
        let message = HostsChanged { change, service, revision: self.revision, diff, hosts, seen_at, shown_unix_ms };
        self.peers.changed.do_send(message);
        info!(self.log, "hosts changed";
            "change" => %change, "added" => added, "removed" => removed, "changed" => changed);
        self.record(Some(change), Event::HostsChanged { added, removed, changed });
    }

    /// Sends the state of the guard to be saved, where it has changed.
    fn save_guard(&mut self) {
        let memory = self.hosts.guard_memory(&self.limits(), self.clock.now());
        if memory != self.saved_guard {
            self.saved_guard = memory;
            self.report_guard();
        }
    }

    fn report_guard(&self) {
        let memory = self.saved_guard.clone();
        self.peers.guard.do_send(GuardChanged { service: self.definition.name.clone(), memory });
    }

    fn record(&self, change: Option<ChangeId>, event: Event) {
        let mut entry = JournalEntry::new(event).service(&self.definition.name);
        entry.change = change;
        self.peers.journal.do_send(Record(entry));
    }
}

impl Actor for WatcherActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(hosts) = self.hosts.in_service() {
            let added = hosts.keys().cloned().collect();
            self.announce(HostsDiff { added, ..HostsDiff::default() }, Instant::now());
        }
        if self.saved_guard != GuardMemory::default() {
            self.saved_guard = self.hosts.guard_memory(&self.limits(), self.clock.now());
            self.report_guard();
        }
        self.open_source(ctx);
        ctx.run_later(self.confirmation.first_pause(self.definition.name.as_str()), Self::confirm);
    }
}

impl Handler<HostsSeen> for WatcherActor {
    type Result = ();

    fn handle(&mut self, HostsSeen { result, seen_at, missed }: HostsSeen, ctx: &mut Self::Context) {
        self.confirmation.answered();
        match result {
            Ok(mut seen) => {
                if let Err(exceeded) = self.bounds.share.change(seen.len()) {
                    return self.source_failed(exceeded.to_string());
                }
                self.source_read();
                if missed {
                    self.change_missed();
                }
                seen.retain(|host| host.has(&self.definition.source.labels));
                self.bounds.networks.judge(&mut seen);
                server_order::place(&mut seen, &self.definition, self.sources.kinds());
                self.report_unknown_keys(unknown_keys::in_hosts(&seen));
                let shown = self.hosts.show(&seen, &self.limits(), self.clock.now());
                self.report(shown, seen_at);
                self.expect_return(ctx);
            }
            Err(error) => self.source_failed(error),
        }
    }
}

impl Handler<Redefine> for WatcherActor {
    type Result = ();

    fn handle(&mut self, Redefine { definition, grant, reopen }: Redefine, ctx: &mut Self::Context) {
        let reopened = reopen || definition.source != self.definition.source;
        self.definition = definition;
        self.bounds.networks = Rc::new(self.bounds.networks.granted(&grant));
        self.bounds.share.grant(&grant);
        if reopened {
            self.open_source(ctx);
        } else if let Some(source) = &self.source {
            // The guard's limits may have changed: check the list again.
            source.refresh();
        }
    }
}

impl Handler<Refresh> for WatcherActor {
    type Result = ();

    fn handle(&mut self, _: Refresh, ctx: &mut Self::Context) {
        match &self.source {
            Some(source) => source.refresh(),
            None => self.open_source(ctx),
        }
    }
}

impl Handler<StopWatching> for WatcherActor {
    type Result = ();

    fn handle(&mut self, _: StopWatching, ctx: &mut Self::Context) {
        self.source = None;
        ctx.stop();
    }
}

impl Handler<GetState> for WatcherActor {
    type Result = MessageResult<GetState>;

    fn handle(&mut self, _: GetState, _: &mut Self::Context) -> Self::Result {
        let mut problems = self.hosts.problems().clone();
        problems.extend(self.problems.definition.iter().map(|error| ("definition".to_owned(), error.clone())));
        problems.extend(self.problems.unknown_keys.iter().map(|problem| ("hosts".to_owned(), problem.clone())));
        MessageResult(ActorState::Watcher(WatcherState {
            service: self.definition.name.to_string(),
            source_kind: self.definition.source.kind.clone(),
            source: self.health.clone(),
            revision: self.revision,
            hosts: self.hosts.in_service().cloned(),
            empty_since_unix_ms: self.hosts.empty_since_unix_ms().filter(|_| self.definition.removal.min_hosts > 0),
            from_saved_state: self.hosts.is_from_saved_state(),
            confirmed_unix_ms: self.hosts.confirmed_unix_ms(),
            held: self.hosts.pending().cloned(),
            rejected: self.hosts.rejected().cloned(),
            problems,
        }))
    }
}
