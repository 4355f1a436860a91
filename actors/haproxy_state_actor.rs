//! Keeps one HAProxy in step: holds what is wanted and what runs, plans the way, one step at a time.
//!
//! Whatever happens (a change of hosts, an answer, a timer) ends in [`HaproxyStateActor::advance`], which looks at
//! the whole and takes the next step if none is under way. So the newest desired state always wins, and nothing
//! depends on the order of events.

mod apply;
mod attach;
mod candidate;
mod choices;
mod desired;
mod dirty;
mod errands;
mod follow;
mod follow_health;
mod health;
mod launch;
mod life_cycle;
mod observe;
mod operator;
mod policy;
mod preview;
mod reload;
mod report;
mod routes;
mod running;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Context, Handler, Recipient};
use slog::Logger;
use tokio::time::{Duration, Instant};

use self::attach::inherited;
use self::desired::{Desired, DesiredService, LeftBehind, Obstacle, PendingChange, WantedBefore, wanted_before};
use self::dirty::Dirty;
use self::errands::{Errand, Errands};
use self::follow::{FileFollower, StateSaver};
use self::follow_health::HealthFollower;
use self::running::Running;
use self::trouble::Trouble;
use crate::clock::Clock;
use crate::decide::hosts_diff::HostsDiff;
use crate::limits::{FIRST_LISTS_WAIT, PARKED_SERVER_SWEEP, RELOAD_PATIENCE};
use crate::listeners::Listeners;
use crate::message::{
    ChoicesChanged, DefinitionsLoaded, HostsChanged, HostsUnknown, ProxyExited, ProxyStarted, Record,
    ServerHealthReported, ServiceDefined, ServiceRemoved,
};
use crate::model::{
    LifeCyclePolicy, ObservedServer, ProxyPolicy, ProxyVersion, ReloadCause, ReloadReason, ServerName, ServiceName,
    Word,
};
use crate::port::{ConfigFile, RuntimeApi, SavedService, StateStore};
use crate::snapshot::{ProxyCounts, ProxyPhase, RefusedSettings};

pub use self::launch::LaunchPeers;

/// Whom the HaproxyStateActor talks to.
pub struct HaproxyPeers {
    /// For bringing up a process; none where somebody else runs HAProxy.
    pub launch: Option<LaunchPeers>,
    /// Hear what operators chose, where this actor is the one that is told.
    pub choices: Listeners<ChoicesChanged>,
    /// Remembers.
    pub journal: Recipient<Record>,
}

/// The outside that the HaproxyStateActor works with.
pub struct HaproxyPorts {
    /// The running HAProxy.
    pub runtime: Rc<dyn RuntimeApi>,
    /// haproxy.cfg, which follows every change; none where it is somebody else's.
    pub config_file: Option<Rc<dyn ConfigFile>>,
    /// What survives a restart of the daemon; none where another actor keeps it.
    pub state_store: Option<Rc<dyn StateStore>>,
    /// What messages call this HAProxy, where it is one of `haproxy.targets`; none for the first.
    pub target: Option<String>,
}

