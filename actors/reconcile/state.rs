//! The state of the reconciler, in parts with one responsibility each. The lanes (`exchange`, `deploying`, ...) operate
//! on it; a decision that needs only one part is made in that part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::deployment_lane::{CatchUp, Deployment};
use super::desired::{Desired, DesiredService, Retained};
use super::effect::{Effect, Outbox};
use super::files::Files;
use super::observed::Running;
use super::pace::BatchPace;
use super::process_state::ProcessState;
use super::reload_queue::ReloadQueue;
use super::runtime_link::RuntimeLink;
use super::section::Section;
use super::settings::Settings;
use super::work_queue::WorkQueue;
use crate::decide::backend_step::BackendStep;
use crate::decide::base::BaseLayout;
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::proxy_plan::Step;
use crate::decide::routing::RouteStep;
use crate::limits::{PARKED_SERVER_SWEEP, PORT_WAITS_LOOK};
use crate::message::WantedSockets;
use crate::model::{Moment, Observation, ProxyVersion, ServiceDefinition, ServiceName};
use crate::snapshot::{ProxyCounts, RefusedSettings};

/// The desired and the observed state of one HAProxy, and the operations under way.
#[derive(Debug)]
pub struct State {
    /// The settings.
    pub settings: Settings,
    /// The desired state.
    pub desired: Desired,
    /// The process and its observed state.
    pub process: ProcessState,
    /// The queue of services to plan and to observe.
    pub work: WorkQueue,
    /// The runtime lane.
    pub lane: RuntimeLane,
    /// The deployment lane.
    pub deployment: Option<Deployment>,
    /// A process that serves but that no deployment of this daemon started: that of an earlier daemon, or one with an
    /// earlier file. No changes are planned for it, but servers that must not get traffic are disabled in it.
    pub unmanaged: Option<CatchUp>,
    /// The reported state of an orphaned process, until it is replaced.
    pub orphan: Option<Observation>,
    /// Reloads that are due.
    pub reloads: ReloadQueue,
    /// The files that are written after changes.
    pub files: Files,
    /// Timers for work that no answer triggers.
    pub timers: Timers,
    /// Host names that are looked up, because HAProxy could not resolve them.
    pub unresolved: BTreeSet<Arc<str>>,
    /// State that is only reported.
    pub tally: Tally,
    /// The sections of replaced processes, whose memory is freed bit by bit.
    pub retired: Vec<Section>,
    /// The effects to execute.
    pub outbox: Outbox,
}

/// The runtime lane: one change at a time, and reads in parallel on another connection.
#[derive(Debug)]
pub struct RuntimeLane {
    /// The change that is under way.
    pub changing: Option<InFlight>,
    /// The process that serves, while it has not answered the commands that it got before it was taken over. They came on
    /// another connection, so a change that is sent now could overtake them.
    pub still_answering: Option<StillAnswering>,
    /// The read that is under way.
    pub reading: Option<InFlight>,
    /// What changed since the read began: the read may return an older state of it.
    pub changed_meanwhile: Meanwhile,
    /// How many commands one batch may have.
    pub pace: BatchPace,
    /// The state of the connection.
    pub link: RuntimeLink,
    /// Whether the liveness probe is running.
    pub is_watched: bool,
}

/// A process that was taken over before it had answered all commands.
#[derive(Debug)]
pub struct StillAnswering {
    /// The process.
    pub pid: u32,
    /// The services that the commands may change.
    pub services: BTreeSet<ServiceName>,
}

/// What changed while a read is under way.
#[derive(Debug, Default)]
pub struct Meanwhile {
    /// The services.
    pub services: BTreeSet<ServiceName>,
    /// Whether the map of domains changed.
    pub routes: bool,
}

/// An exchange with the process that serves.
#[derive(Debug)]
pub struct InFlight {
    /// Since when.
    pub since: Instant,
    /// The process that it was begun with; `None` where none was known.
    pub pid: Option<u32>,
    /// The request.
    pub exchange: Exchange,
}

/// The steps that go to HAProxy together.
pub type Batch = BTreeMap<ServiceName, Vec<Step>>;

