//! One service as a row of `status` and `top`.

use std::collections::BTreeMap;

use proxymgr_actors::snapshot::{ActorState, ServiceState, WatcherState};

use super::text::short_span;
use crate::status::format::duration;
use crate::status::report::StatusReport;
use crate::status::server_counts::ServerCounts;
use crate::status::severity::Severity;
use crate::status::source_state::SourceState;

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// Its listening address.
    pub listen: String,
    /// Desired servers.
    pub desired: usize,
    /// Servers by state.
    pub servers: ServerCounts,
    /// State of its source, and for how long if it is not ok: `down 5m`.
    pub source: String,
    /// Its update strategy.
    pub update: &'static str,
    /// Its last change: how it was applied, and how fast.
    pub last_change: String,
    /// How urgently it needs attention.
    pub severity: Severity,
}

/// All services by name.
pub fn rows(report: &StatusReport, now_unix_ms: u64) -> Vec<ServiceRow> {
    let Some(haproxy) = report.haproxy() else { return Vec::new() };
    let watchers: BTreeMap<&str, &WatcherState> = report
        .actors
        .iter()
        .filter_map(|state| match state {
            ActorState::Watcher(watcher) => Some((watcher.service.as_str(), watcher)),
            _ => None,
        })
        .collect();
    let services = haproxy.services.iter();
    services.map(|(name, state)| row(name.as_str(), state, watchers.get(name.as_str()).copied(), now_unix_ms)).collect()
}

fn row(name: &str, service: &ServiceState, watcher: Option<&WatcherState>, now_unix_ms: u64) -> ServiceRow {
    let servers = ServerCounts::of(&service.servers, None);
    // A server that waits for its deletion is no problem.
    let desired = ServerCounts::of(&service.servers, watcher.and_then(|watcher| watcher.hosts.as_deref()));
    ServiceRow {
        name: name.to_owned(),
        listen: service.listen.clone().unwrap_or_else(|| "-".to_owned()),
        desired: service.desired,
        servers,
        source: watcher.map_or_else(|| "-".to_owned(), |watcher| source(watcher, now_unix_ms)),
        update: service.update.as_str(),
        last_change: last_change(service),
        severity: Severity::of_service(service, watcher, desired),
    }
}

/// State of a source, and for how long if it is not ok.
fn source(watcher: &WatcherState, now_unix_ms: u64) -> String {
    let label = SourceState::of(watcher).label();
    let since = SourceState::since_unix_ms(watcher);
    since.map_or_else(|| label.to_owned(), |since| format!("{label} {}", short_span(now_unix_ms.saturating_sub(since))))
}

fn last_change(service: &ServiceState) -> String {
    match (&service.last.class, service.last.took_us) {
        (Some(class), Some(took_us)) => format!("{class} in {}", duration(took_us)),
        (Some(class), None) => class.clone(),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proxymgr_actors::model::{Address, Endpoint, Host, HostList, ServerName, ServerState};

    use super::*;

    #[test]
    fn server_of_a_removed_host_is_no_problem() {
        let name = |text: &str| ServerName::new(text).unwrap();
        let servers = [(name("a"), ServerState::Ready), (name("b"), ServerState::Maint)];
        let service = ServiceState { desired: 1, servers: Arc::new(servers.into()), ..ServiceState::default() };
        let severity = |hosts: &[&str]| {
            let host =
                Host::at(Endpoint::Tcp { address: Address::parse("10.0.0.1").unwrap(), port: 80.try_into().unwrap() });
            let hosts: HostList = hosts.iter().map(|host_name| (name(host_name), host.clone().into())).collect();
            let watcher = WatcherState { hosts: Some(hosts.into()), ..WatcherState::default() };
            row("web", &service, Some(&watcher), 0).severity
        };
        assert_eq!(severity(&["a"]), Severity::Ok);
        assert_eq!(severity(&["a", "b"]), Severity::Warning, "an operator, or discovery, has disabled it");
    }
}
