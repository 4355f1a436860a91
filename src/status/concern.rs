//! Problems of the daemon and its environment: what is wrong, since when, and what to do. One problem per cause.
//!
//! | file | problems of |
//! | --- | --- |
//! | `by_cause` | problems of several services with one cause, as one |
//! | `certificates` | the operator's certificates |
//! | `discovery` | definitions, annotations, sources of hosts |
//! | `haproxy` | files, settings, processes, targets, outputs |
//! | `services` | services and their ports and servers |

mod by_cause;
mod certificates;
mod discovery;
mod haproxy;
mod services;

use std::fmt;

use proxymgr_actors::model::ServiceName;
use proxymgr_actors::snapshot::{ActorState, HaproxyState, ServiceState};
use serde::{Deserialize, Serialize};
use strum::{EnumIter, IntoEnumIterator, IntoStaticStr};

use super::restarts::Restart;
use super::severity::Severity;
use super::view::OwnProblem;

pub use by_cause::by_cause;
pub use certificates::of_certificates;

/// Kind of a problem. Stable: scripts and tests compare it, the text may change.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ConcernKind {
    /// An actor of the daemon does not answer.
    ActorSilent,
    /// HAProxy is not started yet, does not run, or is stopping.
    HaproxyNotRunning,
    /// HAProxy exits repeatedly; restarts are delayed.
    HaproxyCrashLoop,
    /// The Runtime API of HAProxy does not answer.
    RuntimeApiDown,
    /// The last start or reload failed.
    ReloadFailed,
    /// An external HAProxy must be reloaded by its operator.
    ReloadNeeded,
    /// haproxy.cfg cannot be written.
    ConfigNotWritten,
    /// The saved state cannot be written.
    StateNotSaved,
    /// Settings were rejected at SIGHUP.
    SettingsRejected,
    /// The status listener, or its unix socket, cannot be opened.
    ListenerDown,
    /// Records of the log were dropped.
    LogDropped,
    /// A restart in place failed, and the previous program runs.
    RestartFailed,
    /// A certificate of the operator cannot be used, or their directory cannot be read.
    CertificateInvalid,
    /// A certificate expires soon, or is expired.
    CertificateExpires,
    /// A target does not answer.
    TargetDown,
    /// An output cannot be updated.
    OutputFailed,
    /// The service definitions cannot be read.
    DefinitionsUnreadable,
    /// A definition cannot be used.
    DefinitionInvalid,
    /// The annotations cannot be read.
    AnnotationsUnreadable,
    /// The hosts of a service cannot be read.
    HostsUnreadable,
    /// An entry of a source cannot be used.
    EntryInvalid,
    /// A source has not returned a list yet.
    NoList,
    /// The list of a service has no hosts, and its `min_hosts` is not 0.
    NoHosts,
    /// The guard blocks a change, and no operator has decided yet.
    ChangeBlocked,
    /// An operator rejected a change that the source still reports.
    ChangeRejected,
    /// A service is not served as defined.
    ServiceNotApplied,
    /// The listening port of a service is not available.
    PortUnavailable,
    /// No server of a service takes traffic.
    NoServerReady,
    /// A kind that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl ConcernKind {
    /// All kinds that this version reports.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter().filter(|kind| *kind != Self::Unknown)
    }

    /// Its name in JSON, in metrics and in the runbook.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// How urgent a problem of this kind is by itself: critical, if HAProxy does not run the desired state or clients of a
    /// service get no answer.
    fn severity(self) -> Severity {
        match self {
            Self::ActorSilent
            | Self::HaproxyNotRunning
            | Self::RuntimeApiDown
            | Self::ReloadFailed
            | Self::NoHosts
            | Self::ServiceNotApplied
            | Self::PortUnavailable
            | Self::NoServerReady => Severity::Critical,
            _ => Severity::Warning,
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concern {
    /// Its kind.
    #[serde(default)]
    pub kind: ConcernKind,
    /// How urgent it is.
    #[serde(default)]
    pub severity: Severity,
    /// What is wrong; begins with the name of the service, if it concerns one.
    pub text: String,
    /// The service it concerns; none if it concerns several or all.
    pub service: Option<String>,
    /// The services it concerns; empty if it concerns all.
    #[serde(default)]
    pub services: Vec<String>,
    /// Further kinds of problems that have the same cause and are part of this one.
    #[serde(default)]
    pub also: Vec<ConcernKind>,
    /// Since when, in milliseconds since 1970; none if not known.
    pub since_unix_ms: Option<u64>,
    /// When the source last confirmed the older list that is still in use, in milliseconds since 1970; `None` if no
    /// older list is in use, or if that time is not known.
    #[serde(default)]
    pub serves_list_of_unix_ms: Option<u64>,
    /// What to do, or what happens next.
    pub advice: String,
    /// What problems of several services have in common, if they are one.
    #[serde(skip)]
    pub cause: Option<Cause>,
}

/// What a source and a service lack, for problems that several services share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The cause, without what is particular to one service.
    pub text: String,
    /// Whether the service has no list of hosts at all.
    pub lacks_hosts: bool,
}

impl Concern {
    /// A problem that concerns all services.
    pub fn new(
        kind: ConcernKind,
        text: impl Into<String>,
        since_unix_ms: Option<u64>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            severity: kind.severity(),
            text: text.into(),
            service: None,
            services: Vec::new(),
            also: Vec::new(),
            since_unix_ms,
            serves_list_of_unix_ms: None,
            advice: advice.into(),
            cause: None,
        }
    }

    /// A problem of the status listener itself.
    pub fn of_listener(problem: &OwnProblem) -> Self {
        let advice = "HAProxy is managed regardless; retried every few seconds";
        Self::new(ConcernKind::ListenerDown, problem.text.clone(), Some(problem.since_unix_ms), advice)
    }

    /// A restart in place that failed.
    pub fn of_restart(restart: &Restart) -> Option<Self> {
        let text = format!("the restart failed, proxymgr {} runs again: {}", restart.from, restart.failure()?);
        let advice = "correct the cause and run `proxymgr restart` again; HAProxy is managed meanwhile";
        Some(Self::new(ConcernKind::RestartFailed, text, Some(restart.at_unix_ms), advice))
    }

    /// A log that lost records.
    pub fn of_log(problem: &OwnProblem) -> Self {
        let advice = "the log is not written as fast as records come: check its reader, or raise log.level";
        Self::new(ConcernKind::LogDropped, problem.text.clone(), Some(problem.since_unix_ms), advice)
    }

    /// A problem of one service.
    fn of(
        kind: ConcernKind,
        service: &str,
        text: impl fmt::Display,
        since_unix_ms: Option<u64>,
        advice: impl Into<String>,
    ) -> Self {
        let text = format!("{service}: {text}");
        Self::new(kind, text, since_unix_ms, advice).about(service)
    }

    /// The same problem of one service.
    fn about(self, service: &str) -> Self {
        Self { service: Some(service.to_owned()), services: vec![service.to_owned()], ..self }
    }

    /// The same problem, which has this cause.
    fn because(self, text: &str, lacks_hosts: bool) -> Self {
        Self { cause: Some(Cause { text: text.to_owned(), lacks_hosts }), ..self }
    }

    /// Returns whether it concerns this service.
    pub fn concerns(&self, service: &str) -> bool {
        self.services.iter().any(|name| name == service)
    }

    /// The same problem, while a list that was confirmed at this time stays in use.
    fn serving_list_of(self, confirmed_unix_ms: Option<u64>) -> Self {
        Self { serves_list_of_unix_ms: confirmed_unix_ms, ..self }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Problems in the snapshots, except those that end [readiness](super::readiness).
pub fn concerns(states: &[ActorState]) -> Vec<Concern> {
    let haproxy = states.iter().find_map(|state| match state {
        ActorState::HaproxyState(state) => Some(state),
        _ => None,
    });
    let of_state = |state: &ActorState| match state {
        ActorState::ServiceConfig(state) => discovery::of_definitions(state, haproxy),
        ActorState::Watcher(state) => {
            let service = haproxy.and_then(|haproxy| service_of(haproxy, &state.service));
            discovery::of_watcher(state, service)
        }
        ActorState::HaproxyState(state) => {
            haproxy::of_haproxy(state).into_iter().chain(services::of_services(state)).collect()
        }
        ActorState::ProcessSupervisor(state) => haproxy::of_processes(state, haproxy).into_iter().collect(),
        ActorState::SocketHolder(state) => services::of_ports(state, haproxy),
        ActorState::Output(state) => haproxy::of_output(state).into_iter().collect(),
        ActorState::Target(state) => haproxy::of_target(state),
        ActorState::Journal(_) => Vec::new(),
    };
    states.iter().flat_map(of_state).collect()
}

fn service_of<'a>(haproxy: &'a HaproxyState, name: &str) -> Option<&'a ServiceState> {
    haproxy.services.get(&ServiceName::new(name).ok()?)
}