/// A change of a backend that HAProxy was asked for.
#[derive(Debug)]
pub struct BackendChange {
    /// The step.
    pub step: BackendStep,
    /// The definition that the backend is added for. The desired one may change before HAProxy answers.
    pub definition: Option<Arc<ServiceDefinition>>,
}

impl BackendChange {
    /// Returns the service.
    pub fn service(&self) -> &ServiceName {
        self.step.command.service()
    }
}

/// A request to the process that serves.
#[derive(Debug)]
pub enum Exchange {
    /// Execute these steps.
    Commands(Batch),
    /// Add, publish, unpublish and delete backends.
    Backends(Vec<BackendChange>),
    /// Change its map of domains.
    Routes(Vec<RouteStep>),
    /// Report its servers: those of these services, or all.
    Observation(Option<Vec<ServiceName>>),
    /// Report the sessions of the servers of these services.
    Sessions(Vec<ServiceName>),
}

/// Timers for work that no answer triggers.
#[derive(Debug)]
pub struct Timers {
    /// The next step of a server in transition.
    pub life_at: Option<Instant>,
    /// An observation of everything, and a comparison of the files.
    pub observe_at: Instant,
    /// A poll of the health of servers, where no log line reports it.
    pub health_at: Option<Instant>,
    /// The deletion of servers that have waited in maintenance long enough.
    pub sweep_at: Instant,
    /// The next step of backends that leave the process.
    pub departures_at: Option<Instant>,
    /// The next assignment of domains, if one is due.
    pub routes_at: Instant,
    /// The end of waits for ports that no service uses any more.
    pub waits_at: Option<Instant>,
    /// Whether there is more to plan than one turn takes.
    pub more_to_plan: bool,
}

/// State that is only reported.
#[derive(Debug, Default)]
pub struct Tally {
    /// Counters.
    pub counts: ProxyCounts,
    /// Settings that were read again and refused.
    pub settings_refused: Option<RefusedSettings>,
    /// The last reported problems of services that claim a domain of another service.
    pub complaints: BTreeMap<ServiceName, String>,
    /// Whether sockets may be held that neither the process nor a deployment uses.
    pub sockets_to_spare: bool,
}

impl State {
    /// Creates a state without a process.
    pub fn new(settings: Settings, desired: Desired, now: Instant) -> Self {
        let observe_at = now + settings.policy.observe_interval;
        Self {
            settings,
            desired,
            process: ProcessState::Waiting,
            work: WorkQueue::default(),
            lane: RuntimeLane {
                changing: None,
                still_answering: None,
                reading: None,
                changed_meanwhile: Meanwhile::default(),
                pace: BatchPace::default(),
                link: RuntimeLink::new(now),
                is_watched: false,
            },
            deployment: None,
            unmanaged: None,
            orphan: None,
            reloads: ReloadQueue::new(now),
            files: Files::default(),
            unresolved: BTreeSet::new(),
            timers: Timers {
                life_at: None,
                observe_at,
                health_at: None,
                sweep_at: now + PARKED_SERVER_SWEEP,
                departures_at: None,
                routes_at: now,
                waits_at: None,
                more_to_plan: false,
            },
            tally: Tally::default(),
            retired: Vec::new(),
            outbox: Outbox::default(),
        }
    }

    /// Returns the process that serves, or that served last.
    pub fn running(&self) -> Option<&Running> {
        self.process.running()
    }

    /// Returns the version of HAProxy, as far as it is known.
    pub fn version(&self) -> Option<ProxyVersion> {
        self.running().map(|running| running.process.version).or(self.settings.binary)
    }

    /// Returns the pid of the process that serves, or that served last.
    pub fn pid(&self) -> Option<u32> {
        self.running().map(|running| running.process.pid)
    }

    /// Returns the desired `global` and `defaults`, or the last good ones where HAProxy did not start with those.
    pub fn base(&self) -> (Arc<BaseLayout>, SectionStyle) {
        let desired = &self.settings.base;
        match self.running() {
            Some(running) if self.reloads.refuses_base(desired) => (running.base.layout.clone(), running.style),
            _ => (desired.clone(), SectionStyle::of(desired, self.version())),
        }
    }

