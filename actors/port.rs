//! The ports: the interfaces of the actors to the outside. The daemon's adapters implement them, and simulation in
//! tests.
//!
//! Every future runs on the actors' thread, so none needs to be `Send`; adapters run blocking work elsewhere. Every
//! call ends in bounded time: the adapter enforces the timeout.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending, ready};
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
use crate::history::History;
use crate::journal::JournalEntry;
use crate::message::server_health::ServerHealthReported;
use crate::message::sources::{DefinitionsSeen, HostsSeen};
use crate::model::{
    BackendCommand, CertificateChange, CertificateLists, HostList, ListenAddress, Observation, ObservedRoutes,
    OperatorChoice, PersistentId, ProcessInfo, RawDefinition, RouteCommand, RuntimeCommand, SectionTraffic, ServerName,
    ServiceDefinition, ServiceName, SourceKind, SourceSpec, Traffic,
};

/// The result of a port's call.
pub type PortFuture<T> = Pin<Box<dyn Future<Output = T>>>;

// ---- discovery ------------------------------------------------------------------------------------------------

/// Opens sources of hosts: one per service.
pub trait HostSources {
    /// Begins to watch the source in `spec` and sends snapshots to `watcher`, first as soon as the hosts are known and
    /// then with each change. An invalid spec is an error that names the key; an unreachable source is reported to
    /// `watcher` and retried forever.
    fn open(
        &self,
        service: &ServiceName,
        spec: &SourceSpec,
        watcher: Recipient<HostsSeen>,
    ) -> Result<Box<dyn OpenSource>, String>;
    /// Returns the kinds of sources, with the keys that each reads. Definitions are checked against them.
    fn kinds(&self) -> &[SourceKind] {
        &[]
    }
    /// Sets the policy for the options in entries of sources that are opened from now on.
    fn change_options(&self, _options: &OptionPolicy) {}
}

/// Resolves host names as HAProxy does when it reads its file.
pub trait NameResolver {
    /// Returns whether the name has an address now.
    fn resolves(&self, name: Arc<str>) -> PortFuture<bool>;
}

/// Opens the source of service definitions.
pub trait DefinitionSource {
    /// Begins to watch the definitions and sends snapshots to `reader`, first as soon as they are known.
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource>;
    /// Returns whether the definitions are derived from instances, and so vanish with the last instance of a service.
    fn are_derived(&self) -> bool {
        false
    }
}

/// A source being watched. Dropping it ends the watch.
pub trait OpenSource {
    /// Reads everything again now, and reports it even when nothing changed.
    fn refresh(&self);
    /// Reads everything again whatever watches, indexes and streams say, and reports it even when nothing changed. A
    /// difference that a watch should have reported is marked as missed; a source that is polled has no watch.
    fn confirm(&self) {
        self.refresh();
    }
}

// ---- the running HAProxy --------------------------------------------------------------------------------------

/// HAProxy's answer to one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether HAProxy accepted the command.
    pub accepted: bool,
    /// HAProxy's text, for the journal.
    pub text: String,
}

/// Why the Runtime API returned no answer. HAProxy may have executed the commands or not: observe again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuntimeError {
    /// No connection could be made.
    #[error("cannot connect to HAProxy's socket {path}: {error}")]
    Unreachable {
        /// The socket.
        path: String,
        /// The system's error text.
        error: String,
    },
    /// HAProxy did not answer in time.
    #[error("HAProxy did not answer on {path} within {timeout_ms} ms")]
    TimedOut {
        /// The socket.
        path: String,
        /// The timeout, in milliseconds.
        timeout_ms: u64,
    },
    /// The connection broke, or the answer was invalid.
    #[error("the connection to {path} failed: {error}")]
    Broken {
        /// The socket.
        path: String,
        /// The error.
        error: String,
    },
    /// Another process serves by now, so the answer is not waited for.
    #[error("HAProxy was replaced before it answered")]
    Replaced,
}

/// The sessions of each server. A section that HAProxy does not have is absent.
pub type ServerSessions = BTreeMap<ServiceName, BTreeMap<ServerName, u64>>;

