//! Every message, told as sender -> receiver. Past tense for what happened, imperative for what is to be done.

pub mod names;
pub mod server_health;
pub mod sources;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Message, Recipient};
use send_wrapper::SendWrapper;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::Instant;

pub use self::names::{NameResolves, NamesUnresolved};
pub use self::server_health::ServerHealthReported;
pub use self::sources::{DefinitionsSeen, HostsSeen};
use crate::decide::deployment::{DeployFailure, DeployOrder, Deployed};
use crate::decide::guard::GuardMemory;
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::hosts_diff::HostsDiff;
use crate::decide::option_policy::OptionPolicy;
use crate::decide::proxy_plan::ServicePlan;
use crate::decide::routing::{RouteStep, routed_at};
use crate::decide::server_ids::ServerIds;
use crate::history::History;
use crate::journal::JournalEntry;
pub use crate::model::SeenHost;
use crate::model::{
    ChangeId, HostList, OperatorChoice, ProcessInfo, ProxyPolicy, Revision, ServerName, ServiceDefinition, ServiceName,
};
use crate::operator::{GuardDecision, OrderRefused, SetServer};
use crate::port::{DefinitionList, ProcessExit, RuntimeApi, SavedState};
use crate::snapshot::{ActorState, ProxyPhase};

/// ServiceConfigActor -> HaproxyStateActor: this service exists, new or changed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ServiceDefined {
    /// The definition.
    pub definition: Arc<ServiceDefinition>,
}

/// ServiceConfigActor -> HaproxyStateActor: this service exists no more.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ServiceRemoved {
    /// Its name.
    pub service: ServiceName,
}

/// ServiceConfigActor -> HaproxyStateActor: the definitions have been read for the first time; the first start
/// waits for it, and then for the first list of each service.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct DefinitionsLoaded;

/// WatcherActor -> HaproxyStateActor: a list that the guard let pass. The diff says what to do and why; the list
/// heals whatever an earlier message missed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct HostsChanged {
    /// Follows the change to its end.
    pub change: ChangeId,
    /// The service.
    pub service: ServiceName,
    /// Grows by one with each list of this service.
    pub revision: Revision,
    /// What is different from the list before.
    pub diff: HostsDiff,
    /// All hosts after the change.
    pub hosts: Arc<HostList>,
    /// When the source learned of it.
    pub seen_at: Instant,
    /// When the source showed the list, in milliseconds since 1970: long ago, where it was saved by an earlier run.
    pub shown_unix_ms: u64,
}

/// WatcherActor -> HaproxyStateActor: the first look at a source brought no usable list; the first start need not
/// wait for this service any longer.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct HostsUnknown {
    /// The service.
    pub service: ServiceName,
}

/// WatcherActor -> HaproxyStateActor: what the guard of these hosts needs to know after a restart, to be saved.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct GuardChanged {
    /// Whose hosts.
    pub service: ServiceName,
    /// What it needs to know.
    pub memory: GuardMemory<Arc<HostList>>,
}

/// ServiceConfigActor -> HaproxyStateActor: the same about the guard of the definitions.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct DefinitionsGuardChanged {
    /// What it needs to know.
    pub memory: GuardMemory<DefinitionList>,
}

/// deployment -> SocketHolderActor: hold these listening sockets, opening those that are not open yet.
/// Nothing is closed by it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "SocketsHeld")]
pub struct HoldSockets {
    /// The address each service listens on.
    pub wanted: BTreeMap<ServiceName, WantedSocket>,
    /// Where the last good section of a service listened in an earlier run of the daemon, where that is elsewhere: it
    /// may have to be served there again. One that cannot be had is not waited for.
    pub last_good: BTreeMap<ServiceName, WantedSocket>,
}

/// A listening socket that a service needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedSocket {
    /// Where.
    pub address: SocketAddr,
    /// Whether it goes together with other services that share it: those are told apart by their domains.
    pub is_shared: bool,
}

impl WantedSocket {
    /// The socket of a service with this definition; none where it has no port.
    pub fn of(definition: &ServiceDefinition) -> Option<Self> {
        let is_shared = routed_at(definition).is_some();
        definition.listen.map(|address| Self { address, is_shared })
    }
}

/// SocketHolderActor's answer to [`HoldSockets`].
#[derive(Debug, Clone, Default)]
pub struct SocketsHeld {
    /// The services that have their address, each with the descriptor that HAProxy inherits; none where HAProxy binds it
    /// itself.
    pub descriptors: BTreeMap<ServiceName, Option<RawFd>>,
    /// Those of the last good sections, as far as they can be had. Another service may want the same one.
    pub last_good: BTreeMap<ServiceName, Option<RawFd>>,
    /// The services whose port could not be had, and why. The holder goes on trying.
    pub failed: BTreeMap<ServiceName, String>,
}

