//! The snapshots of the actors' states, used by the status page, the API, the CLI and the tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::dev::MessageResponse;
use serde::{Deserialize, Serialize};

use crate::model::{
    BlockedChange, HostList, LatencyHistogram, OperatorChoice, PlanClass, ProcessInfo, ReloadCause, Revision,
    ServerName, ServerState, ServiceName, UpdateStrategy,
};

/// The snapshot of one actor.
#[derive(Debug, Clone, Serialize, Deserialize, MessageResponse)]
#[serde(tag = "actor", rename_all = "snake_case")]
pub enum ActorState {
    /// State of the ServiceConfigActor.
    ServiceConfig(ServiceConfigState),
    /// State of one WatcherActor.
    Watcher(WatcherState),
    /// State of the HaproxyStateActor.
    HaproxyState(HaproxyState),
    /// State of the HaproxyStateActor of one of `haproxy.targets`.
    Target(TargetState),
    /// State of the ProcessSupervisorActor.
    ProcessSupervisor(ProcessSupervisorState),
    /// State of the SocketHolderActor.
    SocketHolder(SocketHolderState),
    /// State of one OutputActor.
    Output(OutputState),
    /// State of the JournalActor.
    Journal(JournalState),
}

/// Whether a source can be read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceHealth {
    /// Why it cannot be read now; `None` while it can.
    pub error: Option<String>,
    /// When this state began, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When it was last read, in milliseconds since 1970; `None` before the first time.
    pub read_at_unix_ms: Option<u64>,
    /// The number of changes that its watch did not report and that a confirmation found.
    #[serde(default)]
    pub missed_changes: u64,
}

/// The name of the quota of services among the problems of definitions.
pub const SERVICES_QUOTA: &str = "quotas.services";

/// The state of the ServiceConfigActor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServiceConfigState {
    /// The source of definitions.
    pub source: SourceHealth,
    /// The source of their annotations; `None` where there is none, or nothing was reported yet.
    #[serde(default)]
    pub annotations: Option<SourceHealth>,
    /// The names of the services that have a valid definition.
    pub services: Vec<ServiceName>,
    /// The problems of definitions, by service; the last good definition, if any, stays.
    pub problems: BTreeMap<String, Vec<String>>,
    /// The newest list of definitions, where the guard blocks it and no operator has decided yet.
    pub held: Option<BlockedChange>,
    /// The newest list, where the guard blocks it and an operator rejected it.
    pub rejected: Option<BlockedChange>,
}

/// The state of one WatcherActor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WatcherState {
    /// The service.
    pub service: String,
    /// The kind of its source.
    pub source_kind: String,
    /// The source.
    pub source: SourceHealth,
    /// The revision of the list in service.
    pub revision: Revision,
    /// The list in service; `None` before the first.
    pub hosts: Option<Arc<HostList>>,
    /// Since when the list in service has no hosts although `min_hosts` is not 0, in milliseconds since 1970; `None`
    /// otherwise.
    #[serde(default)]
    pub empty_since_unix_ms: Option<u64>,
    /// Whether the list in service comes from an earlier run and has not been confirmed since.
    pub from_saved_state: bool,
    /// When the source last returned the list in service, in milliseconds since 1970; `None` before the first list.
    pub confirmed_unix_ms: Option<u64>,
    /// The newest list, where the guard blocks it and no operator has decided yet.
    pub held: Option<BlockedChange>,
    /// The newest list, where the guard blocks it and an operator rejected it.
    pub rejected: Option<BlockedChange>,
    /// The problems of the source, by entry.
    pub problems: BTreeMap<String, String>,
}

impl WatcherState {
    /// Returns whether the service has no hosts: clients get no answer.
    pub fn lacks_hosts(&self) -> bool {
        self.empty_since_unix_ms.is_some() || self.hosts.is_none() && self.source.error.is_some()
    }

    /// Returns the newest list, where the guard blocks it, rejected by an operator or not.
    pub fn blocked(&self) -> Option<&BlockedChange> {
        self.held.as_ref().or(self.rejected.as_ref())
    }
}

impl ServiceConfigState {
    /// Returns the newest list of definitions, where the guard blocks it, rejected by an operator or not.
    pub fn blocked(&self) -> Option<&BlockedChange> {
        self.held.as_ref().or(self.rejected.as_ref())
    }
}

/// The phase of a HAProxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyPhase {
    /// Waiting for the first lists.
    #[default]
    Waiting,
    /// HAProxy is being started or reloaded.
    Launching,
    /// HAProxy runs and is kept in sync.
    Running,
    /// HAProxy is not running.
    Down,
    /// The daemon is stopping.
    Stopping,
}

