//! The ports: all that the actors need of the outside world. Adapters implement them in the daemon, simulation in tests.
//!
//! Every future runs on the actors' one thread, so none needs to be `Send`; whatever blocks runs elsewhere inside
//! the adapter. Every call ends in bounded time: the adapter owns the time-out.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending, ready};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix::Recipient;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decide::guard::GuardMemory;
use crate::decide::option_policy::OptionPolicy;
use crate::decide::slots::SlotTable;
use crate::decide::state_file::FileHosts;
use crate::message::server_health::ServerHealthReported;
use crate::message::sources::{DefinitionsSeen, HostsSeen};
use crate::model::{
    HostList, Observation, ObservedRoutes, OperatorChoice, PersistentId, ProcessInfo, RawDefinition, RouteCommand,
    RuntimeCommand, ServerName, ServerTraffic, ServiceDefinition, ServiceName, SourceKind, SourceSpec, Traffic,
};

/// What a port's call gives back, in time.
pub type PortFuture<T> = Pin<Box<dyn Future<Output = T>>>;

// ---- discovery ------------------------------------------------------------------------------------------------

/// Opens sources of hosts: one per service.
pub trait HostSources {
    /// Begins to watch what `spec` describes and tells `watcher` the level, first as soon as it is known and then
    /// with each change. A spec that can never work is an error that names the key; an outside that is away is
    /// reported to `watcher` and retried for ever.
    fn open(
        &self,
        service: &ServiceName,
        spec: &SourceSpec,
        watcher: Recipient<HostsSeen>,
    ) -> Result<Box<dyn OpenSource>, String>;
    /// The kinds of sources, with the keys that each reads. Definitions are held against them.
    fn kinds(&self) -> &[SourceKind] {
        &[]
    }
    /// Sources opened from now on hold their entries against these options, where entries can have any.
    fn change_options(&self, _options: &OptionPolicy) {}
}

/// Resolves host names as HAProxy does when it reads its file.
pub trait NameResolver {
    /// Whether the name has an address now.
    fn resolves(&self, name: Arc<str>) -> PortFuture<bool>;
}

/// Opens the source of service definitions.
pub trait DefinitionSource {
    /// Begins to watch the definitions and tells `reader` the level, first as soon as it is known.
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource>;
}

/// A source being watched. Dropping it ends the watch.
pub trait OpenSource {
    /// Reads everything again now, and reports it even when nothing changed.
    fn refresh(&self);
}

// ---- the running HAProxy --------------------------------------------------------------------------------------

/// HAProxy's answer to one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether HAProxy did as asked.
    pub accepted: bool,
    /// What it said, for the journal.
    pub text: String,
}

/// Why the Runtime API gave no answer. The commands may or may not have been carried out: observe again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuntimeError {
    /// No connection could be made.
    #[error("cannot connect to HAProxy's socket {path}: {error}")]
    Unreachable {
        /// The socket.
        path: String,
        /// The system's words.
        error: String,
    },
    /// HAProxy did not answer in time.
    #[error("HAProxy did not answer on {path} within {timeout_ms} ms")]
    TimedOut {
        /// The socket.
        path: String,
        /// How long it was waited for.
        timeout_ms: u64,
    },
    /// The connection broke, or the answer could not be understood.
    #[error("the conversation on {path} broke: {error}")]
    Broken {
        /// The socket.
        path: String,
        /// What was wrong.
        error: String,
    },
}

/// How many sessions each server has. A section that HAProxy does not have is absent.
pub type ServerSessions = BTreeMap<ServiceName, BTreeMap<ServerName, u64>>;

/// The Runtime API of one HAProxy.
pub trait RuntimeApi {
    /// Runs the commands in order and gives one answer each. A refused command does not stop the rest.
    fn run(&self, commands: Vec<RuntimeCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>>;
    /// The servers of these sections, or of all.
    fn observe(&self, services: Option<Vec<ServiceName>>) -> PortFuture<Result<Observation, RuntimeError>>;
    /// All that HAProxy knows about its servers, as text that it reads again: the answer to `show servers state`.
    fn server_states(&self) -> PortFuture<Result<String, RuntimeError>> {
        Box::pin(ready(Ok(String::new())))
    }
    /// The sessions that each server of these sections has now.
    fn sessions(&self, services: Vec<ServiceName>) -> PortFuture<Result<ServerSessions, RuntimeError>>;
    /// Runs these commands on the map that was loaded from `map`, in order, and gives one answer each.
    fn change_routes(&self, map: PathBuf, commands: Vec<RouteCommand>)
    -> PortFuture<Result<Vec<Answer>, RuntimeError>>;
    /// The map that was loaded from there; none where HAProxy has none.
    fn routes(&self, map: PathBuf) -> PortFuture<Result<Option<ObservedRoutes>, RuntimeError>>;
    /// The process that answers now, asked on a new connection.
    fn process(&self) -> PortFuture<Result<ProcessInfo, RuntimeError>>;
    /// Closes the kept connection, so that it does not hold up a process that is to stop.
    fn disconnect(&self);
    /// Resolves when HAProxy does not answer a liveness probe. The one call that may take for ever; it ends when it is
    /// dropped.
    fn silence(&self) -> PortFuture<RuntimeError> {
        Box::pin(pending())
    }
}

// ---- what HAProxy is busy with ----------------------------------------------------------------------------------

/// How busy HAProxy is, for those who look on. No actor asks: it goes over a connection of its own, so that reading it
/// never holds up a change.
pub trait TrafficReader {
    /// Every section's traffic. Its cost grows with the sections, not with the servers.
    fn sections(&self) -> PortFuture<Result<BTreeMap<ServiceName, Traffic>, RuntimeError>>;
    /// The traffic of the servers of one section.
    fn servers(&self, service: &ServiceName) -> PortFuture<Result<BTreeMap<ServerName, ServerTraffic>, RuntimeError>>;
}

// ---- configuration file and processes ---------------------------------------------------------------------------

/// The text of haproxy.cfg in pieces: the frame, then one per service and per frontend that services share. Joined only
/// where it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigText {
    /// The pieces in order. Each ends with a line feed.
    pub pieces: Vec<Arc<str>>,
    /// The map beside it, which tells the frontends which service a domain belongs to; none where there are no frontends.
    pub map: Option<Arc<str>>,
}