/// Desired and actual state of one HAProxy.
pub struct HaproxyStateActor {
    policy: Arc<ProxyPolicy>,
    /// The `default-server` words of the `defaults` section, which servers added at run time do not inherit.
    inherited: Vec<Word>,
    /// The version of the HAProxy binary, known before the first start.
    binary: Option<ProxyVersion>,
    desired: Desired,
    running: Option<Running>,
    phase: ProxyPhase,
    /// The process that was last heard to have ended, perhaps before it was heard to serve.
    last_exited: Option<u32>,
    /// Since when a step is under way; the next one waits for its end.
    busy_since: Option<Instant>,
    /// Where the desired and the actual state may differ.
    dirty: Dirty,
    /// Services that an observation found different from what they were left as.
    drifted: BTreeSet<ServiceName>,
    /// Whether it is to be decided anew who is asked for which domain.
    routes_due: bool,
    /// What was last said about services that want what another has.
    complaints: BTreeMap<ServiceName, String>,
    /// Why each service needs a reload.
    reload_due: BTreeMap<ServiceName, Vec<ReloadReason>>,
    /// Why all need one.
    reload_forced: Vec<ReloadReason>,
    /// The head of the file that no process could be started with, while that of the last one is good.
    refused_frame: Option<Arc<str>>,
    /// How the process that served has ended; none while it lives.
    exit: Option<String>,
    /// Services whose port came free while a launch was under way that did not know it yet.
    opened_meanwhile: BTreeSet<ServiceName>,
    /// Whether sockets may be held that neither the process listens on nor a launch is going to.
    sockets_to_spare: bool,
    reload_not_before: Instant,
    /// Since when a reload has been due, while changes at run time went before it.
    reload_due_since: Option<Instant>,
    last_reload: Option<(Instant, Vec<String>)>,
    launched_before: bool,
    observe_due: bool,
    sweep_due: bool,
    /// When the next service has an event of its servers' lives; none where nothing is expected.
    life_due: Option<Instant>,
    /// Services with servers that leave, of which it is to be looked whether they have finished.
    drain_looks: BTreeSet<ServiceName>,
    /// What is left of services that are not defined, or not yet.
    left_behind: BTreeMap<ServiceName, LeftBehind>,
    /// What an earlier run wanted of each service's servers, or this one of those of another's HAProxy; nothing once it is
    /// of no use any more.
    wanted_before: BTreeMap<ServiceName, WantedBefore>,
    /// How often in a row a reload failed.
    reload_failures: u32,
    runtime_failures: u32,
    runtime_retry_at: Instant,
    errands: Errands,
    settings_refused: Option<RefusedSettings>,
    runtime_error: Trouble,
    reload_error: Trouble,
    /// That HAProxy is gone, unasked.
    gone: Trouble,
    file: FileFollower,
    saver: StateSaver,
    health: HealthFollower,
    counts: ProxyCounts,
    ports: HaproxyPorts,
    peers: HaproxyPeers,
    clock: Clock,
    log: Logger,
}

impl HaproxyStateActor {
    /// An actor that wants nothing yet and has nothing running. `restored` is what an earlier run of the daemon knew.
    pub fn new(
        policy: ProxyPolicy,
        binary: Option<ProxyVersion>,
        restored: &[SavedService],
        ports: HaproxyPorts,
        peers: HaproxyPeers,
        clock: Clock,
        log: Logger,
    ) -> Self {
        let now = Instant::now();
        Self {
            inherited: inherited(&policy, &peers),
            policy: Arc::new(policy),
            binary,
            desired: Desired::default(),
            running: None,
            phase: ProxyPhase::Waiting,
            last_exited: None,
            busy_since: None,
            dirty: Dirty::default(),
            drifted: BTreeSet::new(),
            routes_due: false,
            complaints: BTreeMap::new(),
            reload_due: BTreeMap::new(),
            reload_forced: Vec::new(),
            refused_frame: None,
            exit: None,
            opened_meanwhile: BTreeSet::new(),
            sockets_to_spare: false,
            reload_not_before: now,
            reload_due_since: None,
            last_reload: None,
            launched_before: false,
            observe_due: false,
            sweep_due: false,
            life_due: None,
            drain_looks: BTreeSet::new(),
            left_behind: of_each(restored, LeftBehind::of),
            wanted_before: of_each(restored, |saved| wanted_before(saved, peers.launch.is_some())),
            reload_failures: 0,
            runtime_failures: 0,
            runtime_retry_at: now,
            errands: Errands::default(),
            settings_refused: None,
            runtime_error: Trouble::default(),
            reload_error: Trouble::default(),
            gone: Trouble::default(),
            file: FileFollower::default(),
            saver: StateSaver::default(),
            health: HealthFollower::default(),
            counts: ProxyCounts::default(),
            ports,
            peers,
            clock,
            log,
        }
    }

