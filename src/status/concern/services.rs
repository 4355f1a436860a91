//! Problems of services: not applied, port not available, no server that takes traffic.

use proxymgr_actors::snapshot::{HaproxyState, ServiceState, SocketHolderState};

use super::{Concern, ConcernKind};
use crate::status::server_counts::ServerCounts;
use crate::status::severity::takes_no_traffic;

/// Problems of all services of the first HAProxy.
pub fn of_services(state: &HaproxyState) -> Vec<Concern> {
    state.services.iter().flat_map(|(name, service)| of_service(name.as_str(), service)).collect()
}

fn of_service(name: &str, state: &ServiceState) -> Vec<Concern> {
    let not_applied = state.problem.iter().map(|problem| {
        let advice = format!("retried automatically once fixed; `proxymgr refresh {name}` retries at once");
        Concern::of(ConcernKind::ServiceNotApplied, name, problem, state.problem_since_unix_ms, advice)
    });
    not_applied.chain(no_server_ready(name, state)).collect()
}

fn no_server_ready(name: &str, service: &ServiceState) -> Option<Concern> {
    let counts = ServerCounts::of(&service.servers, None);
    if !takes_no_traffic(service, counts) {
        return None;
    }
    let parts = [(counts.down, "down"), (counts.drain, "draining"), (counts.maint, "in maintenance")];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, state)| format!("{count} {state}"));
    let text = format!("no server takes traffic: {}", parts.collect::<Vec<_>>().join(", "));
    let advice = "check the servers themselves; proxymgr has applied all changes";
    Some(Concern::of(ConcernKind::NoServerReady, name, text, None, advice))
}

/// Ports that are not available, of services that are still defined and do not report it themselves.
pub fn of_ports(state: &SocketHolderState, haproxy: Option<&HaproxyState>) -> Vec<Concern> {
    let Some(haproxy) = haproxy else { return Vec::new() };
    let unreported =
        state.failed.iter().filter(|(name, _)| haproxy.services.get(*name).is_some_and(|it| it.problem.is_none()));
    let advice = "retried every second; other services are not affected";
    unreported.map(|(name, why)| Concern::of(ConcernKind::PortUnavailable, name.as_str(), why, None, advice)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proxymgr_actors::model::{ServerName, ServerState, ServiceName};

    use super::*;

    fn service(servers: &[(&str, ServerState)]) -> ServiceState {
        let named = |(name, state): &(&str, ServerState)| (ServerName::new(name).unwrap(), *state);
        let servers: BTreeMap<_, _> = servers.iter().map(named).collect();
        ServiceState { desired: servers.len(), servers: servers.into(), ..Default::default() }
    }

    #[test]
    fn service_without_ready_server_is_a_problem() {
        assert_eq!(no_server_ready("web", &service(&[("a", ServerState::Ready), ("b", ServerState::Down)])), None);
        assert_eq!(no_server_ready("web", &service(&[])), None, "HAProxy's servers are not known yet");
        let concern = no_server_ready(
            "web",
            &service(&[("a", ServerState::Maint), ("b", ServerState::Down), ("c", ServerState::Drain)]),
        )
        .unwrap();
        assert_eq!(concern.kind, ConcernKind::NoServerReady);
        assert_eq!(concern.text, "web: no server takes traffic: 1 down, 1 draining, 1 in maintenance");
    }

    #[test]
    fn unavailable_port_is_named_once() {
        let web = ServiceName::new("web").unwrap();
        let holder = SocketHolderState { failed: [(web.clone(), "in use".into())].into(), ..Default::default() };
        let mut haproxy = HaproxyState::default();
        assert!(of_ports(&holder, Some(&haproxy)).is_empty(), "the service is no longer defined");
        haproxy.services.insert(web.clone(), ServiceState::default());
        assert_eq!(of_ports(&holder, Some(&haproxy))[0].kind, ConcernKind::PortUnavailable);
        haproxy.services.insert(web, ServiceState { problem: Some("port in use".into()), ..Default::default() });
        assert!(of_ports(&holder, Some(&haproxy)).is_empty());
    }
}
