//! A small world in memory: sources, HAProxy, files and sockets that do what they are told, and can be told to fail.
//! Time is virtual.

// Each test file takes the part of the world that it needs.
#![allow(dead_code)]

mod config_file;
mod names;
mod saves;
mod sockets;
mod sources;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::{pending, ready};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use proxymgr_actors::clock::Clock;
use proxymgr_actors::decide::guard::GuardMemory;
use proxymgr_actors::decide::loaded_config::parse_sections;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::routing::parse_map;
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen, PolicyChanged, ReadJournal, SeenHost};
use proxymgr_actors::model::{
    Address, Endpoint, Host, LifeCyclePolicy, Observation, ObservedRoutes, ObservedServer, ObservedServers,
    OldProcessLimits, ProcessInfo, ProxyFrame, ProxyPolicy, ProxyVersion, RawDefinition, RouteCommand, RunBy,
    RuntimeCommand, ServerName, ServiceName, UpdateChoice,
};
use proxymgr_actors::port::{
    Answer, Applied, DefinitionList, PortFuture, ProcessExit, ProcessSignal, ProcessUsage, ProxyProcesses,
    PublishedService, RunningProcess, RuntimeApi, RuntimeError, SavedService, SavedState, ServerSessions,
    ServiceOutput,
};
use proxymgr_actors::snapshot::{ActorState, HaproxyState, ServiceConfigState, WatcherState};
use proxymgr_actors::wiring::{Actors, Orders, Outside};
use slog::{Discard, Logger, o};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// What is in the world.
#[derive(Default)]
pub struct Things {
    pub definitions: Option<Recipient<DefinitionsSeen>>,
    /// How often sources of hosts were opened, and what their entries may say.
    pub opened: usize,
    pub entry_options: Vec<String>,
    pub watchers: BTreeMap<String, Recipient<HostsSeen>>,
    pub version: (u16, u16),
    pub pid: u32,
    pub exits: BTreeMap<u32, oneshot::Sender<ProcessExit>>,
    pub proxy: BTreeMap<ServiceName, ObservedServers>,
    pub commands: Vec<String>,
    /// The sessions of servers that have any.
    pub sessions: BTreeMap<String, u64>,
    pub refuse: Option<String>,
    pub socket_hangs: bool,
    /// How many times the process before hangs on the socket before the new one has it.
    pub looks_in_vain: usize,
    /// Whether commands are obeyed, and their answers get lost.
    pub answers_lost: bool,
    pub reject: Option<String>,
    pub disk_full: bool,
    pub check_takes: Duration,
    pub run_takes: Duration,
    pub live_file: String,
    candidate: String,
    /// The map that the process has, the one beside its file, and that of the candidate.
    pub map: Option<ObservedRoutes>,
    pub map_file: Option<String>,
    candidate_map: Option<String>,
    pub writes: usize,
    pub starts: Vec<Instant>,
    /// The host names that resolve.
    pub names: BTreeSet<String>,
    /// When which host name was looked up.
    pub lookups: Vec<(Instant, String)>,
    pub open_sockets: BTreeSet<SocketAddr>,
    pub taken_ports: BTreeSet<u16>,
    pub saved: Vec<SavedService>,
    pub definitions_guard: GuardMemory<DefinitionList>,
    pub save_takes: Duration,
    pub signals: Vec<(u32, ProcessSignal)>,
    /// Whether processes that were told to finish keep what they have.
    pub old_stay: bool,
    pub usage: Option<ProcessUsage>,
    /// What the output besides HAProxy was given, one entry an application: each service with the number of its hosts.
    pub published: Vec<BTreeMap<String, Option<usize>>>,
    pub output_fails: bool,
}

#[derive(Clone, Default)]
pub struct World(Rc<RefCell<Things>>);

/// Runs a test in virtual time.
pub fn in_virtual_time(test: impl AsyncFnOnce(World)) {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let world = World::default();
    world.with(|things| {
        things.version = (3, 0);
        things.run_takes = Duration::from_micros(200);
    });
    actix::System::with_tokio_rt(runtime).block_on(test(world));
}

impl World {
    pub fn with<T>(&self, look: impl FnOnce(&mut Things) -> T) -> T {
        look(&mut self.0.borrow_mut())
    }

    pub fn start(&self) -> Actors {
        self.start_with(Vec::new())
    }

    pub fn start_with(&self, restored: Vec<SavedService>) -> Actors {
        self.start_from(SavedState { services: restored, definitions_guard: GuardMemory::default() })
    }

    pub fn start_from(&self, restored: SavedState) -> Actors {
        self.start_as(policy(&[]), restored)
    }

