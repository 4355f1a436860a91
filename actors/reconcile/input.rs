//! Inputs of the reconciler: events of discovery and of HAProxy's processes, and the answers to its effects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::decide::deployment::{DeployFailure, Deployed};
use crate::decide::guard::GuardMemory;
use crate::decide::hosts_diff::HostsDiff;
use crate::model::{
    Certificates, ChangeId, HostList, Observation, ObservedRoutes, OperatorChoice, ProcessInfo, ProxyPolicy, Revision,
    ServerName, ServiceDefinition, ServiceName,
};
use crate::port::{Answer, DefinitionList, ProcessExit, RuntimeError, ServerSessions};

/// The overrides of one service, by server.
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
    /// Discovery returned a new list of hosts.
    HostsChanged {
        /// Tracks the change until it is applied.
        change: ChangeId,
        /// The service.
        service: ServiceName,
        /// The revision of the list, which grows by one with each list of this service.
        revision: Revision,
        /// The differences from the previous list.
        diff: HostsDiff,
        /// All hosts after the change.
        hosts: Arc<HostList>,
        /// When the source learned of it.
        seen_at: Instant,
        /// When the source showed the list, in milliseconds since 1970.
        shown_unix_ms: u64,
    },
    /// The first read of a source returned no usable list.
    HostsUnknown(ServiceName),
    /// Operators' choices for the servers of a service changed.
    OverridesChanged {
        /// The service.
        service: ServiceName,
        /// All current overrides.
        overrides: Overrides,
        /// The server that an operator just gave an order for.
        ordered: Option<ServerName>,
    },
    /// The state of the guard of a service's hosts, to be saved for a restart.
    GuardChanged(ServiceName, GuardMemory<Arc<HostList>>),
    /// The state of the guard of the definitions, to be saved for a restart.
    DefinitionsGuardChanged(GuardMemory<DefinitionList>),
    /// The settings were read again.
    PolicyChanged(Arc<ProxyPolicy>),
    /// Settings that were read again have these mistakes; the previous settings stay active.
    SettingsRefused(Vec<String>),
    /// The certificates in the operator's directory changed.
    CertificatesChanged(Arc<Certificates>),
    /// The answer to [`Effect::ChangeCertificate`](super::Effect::ChangeCertificate).
    CertificateChanged(Result<Answer, RuntimeError>),
    /// An operator asked for a refresh: read everything again and retry what was refused.
    Refresh,
    /// An operator asked for a reload, for this reason.
    ReloadOrdered(String),
    /// A port that could not be bound before is now held for this service.
    SocketOpened(Option<ServiceName>),
    /// A host name that HAProxy could not resolve resolves now.
    NameResolves(Arc<str>),
    /// A deployment adopted an orphaned process, which reports this state and serves until it is replaced.
    OrphanAdopted(Observation),
    /// A deployment started a new process, which does not answer yet.
    ProcessStarted {
        /// The process.
        pid: u32,
        /// Whether commands can be sent to it already.
        takes_commands: bool,
        /// The servers in its file, by service.
        servers: BTreeMap<ServiceName, Arc<HostList>>,
    },
    /// The new process takes over now: it listens, and an orphaned one is asked to stop.
    SuccessorTakesOver,
    /// The new process answered the commands of a [`Effect::CommandSuccessor`](super::Effect::CommandSuccessor), or never
    /// will.
    SuccessorAnswered {
        /// The process.
        pid: u32,
    },
    /// A process that served, or was about to, exited.
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

    /// Answers [`Effect::RunCommands`](super::Effect::RunCommands): the answers, and when they arrived.
    CommandsAnswered(Result<(Vec<Answer>, Instant), RuntimeError>),
    /// Answers [`Effect::ChangeBackends`](super::Effect::ChangeBackends).
    BackendsAnswered(Result<Vec<Answer>, RuntimeError>),
    /// Answers [`Effect::ChangeRoutes`](super::Effect::ChangeRoutes).
    RoutesAnswered(Result<Vec<Answer>, RuntimeError>),
    /// Answers [`Effect::Observe`](super::Effect::Observe).
    Observed(Result<Observed, RuntimeError>),
    /// Answers [`Effect::ReadSessions`](super::Effect::ReadSessions).
    SessionsRead(Result<ServerSessions, RuntimeError>),
    /// Answers [`Effect::WatchLiveness`](super::Effect::WatchLiveness): HAProxy does not answer.
    Silent(RuntimeError),
    /// Answers [`Effect::Deploy`](super::Effect::Deploy).
    Deployed(Result<Deployed, DeployFailure>),
    /// Answers [`Effect::WriteConfigFile`](super::Effect::WriteConfigFile).
    ConfigFileWritten {
        /// Whether it was written.
        result: Result<(), String>,
        /// How long that took.
        took: Duration,
    },
    /// Answers [`Effect::ReadFiles`](super::Effect::ReadFiles).
    FilesRead {
        /// The text of haproxy.cfg.
        config: Result<String, String>,
        /// The text of the map; `None` where there is no map.
        map: Result<Option<String>, String>,
    },
    /// Answers [`Effect::ReadServerStates`](super::Effect::ReadServerStates), with the process that was asked.
    ServerStatesRead((Option<u32>, Result<String, RuntimeError>)),
    /// Answers [`Effect::WriteStateFile`](super::Effect::WriteStateFile).
    StateFileWritten {
        /// Whether it was written.
        result: Result<(), String>,
    },
    /// Answers [`Effect::SaveState`](super::Effect::SaveState).
    StateSaved(Result<(), String>),
}

/// The state that the process reports.
#[derive(Debug)]
pub struct Observed {
    /// The process.
    pub process: ProcessInfo,
    /// Its servers.
    pub servers: Observation,
    /// Its map of domains, where it was asked for: empty where it has none.
    pub routes: Option<ObservedRoutes>,
}
