//! All messages, documented as sender -> receiver. Names in the past tense are events, names in the imperative are
//! requests.

pub mod listening;
pub mod names;
pub mod server_health;
pub mod sources;
pub mod watching;

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Message, Recipient};
use send_wrapper::SendWrapper;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::Instant;

pub use self::listening::{
    AdoptSockets, HoldSockets, NotOpened, ReleaseSockets, SocketOpened, SocketsHeld, WaitOnlyFor, WantedSockets,
};
pub use self::names::{NameResolves, NamesUnresolved};
pub use self::server_health::ServerHealthReported;
pub use self::sources::{DefinitionsSeen, HostsSeen};
pub use self::watching::{Redefine, StopWatching};
use crate::decide::backend_step::BackendStep;
use crate::decide::deployment::{DeployFailure, DeployOrder, Deployed};
use crate::decide::guard::GuardMemory;
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::hosts_diff::HostsDiff;
use crate::decide::option_policy::OptionPolicy;
use crate::decide::proxy_plan::ServicePlan;
use crate::decide::routing::RouteStep;
use crate::decide::server_ids::ServerIds;
use crate::history::History;
use crate::journal::JournalEntry;
pub use crate::model::SeenHost;
use crate::model::{
    Certificates, ChangeId, Descriptors, HostList, Observation, OnStop, OperatorChoice, ProcessInfo, ProxyPolicy,
    Revision, ServerName, ServiceDefinition, ServiceName,
};
use crate::operator::{GuardDecision, OrderRefused, SetServer};
use crate::port::{DefinitionList, ProcessExit, RuntimeApi, SavedJournal, SavedState};
use crate::snapshot::{ActorState, ProxyPhase};

/// ServiceConfigActor -> HaproxyStateActor: a service is new, or its definition was updated.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ServiceDefined {
    /// The definition.
    pub definition: Arc<ServiceDefinition>,
}

/// ServiceConfigActor -> HaproxyStateActor: a service was removed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ServiceRemoved {
    /// Its name.
    pub service: ServiceName,
}

/// ServiceConfigActor -> HaproxyStateActor: the definitions were read for the first time. The first start waits for
/// this, and then for the first list of each service.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct DefinitionsLoaded;

/// WatcherActor -> HaproxyStateActor: a list that the guard let pass. The diff contains the changes; the full list
/// repairs anything that an earlier message missed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct HostsChanged {
    /// Tracks the change until it is applied.
    pub change: ChangeId,
    /// The service.
    pub service: ServiceName,
    /// The revision of the list, which grows by one with each list of this service.
    pub revision: Revision,
    /// The differences from the previous list.
    pub diff: HostsDiff,
    /// All hosts after the change.
    pub hosts: Arc<HostList>,
    /// When the source learned of it.
    pub seen_at: Instant,
    /// When the source showed the list, in milliseconds since 1970; the original time, where an earlier run saved it.
    pub shown_unix_ms: u64,
}

/// WatcherActor -> HaproxyStateActor: the first read of a source returned no usable list. The first start no longer
/// waits for this service.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct HostsUnknown {
    /// The service.
    pub service: ServiceName,
}

/// WatcherActor -> HaproxyStateActor: the state of the guard of these hosts, to be saved for a restart.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct GuardChanged {
    /// The service.
    pub service: ServiceName,
    /// The state of the guard.
    pub memory: GuardMemory<Arc<HostList>>,
}

/// ServiceConfigActor -> HaproxyStateActor: the state of the guard of the definitions.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct DefinitionsGuardChanged {
    /// The state of the guard.
    pub memory: GuardMemory<DefinitionList>,
}

/// HaproxyStateActor -> ProcessSupervisorActor: deploy a new HAProxy process with these services.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Deployed, DeployFailure>")]
pub struct Deploy(pub DeployOrder);

/// deployment -> ProcessSupervisorActor: HAProxy accepted the candidate: make it the live file, start HAProxy with it,
/// let it take over from the previous processes, and answer once the new process answers.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<ProcessInfo, LaunchError>")]
pub struct LaunchProxy {
    /// Whether the checked candidate becomes the live file first; otherwise the live file is used unchanged.
    pub with_candidate: bool,
    /// The descriptors it inherits.
    pub descriptors: Vec<RawFd>,
    /// The path and the text of the state file that it reads; `None` where it reads none.
    pub state_file: Option<(PathBuf, String)>,
    /// The path and the text of the file with counters that it reads; `None` where it reads none.
    pub stats_file: Option<(PathBuf, String)>,
    /// The servers in the file, by service.
    pub servers: BTreeMap<ServiceName, Arc<HostList>>,
}

/// Why HAProxy could not be started or reloaded. The previous process, if any, still serves.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LaunchError {
    /// The live file could not be replaced.
    #[error("cannot replace the configuration file: {0}")]
    File(String),
    /// The process could not be started at all.
    #[error("cannot start HAProxy: {0}")]
    Start(String),
    /// The process ended before it answered.
    #[error("HAProxy ended with {0} before it answered")]
    Ended(ProcessExit),
    /// The process never answered.
    #[error("HAProxy did not answer on its socket within {0} s")]
    Silent(u64),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// ProcessSupervisorActor -> HaproxyStateActor: a new HAProxy process exists and does not answer yet. Until it has
