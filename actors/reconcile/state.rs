//! All that the reconciler knows, in parts of one responsibility each. The lanes (`runtime_lane`, `deploying`, ...) work
//! on it; what a part can decide alone is decided there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::deployment_lane::{CatchUp, Deployment};
use super::desired::{Desired, DesiredService, Retained};
use super::effect::{Effect, Outbox};
use super::files::Files;
use super::observed::Running;
use super::process_state::ProcessState;
use super::reload_queue::ReloadQueue;
use super::runtime_link::RuntimeLink;
use super::settings::Settings;
use super::time::Now;
use super::work_queue::WorkQueue;
use crate::decide::haproxy_config::{self, SectionStyle};
use crate::decide::proxy_plan::Step;
use crate::decide::routing::RouteStep;
use crate::limits::PARKED_SERVER_SWEEP;
use crate::message::WantedSocket;
use crate::model::{ProxyVersion, ServiceDefinition, ServiceName};
use crate::snapshot::{ProxyCounts, RefusedSettings};

/// The desired and the observed state of one HAProxy, and what is under way between them.
#[derive(Debug)]
pub struct State {
    /// How HAProxy is driven.
    pub settings: Settings,
    /// What should be.
    pub desired: Desired,
    /// What is.
    pub process: ProcessState,
    /// What is to be looked at.
    pub work: WorkQueue,
    /// The runtime lane.
    pub lane: RuntimeLane,
    /// The deployment lane.
    pub deployment: Option<Deployment>,
    /// A process that serves although no deployment of this daemon has brought it up: that of an earlier daemon, or one on
    /// an earlier file. What it has is not planned, but what must not get traffic is disabled in it.
    pub unmanaged: Option<CatchUp>,
    /// Reloads that are due.
    pub reloads: ReloadQueue,
    /// What is written behind every change.
    pub files: Files,
    /// When something is due that no answer brings.
    pub timers: Timers,
    /// Host names that are looked up, because HAProxy could not resolve them.
    pub unresolved: BTreeSet<Arc<str>>,
    /// What is only reported.
    pub tally: Tally,
    /// What is to be done.
    pub outbox: Outbox,
}

/// The runtime lane: changes one exchange at a time, and reads beside them, on another connection.
#[derive(Debug)]
pub struct RuntimeLane {
    /// The change that is under way.
    pub changing: Option<InFlight>,
    /// The read that is under way.
    pub reading: Option<InFlight>,
    /// What was changed while it is: what the read shows of it may be older.
    pub changed_meanwhile: Meanwhile,
    /// The health of the connection.
    pub link: RuntimeLink,
    /// Whether it is reported when HAProxy stops answering.
    pub is_watched: bool,
}

/// What was changed while a read is under way.
#[derive(Debug, Default)]
pub struct Meanwhile {
    /// The services.
    pub services: BTreeSet<ServiceName>,
    /// Whether the map of domains was.
    pub routes: bool,
}

/// An exchange with the process that serves.
#[derive(Debug)]
pub struct InFlight {
    /// Since when.
    pub since: Instant,
    /// The process that it was begun with; none where none was known.
    pub pid: Option<u32>,
    /// What was asked.
    pub exchange: Exchange,
}

/// The steps that go to HAProxy together.
pub type Batch = BTreeMap<ServiceName, Vec<Step>>;

/// What was asked of the process that serves.
#[derive(Debug)]
pub enum Exchange {
    /// To execute these steps.
    Commands(Batch),
    /// To change its map of domains.
    Routes(Vec<RouteStep>),
    /// To report its servers: those of these services, or all.
    Observation(Option<Vec<ServiceName>>),
    /// To report the sessions of the servers of these services.
    Sessions(Vec<ServiceName>),
}

/// When something is due that no answer brings.
#[derive(Debug)]
pub struct Timers {
    /// Servers in transition, overrides that end.
    pub life_at: Option<Instant>,
    /// An observation of everything, and a comparison of the files.
    pub observe_at: Instant,
    /// A look at the health of servers, where no log line reports it.
    pub health_at: Option<Instant>,
    /// The deletion of servers that have waited in maintenance long enough.
    pub sweep_at: Instant,
    /// Whether there is more to plan than one turn takes.
    pub more_to_plan: bool,
}

/// What is only reported.
#[derive(Debug, Default)]
pub struct Tally {
    /// How often things were done.
    pub counts: ProxyCounts,
    /// Settings that were read again and refused.
    pub settings_refused: Option<RefusedSettings>,
    /// What was last reported about services that want a domain that another has.
    pub complaints: BTreeMap<ServiceName, String>,
    /// Whether sockets may be held that neither the process listens on nor a deployment is going to.
    pub sockets_to_spare: bool,
}

