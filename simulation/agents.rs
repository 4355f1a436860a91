//! Agents of servers (`agent-check`): their reports, and the invariant that they end nothing that was ordered. In a
//! world with agents every server has one, which HAProxy asks again and again; without another report it answers
//! `ready`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proxymgr_actors::model::{AgentState, RuntimeCommand, ServerId};
use tokio::time::sleep;

use super::haproxy_model::{AgentReport, HaproxyModel};
use super::invariant::Invariant;
use super::plan::{HOSTS_MAX, Step};
use super::random::Random;
use super::slots::host_of;
use super::things::Things;
use super::world::World;

/// Server options of every definition in a world with agents.
pub(super) const SERVER_OPTIONS: &str = "agent-check agent-port 9000";

/// Percentage of plans whose world has agents.
const CHANCE: u64 = 25;

/// How soon after a change HAProxy asks the agents again, in milliseconds.
const ASKED_WITHIN_MS: (u64, u64) = (200, 900);

/// State of all agents.
#[derive(Debug, Default)]
pub(super) struct Agents {
    pub(super) exist: bool,
    /// Reports other than `ready`, by service and host.
    reports: BTreeMap<(String, u8), AgentReport>,
    /// Servers (with their process) that an agent took out of traffic, unless an order changed them since.
    out_by_agent: BTreeSet<(u32, ServerId)>,
    /// Servers (with their process) that the manager took out of traffic.
    out_by_order: BTreeSet<(u32, ServerId)>,
    /// Whether HAProxy is about to ask the agents.
    is_due: bool,
}

impl Agents {
    /// Forgets the servers that agents took out of traffic, if discovery or an operator may have changed them.
    pub(super) fn overruled_by(&mut self, step: &Step) {
        if !matches!(step, Step::Wait { .. } | Step::AgentReports { .. }) {
            self.out_by_agent.clear();
        }
    }

    /// Makes every agent report ready.
    pub(super) fn heal(&mut self) {
        self.reports.clear();
        self.out_by_agent.clear();
    }

    /// Notes a manager's command that HAProxy executed. Returns whether it overrules an agent.
    fn obeyed(&mut self, pid: u32, command: &RuntimeCommand, model: &HaproxyModel) -> bool {
        let server = (pid, command.server().clone());
        match command {
            RuntimeCommand::SetDrain(_) | RuntimeCommand::SetMaintenance(_) => {
                self.out_by_agent.remove(&server);
                self.out_by_order.insert(server);
                false
            }
            RuntimeCommand::SetReady(_) | RuntimeCommand::AddServer { .. } | RuntimeCommand::DeleteServer(_) => {
                self.out_by_order.remove(&server);
                self.out_by_agent.remove(&server) && agent_of(model, &server.1) == AgentState::Enabled
            }
            RuntimeCommand::DisableAgent(_) => {
                self.out_by_agent.remove(&server);
                false
            }
            _ => false,
        }
    }
}

fn agent_of(model: &HaproxyModel, id: &ServerId) -> AgentState {
    let observation = model.observe(Some(std::slice::from_ref(&id.service)));
    let servers = observation.services.get(&id.service);
    servers.and_then(|servers| servers.get(&id.server)).map_or(AgentState::None, |server| server.agent)
}

/// Draws whether the world of this seed has agents; if so, adds steps in which some of them report other states.
pub(super) fn draw(seed: u64, services: &[(String, u8)], steps: &mut Vec<Step>) -> bool {
    let mut random = Random::of_purpose(seed, "agents");
    if !random.chance(CHANCE) {
        return false;
    }
    for _ in 0..random.between(1, 6) {
        let (service, _) = random.pick(services).clone();
        let host = u8::try_from(random.between(1, HOSTS_MAX.into())).unwrap_or(1);
        let report = match random.below(6) {
            0 => AgentReport::Ready,
            1 | 2 => AgentReport::Maintenance,
            3 => AgentReport::Drain,
            _ => AgentReport::Weight(u8::try_from(random.between(0, 100)).unwrap_or(100)),
        };
        let place = usize::try_from(random.between(0, steps.len() as u64)).unwrap_or_default();
        steps.insert(place, Step::AgentReports { service, host, report });
    }
    true
}

impl Things {
    /// Notes a manager's command that HAProxy executed. Returns whether it overrules an agent; a process that may have
    /// executed commands without an answer is not judged.
    pub(super) fn obeyed(&mut self, pid: u32, command: &RuntimeCommand) -> bool {
        let Some(process) = self.processes.get(&pid).filter(|_| self.agents.exist) else { return false };
        self.agents.obeyed(pid, command, &process.model) && !process.was_faulty
    }

    /// Notes that HAProxy refused a manager's command: after a refused `ready` the server counts as out by order no
    /// more.
    pub(super) fn refused_to_obey(&mut self, pid: u32, command: &RuntimeCommand) {
        if let RuntimeCommand::SetReady(server) = command {
            self.agents.out_by_order.remove(&(pid, server.clone()));
        }
    }

    /// Makes every enabled agent report. Returns a server that its agent brought back against an order.
    fn ask_agents(&mut self) -> Option<ServerId> {
        self.agents.is_due = false;
        let serving = self.serving()?;
        let process = self.processes.get_mut(&serving)?;
        let mut brought_back = None;
        for (service, servers) in process.model.observe(None).services {
            for (name, _) in servers.iter().filter(|(_, server)| server.agent == AgentState::Enabled) {
                let id = ServerId { service: service.clone(), server: name.clone() };
                let Some(host) = host_of(&process.model, &id) else { continue };
                let report = self.agents.reports.get(&(service.to_string(), host));
                let took_traffic = process.model.takes_traffic(&id);
                process.model.agent_reports(&id, report.copied().unwrap_or(AgentReport::Ready));
                let server = (serving, id);
                match (took_traffic, process.model.takes_traffic(&server.1)) {
                    (true, false) => drop(self.agents.out_by_agent.insert(server)),
                    (false, true) => {
                        self.agents.out_by_agent.remove(&server);
                        if self.agents.out_by_order.contains(&server) {
                            brought_back = Some(server.1);
                        }
                    }
                    _ => {}
                }
            }
        }
        brought_back
    }
}

impl World {
    /// Sets what the agent of a host reports.
    pub(super) fn agent_reports(&self, service: &str, host: u8, report: AgentReport) {
        self.with(|things| {
            things.agents.reports.insert((service.to_owned(), host), report);
        });
        self.ask_agents_soon();
    }

    /// Schedules HAProxy's next query of the agents.
    pub(super) fn ask_agents_soon(&self) {
        let begins = self.with(|things| things.agents.exist && !std::mem::replace(&mut things.agents.is_due, true));
        if begins {
            let world = self.clone();
            self.naturally(async move {
                sleep(Duration::from_millis(world.draw("agents", ASKED_WITHIN_MS.0, ASKED_WITHIN_MS.1))).await;
                if let Some(id) = world.with(Things::ask_agents) {
                    let what = format!("the agent of {id} ended an ordered state");
                    world.violate(Invariant::AgentsKeepToOrders, what);
                }
            });
        }
    }
}
