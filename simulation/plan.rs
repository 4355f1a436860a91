//! The plan of a run: what happens to the world, as data. Every step means something in every world, so that a plan
//! with steps left out is still a plan.

use serde::{Deserialize, Serialize};

use proxymgr_actors::model::{AdminState, ProxyVersion};

use super::orders::draw_decisions;
use super::random::Random;
use super::slots::Slots;
use super::{annotations, besides, domains, vanishing};

/// The services that plans know, each with a port of its own.
pub const SERVICES: [&str; 4] = ["web", "api", "mail", "search"];

/// The hosts that a plan gives to a service are numbered from 1 to this.
pub const HOSTS_MAX: u8 = 6;

/// The hosts from this number on, which no load comes to, are given by name; plans know two of them.
pub const NAMED_FROM: u8 = 250;

/// The versions of HAProxy that plans are drawn for, the common ones more often.
const VERSIONS: [ProxyVersion; 5] = [
    ProxyVersion { major: 2, minor: 2 },
    ProxyVersion { major: 2, minor: 6 },
    ProxyVersion { major: 2, minor: 6 },
    ProxyVersion { major: 3, minor: 0 },
    ProxyVersion { major: 3, minor: 2 },
];

/// How late messages between actors may be in a run, in milliseconds.
const MAIL_DELAYS_MS: [u64; 4] = [0, 0, 3, 40];

/// The longest time that a choice of an operator is given for in a drawn plan, in milliseconds.
const ORDER_LASTS_MAX_MS: u64 = 40_000;

/// A kind of command that HAProxy refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// `add server`.
    Add,
    /// `set server ... state ready`.
    Ready,
    /// `set server ... state maint`.
    Maintenance,
    /// `set server ... weight`.
    Weight,
    /// `del server`.
    Delete,
}

/// How a start of HAProxy fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartFailure {
    /// There is no process at all.
    NotStarted,
    /// The process ends before it answers.
    EndsAtOnce,
    /// The process never answers.
    Silent,
}

/// What somebody does to a server behind the manager's back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tampering {
    /// An operator drains it, until all is healed.
    Drain,
    /// It is put into maintenance.
    Maintenance,
    /// It is given another weight.
    Weight,
    /// It is deleted, where HAProxy can.
    Delete,
}