    /// Takes the next step, if one is due and none is under way.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        if self.busy_since.is_some() || self.phase == ProxyPhase::Stopping {
            return;
        }
        self.live_on(ctx);
        self.follow_health(ctx);
        match self.phase {
            ProxyPhase::Stopping | ProxyPhase::Launching => {}
            ProxyPhase::Waiting => self.start_when_complete(ctx),
            ProxyPhase::Down => self.relaunch_when_allowed(ctx),
            ProxyPhase::Running => self.keep_in_step(ctx),
        }
    }

    fn start_when_complete(&mut self, ctx: &mut Context<Self>) {
        let Some(loaded_at) = self.desired.loaded_at else { return };
        let deadline = loaded_at + FIRST_LISTS_WAIT;
        if self.desired.is_complete() || Instant::now() >= deadline {
            if !self.is_run_by_others() {
                self.reload_forced.push(ReloadCause::Start.because("the daemon starts"));
            }
            self.relaunch_when_allowed(ctx);
        } else {
            self.come_back_at(deadline, Errand::Advance, ctx);
        }
    }

    fn relaunch_when_allowed(&mut self, ctx: &mut Context<Self>) {
        if Instant::now() >= self.reload_not_before {
            match self.peers.launch.clone() {
                Some(peers) => self.begin_launch(peers, ctx),
                None => self.begin_attachment(ctx),
            }
        } else {
            self.come_back_at(self.reload_not_before, Errand::Advance, ctx);
        }
    }

    /// Runtime steps at once; then a look at the running state if one is due; reloads when their time has come.
    fn keep_in_step(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        self.reload_due_since = self.reload_is_due().then(|| self.reload_due_since.unwrap_or(now));
        let out_of_patience = |since: Instant| now >= since.max(self.reload_not_before) + RELOAD_PATIENCE;
        if self.reload_due_since.is_some_and(out_of_patience) {
            self.relaunch_when_allowed(ctx);
            return;
        }
        if now < self.runtime_retry_at {
            self.come_back_at(self.runtime_retry_at, Errand::Advance, ctx);
        } else if self.begin_batch(ctx)
            || self.begin_route_change(ctx)
            || self.begin_observation(ctx)
            || self.begin_drain_look(ctx)
        {
            return;
        }
        if self.reload_is_due() {
            self.relaunch_when_allowed(ctx);
        } else if self.dirty.is_empty() {
            // What failed is no longer wanted, nor are the sockets that were opened for it.
            self.reload_error.ends();
            self.spare_sockets();
        }
    }

    /// Whether there is a reload to make, which is never ours where somebody else runs HAProxy.
    fn reload_is_due(&self) -> bool {
        !self.is_run_by_others() && (!self.reload_due.is_empty() || !self.reload_forced.is_empty())
    }

    fn touch(&mut self, service: ServiceName, ctx: &mut Context<Self>) {
        self.dirty.insert(service);
        self.advance(ctx);
    }
}

fn of_each<T>(restored: &[SavedService], of: impl Fn(&SavedService) -> T) -> BTreeMap<ServiceName, T> {
    restored.iter().map(|saved| (saved.definition.name.clone(), of(saved))).collect()
}

impl Actor for HaproxyStateActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.come_back_after(PARKED_SERVER_SWEEP, Errand::Sweep, ctx);
        self.come_back_after(self.policy.observe_interval, Errand::Observe, ctx);
    }
}

impl Handler<ServiceDefined> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, ServiceDefined { definition }: ServiceDefined, ctx: &mut Self::Context) {
        let name = definition.name.clone();
        let strategy = self.strategy_of(&definition);
        match self.desired.services.get_mut(&name) {
            Some(known) => {
                let before = std::mem::replace(&mut known.definition, definition);
                if self.running.is_none() {
                    known.before.get_or_insert(before);
                }
                // A port that was taken may not be the one that is wanted now.
                known.obstacle.take_if(|obstacle| matches!(obstacle, Obstacle::PortTaken { .. }));
                known.update_by(strategy);
                self.end_waits_in_vain();
            }
            None => {
                let left = self.left_behind.remove(&name).unwrap_or_default();
                let is_chosen = !left.choices.is_empty();
                self.desired.services.insert(name.clone(), DesiredService::new(definition, strategy, left));
                if is_chosen {
                    self.tell_choices(&name, None);
                }
            }
        }
        self.routes_due = true;
        self.save_later(ctx);
        self.touch(name, ctx);
    }
}

impl Handler<ServiceRemoved> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, ServiceRemoved { service }: ServiceRemoved, ctx: &mut Self::Context) {
        let Some(removed) = self.desired.services.remove(&service) else { return };
        // What operators chose ends with it: whoever heard of a choice after the removal is not to keep it.
        if !removed.choices.all().is_empty() {
            self.tell_choices(&service, None);
        }
        // A HAProxy of others is left as it is until the hosts are told, and no launch of ours ever ends what is kept here.
        if !self.is_run_by_others() {
            self.left_behind.insert(service.clone(), LeftBehind::by(removed));
        }
        self.end_waits_in_vain();
        self.routes_due = true;
        self.save_later(ctx);
        self.touch(service, ctx);
    }
}

impl Handler<DefinitionsLoaded> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, _: DefinitionsLoaded, ctx: &mut Self::Context) {
        self.desired.loaded_at.get_or_insert_with(Instant::now);
        self.advance(ctx);
    }
}

