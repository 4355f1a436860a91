//! Tests of the reconciler alone: inputs, effects, and time as an argument.

mod backends;
mod blocked;
mod certificates;
mod deployments;
mod drift;
mod earlier_run;
mod external;
mod files;
mod handover;
mod life_cycle;
mod routes;
mod runtime;
mod slots;
mod state_file;
mod timers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Effect, Input, Observed, Reconciler, Severity};
use crate::clock::Clock;
use crate::decide::base::BoundBase;
use crate::decide::deployment::{BoundSection, DeployOrder, Deployed, ServingProcess, Warnings};
use crate::decide::hosts_diff::HostsDiff;
use crate::decide::line_sets::LineSets;
use crate::decide::option_policy::OptionPolicy;
use crate::decide::routing::Routing;
use crate::decide::service_definition;
use crate::journal::{Event, JournalEntry};
use crate::model::{
    Address, AdminState, BaseConfig, Blocker, ChangeId, Descriptors, Endpoint, Host, HostList, LifeCyclePolicy, Moment,
    Observation, ObservedServer, ObservedServers, OldProcessLimits, OnStop, OperatorChoice, ProcessInfo,
    ProxyManagement, ProxyPolicy, ProxyVersion, RawDefinition, Revision, RuntimeCommand, ServerName, ServiceDefinition,
    ServiceName, UpdateChoice,
};
use crate::port::{Answer, RuntimeError, SavedService};
use crate::snapshot::{HaproxyState, ProxyPhase, ServiceState};

const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
const OBSERVE_INTERVAL: Duration = Duration::from_secs(30);

const READY: u16 = 0;
const MAINT: u16 = 0x01;
const DRAIN: u16 = 0x08;

