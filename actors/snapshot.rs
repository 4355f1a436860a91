//! What each actor says of itself when asked: the one truth behind the status page, the API, the CLI and the tests.

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
    /// Of the ServiceConfigActor, with its watchers.
    ServiceConfig(ServiceConfigState),
    /// Of one WatcherActor.
    Watcher(WatcherState),
    /// Of the HaproxyStateActor.
    HaproxyState(HaproxyState),
    /// Of the HaproxyStateActor of one of `haproxy.targets`.
    Target(TargetState),
    /// Of the ProcessSupervisorActor.
    ProcessSupervisor(ProcessSupervisorState),
    /// Of the SocketHolderActor.
    SocketHolder(SocketHolderState),
    /// Of one OutputActor.
    Output(OutputState),
    /// Of the JournalActor.
    Journal(JournalState),
}

/// Whether a source can be read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceHealth {
    /// Why it cannot be read now; none while it can.
    pub error: Option<String>,
    /// Since when it has been as it is, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When it was last read, in milliseconds since 1970; none before the first time.
    pub read_at_unix_ms: Option<u64>,
}

/// What the ServiceConfigActor knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServiceConfigState {
    /// The source of definitions.
    pub source: SourceHealth,
    /// That of the annotations laid over them; none where there are none, or nothing has been heard of them yet.
    #[serde(default)]
    pub annotations: Option<SourceHealth>,
    /// The names of the services in force.
    pub services: Vec<ServiceName>,
    /// What is wrong with which definition; the last good one, if any, stays in force.
    pub problems: BTreeMap<String, Vec<String>>,
    /// The newest list of definitions, where the guard blocks it and no operator has decided yet.
    pub held: Option<BlockedChange>,
    /// The newest list, where the guard blocks it and an operator rejected it.
    pub rejected: Option<BlockedChange>,
}

/// What one WatcherActor knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WatcherState {
    /// The service.
    pub service: String,
    /// The kind of its source.
    pub source_kind: String,
    /// The source.
    pub source: SourceHealth,
    /// Of the list in force.
    pub revision: Revision,
    /// The list in force; none before the first.
    pub hosts: Option<Arc<HostList>>,
    /// Whether the list in force comes from an earlier run and has not been confirmed since.
    pub from_saved_state: bool,
    /// When the source last showed the list in force, in milliseconds since 1970; none before the first list.
    pub confirmed_unix_ms: Option<u64>,
    /// The newest list, where the guard blocks it and no operator has decided yet.
    pub held: Option<BlockedChange>,
    /// The newest list, where the guard blocks it and an operator rejected it.
    pub rejected: Option<BlockedChange>,
    /// What is wrong with which entry of the source.
    pub problems: BTreeMap<String, String>,
}

impl WatcherState {
    /// The newest list, where the guard blocks it, rejected by an operator or not.
    pub fn blocked(&self) -> Option<&BlockedChange> {
        self.held.as_ref().or(self.rejected.as_ref())
    }
}

impl ServiceConfigState {
    /// The newest list of definitions, where the guard blocks it, rejected by an operator or not.
    pub fn blocked(&self) -> Option<&BlockedChange> {
        self.held.as_ref().or(self.rejected.as_ref())
    }
}

/// Where the HaproxyStateActor stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyPhase {
    /// Waiting for the first lists.
    #[default]
    Waiting,
    /// HAProxy is being started or reloaded.
    Launching,
    /// HAProxy runs and is kept in step.
    Running,
    /// HAProxy is not running.
    Down,
    /// The daemon is stopping.
    Stopping,
}