/// The state of the HaproxyStateActor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HaproxyState {
    /// Its phase.
    pub phase: ProxyPhase,
    /// The process that answers.
    pub process: Option<ProcessInfo>,
    /// The desired services.
    pub services: BTreeMap<ServiceName, ServiceState>,
    /// The reasons of the next reload; empty when none is due.
    pub reload_due: Vec<String>,
    /// Counters.
    pub counts: ProxyCounts,
    /// The reasons of the last reload.
    pub last_reload: Vec<String>,
    /// When it was, in milliseconds since 1970.
    pub last_reload_unix_ms: Option<u64>,
    /// Why the Runtime API does not answer; `None` while it does.
    pub runtime_error: Option<String>,
    /// Why the last reload failed; `None` when it did not.
    pub reload_error: Option<String>,
    /// Why haproxy.cfg could not be written; `None` when it was.
    pub file_error: Option<String>,
    /// Why the last good state could not be saved; `None` when it was.
    pub saved_state_error: Option<String>,
    /// The settings that were last read again, where they were refused and the previous ones stay active.
    #[serde(default)]
    pub settings_refused: Option<RefusedSettings>,
    /// Since when these problems exist.
    #[serde(default)]
    pub since: ProblemsSince,
    /// Whether this HAProxy is external, so that a reload waits for its operator.
    #[serde(default)]
    pub run_by_others: bool,
    /// HAProxy's warnings about the running file that do not belong to a service.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The state of the HaproxyStateActor of one target.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TargetState {
    /// The target's name in the settings.
    pub name: String,
    /// The state of its HAProxy.
    pub haproxy: HaproxyState,
}

/// Settings that were refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSettings {
    /// When they were refused, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Their mistakes, each with its key and position; at most [`crate::limits::SETTINGS_MISTAKES_SHOWN_MAX`].
    pub mistakes: Vec<String>,
}

/// Since when each problem of HAProxy exists, in milliseconds since 1970; `None` where there is no problem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemsSince {
    /// When HAProxy exited unexpectedly.
    pub gone_unix_ms: Option<u64>,
    /// Since when `runtime_error` exists.
    pub runtime_error_unix_ms: Option<u64>,
    /// Since when `reload_error` exists.
    pub reload_error_unix_ms: Option<u64>,
    /// Since when `file_error` exists.
    pub file_error_unix_ms: Option<u64>,
    /// Since when `saved_state_error` exists.
    pub saved_state_error_unix_ms: Option<u64>,
}

/// Counters of actions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyCounts {
    /// Servers enabled, added or changed at run time.
    pub runtime_enable: u64,
    /// Servers disabled at run time.
    pub runtime_disable: u64,
    /// Servers deleted at run time, after their time in maintenance.
    pub runtime_delete: u64,
    /// Domains assigned to a service, or removed from one, at run time.
    #[serde(default)]
    pub routes: u64,
    /// Changes of backends at run time, of four for each that comes and goes.
    #[serde(default)]
    pub backends: u64,
    /// Reloads, including the first start.
    pub reload: u64,
    /// Reloads by cause; a reload with several causes counts once for each.
    #[serde(default)]
    pub reload_causes: BTreeMap<ReloadCause, u64>,
    /// Reloads that failed.
    pub reload_failed: u64,
    /// Differences found between the applied and the observed state.
    pub drift: u64,
    /// Commands that HAProxy refused.
    pub refused: u64,
    /// Batches without an answer.
    pub unanswered: u64,
}

/// The state of one service in one HAProxy.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServiceState {
    /// The address it listens on.
    pub listen: Option<String>,
    /// Its definition.
    #[serde(flatten)]
    pub defined: DefinitionFacts,
    /// The newest revision received.
    pub revision: Revision,
    /// The number of desired servers.
    pub desired: usize,
    /// The strategy that applies its changes to the running HAProxy.
    #[serde(default)]
    pub update: UpdateStrategy,
    /// The reason for this strategy, as text.
    #[serde(default)]
    pub update_reason: String,
    /// The number of free slots; `None` where its servers are not in slots.
    #[serde(default)]
    pub free_slots: Option<usize>,
    /// The slot of each server that is in one, which is its name in HAProxy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<ServerName, ServerName>,
    /// The state of each server in HAProxy.
    pub servers: Arc<BTreeMap<ServerName, ServerState>>,
    /// Its servers that are not simply in traffic.
    #[serde(flatten)]
    pub exceptions: ServerExceptions,
    /// Its problem, such as a port in use or a refused section.
    pub problem: Option<String>,
    /// Since when its port is in use or its section refused, in milliseconds since 1970; `None` otherwise.
    #[serde(default)]
    pub problem_since_unix_ms: Option<u64>,
    /// HAProxy's warnings about the running section.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Its last change.
    #[serde(flatten)]
    pub last: LastChange,
}

impl HaproxyState {
    /// Returns the number of services that have a section in HAProxy.
    pub fn served(&self) -> usize {
        self.services.values().filter(|service| !service.is_left_out()).count()
    }
}

impl ServiceState {
    /// Returns whether HAProxy has no section of the service, because its port is in use or its section refused.
    pub fn is_left_out(&self) -> bool {
        self.problem_since_unix_ms.is_some() && self.servers.is_empty()
    }

    /// Returns the number of servers in this state.
    pub fn count(&self, wanted: ServerState) -> usize {
        self.servers.values().filter(|state| **state == wanted).count()
    }
}

