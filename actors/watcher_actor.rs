//! Watches the hosts of one service: owns one source, keeps the last good list, asks the guard, tells what changed.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, MessageResult, Recipient};
use slog::{Logger, info, warn};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::decide::guard::{Verdict, judge};
use crate::decide::host_list::{Assembled, Followed, GoodEntries, assemble, follow};
use crate::decide::hosts_diff::HostsDiff;
use crate::decide::{server_order, unknown_keys};
use crate::journal::{Event, JournalEntry};
use crate::listeners::Listeners;
use crate::message::{
    DecideHeld, GetState, HostsChanged, HostsSeen, HostsUnknown, ListRejected, Record, Redefine, Refresh, SeenHost,
    StopWatching,
};
use crate::model::{ChangeId, HostList, Revision, ServiceDefinition};
use crate::operator::{HeldDecision, OrderRefused};
use crate::port::{HostSources, OpenSource, SavedService};
use crate::snapshot::{ActorState, HeldChange, HeldNames, SourceHealth, WatcherState};

/// Gives every change of one run of the daemon its own number.
pub type ChangeNumbers = Rc<std::cell::Cell<u64>>;

/// Whom a watcher talks to.
#[derive(Clone)]
pub struct WatcherPeers {
    /// Hears of changed lists.
    pub changed: Listeners<HostsChanged>,
    /// Hears that the first look brought nothing.
    pub unknown: Listeners<HostsUnknown>,
    /// Keeps what an operator rejected.
    pub rejected: Recipient<ListRejected>,
    /// Remembers.
    pub journal: Recipient<Record>,
}

/// A list as it was seen.
#[derive(Clone)]
struct Seen {
    hosts: HostList,
    /// What each good entry of the source said.
    entries: GoodEntries,
    /// Whether hosts of an earlier run are in it because an entry cannot be read now.
    unsure: bool,
    seen_at: Instant,
}

/// A list that is not in force, and why.
struct Held {
    seen: Seen,
    change: HeldChange,
}

impl Held {
    fn new(seen: Seen, diff: &HostsDiff, reason: String, since_unix_ms: u64) -> Self {
        let change = HeldChange {
            reason,
            since_unix_ms,
            entries: seen.hosts.len(),
            adds: HeldNames::of(&diff.added),
            removes: HeldNames::of(&diff.removed),
        };
        Self { seen, change }
    }
}

/// The watcher of one service.
pub struct WatcherActor {
    definition: Arc<ServiceDefinition>,
    sources: Rc<dyn HostSources>,
    source: Option<Box<dyn OpenSource>>,
    health: SourceHealth,
    hosts: Option<Arc<HostList>>,
    from_saved_state: bool,
    confirmed_unix_ms: Option<u64>,
    entries: GoodEntries,
    revision: Revision,
    /// The newest list, where the guard holds it back.
    held: Option<Held>,
    /// The newest list, where an operator rejected it.
    rejected: Option<Held>,
    /// The list that an operator rejected in an earlier run of the daemon, until the source shows one.
    rejected_before: Option<Arc<HostList>>,
    problems: BTreeMap<String, String>,
    /// Keys of the newest list's entries that nobody reads.
    unknown_keys: Option<String>,
    /// Why the newest definition's source could not be opened, while that of the one before goes on.
    definition_error: Option<String>,
    changes: ChangeNumbers,
    peers: WatcherPeers,
    clock: Clock,
    log: Logger,
}