/// One thing that happens to the world. Faults last until [`Step::Heal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "service, host and port are what they say")]
pub enum Step {
    /// A host registers.
    Join { service: String, host: u8 },
    /// A host is gone.
    Leave { service: String, host: u8 },
    /// A host is gone for a moment.
    Flap { service: String, host: u8, away_ms: u64 },
    /// The hosts of a service leave one after another.
    Vanish { service: String, every_ms: u64 },
    /// The services are removed one after another.
    ServicesVanish { every_ms: u64 },
    /// A host asks for another weight.
    Weight { service: String, host: u8, weight: u16 },
    /// The source shows no host at all.
    Empty { service: String },
    /// One host's record cannot be read. To the actors it is the same when Marathon, at the start, does not know the
    /// health of a task; after a change of leaders, its adapter keeps what was known, and reports nothing.
    BadJson { service: String, host: u8 },
    /// The source of one service cannot be read. To the actors it is the same when AWS refuses because it is asked too
    /// often: its adapter reports one error, and asks less often.
    SourceLost { service: String },
    /// The session is lost: no source can be read, that of the definitions included.
    SessionLost,
    /// The session is lost and replaced by a new one after a while; everything is read again.
    SessionExpired { away_ms: u64 },
    /// The ensemble's member is frozen: nothing is heard of one service.
    MemberFrozen { service: String },
    /// The running HAProxy does not answer any more. It may have done as asked, or not.
    SocketHang { obeys: bool },
    /// The running HAProxy's socket cannot be connected to.
    SocketDown,
    /// HAProxy refuses a kind of command.
    CommandRefused { what: Refused },
    /// The next start of HAProxy fails.
    ReloadFails { how: StartFailure },
    /// The service is given an option that HAProxy refuses, naming the line or not.
    ConfigRejected { service: String, names_line: bool },
    /// The HAProxy that serves dies.
    ProcessDies,
    /// Another program listens on the service's port as soon as it is free.
    PortTaken { service: String },
    /// Nothing can be written.
    DiskFull,
    /// The manager is killed; another starts from what was saved.
    ManagerKilled,
    /// A service is defined.
    DefineService { service: String },
    /// A service is removed.
    RemoveService { service: String },
    /// A service gets other options.
    ChangeOptions { service: String, variant: u8 },
    /// A service answers to these domains, by their numbers, on a port that it shares; to none, on its own. From 4 on they
    /// are those that any other may want, too.
    Domains { service: String, numbers: Vec<u8> },
    /// A service's definition is replaced by text that is not JSON.
    BadDefinition { service: String },
    /// Somebody annotates a service, which adds an option to its definition.
    Annotated { service: String, variant: u8 },
    /// A service's annotation is deleted.
    AnnotationRemoved { service: String },
    /// A service's annotation is replaced by what none may say, or by text that is not even JSON.
    BadAnnotation { service: String, is_json: bool },
    /// The ZooKeeper of the annotations is away: their last values stay.
    AnnotationsLost,
    /// A service moves to another port, or back.
    MovePort { service: String },
    /// A host asks for another administrative state.
    HostState { service: String, host: u8, state: AdminState },
    /// A service gets limits: the fewest hosts, and the largest share of them, in percent, that may go at once.
    Limits { service: String, min_hosts: u8, max_removal_percent: u8 },
    /// The source of the definitions shows none at all.
    DefinitionsGone,
    /// Somebody changes a server of the running HAProxy.
    ServerTampered { service: String, host: u8, how: Tampering },
    /// Somebody cuts haproxy.cfg short.
    FileTampered,
    /// The manager's settings are changed while it runs; one variant is refused by HAProxy until healed.
    SettingsChanged { variant: u8 },
    /// The manager is stopped and started again.
    ManagerStopped,
    /// An operator chooses the state of a server, for a time where one is given.
    ServerOrdered {
        service: String,
        host: u8,
        state: AdminState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// An operator accepts the list of hosts that is blocked.
    HeldAccepted { service: String },
    /// An operator rejects it.
    HeldRejected { service: String },
    /// An operator accepts the definitions that are blocked.
    DefinitionsAccepted,
    /// An operator rejects them.
    DefinitionsRejected,
    /// An operator has HAProxy reloaded.
    ReloadOrdered,
    /// An operator has every source read again.
    RefreshOrdered,
    /// The external HAProxy does not answer any more. It may have obeyed, or not.
    TargetHang { obeys: bool },
    /// It cannot be connected to.
    TargetDown,
    /// The external HAProxy is restarted.
    TargetRestarted,
    /// An output besides HAProxy cannot be written.
    OutputFails,
    /// All faults end.
    Heal,
    /// Nothing, for a while.
    Wait { ms: u64 },
}

impl Step {
    /// The service that it is about, for those that are about one.
    pub fn service(&self) -> Option<String> {
        let written = serde_json::to_value(self).ok()?;
        let fields = written.as_object()?.values().next()?;
        fields.get("service")?.as_str().map(ToOwned::to_owned)
    }