/// The Runtime API of one HAProxy.
pub trait RuntimeApi {
    /// Runs the commands in order and returns one answer each. A refused command does not stop the rest.
    fn run(&self, commands: Vec<RuntimeCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>>;
    /// Returns the servers of these sections, or of all.
    fn observe(&self, services: Option<Vec<ServiceName>>) -> PortFuture<Result<Observation, RuntimeError>>;
    /// Returns the answer to `show servers state`: the text that HAProxy can load as a state file.
    fn server_states(&self) -> PortFuture<Result<String, RuntimeError>> {
        Box::pin(ready(Ok(String::new())))
    }
    /// Returns the answer to `dump stats-file`: the counters of all sections and servers that have an id, as the text that
    /// the next process can load.
    fn counters(&self) -> PortFuture<Result<String, RuntimeError>> {
        Box::pin(ready(Ok(String::new())))
    }
    /// Returns the current sessions of each server of these sections.
    fn sessions(&self, services: Vec<ServiceName>) -> PortFuture<Result<ServerSessions, RuntimeError>>;
    /// Adds, publishes, unpublishes and deletes backends, in order, and returns one answer each.
    fn change_backends(&self, commands: Vec<BackendCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        let refused = Answer { accepted: false, text: "Unknown command".to_owned() };
        Box::pin(ready(Ok(vec![refused; commands.len()])))
    }
    /// Runs these commands on the map that was loaded from `map`, in order, and returns one answer each.
    fn change_routes(&self, map: PathBuf, commands: Vec<RouteCommand>)
    -> PortFuture<Result<Vec<Answer>, RuntimeError>>;
    /// Returns the map that was loaded from `map`; `None` where HAProxy has none.
    fn routes(&self, map: PathBuf) -> PortFuture<Result<Option<ObservedRoutes>, RuntimeError>>;
    /// Changes the certificates. Where HAProxy refuses it, those before stay.
    fn change_certificate(&self, _change: CertificateChange) -> PortFuture<Result<Answer, RuntimeError>> {
        Box::pin(ready(Ok(Answer { accepted: true, text: String::new() })))
    }
    /// Returns the process that answers now, on a new connection.
    fn process(&self) -> PortFuture<Result<ProcessInfo, RuntimeError>>;
    /// Closes the persistent connection, so that it does not delay a process that is stopping.
    fn disconnect(&self);
    /// Resolves when HAProxy does not answer a liveness probe. This is the only call without a time limit; it ends when
    /// it is dropped.
    fn silence(&self) -> PortFuture<RuntimeError> {
        Box::pin(pending())
    }
}

// ---- what HAProxy is busy with ----------------------------------------------------------------------------------

/// The load of HAProxy, for the status. It uses its own connection, so that reading it never delays a change. No actor
/// uses it.
pub trait TrafficReader {
    /// Returns the traffic of every section. Its cost grows with the sections, not with the servers.
    fn sections(&self) -> PortFuture<Result<BTreeMap<ServiceName, Traffic>, RuntimeError>>;
    /// Returns the traffic of one section and of its servers.
    fn section(&self, service: &ServiceName) -> PortFuture<Result<SectionTraffic, RuntimeError>>;
}

// ---- configuration file and processes ---------------------------------------------------------------------------

/// The text of haproxy.cfg in pieces: the base configuration, then one per service and per shared frontend. They are
/// joined only where the file is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigText {
    /// The pieces in order. Each ends with a line feed.
    pub pieces: Vec<Arc<str>>,
    /// The map file, with which the frontends find the service of a domain; `None` where there are no frontends.
    pub map: Option<Arc<str>>,
    /// The files with the certificates of listeners.
    pub lists: CertificateLists,
}

impl ConfigText {
    /// Returns whether this equals a text in one piece.
    pub fn is(&self, whole: &str) -> bool {
        let rest = self.pieces.iter().try_fold(whole, |rest, piece| rest.strip_prefix(&**piece));
        rest.is_some_and(str::is_empty)
    }

    /// Returns the text in one piece.
    pub fn joined(&self) -> String {
        self.pieces.concat()
    }
}

impl fmt::Display for ConfigText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| f.write_str(piece))
    }
}

/// Why a candidate configuration was not accepted.
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
    /// HAProxy's text.
    pub text: String,
}