/// HaproxyStateActor -> SocketHolderActor: only these are in use; close the others, so that no client waits where
/// nobody will answer.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ReleaseSockets {
    /// Who listens where: these stay open, and whoever else wants one waits.
    pub keep: BTreeMap<ServiceName, WantedSocket>,
}

/// HaproxyStateActor -> SocketHolderActor: only these sockets are wanted; nobody waits any more for others.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct WaitOnlyFor {
    /// Of every service there is.
    pub wanted: BTreeMap<ServiceName, WantedSocket>,
}

/// SocketHolderActor -> HaproxyStateActor: a port that could not be bound before is now held.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SocketOpened {
    /// The service that was waiting for it.
    pub service: ServiceName,
}

/// deployment -> SocketHolderActor: take copies of the listening sockets of an orphaned HAProxy.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<usize, String>")]
pub struct AdoptSockets {
    /// The process that has them.
    pub pid: u32,
}

/// HaproxyStateActor -> ProcessSupervisorActor: bring up a new HAProxy process with these services.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Deployed, DeployFailure>")]
pub struct Deploy(pub DeployOrder);

/// deployment -> ProcessSupervisorActor: the candidate was found good: make it the live file, start HAProxy on it, let it
/// take over from the processes before it, and answer once it answers.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<ProcessInfo, LaunchError>")]
pub struct LaunchProxy {
    /// Whether the candidate that was checked becomes the live file first; else the live file is taken as it is.
    pub with_candidate: bool,
    /// The descriptors it inherits.
    pub descriptors: Vec<RawFd>,
    /// The state file that it reads, and what that is to say; none where it reads none.
    pub state_file: Option<(PathBuf, String)>,
}

/// Why HAProxy could not be started or reloaded. The process before, if any, still serves.
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

/// ProcessSupervisorActor -> HaproxyStateActor: a new HAProxy process exists and does not answer yet. Until it has taken
/// over, it and the process before it can be commanded independently.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct ProxyStarted {
    /// The process.
    pub pid: u32,
    /// Its own Runtime API, on a connection opened before its start; none where it opens its socket itself. All actors
    /// share one thread, which the wrapper asserts.
    pub runtime: Option<SendWrapper<Rc<dyn RuntimeApi>>>,
}

/// ProcessSupervisorActor -> HaproxyStateActor: the new process answers. The reply is sent once that process has answered
/// every command sent to it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ProxyAnswers;

/// ProcessSupervisorActor -> HaproxyStateActor: the HAProxy that served is gone, unasked. A launch is due; the
/// supervisor itself delays it where HAProxy keeps dying.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ProxyExited {
    /// The process.
    pub pid: u32,
    /// How it ended.
    pub exit: ProcessExit,
}

/// deployment -> ProcessSupervisorActor: adopt every orphaned HAProxy: one that serves, those that drain, and one that was
/// being started. Answers with the process ids of all in its care, the one that serves first.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Vec<u32>")]
pub struct FindOrphans;

/// main -> ProcessSupervisorActor: soft-stop HAProxy; what still runs after the policy's `stop_timeout` is ended.
/// Answers when no process is left.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct StopProxy;

/// main -> HaproxyStateActor: start no more plans, and answer when what is known is written: a stop follows.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct BeginShutdown;

/// main, status listener -> HaproxyStateActor, ServiceConfigActor -> WatcherActor: read everything again now, and give
/// what was refused another try.
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
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// operator -> ServiceConfigActor -> WatcherActor: the decision about a list that the guard blocked.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<String, OrderRefused>")]
pub struct DecideBlocked {
    /// Whose hosts; none for the definitions.
    pub service: Option<ServiceName>,
    /// The decision.
    pub decision: GuardDecision,
}

/// operator -> OverridesActor: an operator's choice about one server.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<String, OrderRefused>")]
pub struct ChooseServerState(pub SetServer);

/// HaproxyStateActor -> StateStoreActor: save this in place of what was saved before.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), String>")]
pub struct SaveState(pub SavedState);

/// OverridesActor -> HaproxyStateActor, those of targets, OutputActor: what operators chose for the servers of a service.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ChoicesChanged {
    /// The service.
    pub service: ServiceName,
    /// All choices in force.
    pub choices: BTreeMap<ServerName, OperatorChoice>,
    /// The server that an order was just given about.
    pub ordered: Option<ServerName>,
}

/// main -> HaproxyStateActor, ProcessSupervisorActor, ServiceConfigActor: the settings were read again.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct PolicyChanged {
    /// How HAProxy is driven.
    pub policy: Arc<ProxyPolicy>,
    /// What services' definitions may say, and what holds where they say nothing.
    pub options: OptionPolicy,
    /// The largest share of the services that definitions may take away at once.
    pub services_removal_max: f64,
}