/// taken over, commands can be sent to it and to the previous process independently.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct ProxyStarted {
    /// The process.
    pub pid: u32,
    /// Its own Runtime API, on a connection opened before its start; `None` where it opens its socket itself. The
    /// wrapper asserts that all actors share one thread.
    pub runtime: Option<SendWrapper<Rc<dyn RuntimeApi>>>,
    /// The servers in its file, by service.
    pub servers: BTreeMap<ServiceName, Arc<HostList>>,
}

/// ProcessSupervisorActor -> HaproxyStateActor: the new process answers. The reply is sent once that process has answered
/// the commands for all changes up to now.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ProxyAnswers;

/// ProcessSupervisorActor -> HaproxyStateActor: an orphaned HAProxy was adopted. It serves until the deployment under way
/// replaces it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct OrphanAdopted {
    /// Its reported state.
    pub observation: Observation,
}

/// ProcessSupervisorActor -> HaproxyStateActor: the HAProxy that served exited unexpectedly. A launch is due; the
/// supervisor delays it where HAProxy keeps crashing.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ProxyExited {
    /// The process.
    pub pid: u32,
    /// How it ended.
    pub exit: ProcessExit,
}

/// deployment -> ProcessSupervisorActor: adopt every orphaned HAProxy: one that serves, those that drain, and one that
/// was being started. Answers with the pids of all supervised processes, the one that serves first.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Orphans")]
pub struct FindOrphans;

/// ProcessSupervisorActor's answer to [`FindOrphans`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// The processes; the one that serves comes first.
    pub pids: Vec<u32>,
    /// Whether the first one runs the live file with the sockets that are held: the daemon had it before it restarted in
    /// place.
    pub first_is_continued: bool,
}

/// main -> ProcessSupervisorActor: the daemon stops. HAProxy is left running, and this answers when no start is under way;
/// or it is soft-stopped, processes that still run after the policy's `stop_timeout` are killed, and this answers when no
/// process is left.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct StopProxy {
    /// What happens to HAProxy.
    pub on_stop: OnStop,
}

/// ProcessSupervisorActor -> SocketHolderActor: close all sockets, also for the processes that inherited them, and open
/// none any more.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct CloseSockets;

/// main -> HaproxyStateActor, OverridesActor, and at last JournalActor: execute no more plans, and answer when all pending
/// writes are done. A stop follows. Returns whether the files are up to date: haproxy.cfg is what the process that serves
/// runs.
#[derive(Debug, Clone, Message)]
#[rtype(result = "bool")]
pub struct BeginShutdown;

/// main, status listener -> HaproxyStateActor, ServiceConfigActor -> WatcherActor: read everything again now, and retry
/// what was refused.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Refresh;

/// operator -> ServiceConfigActor -> WatcherActor: read the source of this service again.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<String, OrderRefused>")]
pub struct RefreshService {
    /// The service.
    pub service: ServiceName,
}

/// operator -> HaproxyStateActor: reload HAProxy.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<String, OrderRefused>")]
pub struct ReloadProxy {
    /// The reason, in the operator's words.
    pub reason: Option<String>,
}

/// operator -> ServiceConfigActor -> WatcherActor: the decision about a list that the guard blocked.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<String, OrderRefused>")]
pub struct DecideBlocked {
    /// The service; `None` for the definitions.
    pub service: Option<ServiceName>,
    /// The decision.
    pub decision: GuardDecision,
}

impl DecideBlocked {
    /// Creates the decision about a list of this service, or about the definitions.
    pub fn of(service: Option<ServiceName>, decision: GuardDecision) -> Self {
        Self { service, decision }
    }
}

/// operator -> OverridesActor: an operator's override for one server.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<String, OrderRefused>")]
pub struct ChooseServerState(pub SetServer);

/// HaproxyStateActor -> StateStoreActor: replace the saved state.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), String>")]
pub struct SaveState(pub SavedState);

/// JournalActor -> StateStoreActor: replace the saved journal.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), String>")]
pub struct SaveJournal(pub SavedJournal);

/// OverridesActor -> HaproxyStateActor, those of targets, OutputActor: the overrides of a service.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct OverridesChanged {
    /// The service.
    pub service: ServiceName,
    /// All current overrides.
    pub choices: BTreeMap<ServerName, OperatorChoice>,
    /// The server that an operator just gave an order for.
    pub ordered: Option<ServerName>,
}

/// main -> HaproxyStateActor, ProcessSupervisorActor, ServiceConfigActor: the settings were read again.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct PolicyChanged {
    /// How HAProxy is managed.
    pub policy: Arc<ProxyPolicy>,
    /// The options that definitions may use, and their defaults.
    pub options: OptionPolicy,
    /// The largest share of the services that may be removed at once.
    pub services_removal_max: f64,
}