    /// Whether it goes on until [`Step::Heal`].
    pub fn lasts(&self) -> bool {
        !matches!(
            self,
            Self::Join { .. }
                | Self::Leave { .. }
                | Self::Flap { .. }
                | Self::Vanish { .. }
                | Self::ServicesVanish { .. }
                | Self::Weight { .. }
                | Self::SessionExpired { .. }
                | Self::ReloadFails { .. }
                | Self::ProcessDies
                | Self::ManagerKilled
                | Self::DefineService { .. }
                | Self::RemoveService { .. }
                | Self::ChangeOptions { .. }
                | Self::Annotated { .. }
                | Self::AnnotationRemoved { .. }
                | Self::Domains { .. }
                | Self::MovePort { .. }
                | Self::HostState { .. }
                | Self::ManagerStopped
                | Self::TargetRestarted
                | Self::FileTampered
                | Self::ServerOrdered { .. }
                | Self::HeldAccepted { .. }
                | Self::HeldRejected { .. }
                | Self::DefinitionsAccepted
                | Self::DefinitionsRejected
                | Self::ReloadOrdered
                | Self::RefreshOrdered
                | Self::Heal
                | Self::Wait { .. }
        )
    }
}

/// A world to begin with, and what happens to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of HAProxy.
    pub version: ProxyVersion,
    /// The services defined at the beginning, each with the number of its hosts.
    pub services: Vec<(String, u8)>,
    /// How late a message between two actors may be, in milliseconds. All that goes to one actor keeps its order.
    #[serde(default)]
    pub mail_delay_max_ms: u64,
    /// Whether servers leave and begin slowly, and old processes have narrow limits.
    #[serde(default)]
    pub takes_time: bool,
    /// Whether an external HAProxy and an output are kept in sync as well.
    #[serde(default)]
    pub besides: bool,
    /// The service that is updated by slots, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<(String, Slots)>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// The kinds of steps, each with how often it comes in a run that favours none.
const KINDS: [(Kind, u64); 34] = [
    (Kind::Join, 12),
    (Kind::Leave, 10),
    (Kind::Flap, 6),
    (Kind::Weight, 4),
    (Kind::Empty, 3),
    (Kind::BadJson, 3),
    (Kind::SourceLost, 3),
    (Kind::SessionLost, 2),
    (Kind::SessionExpired, 2),
    (Kind::MemberFrozen, 3),
    (Kind::SocketHang, 2),
    (Kind::SocketDown, 2),
    (Kind::CommandRefused, 3),
    (Kind::ReloadFails, 2),
    (Kind::ConfigRejected, 2),
    (Kind::ProcessDies, 3),
    (Kind::PortTaken, 2),
    (Kind::DiskFull, 2),
    (Kind::ManagerKilled, 2),
    (Kind::Define, 4),
    (Kind::Remove, 2),
    (Kind::Options, 3),
    (Kind::Heal, 5),
    (Kind::Named, 3),
    (Kind::HostState, 4),
    (Kind::Limits, 2),
    (Kind::DefinitionsGone, 1),
    (Kind::ServerTampered, 4),
    (Kind::FileTampered, 1),
    (Kind::Settings, 2),
    (Kind::ManagerStopped, 1),
    (Kind::ServerOrdered, 5),
    (Kind::HeldDecided, 3),
    (Kind::Ordered, 1),
];

#[derive(Clone, Copy)]
enum Kind {
    Join,
    Leave,
    Flap,
    Weight,
    Empty,
    BadJson,
    SourceLost,
    SessionLost,
    SessionExpired,
    MemberFrozen,
    SocketHang,
    SocketDown,
    CommandRefused,
    ReloadFails,
    ConfigRejected,
    ProcessDies,
    PortTaken,
    DiskFull,
    ManagerKilled,
    Define,
    Remove,
    Options,
    Heal,
    Named,
    HostState,
    Limits,
    DefinitionsGone,
    ServerTampered,
    FileTampered,
    Settings,
    ManagerStopped,
    ServerOrdered,
    HeldDecided,
    Ordered,
}

impl Plan {
    /// The plan of this seed. Swarm testing (Groce et al. 2012): each plan leaves some kinds of steps out and takes
    /// others more often, so that rare combinations come up.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::of_purpose(seed, "plan");
        let version = *random.pick(&VERSIONS);
        let count = usize::try_from(random.between(1, 3)).unwrap_or(1);
        let services =
            SERVICES[..count].iter().map(|name| ((*name).to_owned(), u8::try_from(random.between(1, 4)).unwrap_or(1)));
        let services: Vec<_> = services.collect();
        let weights = KINDS.map(|(kind, weight)| {
            let factor = *random.pick(&[0, 0, 1, 1, 1, 1, 1, 4]);
            (kind, weight * factor)
        });
        let mut steps = vec![Step::Wait { ms: random.between(0, 3_000) }];
        for _ in 0..random.between(6, 24) {
            steps.push(draw_step(&weights, count, &mut random));
            if random.chance(60) {
                let pause = *random.pick(&[(1, 30), (50, 900), (50, 900), (1_000, 6_000), (10_000, 70_000)]);
                steps.push(Step::Wait { ms: random.between(pause.0, pause.1) });
            }
        }
        let mail_delay_max_ms = *random.pick(&MAIL_DELAYS_MS);
        let takes_time = random.chance(40);
        let besides = besides::draw(seed, &mut steps);
        annotations::draw(seed, &services, &mut steps);
        domains::draw(seed, count, &mut steps);
        domains::draw_contests(seed, count, &mut steps);
        draw_decisions(seed, &mut steps);
        vanishing::draw(seed, &services, &mut steps);
        let slots = Slots::draw(seed, &services);
        Self { version, services, mail_delay_max_ms, takes_time, besides, slots, steps }
    }

    /// The plan with only the steps at these places.
    #[must_use]
    pub fn keeping(&self, places: &[usize]) -> Self {
        let steps = places.iter().filter_map(|place| self.steps.get(*place)).cloned().collect();
        Self { steps, ..self.clone() }
    }
}