fn policy() -> ProxyPolicy {
    ProxyPolicy {
        base_config: BaseConfig {
            files: Vec::new(),
            global: Vec::new(),
            defaults: Vec::new(),
            socket_path: "/run/haproxy.sock".into(),
            map_path: "/etc/haproxy/haproxy.cfg.domains".into(),
            state_file: None,
            management: ProxyManagement::Supervised,
        },
        reload_interval: RELOAD_INTERVAL,
        stop_timeout: Duration::from_secs(30),
        on_stop: OnStop::Stop,
        observe_interval: OBSERVE_INTERVAL,
        life_cycle: LifeCyclePolicy::default(),
        update: UpdateChoice::Auto,
        old_processes: OldProcessLimits::default(),
        descriptors_max: None,
    }
}

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn definition(name: &str, keys: &str) -> Arc<ServiceDefinition> {
    let raw = RawDefinition::new(format!(r#"{{"type": "file", "path": "/hosts", "port": 80{keys}}}"#), "a test");
    Arc::new(service_definition::parse(name, &raw, &OptionPolicy::default()).unwrap().definition)
}

/// Creates hosts 10.0.0.N:80, by the names of their servers.
fn hosts(numbers: &[u8]) -> Arc<HostList> {
    Arc::new(numbers.iter().map(|n| (server(&format!("s{n}")), Arc::new(Host::at(endpoint(*n))))).collect())
}

fn endpoint(number: u8) -> Endpoint {
    let address = Address::parse(&format!("10.0.0.{number}")).unwrap();
    Endpoint::Tcp { address, port: 80.try_into().unwrap() }
}

/// Creates HAProxy's report of these servers, each with its administrative state.
fn reported(servers: &[(u8, u16)]) -> Arc<ObservedServers> {
    let server = |(number, state): &(u8, u16)| (server(&format!("s{number}")), observed_at(&endpoint(*number), *state));
    Arc::new(servers.iter().map(server).collect())
}

/// Creates HAProxy's report of a server that is up.
fn observed_at(endpoint: &Endpoint, admin_state: u16) -> ObservedServer {
    ObservedServer {
        address: endpoint.ip(),
        port: endpoint.port(),
        fqdn: None,
        admin_state,
        operational_state: 2,
        weight: 1,
        id: None,
        agent: Default::default(),
    }
}

fn observation(services: &[(&str, &[(u8, u16)])]) -> Observation {
    Observation { services: services.iter().map(|(name, servers)| (service(name), reported(servers))).collect() }
}

fn process(pid: u32) -> ProcessInfo {
    let version = ProxyVersion { major: 3, minor: 2 };
    ProcessInfo { pid, version, version_text: "3.2.0".to_owned(), uptime_s: 1, stopping: false }
}

fn accepted() -> Answer {
    Answer { accepted: true, text: String::new() }
}

fn refused(text: &str) -> Vec<Answer> {
    vec![Answer { accepted: false, text: text.to_owned() }]
}

fn timed_out() -> RuntimeError {
    RuntimeError::TimedOut { path: "/run/haproxy.sock".to_owned(), timeout_ms: 10_000 }
}

/// A reconciler, its time, and the effects that were not taken out yet.
struct Rig {
    reconciler: Reconciler,
    now: Moment,
    effects: Vec<Effect>,
    changes: u64,
    lists: BTreeMap<ServiceName, (Revision, Arc<HostList>)>,
}

impl Rig {
    fn new() -> Self {
        Self::with(policy(), false)
    }

    fn with(policy: ProxyPolicy, is_target: bool) -> Self {
        Self::restored(policy, is_target, &[])
    }

    /// Creates a reconciler with the state that an earlier run saved.
    fn restored(policy: ProxyPolicy, is_target: bool, saved: &[SavedService]) -> Self {
        let now = Clock::starting_at(1_000_000).now();
        let reconciler = Reconciler::new(policy, is_target, None, saved, now.instant);
        Self { reconciler, now, effects: Vec::new(), changes: 0, lists: BTreeMap::new() }
    }

    /// Creates a HAProxy with pid 1 that serves the service `web` with these hosts, all ready.
    fn serving(numbers: &[u8]) -> Self {
        Self::serving_by(policy(), "", numbers)
    }

    /// Creates the same with another policy, and more keys in the definition of `web`.
    fn serving_by(policy: ProxyPolicy, keys: &str, numbers: &[u8]) -> Self {
        let mut rig = Self::with(policy, false);
        rig.define("web", keys);
        rig.feed(Input::DefinitionsLoaded);
        rig.hosts("web", numbers);
        rig.deployed(1);
        rig.wait(RELOAD_INTERVAL);
        rig.effects.clear();
        rig
    }

    fn feed(&mut self, input: Input) {
        self.reconciler.on(input, self.now);
        self.proceed();
    }

    fn proceed(&mut self) {
        loop {
            self.effects.extend(self.reconciler.next_effects(self.now));
            if self.reconciler.deadline(self.now) != Some(self.now.instant) {
                return;
            }
        }
    }

    /// Advances the time, and runs the timers of the reconciler.
    fn wait(&mut self, duration: Duration) {
        let end = self.now.instant + duration;
        while let Some(due) = self.reconciler.deadline(self.now).filter(|due| *due <= end) {
            self.pass(due - self.now.instant);
            self.proceed();
        }
        self.pass(end - self.now.instant);
        self.proceed();
    }

    fn pass(&mut self, duration: Duration) {
        self.now.instant += duration;
        self.now.unix_ms += u64::try_from(duration.as_millis()).unwrap();
    }

    fn define(&mut self, name: &str, keys: &str) {
        self.feed(Input::ServiceDefined(definition(name, keys)));
    }

    fn hosts(&mut self, name: &str, numbers: &[u8]) {
        self.list(name, hosts(numbers));
    }

    fn list(&mut self, name: &str, hosts: Arc<HostList>) {
        let (revision, before) = self.lists.get(&service(name)).cloned().unwrap_or_default();
        let diff = HostsDiff::between(&before, &hosts);
        self.lists.insert(service(name), (revision.next(), hosts.clone()));
        self.changes += 1;
        self.feed(Input::HostsChanged {
            change: ChangeId(self.changes),
            service: service(name),
            revision: revision.next(),
            diff,
            hosts,
            seen_at: self.now.instant,
            shown_unix_ms: self.now.unix_ms,
        });
    }

    /// Takes out the first effect of this kind, if any.
    fn take<T>(&mut self, kind: impl Fn(&Effect) -> Option<T>) -> Option<T> {
        let at = self.effects.iter().position(|effect| kind(effect).is_some())?;
        kind(&self.effects.remove(at))
    }

    /// Takes out the commands for the process that serves.
    fn commands(&mut self) -> Option<Vec<RuntimeCommand>> {
        self.take(|effect| match effect {
            Effect::RunCommands(commands) => Some(commands.clone()),
            _ => None,
        })
    }

    /// Takes out the commands for the process that serves, as texts.
    fn command_texts(&mut self) -> Vec<String> {
        self.commands().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    /// Takes out the commands for the process that is being deployed, as texts.
    fn successor_commands(&mut self) -> Vec<String> {
        let commands = self.take(|effect| match effect {
            Effect::CommandSuccessor { commands, .. } => Some(commands.clone()),
            _ => None,
        });
        commands.unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    /// Takes out the requested deployment.
    fn order(&mut self) -> Option<DeployOrder> {
        self.take(|effect| match effect {
            Effect::Deploy(order) => Some((**order).clone()),
            _ => None,
        })
    }

    /// Starts this process with the file of the requested deployment, which contains every desired section.
    fn started(&mut self, pid: u32, takes_commands: bool) {
        let order = self.effects.iter().find_map(|effect| match effect {
            Effect::Deploy(order) => Some(order),
            _ => None,
        });
        let services = &order.expect("a deployment was requested").services;
        let servers = services.iter().map(|(name, section)| (name.clone(), section.desired.hosts.clone())).collect();
        self.feed(Input::ProcessStarted { pid, takes_commands, servers });
    }

    /// Accepts the sent commands, after which `web` has these servers.
    fn accept(&mut self, servers: &[(u8, u16)]) {
        let commands = self.commands().expect("commands were sent");
        self.answer(commands.iter().map(|_| accepted()).collect(), servers);
    }

    fn answer(&mut self, answers: Vec<Answer>, servers: &[(u8, u16)]) {
        self.feed(Input::CommandsAnswered(Ok((answers, self.now.instant))));
        let pid = self.snapshot().process.expect("one serves").pid;
        self.observed(pid, servers);
    }

    /// Reports that `web` has these servers in this process.
    fn observed(&mut self, pid: u32, servers: &[(u8, u16)]) {
        let observed = Observed { process: process(pid), servers: observation(&[("web", servers)]), routes: None };
        self.feed(Input::Observed(Ok(observed)));
    }

    /// Completes the requested deployment with this process, with every desired section.
    fn deployed(&mut self, pid: u32) {
        let order = self.order().expect("a deployment was requested");
        let process = serving(order, pid, BTreeMap::new());
        let reported = reported_by_file(&process);
        self.serves(process, Some(reported));
    }

    /// Ends the deployment with this process, which reports these servers; `None` where it does not answer yet.
    fn serves(&mut self, process: ServingProcess, reported: Option<Observation>) {
        let info = process.process.clone();
        self.feed(Input::Deployed(Ok(Deployed::Serving(Box::new(process)))));
        let answers = reported.map(|servers| Observed { process: info, servers, routes: None });
        answers.into_iter().for_each(|observed| self.feed(Input::Observed(Ok(observed))));
    }

    /// Takes out the events of the journal.
    fn events(&mut self) -> Vec<JournalEntry> {
        let record = |effect: &Effect| match effect {
            Effect::Record(entry) => Some(entry.clone()),
            _ => None,
        };
        std::iter::from_fn(|| self.take(record)).collect()
    }

    /// Takes out the warnings of the log. Returns their number.
    fn warnings(&mut self) -> usize {
        let warning = |effect: &Effect| match effect {
            Effect::Log(line) => (line.severity == Severity::Warning).then_some(()),
            _ => None,
        };
        std::iter::from_fn(|| self.take(warning)).count()
    }

    /// Gives an operator's order for a server of `web`, the only one.
    fn order_state(&mut self, name: &str, state: AdminState) {
        let choice =
            OperatorChoice { state, reason: None, since_unix_ms: 0, until_unix_ms: None, gone_unix_ms: None, by: None };
        let overrides = BTreeMap::from([(server(name), choice)]);
        self.feed(Input::OverridesChanged { service: service("web"), overrides, ordered: Some(server(name)) });
    }

    /// Accepts the sent commands, and returns them as texts. Their effect is not observed.
    fn command_texts_accepted(&mut self) -> Vec<String> {
        let commands = self.commands().expect("commands were sent");
        let answers = commands.iter().map(|_| accepted()).collect();
        self.feed(Input::CommandsAnswered(Ok((answers, self.now.instant))));
        commands.iter().map(ToString::to_string).collect()
    }

    fn web(&self) -> ServiceState {
        self.snapshot().services[&service("web")].clone()
    }

    fn snapshot(&self) -> HaproxyState {
        self.reconciler.snapshot(self.now)
    }

    fn phase(&self) -> ProxyPhase {
        self.snapshot().phase
    }
}

/// Creates the result of a deployment. Blocked services keep their last good section, where they have one.
fn serving(order: DeployOrder, pid: u32, blockers: BTreeMap<ServiceName, Blocker>) -> ServingProcess {
    let mut sections = BTreeMap::new();
    for (name, section) in order.services {
        let bound = match blockers.contains_key(&name) {
            true => section.last_good,
            false => {
                let addresses = section.desired.definition.addresses();
                let descriptors = addresses.map(|address| (address, Some(7))).collect();
                Some(BoundSection::new(section.desired, Some(descriptors)))
            }
        };
        sections.extend(bound.map(|bound| (name, bound)));
    }
    ServingProcess {
        process: process(pid),
        base: BoundBase::new(order.context.base, Descriptors::new()),
        style: order.context.style,
        frontends: BTreeMap::new(),
        line_sets: LineSets::new(),
        routing: Routing::default(),
        blockers,
        warnings: Warnings::default(),
        sections,
    }
}

/// Returns the report of a process that has done nothing but read its file.
fn reported_by_file(process: &ServingProcess) -> Observation {
    let states = |section: &BoundSection| -> Arc<ObservedServers> {
        let admin = |state| if state == AdminState::Ready { READY } else { MAINT };
        let words = section.spec.definition.server_options.windows(2);
        let weight = words.into_iter().find(|pair| pair[0].as_str() == "weight").map(|pair| pair[1].as_str());
        let weight = weight.map_or(1, |weight| weight.parse().expect("a number"));
        let server = |(name, host): (&ServerName, &Arc<Host>)| {
            (name.clone(), ObservedServer { weight, ..observed_at(&host.endpoint, admin(host.state)) })
        };
        Arc::new(section.spec.hosts.iter().map(server).collect())
    };
    Observation { services: process.sections.iter().map(|(name, section)| (name.clone(), states(section))).collect() }
}