impl Handler<HostsChanged> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, changed: HostsChanged, ctx: &mut Self::Context) {
        let HostsChanged { change, service: name, revision, diff, hosts, seen_at, shown_unix_ms } = changed;
        let Some(service) = self.desired.services.get_mut(&name) else { return };
        let had_list = service.revision.replace(revision).is_some();
        let had_choices = !service.choices.all().is_empty();
        service.choices.hosts_changed(&hosts, self.clock.unix_ms());
        let (wanted_before, was_as_discovered) = (service.servers.clone(), service.is_as_discovered());
        service.discovered = hosts;
        service.known = true;
        service.shown_unix_ms = shown_unix_ms;
        service.remember(PendingChange { change, seen_at, class: None });
        let mut gets_new_chances = false;
        let mut drains = false;
        // Other hosts may make a definition acceptable that was refused.
        self.routes_due |= service.obstacle.is_some();
        if let Some(section) = self.running.as_mut().and_then(|running| running.sections.get_mut(&name)) {
            gets_new_chances = section.is_in_trouble();
            section.forgive();
        }
        if had_list {
            let sections = self.running.as_ref().map(|running| &running.sections);
            let section =
                sections.and_then(|sections| sections.get(&name)).filter(|_| self.phase == ProxyPhase::Running);
            let LifeCyclePolicy { drain_timeout, ramp_up } = self.policy.life_cycle;
            let own = service.definition.life_cycle;
            let drain_timeout = own.drain_timeout.unwrap_or(drain_timeout);
            let ramp_up = own.ramp_up.unwrap_or(ramp_up);
            drains = !drain_timeout.is_zero() && !diff.removed.is_empty();
            let DesiredService { life, slots, .. } = service;
            let is_out = |server: &ServerName| {
                let observed = section.map(|section| section.observed.get(slots.in_haproxy(server)));
                observed.is_some_and(|observed| observed.is_none_or(ObservedServer::in_maintenance))
            };
            life.hosts_changed(&diff, is_out, drain_timeout, ramp_up);
        }
        service.choose();
        if had_list && !gets_new_chances {
            // What operators chose, and slots, may differ where discovery does not.
            let is_as_discovered = was_as_discovered && service.is_as_discovered();
            let wanted = (!is_as_discovered).then(|| HostsDiff::between(&wanted_before, &service.servers));
            let wanted = wanted.unwrap_or_default();
            let changed = diff.servers().map(|server| service.slots.in_haproxy(server));
            self.dirty.insert_servers(name.clone(), wanted.servers().chain(changed).cloned());
        } else {
            self.dirty.insert(name.clone());
        }
        if had_choices {
            self.tell_choices(&name, None);
        }
        self.expect_life(&name, ctx);
        self.save_later(ctx);
        if drains {
            // The next daemon is to know whose drain it is, whenever this one ends.
            self.save_now(ctx);
        }
        self.advance(ctx);
    }
}

impl Handler<HostsUnknown> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, HostsUnknown { service: name }: HostsUnknown, ctx: &mut Self::Context) {
        let Some(service) = self.desired.services.get_mut(&name) else { return };
        service.known = true;
        self.touch(name, ctx);
    }
}

impl Handler<ProxyStarted> for HaproxyStateActor {
    type Result = ();

    /// Nothing is sent to a process before it has taken over yet; its own connection is closed again.
    fn handle(&mut self, _: ProxyStarted, _: &mut Self::Context) {}
}

impl Handler<ServerHealthReported> for HaproxyStateActor {
    type Result = ();

    /// Health is seen at the next observation.
    fn handle(&mut self, _: ServerHealthReported, _: &mut Self::Context) {}
}

impl Handler<ProxyExited> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, ProxyExited { pid, exit }: ProxyExited, ctx: &mut Self::Context) {
        if self.phase == ProxyPhase::Stopping {
            return;
        }
        self.last_exited = Some(pid);
        let Some(running) = self.running.as_mut().filter(|running| running.process.pid == pid) else { return };
        // Its sections are still the last good ones.
        running.alive = false;
        let how = format!("HAProxy (pid {pid}) ended with {exit}");
        self.gone.stands(how.clone(), self.clock);
        self.exit = Some(how);
        if self.phase == ProxyPhase::Running {
            self.phase = ProxyPhase::Down;
            // The supervisor delays the start of a process that keeps dying.
            self.reload_not_before = Instant::now();
            self.advance(ctx);
        }
    }
}

/// The pause before the next of several failed attempts: doubled each time, within bounds.
fn backoff(failures: u32, min: Duration, max: Duration) -> Duration {
    min.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(max)
}