    pub fn start_under(&self, policy: ProxyPolicy) -> Actors {
        self.start_as(policy, SavedState::default())
    }

    pub fn start_as(&self, policy: ProxyPolicy, restored: SavedState) -> Actors {
        let outside = Outside {
            definitions: Rc::new(self.clone()),
            host_sources: Rc::new(self.clone()),
            runtime: Rc::new(self.clone()),
            config_file: Rc::new(self.clone()),
            names: Rc::new(self.clone()),
            processes: Rc::new(self.clone()),
            sockets: Rc::new(self.clone()),
            state_store: Rc::new(self.clone()),
            targets: Vec::new(),
            outputs: vec![Rc::new(self.clone())],
        };
        let options = OptionPolicy::default();
        let orders = Orders { policy, binary: None, options, services_removal_max: 0.5, restored };
        Actors::start(outside, orders, Clock::starting_at(1_000_000), &Logger::root(Discard, o!()))
    }

    /// The definitions source shows these services: name and JSON without the source.
    pub async fn define(&self, services: &[(&str, &str)]) {
        let raw = |json: &str| RawDefinition::new(json, "a test");
        let seen = services.iter().map(|(name, json)| (Arc::from(*name), raw(json))).collect();
        self.definitions_seen(Ok(seen)).await;
    }

    pub async fn definitions_seen(&self, result: Result<BTreeMap<Arc<str>, RawDefinition>, String>) {
        settle().await;
        let reader = self.with(|things| things.definitions.clone()).expect("the definitions are being watched");
        reader.do_send(DefinitionsSeen::plain(result));
        settle().await;
    }

    /// The source of this service shows these hosts, at 10.0.0.N:80.
    pub async fn hosts(&self, service: &str, hosts: &[u8]) {
        let seen = |n: &u8| SeenHost::new(n.to_string(), Ok(host(*n)));
        self.hosts_seen(service, Ok(hosts.iter().map(seen).collect())).await;
    }

    pub async fn hosts_seen(&self, service: &str, result: Result<Vec<SeenHost>, String>) {
        let watcher = self.with(|things| things.watchers.get(service).cloned()).expect("the service is being watched");
        watcher.do_send(HostsSeen { result, seen_at: Instant::now() });
        settle().await;
    }

    /// The servers of this service that take traffic, by the last part of their address.
    pub fn ready(&self, service: &str) -> Vec<u8> {
        let name = ServiceName::new(service).unwrap();
        self.with(|things| {
            let servers = things.proxy.get(&name).into_iter().flatten();
            let ready = servers.filter(|(_, server)| !server.in_maintenance() && !server.in_drain());
            let mut ready: Vec<u8> =
                ready.map(|(_, server)| server.address.rsplit('.').next().unwrap().parse().unwrap()).collect();
            ready.sort_unstable();
            ready
        })
    }

    pub fn starts(&self) -> usize {
        self.with(|things| things.starts.len())
    }

    pub fn kill_haproxy(&self) {
        let exit = self.with(|things| {
            let pid = things.pid;
            things.exits.remove(&pid)
        });
        exit.expect("HAProxy runs").send(ProcessExit::Signal(9)).expect("its supervisor waits for its end");
    }

    fn start_process(&self) -> RunningProcess {
        self.with(|things| {
            things.pid += 1;
            things.socket_hangs = false;
            things.starts.push(Instant::now());
            things.proxy = parse_sections(&things.live_file)
                .into_iter()
                .map(|(name, section)| {
                    (name, section.server_lines.values().map(|line| names::server(line, &things.names)).collect())
                })
                .collect();
            things.map = things
                .map_file
                .as_deref()
                .map(|text| parse_map(text).into_iter().map(|(key, service)| (key, service.to_string())).collect());
            let (ended, end) = oneshot::channel();
            // The processes before end at once, unless somebody stays connected.
            let before: Vec<_> =
                if things.old_stay { vec![] } else { std::mem::take(&mut things.exits).into_values().collect() };
            things.exits.insert(things.pid, ended);
            before.into_iter().for_each(|exit| {
                let _ = exit.send(ProcessExit::Code(0));
            });
            RunningProcess {
                pid: things.pid,
                exit: Box::pin(async move { end.await.unwrap_or(ProcessExit::Unknown) }),
                runtime: None,
            }
        })
    }
}