impl WatcherActor {
    /// A watcher of this service. `restored` is what an earlier run of the daemon knew.
    pub fn new(
        definition: Arc<ServiceDefinition>,
        restored: Option<SavedService>,
        sources: Rc<dyn HostSources>,
        changes: ChangeNumbers,
        peers: WatcherPeers,
        clock: Clock,
        log: &Logger,
    ) -> Self {
        let log = log.new(slog::o!("service" => definition.name.to_string()));
        let read_at_unix_ms = restored.as_ref().map(|saved| saved.seen_at_unix_ms);
        let rejected_before = restored.as_ref().and_then(|saved| saved.rejected.clone());
        let hosts = restored.and_then(|saved| saved.hosts);
        Self {
            definition,
            sources,
            source: None,
            health: SourceHealth { error: None, since_unix_ms: clock.unix_ms(), read_at_unix_ms },
            from_saved_state: hosts.is_some(),
            confirmed_unix_ms: read_at_unix_ms.filter(|_| hosts.is_some()),
            hosts,
            entries: GoodEntries::new(),
            revision: Revision::default(),
            held: None,
            rejected: None,
            rejected_before,
            problems: BTreeMap::new(),
            unknown_keys: None,
            definition_error: None,
            changes,
            peers,
            clock,
            log,
        }
    }

    fn open_source(&mut self, ctx: &mut Context<Self>) {
        let watcher = ctx.address().recipient();
        match self.sources.open(&self.definition.name, &self.definition.source, watcher) {
            // The source before, if any, ends here.
            Ok(source) => {
                self.source = Some(source);
                self.definition_error = None;
            }
            Err(error) if self.source.is_some() => {
                warn!(self.log, "the new source cannot be used, the one before stays"; "error" => &error);
                self.record(None, Event::InputRefused { problem: error.clone() });
                self.definition_error = Some(error);
            }
            Err(error) => self.source_failed(error),
        }
    }

    fn source_failed(&mut self, error: String) {
        if self.health.error.is_none() {
            let kept = self.hosts.as_ref().map_or(0, |hosts| hosts.len());
            warn!(self.log, "the source cannot be read, its last good hosts stay"; "error" => &error, "hosts" => kept);
            self.health.since_unix_ms = self.clock.unix_ms();
            self.record(None, Event::SourceLost { error: error.clone() });
        }
        self.health.error = Some(error);
        if self.hosts.is_none() {
            self.peers.unknown.do_send(HostsUnknown { service: self.definition.name.clone() });
        }
    }

    fn source_read(&mut self) {
        let now = self.clock.unix_ms();
        self.health.read_at_unix_ms = Some(now);
        if self.health.error.take().is_some() {
            info!(self.log, "the source can be read again");
            self.health.since_unix_ms = now;
            self.record(None, Event::SourceBack);
        }
    }

    fn consider(&mut self, seen: &[SeenHost], seen_at: Instant) {
        if let Some(followed) = self.follow(seen) {
            self.report_problems(BTreeMap::new());
            self.passed();
            let (hosts, diff) = (followed.hosts.clone(), followed.diff.clone());
            followed.enter_into(&mut self.entries);
            self.put_in_force(hosts, diff, seen_at);
            return;
        }
        let Assembled { mut hosts, good_entries, problems } = assemble(seen, &self.entries);
        self.report_problems(problems);
        // What an entry said before the daemon was restarted is not known: each of the saved hosts may be it.
        let unsure = self.from_saved_state
            && seen.iter().any(|entry| entry.record.is_err() && !good_entries.contains_key(&entry.key));
        if unsure && let Some(saved) = &self.hosts {
            for (name, host) in saved.iter() {
                hosts.entry(name.clone()).or_insert_with(|| host.clone());
            }
        }
        let seen = Seen { hosts, entries: good_entries, unsure, seen_at };
        let diff = self.difference_to(&seen.hosts);
        match judge(self.hosts.as_ref().map(|hosts| hosts.len()), &diff, &self.definition.removal) {
            Verdict::Hold(reason) => self.hold(reason, seen, &diff),
            Verdict::Pass => {
                self.passed();
                self.put_seen_in_force(seen, diff);
            }
        }
    }

    /// What the list makes of the one in force, where that is simple and the guard lets it pass.
    fn follow(&self, seen: &[SeenHost]) -> Option<Followed> {
        let in_force = self.hosts.as_ref().filter(|_| !self.from_saved_state)?;
        let followed = follow(seen, &self.entries, in_force)?;
        let verdict = judge(Some(in_force.len()), &followed.diff, &self.definition.removal);
        (verdict == Verdict::Pass).then_some(followed)
    }

