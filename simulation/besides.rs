//! An external HAProxy and an output, which some worlds have in addition. The external HAProxy has a section for every
//! service from the beginning, with one server that discovery never shows. It is never reloaded for the manager, so
//! changes that it cannot accept at run time (host names) are not expected of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use proxymgr_actors::limits::RUNTIME_ANSWER_TIMEOUT;
use proxymgr_actors::model::{
    AdminState, Observation, ObservedRoutes, ObservedServers, ProcessInfo, ProxyVersion, RouteCommand, RuntimeCommand,
    ServerId, ServiceName,
};
use proxymgr_actors::port::{
    Answer, Applied, PortFuture, PublishedService, RuntimeApi, RuntimeError, SavedService, ServerSessions,
    ServiceOutput,
};
use proxymgr_actors::snapshot::{OutputState, ProxyPhase, TargetState};
use proxymgr_actors::wiring::RuntimeTarget;
use tokio::time::{Instant, sleep};

use super::haproxy_model::HaproxyModel;
use super::invariant::{Invariant, Violation};
use super::plan::{NAMED_FROM, Step};
use super::processes::{CONNECT, SocketFault, ready_in, until_given_up};
use super::random::Random;
use super::tampering::{drained_of, undrain, wanted_ready};
use super::truth::number_of_server;
use super::world::World;

const NAME: &str = "tcp://10.1.0.1:9999";

const VERSION: ProxyVersion = ProxyVersion { major: 3, minor: 0 };

/// The external HAProxy, and the last published state of the output.
pub(super) struct Besides {
    pid: u32,
    started: Instant,
    /// Its own configuration, read at each start.
    config: String,
    model: HaproxyModel,
    /// Number of commands that it executed or refused.
    commands: usize,
    fault: Option<SocketFault>,
    output_fails: bool,
    published: BTreeMap<String, BTreeSet<u8>>,
    /// Servers that a manager drained without being able to save the reason.
    unsaved_drains: BTreeSet<(String, u8)>,
}

impl Besides {
    fn new<'a>(services: impl IntoIterator<Item = &'a str>) -> Self {
        let section = |name| format!("listen {name}\n    balance roundrobin\n    server stray 10.0.0.99:80\n");
        let config: String = services.into_iter().map(section).collect();
        let model = started(&config);
        let (published, unsaved_drains) = (BTreeMap::new(), BTreeSet::new());
        Self {
            pid: 1,
            started: Instant::now(),
            config,
            model,
            commands: 0,
            fault: None,
            output_fails: false,
            published,
            unsaved_drains,
        }
    }

    /// Ends all faults.
    pub(super) fn heal(&mut self) {
        self.fault = None;
        self.output_fails = false;
    }

    /// Handles the end of a manager. An operator must end the drains whose host the next manager considers ready, or
    /// whose service it does not know.
    pub(super) fn leave_unsaved_drains(&mut self, saved: &[SavedService]) {
        let wanted = wanted_ready(saved, false);
        let known: BTreeSet<&ServiceName> = saved.iter().map(|service| &service.definition.name).collect();
        let is_left = |id: &ServerId| wanted.contains(id) || !known.contains(&id.service);
        self.unsaved_drains.extend(drained_of(&self.model, is_left));
    }

    /// Returns whether any such drains remain.
    pub(super) fn has_unsaved_drains(&self) -> bool {
        !self.unsaved_drains.is_empty()
    }

    /// Checks target and output against the hosts of these services that are to take traffic.
    pub(super) fn rest<'a>(&self, services: impl Iterator<Item = (&'a String, BTreeSet<u8>)>) -> Result<(), Violation> {
        let ready = ready_in(&self.model);
        for (name, shown) in services {
            let takeable: BTreeSet<u8> = shown.iter().copied().filter(|host| *host < NAMED_FROM).collect();
            let has: BTreeSet<u8> = ready.get(name).into_iter().flat_map(|hosts| hosts.keys().copied()).collect();
            // The operator's file has no section for services that were defined later.
            if has != takeable && ready.contains_key(name) {
                return Err(unlike(format!("the target should have {takeable:?} for {name}, and has {has:?}")));
            }
            if self.published.get(name) != Some(&shown) {
                let published = self.published.get(name);
                return Err(unlike(format!("the output should have {shown:?} for {name}, and has {published:?}")));
            }
        }
        Ok(())
    }
}

