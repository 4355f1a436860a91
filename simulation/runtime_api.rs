//! The Runtime API of the serving HAProxy.

use std::path::PathBuf;

use proxymgr_actors::limits::{RUNTIME_ANSWER_TIMEOUT, RUNTIME_FAILURES_BEFORE_RELOAD};
use proxymgr_actors::model::{
    Address, BackendCommand, Endpoint, Observation, ObservedRoutes, ObservedServers, ProcessInfo, RouteCommand,
    RuntimeCommand, ServerId, ServerName, ServiceName,
};
use proxymgr_actors::port::{Answer, PortFuture, RuntimeApi, RuntimeError, ServerSessions};
use tokio::time::{Duration, Instant, sleep};

use super::durations::Work;
use super::invariant::Invariant;
use super::plan::Refused;
use super::planted_bug::PlantedBug;
use super::processes::{CONNECT, Process, SocketFault, ready_in};
use super::route_map::RouteMap;
use super::slots::{host_of, hosts_of, is_served_by_another, takes_traffic};
use super::tampering::server;
use super::things::Things;
use super::truth::number_of_server;
use super::world::World;

/// How soon the connections of a process that ends break.
const BREAKS_WITHIN: Duration = Duration::from_millis(20);

const SOCKET: &str = "/run/haproxy.sock";

/// Name of the map's file in the trace.
const MAP: &str = "MAP";

impl World {
    /// Checks the intention of commands at the moment when they are sent.
    fn intended(&self, commands: &[RuntimeCommand]) {
        let hosts = self.with(|things| {
            let process = things.serving().and_then(|pid| things.processes.get(&pid));
            process.map(|process| hosts_of(&process.model, commands)).unwrap_or_default()
        });
        let gone: Vec<&ServerId> =
            commands.iter().filter(|command| takes_away(command)).map(RuntimeCommand::server).collect();
        for (place, (command, host)) in commands.iter().zip(&hosts).enumerate() {
            let Some(number) = *host else { continue };
            let id = command.server();
            // A slot whose host was removed keeps its address in maintenance.
            if matches!(command, RuntimeCommand::DeleteServer(_)) && number_of_server(id.server.as_str()).is_none() {
                continue;
            }
            // A server that moves or is replaced is away only during its batch; a host that was gone for a moment may
            // have got another slot.
            let returns = commands.iter().zip(&hosts).enumerate().any(|(at, (other, of))| {
                let brings = matches!(other, RuntimeCommand::SetReady(_) | RuntimeCommand::AddServer { .. });
                let is_later = at > place || other.server() != id;
                brings && is_later && of == host && other.server().service == id.service
            });
            let shown = self.with(|things| {
                // An operator's drain may be restored.
                let server = (id.service.to_string(), number);
                let is_drained = matches!(command, RuntimeCommand::SetDrain(_))
                    && (things.drained.contains(&server) || things.undrained.contains(&server));
                !is_drained && things.oracle.must_have(id.service.as_str(), number)
            });
            let brings = matches!(command, RuntimeCommand::SetReady(_));
            if brings && self.with(|things| things.oracle.choices.must_keep(id.service.as_str(), number)) {
                self.violate(Invariant::OperatorsDecide, format!("`{command}` although an operator ordered otherwise"));
            }
            if takes_away(command) && !returns && shown && !self.is_served_by_another(id, number, &gone) {
                if self.with(|things| things.oracle.is_kept_by_guard(id.service.as_str(), number)) {
                    self.violate(Invariant::GuardLimitsHold, format!("`{command}` although the guard keeps the host"));
                } else {
                    self.violate(Invariant::NothingIsTakenAway, format!("`{command}` although discovery shows it"));
                }
            }
        }
    }