    /// Returns the definition with what the base says of the service.
    pub fn in_base(&self, definition: &Arc<ServiceDefinition>) -> Arc<ServiceDefinition> {
        match self.deploys() {
            true => self.base().0.applied_to(definition),
            false => definition.clone(),
        }
    }

    /// Applies what the base says to every service, after another base came into use.
    pub fn apply_base(&mut self) {
        let base = self.base().0;
        for (name, service) in &mut self.desired.services {
            let applied = base.applied_to(&service.definition);
            if !Arc::ptr_eq(&applied, &service.definition) {
                service.definition = applied;
                service.retry_port();
                service.retry_definition();
                self.work.changed(name.clone());
            }
        }
        self.choose_strategies();
    }

    /// Adds a service, with its retained state.
    pub fn add_service(&mut self, definition: Arc<ServiceDefinition>) {
        let name = definition.name.clone();
        let strategy = self.settings.strategy_of(&definition, self.version());
        let retained = self.desired.retained.remove(&name).unwrap_or_default();
        self.desired.services.insert(name, DesiredService::new(definition, strategy, retained));
    }

    /// Removes a service. Returns whether there was one.
    pub fn remove_service(&mut self, name: &ServiceName) -> bool {
        let Some(removed) = self.desired.services.remove(name) else { return false };
        // An external HAProxy is not changed until the hosts are known, and no deployment would ever remove this entry.
        if !self.settings.is_external() {
            self.desired.retained.insert(name.clone(), Retained::removed(removed));
        }
        true
    }

    /// Chooses the strategy of every service again.
    pub fn choose_strategies(&mut self) {
        let version = self.version();
        let mut changed = Vec::new();
        for (name, service) in &mut self.desired.services {
            let strategy = self.settings.strategy_of(&service.definition, version);
            if service.strategy != strategy {
                service.update_by(strategy);
                changed.push(name.clone());
            }
        }
        self.work.review(changed);
    }

    /// Queues every service and every section of the process for review.
    pub fn review_all(&mut self) {
        let sections = self.process.running().into_iter().flat_map(Running::section_names);
        let services: Vec<ServiceName> = self.desired.services.keys().cloned().chain(sections).collect();
        self.work.review(services);
    }

    /// Schedules a save of the state.
    pub fn save_later(&mut self, now: Moment) {
        self.files.saved.changed(now.instant);
    }

    /// Closes every socket that the process does not listen on. Does nothing during a deployment, whose process needs
    /// others.
    pub fn release_sockets(&mut self) {
        if !self.settings.is_external()
            && self.deployment.is_none()
            && let Some(running) = self.process.running()
        {
            let keep = running.listens_on();
            let base = running.listens_on_for_base();
            self.outbox.push(Effect::ReleaseSockets { keep, base });
        }
    }

    /// Closes sockets that were opened for deployments and that none will use.
    pub fn spare_sockets(&mut self) {
        if std::mem::take(&mut self.tally.sockets_to_spare) {
            self.release_sockets();
        }
    }

    /// Schedules the end of waits for ports that no service uses any more. Each looks at all services, so that many changes
    /// share one.
    pub fn end_vain_waits_later(&mut self, now: Moment) {
        self.timers.waits_at.get_or_insert(now.instant + PORT_WAITS_LOOK);
    }

    /// Ends waits for ports that no service uses any more. Does nothing during a deployment, which may still request
    /// one.
    pub fn end_vain_waits(&mut self) {
        if self.settings.is_external() || self.deployment.is_some() {
            return;
        }
        let services = self.desired.services.iter();
        let wanted =
            services.filter_map(|(name, service)| Some((name.clone(), WantedSockets::of(&service.definition)?)));
        let (wanted, base) = (wanted.collect(), self.settings.base.listens());
        self.outbox.push(Effect::WaitOnlyFor { wanted, base });
    }

    /// Schedules the next event of this service's servers in transition.
    pub fn expect_life_event(&mut self, name: &ServiceName) {
        let Some(service) = self.desired.services.get(name) else { return };
        if let Some(at) = service.life.next_event(self.work.drains.contains(name)) {
            self.timers.life_at = Some(self.timers.life_at.map_or(at, |due| due.min(at)));
        }
    }
}