impl ConfigText {
    /// Whether this is the same text, which comes in one piece.
    pub fn is(&self, whole: &str) -> bool {
        let rest = self.pieces.iter().try_fold(whole, |rest, piece| rest.strip_prefix(&**piece));
        rest.is_some_and(str::is_empty)
    }

    /// The text in one piece.
    pub fn joined(&self) -> String {
        self.pieces.concat()
    }
}

impl fmt::Display for ConfigText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| f.write_str(piece))
    }
}

/// Why a candidate configuration was not found good.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckFailure {
    /// HAProxy refuses it.
    #[error("HAProxy refuses the configuration: {}", .messages.first().map_or("no reason given", |m| m.text.as_str()))]
    Rejected {
        /// HAProxy's alerts.
        messages: Vec<ConfigMessage>,
    },
    /// It could not be checked at all: the disk is full, the binary is missing, the check hung.
    #[error("{0}")]
    Failed(String),
}

/// One message of `haproxy -c`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMessage {
    /// The line of the candidate, from 1, where HAProxy names one.
    pub line: Option<usize>,
    /// HAProxy's words.
    pub text: String,
}

/// haproxy.cfg, the map and the candidate beside it.
pub trait ConfigFile {
    /// Writes the candidate beside the live file and has HAProxy check it, with the inherited descriptors it names. Returns
    /// what HAProxy warns of.
    fn check(&self, text: ConfigText, descriptors: Vec<RawFd>) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>>;
    /// Has HAProxy check a text that is not to run, to find out which part of a candidate it refuses. The candidate stays as
    /// it is.
    fn try_part(
        &self,
        text: ConfigText,
        descriptors: Vec<RawFd>,
    ) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>>;
    /// Makes the candidate that was last found good the live file, with its map.
    fn promote(&self) -> PortFuture<Result<(), String>>;
    /// The text of the map; none where there is none.
    fn read_map(&self) -> PortFuture<Result<Option<String>, String>>;
    /// The text of the live file.
    fn read(&self) -> PortFuture<Result<String, String>>;
    /// Replaces the live file and the map, each atomically, without a check: only servers and routes differ.
    fn write(&self, text: ConfigText) -> PortFuture<Result<(), String>>;
    /// Replaces the state file at `path`, which a HAProxy that starts reads. Calls take turns.
    fn write_state_file(&self, _path: PathBuf, _text: String) -> PortFuture<Result<(), String>> {
        Box::pin(ready(Ok(())))
    }
    /// The same, with what of `said`, the answer to `show servers state`, is still true of these hosts: worked out in the
    /// background.
    fn follow_health(&self, _path: PathBuf, _said: String, _hosts: FileHosts) -> PortFuture<Result<(), String>> {
        Box::pin(ready(Ok(())))
    }
    /// The text of the state file.
    fn read_state_file(&self, _path: PathBuf) -> PortFuture<Result<String, String>> {
        Box::pin(ready(Ok(String::new())))
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessExit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It was not our child; how it ended is not known.
    Unknown,
}

impl fmt::Display for ProcessExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("an end nobody saw"),
        }
    }
}

/// A HAProxy process that runs.
pub struct RunningProcess {
    /// Its process id.
    pub pid: u32,
    /// Resolves when it has ended; it is reaped by then.
    pub exit: PortFuture<ProcessExit>,
    /// The Runtime API of this very process, on a connection that was opened before its start: what is sent there is
    /// answered as soon as the process runs. It does not reconnect. None where the process opens its own socket.
    pub runtime: Option<Rc<dyn RuntimeApi>>,
}

/// What a HAProxy process can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessSignal {
    /// SIGUSR1: close the listeners, finish what is open, exit.
    SoftStop,
    /// SIGKILL: it does not listen to anything else.
    Kill,
}