/// One step, mostly about the services that are defined at the beginning.
fn draw_step(weights: &[(Kind, u64)], defined: usize, random: &mut Random) -> Step {
    let total = weights.iter().map(|(_, weight)| weight).sum();
    let mut left = random.below(total);
    let kind = weights.iter().find(|(_, weight)| {
        let chosen = left < *weight;
        left = left.saturating_sub(*weight);
        chosen
    });
    let known = if random.chance(85) { defined } else { SERVICES.len() };
    let service = (*random.pick(&SERVICES[..known])).to_owned();
    let host = u8::try_from(random.between(1, HOSTS_MAX.into())).unwrap_or(1);
    match kind.map_or(Kind::Join, |(kind, _)| *kind) {
        Kind::Join => Step::Join { service, host },
        Kind::Leave => Step::Leave { service, host },
        Kind::Flap => Step::Flap { service, host, away_ms: random.between(1, 2_000) },
        Kind::Weight => Step::Weight { service, host, weight: u16::try_from(random.between(1, 9)).unwrap_or(1) },
        Kind::Empty => Step::Empty { service },
        Kind::BadJson if random.chance(25) => Step::BadDefinition { service },
        Kind::BadJson => Step::BadJson { service, host },
        Kind::SourceLost => Step::SourceLost { service },
        Kind::SessionLost => Step::SessionLost,
        Kind::SessionExpired => Step::SessionExpired { away_ms: random.between(1, 5_000) },
        Kind::MemberFrozen => Step::MemberFrozen { service },
        Kind::SocketHang => Step::SocketHang { obeys: random.chance(50) },
        Kind::SocketDown => Step::SocketDown,
        Kind::CommandRefused => Step::CommandRefused {
            what: *random.pick(&[Refused::Add, Refused::Ready, Refused::Maintenance, Refused::Weight, Refused::Delete]),
        },
        Kind::ReloadFails => Step::ReloadFails {
            how: *random.pick(&[StartFailure::NotStarted, StartFailure::EndsAtOnce, StartFailure::Silent]),
        },
        Kind::ConfigRejected => Step::ConfigRejected { service, names_line: random.chance(50) },
        Kind::ProcessDies => Step::ProcessDies,
        Kind::PortTaken => Step::PortTaken { service },
        Kind::DiskFull => Step::DiskFull,
        Kind::ManagerKilled => Step::ManagerKilled,
        Kind::Define => {
            let service = (*random.pick(&SERVICES)).to_owned();
            Step::DefineService { service }
        }
        Kind::Remove => Step::RemoveService { service },
        Kind::Options if random.chance(40) => Step::MovePort { service },
        Kind::Options => Step::ChangeOptions { service, variant: u8::try_from(random.below(3)).unwrap_or_default() },
        Kind::Heal => Step::Heal,
        kind => draw_further(kind, service, host, random),
    }
}

fn draw_further(kind: Kind, service: String, host: u8, random: &mut Random) -> Step {
    match kind {
        Kind::HostState => Step::HostState {
            service,
            host,
            state: *random.pick(&[AdminState::Drain, AdminState::Maint, AdminState::Ready]),
        },
        Kind::Limits => Step::Limits {
            service,
            min_hosts: u8::try_from(random.below(4)).unwrap_or_default(),
            max_removal_percent: *random.pick(&[25, 50, 100]),
        },
        Kind::DefinitionsGone => Step::DefinitionsGone,
        Kind::ServerTampered => Step::ServerTampered {
            service,
            host,
            how: *random.pick(&[Tampering::Drain, Tampering::Maintenance, Tampering::Weight, Tampering::Delete]),
        },
        Kind::FileTampered => Step::FileTampered,
        Kind::Settings => Step::SettingsChanged { variant: u8::try_from(random.below(4)).unwrap_or_default() },
        Kind::ManagerStopped => Step::ManagerStopped,
        Kind::ServerOrdered => Step::ServerOrdered {
            service,
            host,
            state: *random.pick(&[AdminState::Drain, AdminState::Maint, AdminState::Ready]),
            for_ms: random.chance(30).then(|| random.between(500, ORDER_LASTS_MAX_MS)),
        },
        Kind::HeldDecided if random.chance(60) => Step::HeldAccepted { service },
        Kind::HeldDecided => Step::HeldRejected { service },
        Kind::Ordered if random.chance(50) => Step::ReloadOrdered,
        Kind::Ordered => Step::RefreshOrdered,
        _ => {
            let host = NAMED_FROM + host % 2;
            if random.chance(65) { Step::Join { service, host } } else { Step::Leave { service, host } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_plan() {
        assert_eq!(Plan::draw(3), Plan::draw(3));
        assert_ne!(Plan::draw(3), Plan::draw(4));
    }

    #[test]
    fn a_plan_can_be_written_and_read_back() {
        let plan = Plan::draw(5);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }

    #[test]
    fn every_kind_of_step_is_drawn_by_some_seed() {
        let kinds: std::collections::BTreeSet<String> = (0..500)
            .flat_map(|seed| Plan::draw(seed).steps)
            .map(|step| format!("{step:?}").split(' ').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(kinds.len(), 51, "{kinds:?}");
    }
}
