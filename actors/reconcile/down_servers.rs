//! Since when the servers of a service are down by their health checks.

use std::collections::BTreeMap;

use crate::decide::slots::SlotTable;
use crate::model::{ObservedServers, ServerName, ServerState};

/// The servers that are down, by their names in discovery, with the time of the first observation, in milliseconds since
/// 1970. They outlast the process that reported them: its successor inherits the health of its servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DownServers(BTreeMap<ServerName, u64>);

impl DownServers {
    /// Returns those of an earlier run of the daemon, as far as they are still down when they are first observed.
    pub fn restored(since_unix_ms: BTreeMap<ServerName, u64>) -> Self {
        Self(since_unix_ms)
    }

    /// Takes in an observation of all servers of the service.
    pub fn observe(&mut self, observed: &ObservedServers, slots: &SlotTable, now_unix_ms: u64) {
        let before = std::mem::take(&mut self.0);
        let down = observed.iter().filter(|(_, server)| server.state() == ServerState::Down);
        let known_as = down.map(|(name, _)| slots.known_as(name));
        self.0 = known_as.map(|name| (name.clone(), before.get(name).copied().unwrap_or(now_unix_ms))).collect();
    }

    /// Returns each server that is down with the time since when.
    pub fn since_unix_ms(&self) -> &BTreeMap<ServerName, u64> {
        &self.0
    }
}
