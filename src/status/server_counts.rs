//! Servers of a service, counted by state.

use std::collections::BTreeMap;

use proxymgr_actors::model::{HostList, ServerName, ServerState};
use serde::Serialize;

/// Servers by state. Servers whose host is gone count as `leaving` only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ServerCounts {
    /// Take traffic.
    pub ready: usize,
    /// Draining: take no new sessions.
    pub drain: usize,
    /// In maintenance.
    pub maint: usize,
    /// Their health checks fail.
    pub down: usize,
    /// Desired, but not in HAProxy yet.
    pub missing: usize,
    /// Their host is gone: they drain, then wait in maintenance for deletion.
    pub leaving: usize,
}

impl ServerCounts {
    /// Counts the servers that HAProxy reports against the hosts of discovery; without hosts, no server is `missing` or
    /// `leaving`.
    pub fn of(servers: &BTreeMap<ServerName, ServerState>, hosts: Option<&HostList>) -> Self {
        let mut counts = Self::default();
        for (name, state) in servers {
            let is_leaving = hosts.is_some_and(|hosts| !hosts.contains_key(name));
            let count = match state {
                _ if is_leaving => &mut counts.leaving,
                ServerState::Ready => &mut counts.ready,
                ServerState::Drain => &mut counts.drain,
                ServerState::Maint => &mut counts.maint,
                ServerState::Down => &mut counts.down,
            };
            *count += 1;
        }
        let missing = |hosts: &HostList| hosts.keys().filter(|name| !servers.contains_key(*name)).count();
        counts.missing = hosts.map_or(0, missing);
        counts
    }

    /// Desired servers, in any state.
    pub fn total(&self) -> usize {
        self.ready + self.drain + self.maint + self.down + self.missing
    }
}