    /// Returns whether another server than those in `gone` serves the host: with slots it can have two, while it moves
    /// from one to the other.
    fn is_served_by_another(&self, id: &ServerId, host: u8, gone: &[&ServerId]) -> bool {
        self.with(|things| {
            let has_slots = things.services.get(id.service.as_str()).is_some_and(|service| service.slots.is_some());
            let process = things.serving().and_then(|pid| things.processes.get(&pid)).filter(|_| has_slots);
            process.is_some_and(|process| is_served_by_another(&process.model, id, host, gone))
        })
    }

    /// Connects to the serving process, and waits until it may answer. Returns its process id and its fault.
    async fn connected(&self, answers_after_ms: u64) -> Result<(u32, Option<SocketFault>), RuntimeError> {
        let found = self.with(|things| {
            let process = things.processes.get(&things.serving()?)?;
            Some((process.pid, process.fault))
        });
        sleep(CONNECT + Duration::from_millis(answers_after_ms)).await;
        match found {
            None => Err(unreachable("no such file or directory")),
            Some((_, Some(SocketFault::Down))) => {
                self.failed_again();
                Err(unreachable("connection refused"))
            }
            Some(found) => Ok(found),
        }
    }

    /// Notes a failure: after this many in a row a process must be replaced.
    fn failed_again(&self) {
        self.with(|things| {
            things.socket_failures += 1;
            if things.socket_failures >= RUNTIME_FAILURES_BEFORE_RELOAD {
                things.oracle.cause("its socket failed repeatedly");
            }
        });
    }

