//! One service as a row of the page: its servers by state, its source, its worst problem.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::model::{HostList, ServerName, ServerState};
use proxymgr_actors::snapshot::{ServiceState, WatcherState};
use serde::Serialize;

use crate::status::concern::Concern;
use crate::status::format::grouped;
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
    /// What a search finds it by, in lower case: name, address, kind of source, domains, tags.
    pub find: String,
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
    /// Its worst problem, in few words.
    pub reason: Option<String>,
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
    pub fn of(
        name: &str,
        service: &ServiceState,
        watcher: Option<&WatcherState>,
        servers: ServerCounts,
        concern: Option<&Concern>,
    ) -> Self {
        let source_state = watcher.map(SourceState::of);
        let severity = Severity::of_service(service, watcher, servers);
        Self {
            name: name.to_owned(),
            listen: service.listen.clone().unwrap_or_default(),
            find: find(name, service, watcher),
            source_kind: watcher.map(|watcher| watcher.source_kind.clone()).unwrap_or_default(),
            source_state,
            source: source_state.map_or("unknown", SourceState::label),
            source_since_unix_ms: watcher.and_then(SourceState::since_unix_ms),
            servers,
            at_minimum: service.defined.min_hosts > 0 && servers.ready <= service.defined.min_hosts,
            reason: reason(name, service, watcher, servers, concern),
            changed_unix_ms: service.last.applied_unix_ms,
            changed_by: service.last.class.clone(),
            changed_took_us: service.last.took_us,
            severity: concern.map_or(severity, |concern| concern.severity.max(severity)),
        }
    }
}

fn find(name: &str, service: &ServiceState, watcher: Option<&WatcherState>) -> String {
    let kind = watcher.map(|watcher| watcher.source_kind.as_str());
    let named = [Some(name), service.listen.as_deref(), kind].into_iter().flatten();
    let defined = service.defined.domains.iter().chain(&service.defined.tags).map(String::as_str);
    named.chain(defined).collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The worst problem of a service; without one, its servers that take no traffic.
fn reason(
    name: &str,
    service: &ServiceState,
    watcher: Option<&WatcherState>,
    servers: ServerCounts,
    concern: Option<&Concern>,
) -> Option<String> {
    let Some(concern) = concern else { return of_servers(service.defined.min_hosts, servers) };
    let own = concern.text.strip_prefix(name).and_then(|rest| rest.strip_prefix(": "));
    // A problem of several services says of each what its own source reports.
    let error = watcher.and_then(|watcher| watcher.source.error.as_ref()).filter(|_| own.is_none());
    Some(
        error.map_or_else(|| own.unwrap_or(&concern.text).to_owned(), |error| format!("hosts cannot be read: {error}")),
    )
}

fn of_servers(min_hosts: usize, servers: ServerCounts) -> Option<String> {
    let parts = [
        (servers.down, "down"),
        (servers.missing, "not in HAProxy"),
        (servers.drain, "draining"),
        (servers.maint, "in maintenance"),
    ];
    let parts =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{} {what}", grouped(*count as u64)));
    let below = (servers.ready < min_hosts).then(|| format!("fewer than min_hosts ({min_hosts}) ready"));
    let parts: Vec<String> = parts.chain(below).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::concern::ConcernKind;

    fn row(watcher: Option<&WatcherState>, servers: ServerCounts, concern: Option<&Concern>) -> ServiceRow {
        ServiceRow::of("web", &ServiceState::default(), watcher, servers, concern)
    }

    #[test]
    fn reason_is_that_of_the_service() {
        let concern = |text: &str| Concern::new(ConcernKind::HostsUnreadable, text, None, "");
        let reason = |watcher, concern: &Concern| row(watcher, ServerCounts::default(), Some(concern)).reason.unwrap();
        assert_eq!(reason(None, &concern("web: port in use")), "port in use");
        let mut watcher = WatcherState::default();
        watcher.source.error = Some("refused (GET /web)".into());
        let of_all = concern("refused: 300 services on their last list");
        assert_eq!(reason(Some(&watcher), &of_all), "hosts cannot be read: refused (GET /web)");
        let servers = ServerCounts { ready: 3, down: 2, maint: 1, ..ServerCounts::default() };
        assert_eq!(row(None, servers, None).reason.as_deref(), Some("2 down, 1 in maintenance"));
        assert_eq!(row(None, ServerCounts { ready: 3, ..ServerCounts::default() }, None).reason, None);
    }

    #[test]
    fn service_is_found_by_domain_and_tag() {
        let mut service = ServiceState::default();
        service.defined.domains = vec!["Shop.example".into()];
        service.defined.tags = vec!["v2".into()];
        let row = ServiceRow::of("web", &service, None, ServerCounts::default(), None);
        assert_eq!(row.find, "web shop.example v2");
    }
}