/// How HAProxy is driven, with these lines in `global`.
pub fn policy(global: &[&str]) -> ProxyPolicy {
    let global = global.iter().map(|line| (*line).to_owned()).collect();
    ProxyPolicy {
        frame: ProxyFrame {
            global,
            defaults: vec![],
            socket_path: "/run/haproxy.sock".into(),
            map_path: "/etc/haproxy.cfg.domains".into(),
            state_file: Some("/haproxy.cfg.state".into()),
            run_by: RunBy::Us,
        },
        reload_interval: Duration::from_secs(1),
        stop_timeout: Duration::from_secs(30),
        observe_interval: Duration::from_secs(30),
        life_cycle: LifeCyclePolicy::default(),
        update: UpdateChoice::default(),
        old_processes: OldProcessLimits::default(),
    }
}

/// Settings that were read again.
pub fn changed(policy: ProxyPolicy) -> PolicyChanged {
    PolicyChanged { policy: Arc::new(policy), options: OptionPolicy::default(), services_removal_max: 0.5 }
}

/// Lets every message that is under way arrive.
pub async fn settle() {
    sleep(Duration::from_millis(100)).await;
}

pub async fn wait(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

pub fn host(n: u8) -> Host {
    Host::at(Endpoint { address: Address::parse(&format!("10.0.0.{n}")).unwrap(), port: 80.try_into().unwrap() })
}

pub async fn haproxy_state(actors: &Actors) -> HaproxyState {
    let states = actors.states().await.expect("every actor answers");
    let found = states.into_iter().find_map(|state| match state {
        ActorState::HaproxyState(state) => Some(state),
        _ => None,
    });
    found.expect("the HaproxyStateActor answers")
}

pub async fn watcher_state(actors: &Actors, service: &str) -> WatcherState {
    let states = actors.states().await.expect("every actor answers");
    let found = states.into_iter().find_map(|state| match state {
        ActorState::Watcher(state) if state.service == service => Some(state),
        _ => None,
    });
    found.expect("the service has a watcher")
}

pub async fn config_state(actors: &Actors) -> ServiceConfigState {
    let states = actors.states().await.expect("every actor answers");
    let found = states.into_iter().find_map(|state| match state {
        ActorState::ServiceConfig(state) => Some(state),
        _ => None,
    });
    found.expect("the ServiceConfigActor answers")
}

pub async fn journal(actors: &Actors, service: &str) -> Vec<JournalEntry> {
    actors.journal(ReadJournal { service: Some(service.to_owned()), ..ReadJournal::default() }).await
}

fn observed(address: &str, port: u16, admin_state: u16, weight: u16) -> ObservedServer {
    ObservedServer { address: address.into(), port, fqdn: None, admin_state, operational_state: 2, weight }
}

impl Things {
    fn obey(&mut self, command: &RuntimeCommand) -> Result<(), String> {
        self.commands.push(command.to_string());
        if self.refuse.as_ref().is_some_and(|refused| command.to_string().starts_with(refused)) {
            return Err("Refused.".to_owned());
        }
        let id = command.server();
        let servers = self.proxy.get_mut(&id.service).ok_or("No such backend.")?;
        if let RuntimeCommand::AddServer { endpoint, .. } = command {
            if servers.contains_key(&id.server) {
                return Err("Already exists.".to_owned());
            }
            servers.insert(id.server.clone(), observed(&endpoint.address.to_string(), endpoint.port.get(), 1, 1));
            return Ok(());
        }
        let server = servers.get_mut(&id.server).ok_or("No such server.")?;
        match command {
            RuntimeCommand::SetReady(_) => server.admin_state = 0,
            RuntimeCommand::SetDrain(_) => server.admin_state = 8,
            RuntimeCommand::SetMaintenance(_) => server.admin_state = 1,
            RuntimeCommand::SetWeight(_, weight) => server.weight = *weight,
            RuntimeCommand::SetAddress(_, endpoint) => {
                server.address = endpoint.address.to_string().into();
                server.port = endpoint.port.get();
            }
            RuntimeCommand::DeleteServer(_) => {
                servers.remove(&id.server);
            }
            _ => {}
        }
        Ok(())
    }
}

fn no_answer() -> RuntimeError {
    RuntimeError::TimedOut { path: "/run/haproxy.sock".to_owned(), timeout_ms: 10_000 }
}

impl RuntimeApi for World {
    fn run(&self, commands: Vec<RuntimeCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        let world = self.clone();
        Box::pin(async move {
            let takes = world.with(|things| things.run_takes);
            sleep(takes).await;
            world.with(|things| {
                if things.socket_hangs {
                    return Err(no_answer());
                }
                let answer = |outcome: Result<(), String>| Answer {
                    accepted: outcome.is_ok(),
                    text: outcome.err().unwrap_or_default(),
                };
                let answers = commands.iter().map(|command| answer(things.obey(command))).collect();
                if things.answers_lost { Err(no_answer()) } else { Ok(answers) }
            })
        })
    }

    fn observe(&self, services: Option<Vec<ServiceName>>) -> PortFuture<Result<Observation, RuntimeError>> {
        let all = self.with(|things| things.proxy.clone());
        let asked = |name: &ServiceName| services.as_ref().is_none_or(|services| services.contains(name));
        let asked = all.into_iter().filter(|(name, _)| asked(name)).map(|(name, servers)| (name, Arc::new(servers)));
        Box::pin(ready(Ok(Observation { services: asked.collect() })))
    }

    fn server_states(&self) -> PortFuture<Result<String, RuntimeError>> {
        let hangs = self.with(|things| things.socket_hangs);
        Box::pin(async move { if hangs { pending().await } else { Ok(String::new()) } })
    }

    fn sessions(&self, services: Vec<ServiceName>) -> PortFuture<Result<ServerSessions, RuntimeError>> {
        let sessions = self.with(|things| {
            let of = |name: &ServiceName| {
                let servers = things.proxy.get(name)?.keys();
                let count = |server: &ServerName| things.sessions.get(server.as_str()).copied().unwrap_or_default();
                Some((name.clone(), servers.map(|server| (server.clone(), count(server))).collect()))
            };
            services.iter().filter_map(of).collect()
        });
        Box::pin(ready(Ok(sessions)))
    }

    fn process(&self) -> PortFuture<Result<ProcessInfo, RuntimeError>> {
        let (pid, (major, minor)) = self.with(|things| (things.pid, things.version));
        let version = ProxyVersion { major, minor };
        let version_text = version.to_string();
        let in_vain = self.with(|things| {
            let before = things.looks_in_vain;
            things.looks_in_vain = before.saturating_sub(1);
            before > 0
        });
        Box::pin(async move {
            if in_vain {
                sleep(Duration::from_secs(10)).await;
                return Err(RuntimeError::TimedOut { path: "/run/haproxy.sock".to_owned(), timeout_ms: 10_000 });
            }
            Ok(ProcessInfo { pid, version, version_text, uptime_s: 0, stopping: false })
        })
    }

    fn change_routes(
        &self,
        map: PathBuf,
        commands: Vec<RouteCommand>,
    ) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        let answers = self.with(|things| {
            if things.socket_hangs {
                return Err(RuntimeError::TimedOut { path: "/run/haproxy.sock".to_owned(), timeout_ms: 10_000 });
            }
            Ok(commands.iter().map(|command| things.route(&map, command)).collect())
        });
        Box::pin(ready(answers))
    }

    fn routes(&self, _: PathBuf) -> PortFuture<Result<Option<ObservedRoutes>, RuntimeError>> {
        Box::pin(ready(Ok(self.with(|things| things.map.clone()))))
    }

    fn disconnect(&self) {}
}