fn started(config: &str) -> HaproxyModel {
    HaproxyModel::start(VERSION, config).expect("three plain lines a section")
}

fn unlike(what: String) -> Violation {
    Violation { invariant: Invariant::Converges, what }
}

/// Checks that the target's actor reports no problem.
pub(super) fn target_rests(target: &TargetState) -> Result<(), Violation> {
    let TargetState { haproxy, .. } = target;
    match &haproxy.runtime_error {
        None if haproxy.phase == ProxyPhase::Running => Ok(()),
        error => Err(unlike(format!("the target's actor is {:?}: {error:?}", haproxy.phase))),
    }
}

/// Checks that the output's actor reports no problem.
pub(super) fn output_rests(output: &OutputState) -> Result<(), Violation> {
    output.error.as_ref().map_or(Ok(()), |error| Err(unlike(format!("the output: {error}"))))
}

impl World {
    /// Adds an external HAProxy, with sections for these services, and an output.
    pub(super) fn have_besides<'a>(&self, services: impl IntoIterator<Item = &'a str>) {
        let besides = Besides::new(services);
        self.with(|things| things.besides = Some(besides));
    }

    /// Returns the number of commands that the external HAProxy received.
    pub(super) fn commands_besides(&self) -> usize {
        self.besides(|besides| besides.commands).unwrap_or_default()
    }

    /// Returns the targets and outputs of the next manager.
    pub(super) fn targets_and_outputs(&self) -> (Vec<RuntimeTarget>, Vec<Rc<dyn ServiceOutput>>) {
        if self.with(|things| things.besides.is_none()) {
            return (Vec::new(), Vec::new());
        }
        let target = RuntimeTarget { name: NAME.to_owned(), runtime: Rc::new(Target(self.clone())) };
        (vec![target], vec![Rc::new(Output(self.clone()))])
    }

    /// Makes the external HAProxy stop answering.
    pub(super) fn silence_target(&self, fault: SocketFault) {
        self.besides(|besides| besides.fault = Some(fault));
    }

    /// Restarts the external HAProxy with its own file.
    pub(super) fn restart_target(&self) {
        self.besides(|besides| {
            (besides.pid, besides.started) = (besides.pid + 1, Instant::now());
            besides.model = started(&besides.config);
        });
    }

    /// Ends, as an operator, the drains that a manager could not save.
    pub(super) fn undrain_target(&self) {
        self.with(|things| {
            let left = things.besides.as_ref().map(|besides| besides.unsaved_drains.clone()).unwrap_or_default();
            let wanted = left.into_iter().filter(|(service, host)| things.wanted(service).contains_key(host));
            let wanted: Vec<_> = wanted.collect();
            let Some(besides) = &mut things.besides else { return };
            wanted.iter().for_each(|(service, host)| undrain(&mut besides.model, service, *host));
        });
    }

    /// Makes every write of the output fail.
    pub(super) fn fail_output(&self) {
        self.besides(|besides| besides.output_fails = true);
    }

    fn besides<T>(&self, look: impl FnOnce(&mut Besides) -> T) -> Option<T> {
        self.with(|things| things.besides.as_mut().map(look))
    }
}

/// Runtime API of the external HAProxy.
#[derive(Clone)]
struct Target(World);

