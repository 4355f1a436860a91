//! One service as a line of the page: its servers counted by state, its source, what is not well about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::model::{HostList, ServerName, ServerState};
use proxymgr_actors::snapshot::{ServiceState, WatcherState};
use serde::Serialize;

/// How much a service needs a person's eye.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Not at all.
    #[default]
    None,
    /// It works, but not as it should.
    Some,
    /// Clients get no answer, or soon may not.
    Much,
}

/// Servers by state. Those out of discovery are not counted: they only wait to be deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ServerCounts {
    /// Take traffic.
    pub ready: usize,
    /// Keep what they have.
    pub drain: usize,
    /// Take nothing, as they were told.
    pub maint: usize,
    /// Their checks fail.
    pub down: usize,
    /// Wanted, and not in HAProxy yet.
    pub missing: usize,
    /// Out of discovery: they finish what they have, and wait in maintenance to be deleted.
    pub leaving: usize,
}

impl ServerCounts {
    /// Counts what HAProxy has against what discovery wants.
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

    /// All that are wanted.
    pub fn total(&self) -> usize {
        self.ready + self.drain + self.maint + self.down + self.missing
    }
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// Where clients connect.
    pub listen: String,
    /// The kind of its source.
    pub source_kind: String,
    /// How the source is, in a word: `connected`, `away`, `blocked`, `saved`, `waiting`.
    pub source: &'static str,
    /// Since when it has been away or the list blocked, in milliseconds since 1970.
    pub source_since_unix_ms: Option<u64>,
    /// Its servers.
    pub servers: ServerCounts,
    /// At or below the least number of hosts that the guard lets it have.
    pub at_minimum: bool,
    /// Why it is not served as its definition says.
    pub problem: Option<String>,
    /// When its last change was in force, in milliseconds since 1970.
    pub changed_unix_ms: Option<u64>,
    /// How that was applied.
    pub changed_by: Option<String>,
    /// How long that took, in microseconds.
    pub changed_took_us: Option<u64>,
    /// How much it needs a person's eye.
    pub trouble: Trouble,
}

/// What counting servers was made from, so that it is not made again for the same.
pub struct Counted {
    servers: Arc<BTreeMap<ServerName, ServerState>>,
    hosts: Option<Arc<HostList>>,
    counts: ServerCounts,
}

impl Counted {
    /// Counts, unless this was counted before.
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

    /// What was counted.
    pub fn counts(&self) -> ServerCounts {
        self.counts
    }
}

impl ServiceRow {
    /// The line of this service.
    pub fn of(name: &str, service: &ServiceState, watcher: Option<&WatcherState>, servers: ServerCounts) -> Self {
        let (source, source_since_unix_ms) = watcher.map_or(("unknown", None), source_word);
        let at_minimum = service.min_hosts > 0 && servers.ready <= service.min_hosts;
        let none_serves = servers.total() > servers.missing && servers.ready == 0;
        let trouble = if service.problem.is_some() || none_serves {
            Trouble::Much
        } else if servers.down > 0 || servers.ready < service.min_hosts || !matches!(source, "connected" | "unknown") {
            Trouble::Some
        } else {
            Trouble::None
        };
        Self {
            name: name.to_owned(),
            listen: service.listen.clone().unwrap_or_default(),
            source_kind: watcher.map(|watcher| watcher.source_kind.clone()).unwrap_or_default(),
            source,
            source_since_unix_ms,
            servers,
            at_minimum,
            problem: service.problem.clone(),
            changed_unix_ms: service.last_applied_unix_ms,
            changed_by: service.last_class.clone(),
            changed_took_us: service.last_took_us,
            trouble,
        }
    }
}

/// How the source of a service is, in a word, and since when where that matters.
pub fn source_word(watcher: &WatcherState) -> (&'static str, Option<u64>) {
    if watcher.source.error.is_some() {
        ("away", Some(watcher.source.since_unix_ms))
    } else if let Some(change) = watcher.blocked() {
        ("blocked", Some(change.since_unix_ms))
    } else if watcher.from_saved_state {
        ("saved", watcher.confirmed_unix_ms)
    } else if watcher.hosts.is_none() {
        ("waiting", None)
    } else {
        ("connected", None)
    }
}