    /// The guard lets the newest list pass.
    fn passed(&mut self) {
        self.forget_rejected();
        if self.held.take().is_some() {
            info!(self.log, "the source shows a list that passes, the hold ends");
            self.record(None, Event::HoldEnded);
        }
    }

    /// What leads from the list in force to this one.
    fn difference_to(&self, hosts: &HostList) -> HostsDiff {
        HostsDiff::between(self.hosts.as_deref().unwrap_or(&HostList::new()), hosts)
    }

    fn put_seen_in_force(&mut self, Seen { hosts, entries, unsure, seen_at }: Seen, diff: HostsDiff) {
        self.entries = entries;
        self.from_saved_state = unsure;
        self.put_in_force(Arc::new(hosts), diff, seen_at);
    }

    fn put_in_force(&mut self, hosts: Arc<HostList>, diff: HostsDiff, seen_at: Instant) {
        self.confirmed_unix_ms = Some(self.clock.unix_ms());
        if self.hosts.is_none() || !diff.is_empty() {
            self.hosts = Some(hosts);
            self.announce(diff, seen_at);
        }
    }

    fn report_problems(&mut self, problems: BTreeMap<String, String>) {
        for (entry, problem) in &problems {
            if self.problems.get(entry) != Some(problem) {
                warn!(self.log, "an entry of the source cannot be used"; "entry" => entry, "problem" => problem);
                self.record(None, Event::InputRefused { problem: format!("{entry}: {problem}") });
            }
        }
        self.problems = problems;
    }

    fn report_unknown_keys(&mut self, unknown: Option<String>) {
        if let Some(problem) = unknown.as_ref().filter(|_| unknown != self.unknown_keys) {
            warn!(self.log, "entries of the source have keys that have no effect"; "problem" => problem);
        }
        self.unknown_keys = unknown;
    }

    fn hold(&mut self, reason: String, seen: Seen, diff: &HostsDiff) {
        if self.rejected.as_ref().is_some_and(|rejected| rejected.seen.hosts == seen.hosts) {
            return;
        }
        if self.rejected_before.as_ref().is_some_and(|rejected| **rejected == seen.hosts) {
            self.rejected_before = None;
            info!(self.log, "the source shows the list that an operator rejected, the last good hosts stay");
            self.rejected = Some(Held::new(seen, diff, reason, self.clock.unix_ms()));
            return;
        }
        self.forget_rejected();
        if self.held.as_ref().is_none_or(|held| held.change.reason != reason) {
            warn!(self.log, "holding a change back, the last good hosts stay"; "reason" => &reason);
            self.record(None, Event::ChangeHeld { reason: reason.clone() });
        }
        let since_unix_ms = self.held.as_ref().map_or_else(|| self.clock.unix_ms(), |held| held.change.since_unix_ms);
        self.held = Some(Held::new(seen, diff, reason, since_unix_ms));
    }

    /// The source shows another list than the one that was rejected.
    fn forget_rejected(&mut self) {
        let before = self.rejected_before.take().is_some();
        if self.rejected.take().is_some() || before {
            self.tell_rejected();
        }
    }

    fn tell_rejected(&self) {
        let rejected = self.rejected.as_ref().map(|rejected| Arc::new(rejected.seen.hosts.clone()));
        let hosts = rejected.or_else(|| self.rejected_before.clone());
        self.peers.rejected.do_send(ListRejected { service: self.definition.name.clone(), hosts });
    }

