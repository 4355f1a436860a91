//! Refuses orders that would leave a service without a server that takes traffic, unless they are forced.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::StatusCode;
use proxymgr_actors::model::{AdminState, ServerName, ServerState, ServiceName};
use proxymgr_actors::operator::SetServer;
use proxymgr_actors::snapshot::ActorState;

use crate::status::known::{Known, KnownService};
use crate::status::problem::Problem;

/// Checks orders that are executed together. Servers that take no traffic anyway may be disabled.
pub fn check(states: &[ActorState], orders: &[SetServer]) -> Result<(), Problem> {
    let known = Known::of(states);
    let mut disabled: BTreeMap<&ServiceName, BTreeSet<&ServerName>> = BTreeMap::new();
    for order in orders.iter().filter(|order| order.state != AdminState::Ready) {
        disabled.entry(&order.service).or_default().insert(&order.server);
    }
    let is_last = |(service, servers): &(&ServiceName, BTreeSet<&ServerName>)| {
        known.service(service.as_str()).is_some_and(|known| takes_last_ready(known, servers))
    };
    let last: Vec<String> = disabled
        .into_iter()
        .filter(is_last)
        .map(|(service, servers)| {
            let servers: Vec<&str> = servers.iter().map(|server| server.as_str()).collect();
            format!("{service} ({})", servers.join(", "))
        })
        .collect();
    if last.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "no server would take traffic any more: {}; nothing has changed; to do it nevertheless, force the order \
         (--force, \"force\": true)",
        last.join(", ")
    );
    Err(Problem::new(StatusCode::CONFLICT, detail))
}

/// Whether these servers include all that take traffic now. An order that was accepted a moment ago counts already.
fn takes_last_ready(known: KnownService<'_>, disabled: &BTreeSet<&ServerName>) -> bool {
    let Some(service) = known.haproxy else { return false };
    let hosts = known.watcher.and_then(|watcher| watcher.hosts.as_deref());
    let is_overridden = |name: &ServerName| {
        let choice = service.exceptions.operator.get(name);
        choice.is_some_and(|choice| choice.state != AdminState::Ready)
    };
    let takes_traffic = |(name, state): &(&ServerName, &ServerState)| {
        **state == ServerState::Ready && !is_overridden(name) && hosts.is_none_or(|hosts| hosts.contains_key(*name))
    };
    let mut ready = service.servers.iter().filter(takes_traffic).map(|(name, _)| name).peekable();
    ready.peek().is_some() && ready.all(|name| disabled.contains(name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proxymgr_actors::model::OperatorChoice;
    use proxymgr_actors::snapshot::{HaproxyState, ServiceState};

    use super::*;

    fn order(server: &str, state: AdminState) -> SetServer {
        let (service, server) = (ServiceName::new("web").unwrap(), ServerName::new(server).unwrap());
        SetServer { service, server, state, for_ms: None, reason: None, by: None }
    }

    fn states(servers: &[(&str, ServerState)], drained: &[&str]) -> Vec<ActorState> {
        let named = servers.iter().map(|(name, state)| (ServerName::new(name).unwrap(), *state));
        let mut web = ServiceState { servers: Arc::new(named.collect()), ..ServiceState::default() };
        for name in drained {
            let choice = OperatorChoice {
                state: AdminState::Drain,
                reason: None,
                since_unix_ms: 1,
                until_unix_ms: None,
                gone_unix_ms: None,
                by: None,
            };
            web.exceptions.operator.insert(ServerName::new(name).unwrap(), choice);
        }
        let services = [(ServiceName::new("web").unwrap(), web)].into();
        vec![ActorState::HaproxyState(HaproxyState { services, ..HaproxyState::default() })]
    }

    #[test]
    fn last_ready_server_is_protected() {
        use AdminState::{Drain, Maint, Ready};
        let two = states(&[("a", ServerState::Ready), ("b", ServerState::Ready)], &[]);
        assert_eq!(check(&two, &[order("a", Drain)]), Ok(()));
        let both = check(&two, &[order("a", Drain), order("b", Maint)]).unwrap_err();
        assert_eq!(both.status, 409);
        assert!(both.detail.contains("web (a, b)") && both.detail.contains("--force"), "{}", both.detail);
        let one = states(&[("a", ServerState::Ready), ("b", ServerState::Down)], &[]);
        assert!(check(&one, &[order("a", Drain)]).is_err());
        assert_eq!(check(&one, &[order("b", Maint)]), Ok(()), "it takes no traffic");
        assert_eq!(check(&one, &[order("a", Ready)]), Ok(()));
    }

    #[test]
    fn override_counts_before_haproxy_has_it() {
        let drained = states(&[("a", ServerState::Ready), ("b", ServerState::Ready)], &["b"]);
        assert!(check(&drained, &[order("a", AdminState::Drain)]).is_err());
    }
}