/// haproxy.cfg, its map and its candidate.
pub trait ConfigFile {
    /// Writes the candidate next to the live file and has HAProxy check it, with the inherited descriptors in it.
    /// Returns HAProxy's warnings.
    fn check(&self, text: ConfigText, descriptors: Vec<RawFd>) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>>;
    /// Has HAProxy check a text that will not be deployed, to find the part of a candidate that it refuses. The
    /// candidate does not change.
    fn try_part(
        &self,
        text: ConfigText,
        descriptors: Vec<RawFd>,
    ) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>>;
    /// Makes the last accepted candidate the live file, with its map.
    fn promote(&self) -> PortFuture<Result<(), String>>;
    /// Returns the text of the map; `None` where there is no map.
    fn read_map(&self) -> PortFuture<Result<Option<String>, String>>;
    /// Returns the text of the live file.
    fn read(&self) -> PortFuture<Result<String, String>>;
    /// Replaces the live file and the map, each atomically, without a check: only servers and routes differ.
    fn write(&self, text: ConfigText) -> PortFuture<Result<(), String>>;
    /// Replaces the state file at `path`, which HAProxy reads at its start. Calls are serialised.
    fn write_state_file(&self, _path: PathBuf, _text: String) -> PortFuture<Result<(), String>> {
        Box::pin(ready(Ok(())))
    }
    /// Replaces the file at `path` with these counters, which HAProxy reads at its start.
    fn write_stats_file(&self, _path: PathBuf, _text: String) -> PortFuture<Result<(), String>> {
        Box::pin(ready(Ok(())))
    }
    /// Replaces the state file with the rows of `said`, the answer to `show servers state`, that are valid for these
    /// hosts. They are computed in the background.
    fn follow_health(&self, _path: PathBuf, _said: String, _hosts: FileHosts) -> PortFuture<Result<(), String>> {
        Box::pin(ready(Ok(())))
    }
    /// Returns the text of the state file.
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
    /// It was not a child process, so its exit status is unknown.
    Unknown,
}

impl fmt::Display for ProcessExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// A HAProxy process that runs.
pub struct RunningProcess {
    /// Its process id.
    pub pid: u32,
    /// Resolves when it has ended and is reaped.
    pub exit: PortFuture<ProcessExit>,
    /// The Runtime API of this process, on a connection that was opened before its start: it answers as soon as the
    /// process runs. It does not reconnect. `None` where the process opens its own socket.
    pub runtime: Option<Rc<dyn RuntimeApi>>,
    /// Whether the daemon had this process before it restarted in place, with the live file and the sockets that it holds.
    pub is_continued: bool,
}

/// The signals to a HAProxy process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessSignal {
    /// SIGUSR1: close the listeners, finish what is open, exit.
    SoftStop,
    /// SIGKILL: end it where a soft stop has no effect.
    Kill,
}

/// The resources of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Its TCP connections, to clients and to servers.
    pub connections: u64,
    /// Its resident memory, in bytes.
    pub memory_bytes: u64,
}

/// HAProxy's processes on this machine.
pub trait ProxyProcesses {
    /// Starts HAProxy with the live file and these inherited descriptors; it soft-stops the processes in `replaces`
    /// (`-sf`). Resolves once the process exists, not once it answers. Where another process manager runs HAProxy, it
    /// is ordered to start or reload it, no descriptors are inherited, and this resolves once the new process answers,
    /// because only then its pid is known.
    fn start(&self, descriptors: Vec<RawFd>, replaces: Vec<u32>) -> PortFuture<Result<RunningProcess, String>>;
    /// Returns an orphaned HAProxy that runs our live file, the one that serves first. Each call returns the next one.
    fn find_orphan(&self) -> PortFuture<Option<RunningProcess>>;
    /// Sends changes of server health to `to` from now on, as the started processes log them. Nothing is sent where
    /// HAProxy's output is not read.
    fn report_health(&self, _to: Recipient<ServerHealthReported>) {}
    /// Makes the Runtime API of this process, which already answers, available at the socket's path, instead of that of
    /// the previous process. Does nothing for a process without a [`RunningProcess::runtime`].
    fn publish_runtime(&self, _pid: u32) -> PortFuture<Result<(), String>> {
        Box::pin(ready(Ok(())))
    }
    /// Returns the resource usage of these processes, without those for which it is unknown.
    fn usage(&self, _pids: Vec<u32>) -> PortFuture<BTreeMap<u32, ProcessUsage>> {
        Box::pin(ready(BTreeMap::new()))
    }
    /// Sends a signal to a process. A process that is already gone is no error.
    fn signal(&self, pid: u32, signal: ProcessSignal) -> Result<(), String>;
}

// ---- listening sockets ------------------------------------------------------------------------------------------

