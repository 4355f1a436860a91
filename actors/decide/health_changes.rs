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
