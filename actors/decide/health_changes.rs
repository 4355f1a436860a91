//! Changes of server health between two observations.

use std::sync::Arc;

use itertools::EitherOrBoth::Both;
use itertools::Itertools;

use crate::model::{ObservedServers, ServerName, ServerState};

/// Returns each server that went down by its checks or came up again, and whether it is up now. A server in drain or
/// maintenance counts as neither.
pub fn health_changes(before: &Arc<ObservedServers>, now: &Arc<ObservedServers>) -> Vec<(ServerName, bool)> {
    if Arc::ptr_eq(before, now) {
        return Vec::new();
    }
    let pairs = before.iter().merge_join_by(now.iter(), |(before, _), (now, _)| before.cmp(now));
    let changes = pairs.filter_map(|pair| match pair {
        Both((name, before), (_, now)) => match (before.state(), now.state()) {
            (ServerState::Ready, ServerState::Down) => Some((name.clone(), false)),
            (ServerState::Down, ServerState::Ready) => Some((name.clone(), true)),
            _ => None,
        },
        _ => None,
    });
    changes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentState, ObservedServer};

    fn servers(of: &[(&str, u16, u8)]) -> Arc<ObservedServers> {
        let server = |&(name, admin_state, operational_state): &(&str, u16, u8)| {
            let server = ObservedServer {
                address: "10.0.0.1".parse().ok(),
                port: 80.try_into().ok(),
                fqdn: None,
                admin_state,
                operational_state,
                weight: 1,
                id: None,
                agent: AgentState::None,
            };
            (ServerName::new(name).unwrap(), server)
        };
        Arc::new(of.iter().map(server).collect())
    }

    #[test]
    fn only_results_of_checks_are_changes() {
        let before = servers(&[("came", 0, 0), ("drains", 0, 2), ("gone", 0, 2), ("same", 0, 2), ("went", 0, 2)]);
        let now = servers(&[("came", 0, 2), ("drains", 8, 2), ("new", 0, 0), ("same", 0, 2), ("went", 0, 0)]);
        let changes = health_changes(&before, &now);
        let name = |text| ServerName::new(text).unwrap();
        assert_eq!(changes, [(name("came"), true), (name("went"), false)]);
        assert_eq!(health_changes(&now, &now.clone()), []);
    }
}
