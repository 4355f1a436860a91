//! What the reconciler is told: events of discovery and of HAProxy's processes, and the answers to its effects.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use crate::decide::deployment::{DeployFailure, Deployed};
use crate::decide::guard::GuardMemory;
use crate::decide::hosts_diff::HostsDiff;
use crate::model::{
    ChangeId, HostList, Observation, ObservedRoutes, OperatorChoice, ProcessInfo, ProxyPolicy, Revision, ServerName,
    ServiceDefinition, ServiceName,
};
use crate::port::{Answer, DefinitionList, ProcessExit, RuntimeError, ServerSessions};

/// Everything an operator chose for the servers of one service.
pub type Overrides = BTreeMap<ServerName, OperatorChoice>;

/// One event or answer.
#[derive(Debug)]
pub enum Input {
    /// A service appeared, or its definition was updated.
    ServiceDefined(Arc<ServiceDefinition>),
    /// A service was removed.
    ServiceRemoved(ServiceName),
    /// The definitions were read for the first time.
    DefinitionsLoaded,
    /// Discovery shows another list of hosts.
    HostsChanged {
        /// Follows the change to its end.
        change: ChangeId,
        /// The service.
        service: ServiceName,
        /// Grows by one with each list of this service.
        revision: Revision,
        /// What is different from the list before.
        diff: HostsDiff,
        /// All hosts after the change.
        hosts: Arc<HostList>,
        /// When the source learned of it.
        seen_at: Instant,
        /// When the source showed the list, in milliseconds since 1970.
        shown_unix_ms: u64,
    },
    /// The first read of a source brought no usable list.
    HostsUnknown(ServiceName),
    /// Operators' choices for the servers of a service changed.
    OverridesChanged {
        /// The service.
        service: ServiceName,
        /// Every choice that applies now.
        overrides: Overrides,
        /// The server that an order was just given about.
        ordered: Option<ServerName>,
    },
    /// What the guard of a service's hosts needs to know after a restart.
    GuardChanged(ServiceName, GuardMemory<Arc<HostList>>),
    /// The same about the guard of the definitions.
    DefinitionsGuardChanged(GuardMemory<DefinitionList>),
    /// The settings were read again.
    PolicyChanged(Arc<ProxyPolicy>),
    /// Settings that were read again have these mistakes; those before stay.
    SettingsRefused(Vec<String>),
    /// Everything is to be read again, and what was refused is to be tried again.
    Refresh,
    /// An operator asked for a reload, for this reason.
    ReloadOrdered(String),
    /// A port that could not be bound before is now held for this service.
    SocketOpened(ServiceName),
    /// A host name that HAProxy could not resolve resolves now.
    NameResolves(Arc<str>),
    /// A deployment started a new process, which does not answer yet.
    ProcessStarted {
        /// The process.
        pid: u32,
        /// Whether commands can be sent to it already.
        takes_commands: bool,
    },
    /// A process exited that served, or was about to.
    ProcessExited {
        /// The process.
        pid: u32,
        /// How it ended.
        exit: ProcessExit,
    },
    /// HAProxy reported that the health of a server changed.
    ServerHealthReported {
        /// The process that reported it.
        pid: u32,
        /// The service.
        service: ServiceName,
    },
    /// The daemon is stopping.
    Stop,

    /// To [`Effect::RunCommands`](super::Effect::RunCommands): the answers, and when they were there.
    CommandsAnswered(Result<(Vec<Answer>, Instant), RuntimeError>),
    /// To [`Effect::ChangeRoutes`](super::Effect::ChangeRoutes).
    RoutesAnswered(Result<Vec<Answer>, RuntimeError>),
    /// To [`Effect::Observe`](super::Effect::Observe).
    Observed(Result<Observed, RuntimeError>),
    /// To [`Effect::ReadSessions`](super::Effect::ReadSessions).
    SessionsRead(Result<ServerSessions, RuntimeError>),
    /// To [`Effect::WatchLiveness`](super::Effect::WatchLiveness): HAProxy does not answer.
    Silent(RuntimeError),
    /// To [`Effect::Deploy`](super::Effect::Deploy).
    Deployed(Result<Deployed, DeployFailure>),
    /// To [`Effect::WriteConfigFile`](super::Effect::WriteConfigFile).
    ConfigFileWritten {
        /// Whether it was written.
        result: Result<(), String>,
        /// How long that took.
        took: Duration,
    },
    /// To [`Effect::ReadFiles`](super::Effect::ReadFiles).
    FilesRead {
        /// The text of haproxy.cfg.
        config: Result<String, String>,
        /// The text of the map; none where there is none.
        map: Result<Option<String>, String>,
    },
    /// To [`Effect::ReadServerStates`](super::Effect::ReadServerStates), with the process that was asked.
    ServerStatesRead((Option<u32>, Result<String, RuntimeError>)),
    /// To [`Effect::WriteStateFile`](super::Effect::WriteStateFile).
    StateFileWritten {
        /// Whether it was written.
        result: Result<(), String>,
    },
    /// To [`Effect::SaveState`](super::Effect::SaveState).
    StateSaved(Result<(), String>),
}

/// What the process has, as it reports it.
#[derive(Debug)]
pub struct Observed {
    /// The process.
    pub process: ProcessInfo,
    /// Its servers.
    pub servers: Observation,
    /// Its map of domains, where it was asked for: empty where it has none.
    pub routes: Option<ObservedRoutes>,
}