impl State {
    /// Nothing is desired and nothing runs yet.
    pub fn new(settings: Settings, desired: Desired, now: Instant) -> Self {
        let observe_at = now + settings.policy.observe_interval;
        Self {
            settings,
            desired,
            process: ProcessState::Waiting,
            work: WorkQueue::default(),
            lane: RuntimeLane {
                changing: None,
                reading: None,
                changed_meanwhile: Meanwhile::default(),
                link: RuntimeLink::new(now),
                is_watched: false,
            },
            deployment: None,
            unmanaged: None,
            reloads: ReloadQueue::new(now),
            files: Files::default(),
            unresolved: BTreeSet::new(),
            timers: Timers {
                life_at: None,
                observe_at,
                health_at: None,
                sweep_at: now + PARKED_SERVER_SWEEP,
                more_to_plan: false,
            },
            tally: Tally::default(),
            outbox: Outbox::default(),
        }
    }

    /// The process that serves, or that served last.
    pub fn running(&self) -> Option<&Running> {
        self.process.running()
    }

    /// The version of HAProxy, as far as it is known.
    pub fn version(&self) -> Option<ProxyVersion> {
        self.running().map(|running| running.process.version).or(self.settings.binary)
    }

    /// The process id of the process that serves, or that served last.
    pub fn pid(&self) -> Option<u32> {
        self.running().map(|running| running.process.pid)
    }

    /// `global` and `defaults` as the settings ask, or, where HAProxy did not start with those, as they last were.
    pub fn base(&self) -> (Arc<str>, SectionStyle) {
        let desired = haproxy_config::frame(&self.settings.policy.frame);
        match self.running() {
            Some(running) if self.reloads.refused_base.as_ref() == Some(&desired) => {
                (running.base.clone(), running.style)
            }
            _ => (desired, SectionStyle::of(&self.settings.policy.frame, self.version())),
        }
    }

    /// Adds a service, with what is retained of it.
    pub fn add_service(&mut self, definition: Arc<ServiceDefinition>) {
        let name = definition.name.clone();
        let strategy = self.settings.strategy_of(&definition, self.version());
        let retained = self.desired.retained.remove(&name).unwrap_or_default();
        self.desired.services.insert(name, DesiredService::new(definition, strategy, retained));
    }

    /// Removes a service. Returns whether there was one.
    pub fn remove_service(&mut self, name: &ServiceName) -> bool {
        let Some(removed) = self.desired.services.remove(name) else { return false };
        // An external HAProxy is left as it is until the hosts are known, and no deployment ever ends what is kept here.
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

    /// Has every service looked through again, and every section of the process.
    pub fn review_all(&mut self) {
        let sections = self.process.running().into_iter().flat_map(Running::section_names);
        let services: Vec<ServiceName> = self.desired.services.keys().cloned().chain(sections).collect();
        self.work.review(services);
    }

    /// Has the saved state follow before long.
    pub fn save_later(&mut self, now: Now) {
        self.files.saved.changed(now.instant);
    }

    /// Closes every socket that the process does not listen on.
    pub fn release_sockets(&mut self) {
        if !self.settings.is_external()
            && let Some(running) = self.process.running()
        {
            let keep = running.listens_on();
            self.outbox.push(Effect::ReleaseSockets(keep));
        }
    }

    /// Closes the sockets that were opened for deployments, where none is going to use them.
    pub fn spare_sockets(&mut self) {
        if std::mem::take(&mut self.tally.sockets_to_spare) {
            self.release_sockets();
        }
    }

    /// Nobody waits any more for a port that no service wants. While a deployment is under way that waits for its end,
    /// because it may yet ask for one.
    pub fn end_vain_waits(&mut self) {
        if self.settings.is_external() || self.deployment.is_some() {
            return;
        }
        let services = self.desired.services.iter();
        let wanted =
            services.filter_map(|(name, service)| Some((name.clone(), WantedSocket::of(&service.definition)?)));
        let wanted = wanted.collect();
        self.outbox.push(Effect::WaitOnlyFor(wanted));
    }

    /// Servers of this service are in transition, or its overrides end: notes when the next of these events is due.
    pub fn expect_life_event(&mut self, name: &ServiceName) {
        let Some(service) = self.desired.services.get(name) else { return };
        if !self.work.drains.contains(name)
            && let Some(at) = service.life.next_event()
        {
            self.timers.life_at = Some(self.timers.life_at.map_or(at, |due| due.min(at)));
        }
    }
}