/// What the HaproxyStateActor knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HaproxyState {
    /// Where it stands.
    pub phase: ProxyPhase,
    /// The process that answers.
    pub process: Option<ProcessInfo>,
    /// Every service wanted.
    pub services: BTreeMap<ServiceName, ServiceState>,
    /// What the next reload is for; empty when none is due.
    pub reload_due: Vec<String>,
    /// How often changes were applied by each means.
    pub counts: ProxyCounts,
    /// The reasons of the last reload.
    pub last_reload: Vec<String>,
    /// When it was, in milliseconds since 1970.
    pub last_reload_unix_ms: Option<u64>,
    /// Why the Runtime API does not answer; none while it does.
    pub runtime_error: Option<String>,
    /// Why the last reload failed; none when it did not.
    pub reload_error: Option<String>,
    /// Why haproxy.cfg could not be written; none when it is in step.
    pub file_error: Option<String>,
    /// Why the last good state could not be saved; none when it is.
    pub saved_state_error: Option<String>,
    /// The settings that were last read again, where they were refused and those before stay in force.
    #[serde(default)]
    pub settings_refused: Option<RefusedSettings>,
    /// Since when these stand.
    #[serde(default)]
    pub since: TroublesSince,
    /// Whether somebody else runs this HAProxy, so that a reload waits for them.
    #[serde(default)]
    pub run_by_others: bool,
    /// What HAProxy warned of when it checked the file that runs, about no single service.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What the HaproxyStateActor of one target knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TargetState {
    /// The target, as the settings name it.
    pub name: String,
    /// What is known of its HAProxy.
    pub haproxy: HaproxyState,
}

/// Settings that are not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSettings {
    /// When they were refused, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What is wrong with them, each mistake with its key and place; at most
    /// [`crate::limits::SETTINGS_MISTAKES_SHOWN_MAX`].
    pub mistakes: Vec<String>,
}

/// Since when HAProxy's troubles stand, in milliseconds since 1970; none for those that do not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroublesSince {
    /// Since when HAProxy is gone, unasked.
    pub gone_unix_ms: Option<u64>,
    /// Of `runtime_error`.
    pub runtime_error_unix_ms: Option<u64>,
    /// Of `reload_error`.
    pub reload_error_unix_ms: Option<u64>,
    /// Of `file_error`.
    pub file_error_unix_ms: Option<u64>,
    /// Of `saved_state_error`.
    pub saved_state_error_unix_ms: Option<u64>,
}

/// How often things were done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyCounts {
    /// Servers enabled, added or changed at run time.
    pub runtime_enable: u64,
    /// Servers disabled at run time.
    pub runtime_disable: u64,
    /// Servers deleted at run time, after their time in maintenance.
    pub runtime_delete: u64,
    /// Domains given to a service, or taken from one, at run time.
    #[serde(default)]
    pub routes: u64,
    /// Reloads, the first start included.
    pub reload: u64,
    /// Reloads by what caused them; one that has several counts once under each.
    #[serde(default)]
    pub reload_causes: BTreeMap<ReloadCause, u64>,
    /// Reloads that failed.
    pub reload_failed: u64,
    /// Differences found between what should run and what ran.
    pub drift: u64,
    /// Commands that HAProxy refused.
    pub refused: u64,
    /// Batches that got no answer.
    pub unanswered: u64,
}

/// What the HaproxyStateActor knows of one service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServiceState {
    /// Where it listens.
    pub listen: Option<String>,
    /// The domains that it wants to be asked for, with the path where it names one.
    #[serde(default)]
    pub domains: Vec<String>,
    /// The newest revision received.
    pub revision: Revision,
    /// Servers wanted.
    pub desired: usize,
    /// By which strategy its changes reach the running HAProxy.
    #[serde(default)]
    pub update: UpdateStrategy,
    /// Why by this one, in words.
    #[serde(default)]
    pub update_reason: String,
    /// Slots that stand for no host; none where its servers are not in slots.
    #[serde(default)]
    pub free_slots: Option<usize>,
    /// The slot of each server that is in one: what HAProxy itself calls it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<ServerName, ServerName>,
    /// The guard holds back a list with fewer.
    #[serde(default)]
    pub min_hosts: usize,
    /// Servers as HAProxy has them.
    pub servers: Arc<BTreeMap<ServerName, ServerState>>,
    /// What operators chose for servers, whatever discovery says.
    #[serde(default)]
    pub operator: BTreeMap<ServerName, OperatorChoice>,
    /// Servers that somebody put into drain on HAProxy's own socket. They are left alone.
    #[serde(default)]
    pub drained_on_socket: Vec<ServerName>,
    /// Servers whose agents decide on their state and weight, with the weights that HAProxy reports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agent_weights: BTreeMap<ServerName, u16>,
    /// Servers whose host is gone and that finish what they have.
    #[serde(default)]
    pub leaving: BTreeMap<ServerName, LeavingServer>,
    /// Newcomers that have not all of their weight yet.
    #[serde(default)]
    pub rising: BTreeMap<ServerName, RisingServer>,
    /// Why it is not served as it should be: its port is taken, its section was refused.
    pub problem: Option<String>,
    /// Since when its port is taken or its section refused, in milliseconds since 1970; none when neither is so.
    #[serde(default)]
    pub problem_since_unix_ms: Option<u64>,
    /// What HAProxy warned of when it checked the section that runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// When its last change was in force, in milliseconds since 1970.
    #[serde(default)]
    pub last_applied_unix_ms: Option<u64>,
    /// How it was applied.
    pub last_class: Option<String>,
    /// How long that took, in microseconds, from the source's event.
    pub last_took_us: Option<u64>,
}