impl ProxyProcesses for World {
    fn start(&self, _: Vec<RawFd>, _: Vec<u32>) -> PortFuture<Result<RunningProcess, String>> {
        Box::pin(ready(Ok(self.start_process())))
    }

    fn usage(&self, pids: Vec<u32>) -> PortFuture<BTreeMap<u32, ProcessUsage>> {
        let usage = self.with(|things| things.usage);
        Box::pin(ready(pids.into_iter().filter_map(|pid| Some((pid, usage?))).collect()))
    }

    fn find_orphan(&self) -> PortFuture<Option<RunningProcess>> {
        Box::pin(ready(None))
    }

    fn signal(&self, pid: u32, signal: ProcessSignal) -> Result<(), String> {
        self.with(|things| {
            things.signals.push((pid, signal));
            let stays = things.old_stay && signal == ProcessSignal::SoftStop;
            if !stays && let Some(exit) = things.exits.remove(&pid) {
                let _ = exit.send(ProcessExit::Code(0));
            }
        });
        Ok(())
    }
}

impl ServiceOutput for World {
    fn name(&self) -> &str {
        "a list in memory"
    }

    fn apply(&self, services: Vec<PublishedService>) -> PortFuture<Result<Applied, String>> {
        let hosts = |service: &PublishedService| service.hosts.as_ref().map(|hosts| hosts.len());
        let shown = services.iter().map(|service| (service.definition.name.to_string(), hosts(service))).collect();
        Box::pin(ready(self.with(|things| {
            if things.output_fails {
                return Err("it is told to fail".to_owned());
            }
            let same = things.published.last() == Some(&shown);
            things.published.push(shown);
            Ok(if same { Applied::Unchanged } else { Applied::Changed })
        })))
    }
}