/// What the definition of a service says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionFacts {
    /// Where it comes from: the path of a file, or `znode /service_config/web`.
    #[serde(default)]
    pub origin: Arc<str>,
    /// Its domains, with its path prefix, if any.
    #[serde(default)]
    pub domains: Vec<String>,
    /// The tags that its source looks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The guard's `min_hosts`: a list with fewer hosts is blocked.
    #[serde(default)]
    pub min_hosts: usize,
    /// The names of the certificates on its listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Whether HAProxy checks the health of its servers. Without checks every server counts as up.
    #[serde(default)]
    pub checks_health: bool,
}

/// The servers of a service that are not simply in traffic.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServerExceptions {
    /// The overrides of operators.
    #[serde(default)]
    pub operator: BTreeMap<ServerName, OperatorChoice>,
    /// Servers that were set to drain on HAProxy's own socket. They are not changed.
    #[serde(default)]
    pub drained_on_socket: Vec<ServerName>,
    /// Servers whose agents set their state and weight, with the weights that HAProxy reports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agent_weights: BTreeMap<ServerName, u16>,
    /// Servers whose host is gone and that are draining.
    #[serde(default)]
    pub leaving: BTreeMap<ServerName, LeavingServer>,
    /// New servers whose weight ramps up.
    #[serde(default)]
    pub rising: BTreeMap<ServerName, RisingServer>,
    /// Servers that are down by their health checks, and since when, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub down_since_unix_ms: BTreeMap<ServerName, u64>,
}

/// The last change of a service that was applied.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LastChange {
    /// When it was applied, in milliseconds since 1970; `None` before the first.
    #[serde(default, rename = "last_applied_unix_ms")]
    pub applied_unix_ms: Option<u64>,
    /// How it was applied.
    #[serde(rename = "last_class")]
    pub class: Option<String>,
    /// How long that took, in microseconds, from the source's event.
    #[serde(rename = "last_took_us")]
    pub took_us: Option<u64>,
}

/// A server whose host is gone from discovery and that finishes its sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeavingServer {
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When it goes into maintenance even with sessions, in milliseconds since 1970.
    pub until_unix_ms: u64,
    /// Its sessions at the last read; `None` before the first.
    pub sessions: Option<u64>,
}

/// A new server whose weight ramps up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RisingServer {
    /// Its current share of its weight, in percent.
    pub percent: u8,
    /// When it reaches its full weight, in milliseconds since 1970.
    pub until_unix_ms: u64,
}

/// The state of the ProcessSupervisorActor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProcessSupervisorState {
    /// The process that serves.
    pub current_pid: Option<u32>,
    /// Processes that finish their open connections, oldest first.
    pub draining: Vec<DrainingProcess>,
    /// The number of crashes of HAProxy.
    pub crashes: u64,
    /// The pause before the next start, in milliseconds; 0 without failures.
    pub backoff_ms: u64,
}

/// A draining process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingProcess {
    /// Its process id.
    pub pid: u32,
    /// Since when it has been draining, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// The connections it still has; `None` where they are not known.
    #[serde(default)]
    pub connections: Option<u64>,
    /// Its resident memory, in bytes; `None` where it is not known.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
}

/// The state of the SocketHolderActor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SocketHolderState {
    /// The sockets held: address and descriptor.
    pub held: BTreeMap<String, i32>,
    /// The services whose port cannot be bound, and why.
    pub failed: BTreeMap<ServiceName, String>,
}

/// The state of one OutputActor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputState {
    /// The output's name in messages.
    pub name: String,
    /// The number of services.
    pub services: usize,
    /// When it was last in sync, in milliseconds since 1970; `None` before the first time.
    pub applied_at_unix_ms: Option<u64>,
    /// The number of changes.
    pub changes: u64,
    /// Why it cannot be updated; `None` when it is in sync.
    pub error: Option<String>,
    /// Since when that error exists, in milliseconds since 1970.
    pub since_unix_ms: Option<u64>,
}

/// The state of the JournalActor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct JournalState {
    /// The number of kept entries.
    pub entries: usize,
    /// The sequence number of the newest entry.
    pub newest: u64,
    /// The counts since the start of the daemon, including entries that are no longer kept.
    #[serde(default)]
    pub counts: JournalCounts,
}

/// Counts of the journal since the start of the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalCounts {
    /// The number of entries by event name.
    pub events: BTreeMap<String, u64>,
    /// Servers that discovery added.
    pub servers_added: u64,
    /// Servers that discovery removed.
    pub servers_removed: u64,
    /// Servers that discovery changed.
    pub servers_changed: u64,
    /// Servers that HAProxy's checks found up.
    #[serde(default)]
    pub servers_up: u64,
    /// Servers that HAProxy's checks found down.
    #[serde(default)]
    pub servers_down: u64,
    /// Decisions about single servers, by class.
    pub decided: BTreeMap<PlanClass, u64>,
    /// The latencies of applied changes, from the source's event to HAProxy's answer.
    pub applied: BTreeMap<PlanClass, LatencyHistogram>,
}
