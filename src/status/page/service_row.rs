//! One service as a row of the page: its servers by state, its source, its problem.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::model::{HostList, ServerName, ServerState};
use proxymgr_actors::snapshot::{ServiceState, WatcherState};
use serde::Serialize;

use crate::status::server_counts::ServerCounts;
use crate::status::severity::Severity;
use crate::status::source_state::SourceState;

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// The address that clients connect to.
    pub listen: String,
    /// The kind of its source.
    pub source_kind: String,
    /// State of the source; none without a watcher.
    pub source_state: Option<SourceState>,
    /// Label of that state.
    pub source: &'static str,
    /// Since when the source is not good, in milliseconds since 1970.
    pub source_since_unix_ms: Option<u64>,
    /// Its servers.
    pub servers: ServerCounts,
    /// Whether it has `min_hosts` ready servers or fewer.
    pub at_minimum: bool,
    /// Why it is not served as defined.
    pub problem: Option<String>,
    /// When its last change was applied, in milliseconds since 1970.
    pub changed_unix_ms: Option<u64>,
    /// How it was applied: `runtime-disable`, ...
    pub changed_by: Option<String>,
    /// Time from the event until then, in microseconds.
    pub changed_took_us: Option<u64>,
    /// How urgently it needs attention.
    pub severity: Severity,
}

/// Server counts with what they were counted from, so that unchanged servers are not counted again.
pub struct Counted {
    servers: Arc<BTreeMap<ServerName, ServerState>>,
    hosts: Option<Arc<HostList>>,
    counts: ServerCounts,
}

impl Counted {
    /// Counts the servers of a service, unless `before` counted the same lists.
    pub fn of(before: Option<Self>, service: &ServiceState, watcher: Option<&WatcherState>) -> Self {
        let hosts = watcher.and_then(|watcher| watcher.hosts.clone());
        let same = |before: &Self| {
            Arc::ptr_eq(&before.servers, &service.servers)
                && before.hosts.as_ref().map(Arc::as_ptr) == hosts.as_ref().map(Arc::as_ptr)
        };
        if let Some(before) = before.filter(same) {
            return before;
        }
        let counts = ServerCounts::of(&service.servers, hosts.as_deref());
        Self { servers: Arc::clone(&service.servers), hosts, counts }
    }

    /// The counts.
    pub fn counts(&self) -> ServerCounts {
        self.counts
    }
}

impl ServiceRow {
    /// The row of this service.
    pub fn of(name: &str, service: &ServiceState, watcher: Option<&WatcherState>, servers: ServerCounts) -> Self {
        let source_state = watcher.map(SourceState::of);
        Self {
            name: name.to_owned(),
            listen: service.listen.clone().unwrap_or_default(),
            source_kind: watcher.map(|watcher| watcher.source_kind.clone()).unwrap_or_default(),
            source_state,
            source: source_state.map_or("unknown", SourceState::label),
            source_since_unix_ms: watcher.and_then(SourceState::since_unix_ms),
            servers,
            at_minimum: service.defined.min_hosts > 0 && servers.ready <= service.defined.min_hosts,
            problem: service.problem.clone(),
            changed_unix_ms: service.last.applied_unix_ms,
            changed_by: service.last.class.clone(),
            changed_took_us: service.last.took_us,
            severity: Severity::of_service(service, watcher, servers),
        }
    }
}
