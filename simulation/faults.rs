//! Faults and other changes of the world, called by tests or by the steps of a plan.

use std::time::Duration;

use proxymgr_actors::model::AdminState;
use proxymgr_actors::port::ProcessExit;
use tokio::time::sleep;

use super::besides::Besides;
use super::chronicle::Chronicle;
use super::hosts::Shown;
use super::plan::{HOSTS_MAX, Plan, SERVICES, Step};
use super::processes::SocketFault;
use super::slots::Slots;
use super::truth::{self, Limits, Service, UNLIMITED};
use super::world::World;

/// Number of definitions of a service, which differ in an option.
const VARIANTS: u8 = 100;

impl World {
    /// Sets up the world as its plan describes it, before any manager starts.
    pub fn furnish(&self, plan: &Plan) {
        self.install(plan.version);
        self.with(|things| things.names.extend(truth::names()));
        self.with(|things| {
            things.mail_delay_max_ms = plan.mail_delay_max_ms;
            things.takes_time = plan.takes_time;
            things.has_clients = true;
            things.hashes = plan.hashes;
            things.has_base = plan.base;
            things.agents.exist = plan.agents;
            things.oracle.mail_delay_max = Duration::from_millis(plan.mail_delay_max_ms);
        });
        self.set_pace(plan.pace);
        if plan.besides {
            self.have_besides(SERVICES);
        }
        for (name, hosts) in &plan.services {
            let slots = plan.slots.as_ref().filter(|(slotted, _)| slotted == name).map(|(_, slots)| *slots);
            self.update_by_slots(name, slots);
            self.define(name);
            (1..=*hosts).for_each(|host| self.join(name, host));
        }
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Service)) {
        let now_ms = self.trace().now_ms();
        self.with(|things| {
            let next = u16::try_from(things.services.len()).unwrap_or_default();
            let number = SERVICES.iter().position(|known| *known == name).and_then(|at| u16::try_from(at).ok());
            let number = number.unwrap_or(next + 4);
            let (hashes, has_agents) = (things.hashes, things.agents.exist);
            let new = || Service { number, hashes, has_agents, ..Service::default() };
            let service = things.services.entry(name.to_owned()).or_insert_with(new);
            let before = things.chronicle.as_ref().map(|_| service.registered());
            change(service);
            if let (Some(chronicle), Some(before)) = (&mut things.chronicle, before) {
                chronicle.registered(name, before, service.registered(), now_ms);
            }
        });
    }

    /// Defines a service, with a port of its own.
    pub fn define(&self, service: &str) {
        self.change(service, |service| service.defined = true);
        self.show_definitions();
    }

    /// Updates a service by slots, or by the best strategy that HAProxy supports.
    pub(super) fn update_by_slots(&self, service: &str, slots: Option<Slots>) {
        self.change(service, |service| service.slots = slots);
    }

    /// Removes a service.
    pub fn remove(&self, service: &str) {
        self.change(service, |service| service.defined = false);
        self.show_definitions();
    }

    /// Registers a host, number N at 10.0.0.N:80.
    pub fn join(&self, service: &str, host: u8) {
        self.change(service, |service| service.join(host, Shown::PLAIN));
        self.show_hosts(service);
    }

    /// Removes a host.
    pub fn leave(&self, service: &str, host: u8) {
        self.change(service, |service| service.leave(host));
        self.show_hosts(service);
    }

    /// Changes the options of a service, which needs a reload.
    pub fn change_options(&self, service: &str) {
        self.change(service, |service| service.variant = (service.variant + 1) % VARIANTS);
        self.show_definitions();
    }

    /// Makes the source of this service unreadable until the world is healed.
    pub fn lose_source(&self, service: &str) {
        self.change(service, |service| service.lost = true);
        self.show_hosts(service);
    }

    /// Makes every source unreadable until the world is healed.
    pub fn lose_session(&self) {
        self.with(|things| things.session_lost = true);
        self.show_everything();
    }

    /// Kills HAProxy.
    pub fn kill_haproxy(&self) {
        if let Some(pid) = self.with(|things| things.serving()) {
            self.end_process(pid, ProcessExit::Signal(11));
        }
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.end_tampering();
        self.heal_deployments();
        self.with(|things| {
            things.session_lost = false;
            things.links.mishaps.clear();
            things.links.definitions_mishap = None;
            things.definitions_gone = false;
            things.annotations_lost = false;
            things.disk_full = false;
            things.refuses.clear();
            things.start_fails = None;
            things.taken_ports.clear();
            things.services.values_mut().for_each(Service::heal);
            things.processes.values_mut().for_each(|process| process.fault = None);
            things.besides.iter_mut().for_each(Besides::heal);
            things.agents.heal();
        });
        self.ask_agents_soon();
        self.chronicled(Chronicle::healed);
        self.show_everything();
    }

    /// Ends all faults, and makes sure that a service exists and every service has a host. Where a guard still blocks a
    /// change, an operator lifts its limits. The actors must repair everything else.
    pub fn heal_for_good(&self) {
        self.with(|things| things.calm.end());
        self.define(SERVICES[0]);
        for name in self.with(|things| things.blocked()) {
            self.change(&name, |service| service.defined = true);
        }
        let services = self.with(|things| things.services.clone());
        for name in services.iter().filter(|(_, service)| service.hosts.is_empty()).map(|(name, _)| name) {
            self.change(name, |service| service.join(HOSTS_MAX, Shown::PLAIN));
        }
        self.heal();
        let blocked: Vec<String> = self.with(|things| {
            let is_blocked = |(name, service): &(&String, &Service)| things.oracle.would_block(name, &service.hosts);
            things.defined().filter(is_blocked).map(|(name, _)| name.clone()).collect()
        });
        for name in &blocked {
            self.change(name, |service| service.limits = Some(UNLIMITED));
        }
        if !blocked.is_empty() {
            self.show_definitions();
        }
    }

    /// Executes one step of a plan.
    pub async fn apply(&self, step: &Step) {
        self.note("the plan", "the world", words(step));
        self.with(|things| things.agents.overruled_by(step));
        self.chronicled(|chronicle, now_ms| chronicle.step(step, now_ms));
        self.with(|things| things.calm.disturb(step));
        match step {
            Step::Join { service, host } => self.join(service, *host),
            Step::Leave { service, host } => self.leave(service, *host),
            Step::Flap { service, host, away_ms } => self.flap(service, *host, *away_ms),
            Step::Vanish { service, every_ms } => self.vanish(service, *every_ms).await,
            Step::ServicesVanish { every_ms } => self.services_vanish(*every_ms).await,
            Step::Weight { service, host, weight } => {
                self.change(service, |service| service.show(*host, |shown| shown.weight = *weight));
                self.show_hosts(service);
            }
            Step::Empty { service } => {
                self.change(service, |service| service.shows_empty = true);
                self.show_hosts(service);
            }
            Step::BadJson { service, host } => {
                self.change(service, |service| service.unreadable.insert(*host));
                self.show_hosts(service);
            }
            Step::SourceLost { service } => self.lose_source(service),
            Step::SessionLost => self.lose_session(),
            Step::SessionExpired { away_ms } => self.expire_session(*away_ms),
            Step::MemberFrozen { service } => {
                self.change(service, |service| service.frozen = true);
                // A new service is served without hosts once its source has not answered for long.
                self.with(|things| things.oracle.cause_at_any_time(format!("the source of {service} hangs")));
            }
            Step::EventMishap { service, mishap } => self.expect_mishap(service, *mishap),
            Step::DefinitionsMishap { mishap } => {
                self.with(|things| things.links.definitions_mishap = Some(*mishap));
            }
            Step::ManagerKilled => {
                self.kill_manager().await;
                self.latency("manager start", 0, 3_000).await;
                self.start_manager();
            }
            Step::ManagerStopped => {
                self.stop_manager().await;
                self.latency("manager start", 0, 3_000).await;
                self.start_manager();
            }
            Step::HostState { service, host, state } => {
                self.change(service, |service| service.show(*host, |shown| shown.state = *state));
                self.show_hosts(service);
            }
            Step::DefinitionsGone => {
                self.with(|things| things.definitions_gone = true);
                self.show_definitions();
            }
            Step::ServerTampered { service, host, how } => self.tamper_with_server(service, *host, *how),
            Step::AgentReports { service, host, report } => self.agent_reports(service, *host, *report),
            Step::FileTampered => self.cut_the_file_short(),
            Step::SettingsChanged { variant } => self.change_settings(*variant),
            Step::Heal => self.heal(),
            Step::Wait { ms } => sleep(Duration::from_millis(*ms)).await,
            Step::DefineService { .. }
            | Step::RemoveService { .. }
            | Step::ChangeOptions { .. }
            | Step::Domains { .. }
            | Step::BadDefinition { .. }
            | Step::MovePort { .. }
            | Step::Limits { .. }
            | Step::ConfigRejected { .. } => self.redefine(step),
            Step::Annotated { .. }
            | Step::AnnotationRemoved { .. }
            | Step::BadAnnotation { .. }
            | Step::AnnotationsLost => self.annotate(step),
            Step::CheckHangs
            | Step::DiskHangs
            | Step::NamesUnresolved
            | Step::ManyRejected { .. }
            | Step::ConfigRejectedElsewhere { .. } => self.hamper_deployments(step),
            Step::ServerOrdered { .. }
            | Step::HeldAccepted { .. }
            | Step::HeldRejected { .. }
            | Step::DefinitionsAccepted
            | Step::DefinitionsRejected
            | Step::ReloadOrdered
            | Step::RefreshOrdered => self.give(step).await,
            step => self.harm_haproxy(step),
        }
    }

    fn redefine(&self, step: &Step) {
        match step {
            Step::DefineService { service } => self.change(service, |service| {
                service.defined = true;
                service.join(1, Shown::PLAIN);
            }),
            Step::RemoveService { service } => self.change(service, |service| service.defined = false),
            Step::ChangeOptions { service, variant } => self.change(service, |service| service.variant = *variant),
            Step::Domains { service, numbers } => {
                self.change(service, |service| service.domains = numbers.iter().copied().collect());
            }
            Step::BadDefinition { service } => self.change(service, |service| service.broken_definition = true),
            Step::Limits { service, min_hosts, max_removal_percent } => {
                let limits = Limits { min_hosts: *min_hosts, max_removal_percent: Some(*max_removal_percent) };
                self.change(service, |service| service.limits = Some(limits));
            }
            Step::MovePort { service } => self.change(service, |service| service.moved = !service.moved),
            Step::ConfigRejected { service, names_line } => {
                self.change(service, |service| service.poison = Some(*names_line));
            }
            _ => {}
        }
        self.show_definitions();
    }

    fn harm_haproxy(&self, step: &Step) {
        match step {
            Step::SocketHang { obeys } => self.break_socket(SocketFault::Hangs { obeys: *obeys }),
            Step::SocketDown => self.break_socket(SocketFault::Down),
            Step::CommandRefused { what } => self.with(|things| things.refuses.push(*what)),
            Step::ReloadFails { how } => self.with(|things| things.start_fails = Some(*how)),
            Step::ProcessDies => self.kill_haproxy(),
            Step::PortTaken { service } => self.with(|things| {
                let port = things.services.get(service).map(Service::port);
                things.taken_ports.extend(port);
            }),
            Step::DiskFull => self.with(|things| things.disk_full = true),
            Step::TargetHang { obeys } => self.silence_target(SocketFault::Hangs { obeys: *obeys }),
            Step::TargetDown => self.silence_target(SocketFault::Down),
            Step::TargetRestarted => self.restart_target(),
            Step::OutputFails => self.fail_output(),
            _ => {}
        }
    }

    /// Gives the serving HAProxy this fault.
    pub(super) fn break_socket(&self, fault: SocketFault) {
        self.with(|things| {
            let serving = things.serving();
            if let Some(process) = serving.and_then(|pid| things.processes.get_mut(&pid)) {
                process.fault = Some(fault);
                process.was_faulty = true;
            }
        });
    }

    fn flap(&self, service: &str, host: u8, away_ms: u64) {
        let shown = self.with(|things| things.services.get(service).and_then(|known| known.hosts.get(host)));
        let Some(shown) = shown else { return };
        self.leave(service, host);
        let (world, service) = (self.clone(), service.to_owned());
        self.naturally(async move {
            sleep(Duration::from_millis(away_ms)).await;
            let shown = Shown { state: AdminState::Ready, ..shown };
            world.change(&service, |service| service.join(host, shown));
            world.show_hosts(&service);
        });
    }

    fn expire_session(&self, away_ms: u64) {
        self.lose_session();
        let world = self.clone();
        self.naturally(async move {
            sleep(Duration::from_millis(away_ms)).await;
            world.with(|things| things.session_lost = false);
            world.show_everything();
        });
    }
}

/// Describes a step, for the trace.
fn words(step: &Step) -> String {
    serde_json::to_string(step).unwrap_or_else(|_| format!("{step:?}"))
}