/// main -> HaproxyStateActor: settings that were read again have mistakes; the previous settings stay active.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SettingsRefused {
    /// The mistakes, each with its key and position.
    pub mistakes: Vec<String>,
}

/// main -> HaproxyStateActor: the certificates in the operator's directory changed. The files that HAProxy reads are
/// up to date.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct CertificatesChanged {
    /// All of them.
    pub certificates: Arc<Certificates>,
}

/// The recipients of a WatcherActor, held by the ServiceConfigActor.
#[derive(Clone)]
pub struct WatcherHandle {
    /// Receives an updated definition.
    pub redefine: Recipient<Redefine>,
    /// Receives requests to read again.
    pub refresh: Recipient<Refresh>,
    /// Receives an operator's decision about a blocked list.
    pub decide: Recipient<DecideBlocked>,
    /// Receives requests for its state.
    pub state: Recipient<GetState>,
    /// Receives the request to stop.
    pub stop: Recipient<StopWatching>,
}

/// status listener -> ServiceConfigActor: list the watchers of all services.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<Recipient<GetState>>")]
pub struct ListWatchers;

/// any actor -> JournalActor: record this event.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Record(pub JournalEntry);

/// status listener -> JournalActor: return entries of the journal.
#[derive(Debug, Clone, Default, Message, Serialize, Deserialize)]
#[rtype(result = "Vec<JournalEntry>")]
pub struct ReadJournal {
    /// Only of this service.
    pub service: Option<String>,
    /// Only of this server.
    pub server: Option<String>,
    /// Only entries with this event, by its name.
    #[serde(default)]
    pub event: Option<String>,
    /// Only entries from this time on, in milliseconds since 1970.
    #[serde(default)]
    pub since_unix_ms: Option<u64>,
    /// Only entries after this sequence number, to continue after an earlier answer.
    pub after: Option<u64>,
    /// At most this many: the oldest of those after `after`, where it is given, and else the newest.
    pub limit: Option<usize>,
}

/// status listener -> HaproxyStateActor: return the plans of the next services.
#[derive(Debug, Clone, Message)]
#[rtype(result = "PlanPiece")]
pub struct PreviewPlan {
    /// The last service of the previous answer; `None` to begin with the first.
    pub after: Option<ServiceName>,
}

/// HaproxyStateActor's answer to [`PreviewPlan`]: a few services at a time, so that no change waits for a plan of all.
#[derive(Debug, Clone, Default)]
pub struct PlanPiece {
    /// The service to continue after; `None` after the last one.
    pub next: Option<ServiceName>,
    /// The phase of HAProxy.
    pub phase: ProxyPhase,
    /// The plans of the services that need changes.
    pub services: Vec<(ServiceName, ServicePlan)>,
    /// Services whose state in HAProxy is unknown: they are observed first.
    pub not_known: Vec<ServiceName>,
    /// The commands for the map of domains; only with the first services.
    pub routes: Vec<RouteStep>,
    /// The next changes of backends.
    pub backends: Vec<BackendStep>,
    /// The reload reasons that do not depend on a service; empty where there are none.
    pub reload: Vec<String>,
    /// How long a reload still has to wait, in milliseconds.
    pub reload_not_before_ms: u64,
    /// The pause before the next attempt at a HAProxy that did not answer, in milliseconds.
    pub runtime_not_before_ms: u64,
}

/// status listener -> JournalActor: return the history of the last hours.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "History")]
pub struct ReadHistory;

/// status listener -> HaproxyStateActor: return the running configuration, and the inputs of the next one.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "ConfigState")]
pub struct GetConfig;

/// HaproxyStateActor's answer to [`GetConfig`]: shared pieces, which the requester joins to one text.
#[derive(Debug, Clone)]
pub struct ConfigState {
    /// The configuration applied to HAProxy, including runtime changes; `None` before the first start.
    pub running: Option<RunningConfig>,
    /// The base configuration of the current settings.
    pub next_base: Arc<str>,
    /// The effect of that base configuration on every section.
    pub next_style: SectionStyle,
    /// The map that frontends use.
    pub map_path: PathBuf,
    /// The desired sections.
    pub next: Vec<NextSection>,
}

/// The configuration that runs.
#[derive(Debug, Clone)]
pub struct RunningConfig {
    /// All pieces in the order of the file.
    pub pieces: Vec<Arc<str>>,
    /// The base configuration, without sections that services may have.
    pub base_config: Arc<str>,
    /// The text of each section.
    pub sections: BTreeMap<ServiceName, Arc<str>>,
    /// The texts of the shared frontends.
    pub frontends: Vec<Arc<str>>,
}

/// The inputs of the next section of one service.
#[derive(Debug, Clone)]
pub struct NextSection {
    /// The definition.
    pub definition: Arc<ServiceDefinition>,
    /// The descriptors that it listens on, as far as they are open.
    pub descriptors: Descriptors,
    /// The hosts.
    pub hosts: Arc<HostList>,
    /// Their ids.
    pub ids: ServerIds,
}

/// anyone -> any actor: return your state as a serialisable snapshot.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "ActorState")]
pub struct GetState;