/// main -> HaproxyStateActor: settings that were read again have mistakes; those before stay in force.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SettingsRefused {
    /// Each with its key and place.
    pub mistakes: Vec<String>,
}

/// ServiceConfigActor -> WatcherActor: the service's definition changed. The list in force stays until the source,
/// reopened where its description changed, shows another.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Redefine {
    /// The new definition.
    pub definition: Arc<ServiceDefinition>,
    /// Whether its source is to be opened anew even if its description is the same.
    pub reopen: bool,
}

/// ServiceConfigActor -> WatcherActor: the service is no more; end the watch.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct StopWatching;

/// The ways to a WatcherActor, as the ServiceConfigActor that had it started holds them.
#[derive(Clone)]
pub struct WatcherHandle {
    /// A changed definition.
    pub redefine: Recipient<Redefine>,
    /// Read again.
    pub refresh: Recipient<Refresh>,
    /// An operator's decision about a blocked list.
    pub decide: Recipient<DecideBlocked>,
    /// A question.
    pub state: Recipient<GetState>,
    /// The end.
    pub stop: Recipient<StopWatching>,
}

/// status listener -> ServiceConfigActor: whom to ask about each service.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<Recipient<GetState>>")]
pub struct ListWatchers;

/// any actor -> JournalActor: this happened.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Record(pub JournalEntry);

/// status listener -> JournalActor: what happened.
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
    /// Only entries after this sequence number: to go on where an earlier answer ended.
    pub after: Option<u64>,
    /// At most this many: the oldest of those after `after`, where it is given, and else the newest.
    pub limit: Option<usize>,
}

/// status listener -> HaproxyStateActor: what would be done about the next services now, and why.
#[derive(Debug, Clone, Message)]
#[rtype(result = "PlanPiece")]
pub struct PreviewPlan {
    /// The last service that was told already; none to begin with the first.
    pub after: Option<ServiceName>,
}

/// HaproxyStateActor's answer to [`PreviewPlan`]: some services at a time, so that a change never waits for all.
#[derive(Debug, Clone, Default)]
pub struct PlanPiece {
    /// Where to go on; none after the last service.
    pub next: Option<ServiceName>,
    /// Where the actor stands.
    pub phase: ProxyPhase,
    /// The plans of the services about which there is something to do.
    pub services: Vec<(ServiceName, ServicePlan)>,
    /// Services of which it is not known what HAProxy has: it is asked first.
    pub not_known: Vec<ServiceName>,
    /// What would be told to the map of domains; with the first services only.
    pub routes: Vec<RouteStep>,
    /// Why all services need a reload; empty where they do not.
    pub reload: Vec<String>,
    /// How long a reload still has to wait, in milliseconds.
    pub reload_not_before_ms: u64,
    /// How long HAProxy is left alone after it did not answer, in milliseconds.
    pub runtime_not_before_ms: u64,
}

/// status listener -> JournalActor: what the last hours were like.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "History")]
pub struct ReadHistory;

/// status listener -> HaproxyStateActor: the configuration that runs, and what the next would be made of.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "ConfigState")]
pub struct GetConfig;

/// HaproxyStateActor's answer to [`GetConfig`]: shared pieces, so that the text is put together by whoever asks.
#[derive(Debug, Clone)]
pub struct ConfigState {
    /// What HAProxy was given, servers changed at run time included; none before the first start.
    pub running: Option<RunningConfig>,
    /// The head of the file as the settings want it.
    pub next_frame: Arc<str>,
    /// What that head means for every section.
    pub next_style: SectionStyle,
    /// The map that frontends look into.
    pub map_path: PathBuf,
    /// The sections as discovery wants them.
    pub next: Vec<NextSection>,
}

/// The configuration that runs.
#[derive(Debug, Clone)]
pub struct RunningConfig {
    /// `global` and `defaults`.
    pub frame: Arc<str>,
    /// The text of each section.
    pub sections: BTreeMap<ServiceName, Arc<str>>,
    /// The texts of the frontends that services share.
    pub frontends: Vec<Arc<str>>,
}

/// What the next section of one service is made of.
#[derive(Debug, Clone)]
pub struct NextSection {
    /// The definition.
    pub definition: Arc<ServiceDefinition>,
    /// The descriptor it listens on; none where it is not open yet.
    pub descriptor: Option<RawFd>,
    /// The hosts.
    pub hosts: Arc<HostList>,
    /// Their ids.
    pub ids: ServerIds,
}

/// anyone -> any actor: your state, as a snapshot that can be serialised.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "ActorState")]
pub struct GetState;
