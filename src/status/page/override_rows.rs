//! Overrides of all services on the page.

use proxymgr_actors::model::{AdminState, OperatorChoice, ServerName, ServiceName};
use proxymgr_actors::snapshot::{HaproxyState, ServiceState};
use serde::Serialize;

use crate::status::natural_order;

/// Overrides listed; the rest is counted.
const LISTED_MAX: usize = 50;

/// The overrides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Overrides {
    /// The first of them, by service and server.
    pub listed: Vec<OverrideRow>,
    /// Number of the remaining ones.
    pub more: usize,
}

/// The override of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OverrideRow {
    /// The service.
    pub service: String,
    /// The server within it.
    pub server: String,
    /// The state that it sets.
    pub state: AdminState,
    /// The override; none if the server was set to drain on HAProxy's own socket.
    pub choice: Option<OperatorChoice>,
}

/// Collects the overrides.
pub fn overrides(haproxy: &HaproxyState) -> Overrides {
    let mut rows: Vec<OverrideRow> = haproxy.services.iter().flat_map(of_service).collect();
    let count = rows.len();
    rows.truncate(LISTED_MAX);
    Overrides { more: count - rows.len(), listed: rows }
}

fn of_service((name, service): (&ServiceName, &ServiceState)) -> Vec<OverrideRow> {
    let row = |server: &ServerName, state, choice| OverrideRow {
        service: name.to_string(),
        server: server.to_string(),
        state,
        choice,
    };
    let exceptions = &service.exceptions;
    let operator = exceptions.operator.iter().map(|(server, choice)| row(server, choice.state, Some(choice.clone())));
    let on_socket = exceptions.drained_on_socket.iter().map(|server| row(server, AdminState::Drain, None));
    let mut rows: Vec<OverrideRow> = operator.chain(on_socket).collect();
    rows.sort_by(|a, b| natural_order::compare(&a.server, &b.server));
    rows
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::Orderer;

    use super::*;

    #[test]
    fn overrides_of_all_services_are_listed_in_numeric_order() {
        let by = Some(Orderer { who: "token deploy".into(), from: "10.9.0.1:4000".into() });
        let choice = |state| OperatorChoice {
            state,
            reason: None,
            since_unix_ms: 1,
            until_unix_ms: None,
            gone_unix_ms: None,
            by: by.clone(),
        };
        let server = |name: &str| ServerName::new(name).unwrap();
        let mut haproxy = HaproxyState::default();
        for name in ["api", "web"] {
            let mut service = ServiceState::default();
            for server_name in ["10.0.0.10:80", "10.0.0.9:80"] {
                service.exceptions.operator.insert(server(server_name), choice(AdminState::Maint));
            }
            service.exceptions.drained_on_socket.push(server("10.0.0.1:80"));
            haproxy.services.insert(ServiceName::new(name).unwrap(), service);
        }
        let Overrides { listed, more } = overrides(&haproxy);
        let names: Vec<_> = listed.iter().map(|row| format!("{}/{}", row.service, row.server)).collect();
        let expected = ["10.0.0.1:80", "10.0.0.9:80", "10.0.0.10:80"];
        let expected = ["api", "web"].iter().flat_map(|name| expected.map(|server| format!("{name}/{server}")));
        assert_eq!((names, more), (expected.collect(), 0));
        assert_eq!((listed[0].state, listed[0].choice.as_ref()), (AdminState::Drain, None));
        assert_eq!(listed[1].choice.as_ref().and_then(|choice| choice.by.clone()), by);
    }
}