    /// Waits for an answer that never arrives. The connection breaks when the process ends.
    async fn no_answer<T>(&self, pid: u32) -> Result<T, RuntimeError> {
        let given_up = Instant::now() + RUNTIME_ANSWER_TIMEOUT;
        while Instant::now() < given_up {
            sleep(BREAKS_WITHIN.min(given_up - Instant::now())).await;
            if self.with(|things| !things.processes.contains_key(&pid)) {
                return Err(broken());
            }
        }
        self.failed_again();
        let timeout_ms = u64::try_from(RUNTIME_ANSWER_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        Err(RuntimeError::TimedOut { path: SOCKET.to_owned(), timeout_ms })
    }

    /// Returns the sessions of a server.
    fn sessions_of(&self, server: &ServerName) -> u64 {
        let given = self.with(|things| {
            things.sessions.as_ref().map(|sessions| sessions.get(server.as_str()).copied().unwrap_or_default())
        });
        given.unwrap_or_else(|| self.draw("sessions", 0, 2))
    }

    pub(super) fn obey(&self, pid: u32, commands: &[RuntimeCommand]) -> Option<Vec<Answer>> {
        let alive = self.with(|things| things.processes.contains_key(&pid));
        alive.then(|| commands.iter().map(|command| self.obey_one(pid, command, commands)).collect())
    }

    fn obey_one(&self, pid: u32, command: &RuntimeCommand, batch: &[RuntimeCommand]) -> Answer {
        let added = |id: &ServerId| {
            batch.iter().any(|other| matches!(other, RuntimeCommand::AddServer { server, .. } if server == id))
        };
        let now_ms = self.trace().now_ms();
        let (answer, is_known) = self.with(|things| {
            things.commands += 1;
            let refused = things.refuses.iter().any(|what| is_about(*what, command));
            let refused = things.is_refused(|| command.to_string()) || refused;
            let Some(process) = things.processes.get_mut(&pid) else {
                return (Answer { accepted: false, text: "gone".to_owned() }, true);
            };
            process.has_refused |= refused;
            let id = command.server();
            let exists = process.model.has(id);
            let adds = matches!(command, RuntimeCommand::AddServer { .. });
            let is_known = if adds { !exists || deleted_in(batch, id) } else { exists || added(id) };
            // A command for the previous process may reach the next one, whose file has the server.
            let is_for_another = adds && process.is_a_young_successor();
            let is_known = is_known || is_for_another || things.tampered.contains(id);
            let is_lost = things.planted == Some(PlantedBug::ForgetsTheSuccessor)
                && takes_away(command)
                && process.is_a_young_successor();
            let answer = if is_lost {
                Answer { accepted: true, text: String::new() }
            } else if refused {
                Answer { accepted: false, text: "Permission denied.".to_owned() }
            } else {
                process.model.run(command)
            };
            if let Some(chronicle) = &mut things.chronicle
                && let Some(host) = host_of(&process.model, id)
            {
                let takes_traffic = match number_of_server(id.server.as_str()) {
                    Some(_) => process.model.takes_traffic(id),
                    None => takes_traffic(&process.model, id.service.as_str(), host),
                };
                chronicle.enabled(id.service.as_str(), host, takes_traffic, now_ms);
            }
            let only_deletes = matches!(command, RuntimeCommand::DeleteServer(_)) && !added(id);
            if !answer.accepted && !only_deletes {
                things.oracle.cause(format!("`{command}` was refused"));
            }
            (answer, is_known)
        });
        let words = if answer.accepted { "done" } else { &answer.text };
        self.note("HaproxyStateActor", format_args!("HAProxy ({pid})"), format_args!("{command}: {words}"));
        let overrules = self.with(|things| match answer.accepted {
            true => things.obeyed(pid, command),
            false => {
                things.refused_to_obey(pid, command);
                false
            }
        });
        if overrules {
            self.violate(Invariant::AgentsKeepToOrders, format!("`{command}` although its agent disabled it"));
        }
        self.ask_agents_soon();
        if !is_known {
            self.violate(Invariant::ServersAreKnown, format!("`{command}`: {}", answer.text));
        }
        answer
    }

    /// Executes commands about the map of a process; `None` if it has ended.
    pub(super) fn route(&self, pid: u32, commands: &[RouteCommand]) -> Option<Vec<Answer>> {
        let refused = || Answer { accepted: false, text: "Unknown map identifier.".to_owned() };
        let answers = self.with(|things| {
            let answer = |command: &RouteCommand| {
                let is_refused = things.is_refused(|| command.text(MAP, command.key().as_str()));
                let map = things.processes.get_mut(&pid)?.map.as_mut().filter(|_| !is_refused);
                Some(map.map_or_else(refused, |map| map.run(command)))
            };
            commands.iter().map(answer).collect::<Option<Vec<_>>>()
        })?;
        for (command, answer) in commands.iter().zip(&answers) {
            let text = command.text(MAP, command.key().as_str());
            let words = if answer.accepted { "done" } else { &answer.text };
            self.note("HaproxyStateActor", format_args!("HAProxy ({pid})"), format!("{text}: {words}"));
            if !answer.accepted {
                self.with(|things| things.oracle.cause(format!("`{text}` was refused")));
            }
        }
        Some(answers)
    }

    /// Alters the commands as the planted bug does; returns the answers if HAProxy receives none of them.
    fn bent(&self, commands: &mut [RuntimeCommand]) -> Option<Vec<Answer>> {
        // Commands for other services in the same batch have nothing to do with the slot.
        let are_of_one = commands.iter().all(|it| it.server().service == commands[0].server().service);
        let fills_a_slot = || commands.iter().any(|it| matches!(it, RuntimeCommand::SetAddress(..)));
        if self.has(PlantedBug::SpurnsASlot) && are_of_one && fills_a_slot() {
            return Some(in_vain(commands));
        }
        for command in commands.iter_mut() {
            match command {
                RuntimeCommand::AddServer { id, .. } if self.has(PlantedBug::OmitsTheId) => *id = None,
                RuntimeCommand::DisableAgent(server) if self.has(PlantedBug::ForgetsTheAgent) => {
                    *command = RuntimeCommand::EnableAgent(server.clone());
                }
                _ => {}
            }
        }
        let disables = commands.iter().position(|command| matches!(command, RuntimeCommand::SetMaintenance(_)))?;
        if self.has(PlantedBug::NamesAStranger) {
            let service = commands[disables].server().service.clone();
            let server = ServerName::new("stranger").expect("a word of letters is a name");
            commands[disables] = RuntimeCommand::SetMaintenance(ServerId { service, server });
        }
        // A reload does not help where an agent has to be disabled, so that there would be none without end.
        let has_agent = commands.iter().any(|command| matches!(command, RuntimeCommand::DisableAgent(_)));
        (self.has(PlantedBug::ReloadsInVain) && !has_agent).then(|| in_vain(commands))
    }

    /// Waits for the end of every check, as a planted bug does.
    async fn wait_for_checks(&self) {
        while self.with(|things| things.checks > 0) {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Gives a host of a service without slots a second server, as a planted bug does.
    fn twin_a_server(&self) {
        self.with(|things| {
            let plain = things.services.iter().find(|(_, service)| service.slots.is_none()).map(|(name, _)| name);
            let process = things.serving().and_then(|pid| things.processes.get_mut(&pid));
            let (Some(service), Some(process)) = (plain, process) else { return };
            let hosts = ready_in(&process.model).remove(service).unwrap_or_default();
            let Some(own) = hosts.into_keys().next().and_then(|host| server(service, host)) else { return };
            let Some(address) = own.server.as_str().strip_suffix(":80").and_then(|text| Address::parse(text).ok())
            else {
                return;
            };
            let endpoint = Endpoint::Tcp { address, port: 80.try_into().expect("80 is a port") };
            let twin = ServerId { server: ServerName::new("twin").expect("letters are a name"), ..own };
            process.model.run(&RuntimeCommand::AddServer {
                server: twin.clone(),
                endpoint,
                id: None,
                options: Vec::new(),
            });
            process.model.run(&RuntimeCommand::SetReady(twin));
        });
    }
}

impl Things {
    /// Records a command, and returns whether HAProxy refuses it because of its text.
    pub(super) fn is_refused(&mut self, text: impl Fn() -> String) -> bool {
        let is_refused = self.refused_prefix.as_ref().is_some_and(|prefix| text().starts_with(prefix.as_str()));
        if let Some(sent) = &mut self.sent {
            sent.push(text());
        }
        is_refused
    }
}

fn takes_away(command: &RuntimeCommand) -> bool {
    matches!(command, RuntimeCommand::SetMaintenance(_) | RuntimeCommand::SetDrain(_) | RuntimeCommand::DeleteServer(_))
}

fn in_vain(commands: &[RuntimeCommand]) -> Vec<Answer> {
    commands.iter().map(|_| Answer { accepted: false, text: "in vain".to_owned() }).collect()
}

fn deleted_in(batch: &[RuntimeCommand], id: &ServerId) -> bool {
    batch.iter().any(|other| matches!(other, RuntimeCommand::DeleteServer(server) if server == id))
}

fn is_about(what: Refused, command: &RuntimeCommand) -> bool {
    match what {
        Refused::Add => matches!(command, RuntimeCommand::AddServer { .. }),
        Refused::Ready => matches!(command, RuntimeCommand::SetReady(_)),
        Refused::Maintenance => matches!(command, RuntimeCommand::SetMaintenance(_)),
        Refused::Weight => matches!(command, RuntimeCommand::SetWeight(..)),
        Refused::Delete => matches!(command, RuntimeCommand::DeleteServer(_)),
    }
}

fn unreachable(error: &str) -> RuntimeError {
    RuntimeError::Unreachable { path: SOCKET.to_owned(), error: error.to_owned() }
}

pub(super) fn broken() -> RuntimeError {
    RuntimeError::Broken { path: SOCKET.to_owned(), error: "connection reset by peer".to_owned() }
}

impl RuntimeApi for World {
    fn run(&self, mut commands: Vec<RuntimeCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        let world = self.clone();
        if self.has(PlantedBug::TwinsAServer) {
            self.twin_a_server();
        }
        self.intended(&commands);
        let in_vain = self.bent(&mut commands);
        Box::pin(async move {
            if world.has(PlantedBug::WaitsForTheCheck) {
                world.wait_for_checks().await;
            }
            let (pid, fault) = world.connected(world.duration_ms(Work::Commands)).await?;
            if let Some(SocketFault::Hangs { obeys }) = fault {
                if obeys {
                    world.obey(pid, &commands);
                    if commands.iter().any(|command| matches!(command, RuntimeCommand::AddServer { .. })) {
                        world.with(|things| things.oracle.cause("the answer to an `add server` was lost"));
                    }
                }
                return world.no_answer(pid).await;
            }
            if let Some(answers) = in_vain {
                return Ok(answers);
            }
            let answers = world.obey(pid, &commands).ok_or_else(broken)?;
            world.with(|things| things.socket_failures = 0);
            Ok(answers)
        })
    }

    fn observe(&self, services: Option<Vec<ServiceName>>) -> PortFuture<Result<Observation, RuntimeError>> {
        let world = self.clone();
        Box::pin(async move {
            let (pid, fault) = world.connected(world.duration_ms(Work::Observe)).await?;
            if fault.is_some() {
                return world.no_answer(pid).await;
            }
            let seen = world.with(|things| {
                let process = things.processes.get_mut(&pid)?;
                process.attached_at.get_or_insert_with(Instant::now);
                Some(process.model.observe(services.as_deref()))
            });
            seen.ok_or_else(broken)
        })
    }

    fn sessions(&self, services: Vec<ServiceName>) -> PortFuture<Result<ServerSessions, RuntimeError>> {
        let world = self.clone();
        let observation = self.observe(Some(services));
        Box::pin(async move {
            let servers = observation.await?.services;
            let of = |servers: &ObservedServers| {
                servers.keys().map(|name| (name.clone(), world.sessions_of(name))).collect()
            };
            Ok(servers.into_iter().map(|(service, servers)| (service, of(&servers))).collect())
        })
    }

    fn change_backends(&self, commands: Vec<BackendCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        let world = self.clone();
        Box::pin(async move {
            let (pid, fault) = world.connected(world.duration_ms(Work::Commands)).await?;
            if let Some(fault) = fault {
                if matches!(fault, SocketFault::Hangs { obeys: true }) {
                    world.change_backends_of(pid, &commands);
                }
                return world.no_answer(pid).await;
            }
            let answers = world.change_backends_of(pid, &commands).ok_or_else(broken)?;
            world.with(|things| things.socket_failures = 0);
            Ok(answers)
        })
    }

    fn change_routes(&self, _: PathBuf, commands: Vec<RouteCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        let world = self.clone();
        Box::pin(async move {
            let (pid, fault) = world.connected(world.duration_ms(Work::Routes)).await?;
            if let Some(fault) = fault {
                if matches!(fault, SocketFault::Hangs { obeys: true }) {
                    world.route(pid, &commands);
                }
                return world.no_answer(pid).await;
            }
            let answers = world.route(pid, &commands).ok_or_else(broken)?;
            world.with(|things| things.socket_failures = 0);
            Ok(answers)
        })
    }

    fn routes(&self, _: PathBuf) -> PortFuture<Result<Option<ObservedRoutes>, RuntimeError>> {
        let world = self.clone();
        Box::pin(async move {
            let (pid, fault) = world.connected(0).await?;
            if fault.is_some() {
                return world.no_answer(pid).await;
            }
            let found = world.with(|things| Some(things.processes.get(&pid)?.map.as_ref().map(RouteMap::show)));
            found.ok_or_else(broken)
        })
    }

    fn process(&self) -> PortFuture<Result<ProcessInfo, RuntimeError>> {
        let world = self.clone();
        Box::pin(async move {
            let (pid, fault) = world.connected(0).await?;
            if fault.is_some() {
                return world.no_answer(pid).await;
            }
            let found = world.with(|things| things.processes.get(&pid).map(Process::info));
            found.ok_or_else(broken)
        })
    }

    fn disconnect(&self) {}
}