/// What a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Its TCP connections, to clients and to servers.
    pub connections: u64,
    /// Its resident memory, in bytes.
    pub memory_bytes: u64,
}

/// HAProxy's processes on this machine.
pub trait ProxyProcesses {
    /// Starts HAProxy on the live file with these inherited descriptors; it tells the processes in `replaces` to
    /// finish (`-sf`). Resolves once the process exists, not once it answers. Where somebody else runs HAProxy, they are
    /// told to start or reload it, inherit nothing, and it resolves once the new process answers: only then it is known.
    fn start(&self, descriptors: Vec<RawFd>, replaces: Vec<u32>) -> PortFuture<Result<RunningProcess, String>>;
    /// A HAProxy that runs our live file and was started by a daemon that is no more, the one that serves first. It is
    /// known from then on; the next call finds the next.
    fn find_orphan(&self) -> PortFuture<Option<RunningProcess>>;
    /// From now on, `to` hears of servers whose health changed, as the processes that are started log it. Where HAProxy's
    /// output is not read here, nobody hears of it.
    fn report_health(&self, _to: Recipient<ServerHealthReported>) {}
    /// Makes the Runtime API of this process, which answers by now, the one at the socket's path, in place of that of
    /// the process before. Does nothing for a process without a [`RunningProcess::runtime`].
    fn publish_runtime(&self, _pid: u32) -> PortFuture<Result<(), String>> {
        Box::pin(ready(Ok(())))
    }
    /// What these processes have now; those are missing of which it cannot be told.
    fn usage(&self, _pids: Vec<u32>) -> PortFuture<BTreeMap<u32, ProcessUsage>> {
        Box::pin(ready(BTreeMap::new()))
    }
    /// Tells a process what to do. One that is gone already is no error.
    fn signal(&self, pid: u32, signal: ProcessSignal) -> Result<(), String>;
}

// ---- listening sockets ------------------------------------------------------------------------------------------

/// A listening socket that is open until dropped.
pub trait HeldSocket {
    /// The descriptor that HAProxy inherits under the same number; none where HAProxy binds the address itself, and
    /// only the claim to it is held here.
    fn descriptor(&self) -> Option<RawFd>;
    /// The address it listens on.
    fn address(&self) -> SocketAddr;
}

/// Opens listening sockets.
pub trait ListeningSockets {
    /// Binds and listens. The error says who holds the port where that can be told.
    fn open(&self, address: SocketAddr) -> Result<Box<dyn HeldSocket>, String>;
    /// Takes copies of the listening sockets of a running process, so that its ports never close.
    fn adopt(&self, pid: u32) -> Result<Vec<Box<dyn HeldSocket>>, String>;
}

// ---- outputs besides HAProxy -------------------------------------------------------------------------------------

/// A service as outputs are given it.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedService {
    /// Its definition.
    pub definition: Arc<ServiceDefinition>,
    /// Its hosts; none where no list was ever seen: nothing may be taken away on such grounds.
    pub hosts: Option<Arc<HostList>>,
}

/// What an application of an output did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The output says something else than before.
    Changed,
    /// The output already said what it should.
    Unchanged,
}

/// Something else than HAProxy that is kept in step: another proxy's configuration, a store, a stream.
pub trait ServiceOutput {
    /// What messages call it: `template /etc/nginx/conf.d/services.conf`.
    fn name(&self) -> &str;
    /// Brings the output in step with all of these services, in the order of their names. An error leaves it as it
    /// was, says what is wrong, and is tried again.
    fn apply(&self, services: Vec<PublishedService>) -> PortFuture<Result<Applied, String>>;
}

// ---- saved state --------------------------------------------------------------------------------------------------

/// A service with its last good hosts, as kept across restarts of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedService {
    /// What the service was.
    pub definition: Arc<ServiceDefinition>,
    /// Its last good hosts; none where none were ever seen.
    pub hosts: Option<Arc<HostList>>,
    /// When the list was last confirmed by its source, in milliseconds since 1970.
    pub seen_at_unix_ms: u64,
    /// What operators chose for its servers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choices: BTreeMap<ServerName, OperatorChoice>,
    /// What the guard of its hosts needs to know.
    #[serde(flatten)]
    pub guard: GuardMemory<Arc<HostList>>,
    /// Which server has which slot, where it has slots.
    #[serde(default, skip_serializing_if = "SlotTable::is_empty")]
    pub slots: SlotTable,
    /// The servers' ids, where they are not the ones that their endpoints derive.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ids: BTreeMap<ServerName, PersistentId>,
}

/// Definitions as their source shows them, by the name of the service.
pub type DefinitionList = Arc<BTreeMap<Arc<str>, RawDefinition>>;

/// All that is kept across restarts of the daemon.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SavedState {
    /// The services.
    pub services: Vec<SavedService>,
    /// What the guard of the definitions needs to know.
    pub definitions_guard: GuardMemory<DefinitionList>,
}

/// Keeps the last good state across restarts.
pub trait StateStore {
    /// Replaces what is saved, atomically.
    fn save(&self, state: SavedState) -> PortFuture<Result<(), String>>;
}