/// A listening socket that is open until dropped.
pub trait HeldSocket {
    /// Returns the descriptor that HAProxy inherits under the same number; `None` where HAProxy opens the socket
    /// itself, and this object only reserves the address.
    fn descriptor(&self) -> Option<RawFd>;
    /// Returns the address it listens on.
    fn address(&self) -> ListenAddress;
    /// Refuses new clients from now on, also where another process has the socket and does not run.
    fn refuse_clients(&self) {}
    /// Lets further sockets of the same user listen on an address that overlaps with this one.
    fn share_port(&self) {}
}

/// Opens listening sockets.
pub trait ListeningSockets {
    /// Binds and listens. The address may overlap with those of the open sockets `beside`, as `*:80` with `[::]:80` and
    /// with `10.0.0.1:80`: the more specific one gets its clients. The error contains the holder of the port where it is
    /// known.
    fn open(&self, address: &ListenAddress, beside: &[&dyn HeldSocket]) -> Result<Box<dyn HeldSocket>, String>;
    /// Takes copies of the listening sockets of a running process, so that its ports never close.
    fn adopt(&self, pid: u32) -> Result<Vec<Box<dyn HeldSocket>>, String>;
    /// Returns the sockets that the daemon held before it restarted in place. Only the first call returns them.
    fn continued(&self) -> Vec<Box<dyn HeldSocket>> {
        Vec::new()
    }
}

// ---- outputs besides HAProxy -------------------------------------------------------------------------------------

/// A service for outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedService {
    /// Its definition.
    pub definition: Arc<ServiceDefinition>,
    /// Its hosts; `None` where no list was ever seen: then the output must not remove its hosts.
    pub hosts: Option<Arc<HostList>>,
}

/// The result of an update of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The output changed.
    Changed,
    /// The output already had the desired state.
    Unchanged,
    /// The output has the newest data of all services but some, whose data it cannot use.
    Partial {
        /// Whether the output changed.
        changed: bool,
        /// The services and why their newest data is not used.
        problem: String,
    },
}

/// An output besides HAProxy that is kept in sync: another proxy's configuration, a store, a stream.
pub trait ServiceOutput {
    /// Returns its name in messages: `template /etc/nginx/conf.d/services.conf`.
    fn name(&self) -> &str;
    /// Updates the output to exactly these services, sorted by name. After an error the output is unchanged, and the
    /// update is retried.
    fn apply(&self, services: Vec<PublishedService>) -> PortFuture<Result<Applied, String>>;
}

// ---- saved state --------------------------------------------------------------------------------------------------

/// A service with its last good hosts, as saved across restarts of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedService {
    /// Its definition.
    pub definition: Arc<ServiceDefinition>,
    /// Its last good hosts; `None` where no list was ever seen.
    pub hosts: Option<Arc<HostList>>,
    /// When the list was last confirmed by its source, in milliseconds since 1970.
    pub seen_at_unix_ms: u64,
    /// Its overrides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choices: BTreeMap<ServerName, OperatorChoice>,
    /// The state of the guard of its hosts.
    #[serde(flatten)]
    pub guard: GuardMemory<Arc<HostList>>,
    /// The slot of each server, where it has slots.
    #[serde(default, skip_serializing_if = "SlotTable::is_empty")]
    pub slots: SlotTable,
    /// The ids of servers that are not derived from their endpoints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ids: BTreeMap<ServerName, PersistentId>,
    /// Since when servers are down, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub down: BTreeMap<ServerName, u64>,
}

/// Raw definitions from their source, by the name of the service.
pub type DefinitionList = Arc<BTreeMap<Arc<str>, RawDefinition>>;

/// The state that is saved across restarts of the daemon.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SavedState {
    /// The services.
    pub services: Vec<SavedService>,
    /// The state of the guard of the definitions.
    pub definitions_guard: GuardMemory<DefinitionList>,
}

/// The recent part of the journal, as saved across restarts of the daemon.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SavedJournal {
    /// The newest entries, the oldest first.
    pub entries: Vec<JournalEntry>,
    /// The history of the last hours.
    pub history: History,
}

/// Stores the last good state across restarts.
pub trait StateStore {
    /// Replaces the saved state atomically.
    fn save(&self, state: SavedState) -> PortFuture<Result<(), String>>;
    /// Replaces the saved journal atomically.
    fn save_journal(&self, _journal: SavedJournal) -> PortFuture<Result<(), String>> {
        Box::pin(ready(Ok(())))
    }
}
