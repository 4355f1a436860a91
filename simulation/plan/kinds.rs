//! The kinds of steps that most plans contain, and how a step is drawn. `besides.rs`, `domains.rs`, `deployments.rs`
//! and further files draw their own kinds separately, so that a new kind does not change the plans of known seeds.

use proxymgr_actors::model::AdminState;

use super::{HOSTS_MAX, NAMED_FROM, Refused, SERVICES, StartFailure, Step, Tampering};
use crate::random::Random;

/// Longest duration of an operator's order in a drawn plan, in milliseconds.
const ORDER_LASTS_MAX_MS: u64 = 40_000;

/// The kinds of steps, each with its weight in a plan that prefers none.
pub(super) const KINDS: [(Kind, u64); 34] = [
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
pub(super) enum Kind {
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

/// Draws one step, mostly about the services that are defined at the beginning.
pub(super) fn draw_step(weights: &[(Kind, u64)], defined: usize, random: &mut Random) -> Step {
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