impl Target {
    /// Executes `obey` on a new connection, unless the process is unreachable or its answer never arrives.
    async fn ask<T>(self, latency_ms: u64, obey: impl FnOnce(&mut Besides) -> T) -> Result<T, RuntimeError> {
        sleep(CONNECT).await;
        self.0.latency("target", 0, latency_ms).await;
        match self.0.besides(|besides| besides.fault).flatten() {
            Some(SocketFault::Down) => {
                Err(RuntimeError::Unreachable { path: NAME.to_owned(), error: "connection refused".to_owned() })
            }
            Some(SocketFault::Hangs { obeys }) => {
                if obeys {
                    self.0.besides(obey);
                }
                until_given_up().await;
                let timeout_ms = u64::try_from(RUNTIME_ANSWER_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
                Err(RuntimeError::TimedOut { path: NAME.to_owned(), timeout_ms })
            }
            None => {
                let gone = || RuntimeError::Broken { path: NAME.to_owned(), error: "there is none".to_owned() };
                self.0.besides(obey).ok_or_else(gone)
            }
        }
    }
}

impl RuntimeApi for Target {
    fn run(&self, commands: Vec<RuntimeCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        let obey = move |besides: &mut Besides| {
            besides.commands += commands.len();
            commands.iter().map(|command| besides.model.run(command)).collect()
        };
        Box::pin(self.clone().ask(8, obey))
    }

    fn observe(&self, services: Option<Vec<ServiceName>>) -> PortFuture<Result<Observation, RuntimeError>> {
        Box::pin(self.clone().ask(4, move |besides| besides.model.observe(services.as_deref())))
    }

    /// No server has sessions.
    fn sessions(&self, services: Vec<ServiceName>) -> PortFuture<Result<ServerSessions, RuntimeError>> {
        let observation = self.observe(Some(services));
        Box::pin(async move {
            let of = |(service, servers): (ServiceName, Arc<ObservedServers>)| {
                (service, servers.keys().map(|name| (name.clone(), 0)).collect())
            };
            Ok(observation.await?.services.into_iter().map(of).collect())
        })
    }

    fn change_routes(&self, _: PathBuf, commands: Vec<RouteCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        // The operator's file has no map of domains.
        let refused = || Answer { accepted: false, text: "Unknown map identifier.".to_owned() };
        Box::pin(std::future::ready(Ok(commands.iter().map(|_| refused()).collect())))
    }

    fn routes(&self, _: PathBuf) -> PortFuture<Result<Option<ObservedRoutes>, RuntimeError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn process(&self) -> PortFuture<Result<ProcessInfo, RuntimeError>> {
        Box::pin(self.clone().ask(4, |besides| ProcessInfo {
            pid: besides.pid,
            version: VERSION,
            version_text: VERSION.to_string(),
            uptime_s: besides.started.elapsed().as_secs(),
            stopping: false,
        }))
    }

    fn disconnect(&self) {}
}

struct Output(World);

impl ServiceOutput for Output {
    fn name(&self) -> &str {
        "simulated"
    }

    fn apply(&self, services: Vec<PublishedService>) -> PortFuture<Result<Applied, String>> {
        let world = self.0.clone();
        Box::pin(async move {
            world.latency("output", 0, 50).await;
            let written = world.besides(|besides| match besides.output_fails {
                true => Err("the output fails".to_owned()),
                false => {
                    let published =
                        services.iter().map(|service| (service.definition.name.to_string(), ready_of(service)));
                    besides.published = published.collect();
                    Ok(Applied::Changed)
                }
            });
            written.unwrap_or_else(|| Err("there is none".to_owned()))
        })
    }
}

fn ready_of(service: &PublishedService) -> BTreeSet<u8> {
    let hosts = service.hosts.iter().flat_map(|hosts| hosts.iter());
    let ready = hosts.filter(|(_, host)| host.state == AdminState::Ready);
    ready.filter_map(|(name, _)| number_of_server(name.as_str())).collect()
}

/// Draws whether the world of this seed has an external HAProxy and an output; if so, adds steps about them.
pub(super) fn draw(seed: u64, steps: &mut Vec<Step>) -> bool {
    let mut random = Random::of_purpose(seed, "besides");
    if !random.chance(30) {
        return false;
    }
    for _ in 0..random.below(4) {
        let step = match random.below(4) {
            0 => Step::TargetHang { obeys: random.chance(50) },
            1 => Step::TargetDown,
            2 => Step::TargetRestarted,
            _ => Step::OutputFails,
        };
        let place = usize::try_from(random.below(steps.len() as u64)).unwrap_or_default();
        steps.insert(place, step);
    }
    true
}
