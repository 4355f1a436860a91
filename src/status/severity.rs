//! How urgently a service needs attention.

use proxymgr_actors::snapshot::{ServiceState, WatcherState};
use serde::{Deserialize, Serialize};

use super::server_counts::ServerCounts;
use super::source_state::SourceState;

/// How urgently a service, or the daemon, needs attention; the least urgent first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// No problem.
    #[default]
    Ok,
    /// Clients are served, but something is wrong.
    Warning,
    /// Clients get no answer, or the service is not served as defined.
    Critical,
}

impl Severity {
    /// Severity of one service; `servers` are its servers as counted for the reader.
    pub fn of_service(service: &ServiceState, watcher: Option<&WatcherState>, servers: ServerCounts) -> Self {
        let source_is_good = watcher.is_none_or(|watcher| SourceState::of(watcher) == SourceState::Good);
        let lacks_hosts = watcher.is_some_and(WatcherState::lacks_hosts);
        if service.problem.is_some() || lacks_hosts || takes_no_traffic(service, servers) {
            Self::Critical
        } else if servers.down + servers.drain + servers.maint > 0
            || servers.ready < service.defined.min_hosts
            || !source_is_good
        {
            Self::Warning
        } else {
            Self::Ok
        }
    }
}

/// Whether none of the desired servers of a service takes traffic. Unknown servers (before the first look at HAProxy) are
/// no reason.
pub fn takes_no_traffic(service: &ServiceState, servers: ServerCounts) -> bool {
    !service.servers.is_empty() && service.desired > 0 && servers.ready == 0
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{ServerName, ServerState};

    use super::*;

    fn severity(servers: &[(&str, ServerState)], problem: Option<&str>) -> Severity {
        let named = servers.iter().map(|(name, state)| (ServerName::new(name).unwrap(), *state));
        let service = ServiceState {
            desired: servers.len(),
            servers: std::sync::Arc::new(named.collect()),
            problem: problem.map(ToOwned::to_owned),
            ..ServiceState::default()
        };
        let counts = ServerCounts::of(&service.servers, None);
        Severity::of_service(&service, None, counts)
    }

    #[test]
    fn service_without_hosts_is_critical() {
        let service = ServiceState::default();
        let severity = |watcher| Severity::of_service(&service, Some(&watcher), ServerCounts::default());
        let empty = WatcherState { hosts: Some(std::sync::Arc::default()), ..WatcherState::default() };
        assert_eq!(severity(empty.clone()), Severity::Ok, "min_hosts is 0");
        assert_eq!(severity(WatcherState { empty_since_unix_ms: Some(1), ..empty }), Severity::Critical);
    }

    #[test]
    fn severity_follows_servers_and_problems() {
        assert_eq!(severity(&[("a", ServerState::Ready), ("b", ServerState::Ready)], None), Severity::Ok);
        assert_eq!(severity(&[("a", ServerState::Ready), ("b", ServerState::Down)], None), Severity::Warning);
        assert_eq!(severity(&[("a", ServerState::Ready), ("b", ServerState::Drain)], None), Severity::Warning);
        assert_eq!(severity(&[("a", ServerState::Ready), ("b", ServerState::Maint)], None), Severity::Warning);
        assert_eq!(severity(&[("a", ServerState::Maint), ("b", ServerState::Down)], None), Severity::Critical);
        assert_eq!(severity(&[("a", ServerState::Ready)], Some("port taken")), Severity::Critical);
        assert_eq!(severity(&[], None), Severity::Ok, "HAProxy's servers are not known yet");
    }
}