impl ServiceState {
    /// The number of servers in this state.
    pub fn count(&self, wanted: ServerState) -> usize {
        self.servers.values().filter(|state| **state == wanted).count()
    }
}

/// A server whose host is gone from discovery and that finishes its sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeavingServer {
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When it goes into maintenance even with sessions, in milliseconds since 1970.
    pub until_unix_ms: u64,
    /// Its sessions as last seen; none before the first look.
    pub sessions: Option<u64>,
}

/// A newcomer whose weight rises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RisingServer {
    /// The share of its weight that it has, in percent.
    pub percent: u8,
    /// When it has all of it, in milliseconds since 1970.
    pub until_unix_ms: u64,
}

/// What the ProcessSupervisorActor knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProcessSupervisorState {
    /// The process that serves.
    pub current_pid: Option<u32>,
    /// Processes that finish their open connections, oldest first.
    pub draining: Vec<DrainingProcess>,
    /// How often HAProxy ended unasked.
    pub crashes: u64,
    /// The pause before the next start, in milliseconds; 0 when HAProxy is well.
    pub backoff_ms: u64,
}

/// A process that only finishes what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingProcess {
    /// Its process id.
    pub pid: u32,
    /// Since when it has been draining, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// The connections it still has; none where that is not known.
    #[serde(default)]
    pub connections: Option<u64>,
    /// Its resident memory, in bytes; none where that is not known.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
}

/// What the SocketHolderActor knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SocketHolderState {
    /// The sockets held: address and descriptor.
    pub held: BTreeMap<String, i32>,
    /// The services whose port cannot be had, and why.
    pub failed: BTreeMap<ServiceName, String>,
}

/// What one OutputActor knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputState {
    /// The output, as messages call it.
    pub name: String,
    /// The services it is to know.
    pub services: usize,
    /// When it was last found or brought in step, in milliseconds since 1970; none before the first time.
    pub applied_at_unix_ms: Option<u64>,
    /// How often it was changed.
    pub changes: u64,
    /// Why it cannot be brought in step; none when it is.
    pub error: Option<String>,
    /// Since when that error stands, in milliseconds since 1970.
    pub since_unix_ms: Option<u64>,
}

/// What the JournalActor knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct JournalState {
    /// Entries kept.
    pub entries: usize,
    /// The sequence number of the newest.
    pub newest: u64,
    /// What was recorded since the daemon started, those entries included that are no longer kept.
    #[serde(default)]
    pub counts: JournalCounts,
}

/// What was recorded since the daemon started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalCounts {
    /// Entries by the name of their event.
    pub events: BTreeMap<String, u64>,
    /// Servers that discovery showed new.
    pub servers_added: u64,
    /// Servers that discovery no longer showed.
    pub servers_removed: u64,
    /// Servers that discovery showed changed.
    pub servers_changed: u64,
    /// Decisions about single servers.
    pub decided: BTreeMap<PlanClass, u64>,
    /// Changes in force, and how long each took from its source's event to HAProxy's answer.
    pub applied: BTreeMap<PlanClass, LatencyHistogram>,
}