    /// What an operator says to the held list.
    fn decide(&mut self, decision: HeldDecision) -> Result<String, OrderRefused> {
        let service = &self.definition.name;
        let Some(held) = self.held.take() else { return Err(OrderRefused::NothingHeld(service.to_string())) };
        let reason = held.change.reason.clone();
        let HeldChange { adds, removes, .. } = &held.change;
        let what = format!("{} to add, {} to take away", adds.count, removes.count);
        match decision {
            HeldDecision::Accept => {
                let done = format!("the held list of {service} is in force: {what}");
                info!(self.log, "an operator accepts the held list"; "reason" => &reason);
                self.record(None, Event::HeldAccepted { reason });
                let diff = self.difference_to(&held.seen.hosts);
                self.put_seen_in_force(Seen { seen_at: Instant::now(), ..held.seen }, diff);
                Ok(done)
            }
            HeldDecision::Reject => {
                let done = format!("the held list of {service} is rejected until it changes: {what}");
                info!(self.log, "an operator rejects the held list, the last good hosts stay"; "reason" => &reason);
                self.record(None, Event::HeldRejected { reason });
                self.rejected = Some(held);
                self.tell_rejected();
                Ok(done)
            }
        }
    }

    fn announce(&mut self, diff: HostsDiff, seen_at: Instant) {
        let Some(hosts) = self.hosts.clone() else { return };
        self.changes.set(self.changes.get() + 1);
        let change = ChangeId(self.changes.get());
        self.revision = self.revision.next();
        let (added, removed, changed) = (diff.added.len(), diff.removed.len(), diff.changed.len());
        let service = self.definition.name.clone();
        let shown_unix_ms = self.confirmed_unix_ms.unwrap_or_else(|| self.clock.unix_ms());
        let message = HostsChanged { change, service, revision: self.revision, diff, hosts, seen_at, shown_unix_ms };
        self.peers.changed.do_send(message);
        info!(self.log, "hosts changed";
            "change" => %change, "added" => added, "removed" => removed, "changed" => changed);
        self.record(Some(change), Event::HostsChanged { added, removed, changed });
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
        if let Some(hosts) = self.hosts.clone() {
            let added = hosts.keys().cloned().collect();
            self.announce(HostsDiff { added, ..HostsDiff::default() }, Instant::now());
        }
        if self.rejected_before.is_some() {
            self.tell_rejected();
        }
        self.open_source(ctx);
    }
}

impl Handler<HostsSeen> for WatcherActor {
    type Result = ();

    fn handle(&mut self, HostsSeen { result, seen_at }: HostsSeen, _: &mut Self::Context) {
        match result {
            Ok(mut seen) => {
                self.source_read();
                server_order::place(&mut seen, &self.definition, self.sources.kinds());
                self.report_unknown_keys(unknown_keys::in_hosts(&seen));
                self.consider(&seen, seen_at);
            }
            Err(error) => self.source_failed(error),
        }
    }
}

impl Handler<Redefine> for WatcherActor {
    type Result = ();

    fn handle(&mut self, Redefine { definition, reopen }: Redefine, ctx: &mut Self::Context) {
        let reopened = reopen || definition.source != self.definition.source;
        self.definition = definition;
        if reopened {
            self.open_source(ctx);
        } else if let Some(source) = &self.source {
            // The guard's limits may have changed: judge the list again.
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

impl Handler<DecideHeld> for WatcherActor {
    type Result = Result<String, OrderRefused>;

    fn handle(&mut self, DecideHeld { decision, .. }: DecideHeld, _: &mut Self::Context) -> Self::Result {
        self.decide(decision)
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
        let mut problems = self.problems.clone();
        problems.extend(self.definition_error.iter().map(|error| ("definition".to_owned(), error.clone())));
        problems.extend(self.unknown_keys.iter().map(|problem| ("hosts".to_owned(), problem.clone())));
        MessageResult(ActorState::Watcher(WatcherState {
            service: self.definition.name.to_string(),
            source_kind: self.definition.source.kind.clone(),
            source: self.health.clone(),
            revision: self.revision,
            hosts: self.hosts.clone(),
            from_saved_state: self.from_saved_state,
            confirmed_unix_ms: self.confirmed_unix_ms,
            held: self.held.as_ref().map(|held| held.change.clone()),
            rejected: self.rejected.as_ref().map(|held| held.change.clone()),
            problems,
        }))
    }
}
