//! A host of a service, as reported by discovery.

use std::sync::Arc;

use litemap::LiteMap;
use serde::{Deserialize, Serialize};

use super::{Endpoint, HostLabels, ServerName, Word};

/// The desired administrative state of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// Takes traffic.
    #[default]
    Ready,
    /// Keeps its sessions and gets no new ones.
    Drain,
    /// Gets no traffic: HAProxy's maintenance.
    Maint,
}

impl AdminState {
    /// Returns the state as used in all outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// One host, with its properties.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Host {
    /// The address and port it listens on.
    pub endpoint: Endpoint,
    /// Its own name; without one the server is named after its endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ServerName>,
    /// HAProxy's weight, 0 to 256; without one, HAProxy's default or that of the service's options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Takes traffic only when no other server can.
    #[serde(default)]
    pub backup: bool,
    /// Its rank among the hosts of a service whose order matters (backups, `balance first`): the lowest number comes
    /// first, hosts without one last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// The value of the server's persistence cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Word>,
    /// The administrative state in discovery.
    #[serde(default)]
    pub state: AdminState,
    /// Further server options, already checked against the allow-list; they follow those of the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Word>,
    /// Its tags and meta data; `None` where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Arc<HostLabels>>,
}

impl Host {
    /// Creates a host with only an endpoint.
    pub fn at(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            name: None,
            weight: None,
            backup: false,
            priority: None,
            cookie: None,
            state: AdminState::default(),
            options: Vec::new(),
            labels: None,
        }
    }
}

/// The hosts of one service, by server name. When a list changes, most hosts are shared with the previous list. The
/// rest is copied, which is cheaper in one contiguous piece of memory than in a tree.
pub type HostList = LiteMap<ServerName, Arc<Host>>;

/// The content of an entry of a source: a host, and unknown keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// The host.
    pub host: Arc<Host>,
    /// The entry's keys that are not those of a host, in ascending order.
    pub unknown_keys: Vec<Arc<str>>,
}

impl From<Host> for HostRecord {
    /// Creates a record without unknown keys.
    fn from(host: Host) -> Self {
        Self { host: Arc::new(host), unknown_keys: Vec::new() }
    }
}

/// One entry of a source: a znode, a line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenHost {
    /// What identifies the entry within its source, stable over time: the child's name, the line's text.
    pub key: Arc<str>,
    /// Its content, or the problem with it.
    pub record: Result<HostRecord, String>,
}

impl SeenHost {
    /// Returns whether it has all of these labels, or a mistake, so that its labels are not known.
    pub fn has(&self, labels: &HostLabels) -> bool {
        let Ok(HostRecord { host, .. }) = &self.record else { return true };
        labels.is_empty() || host.labels.as_ref().is_some_and(|own| own.include(labels))
    }

    /// Creates an entry without unknown keys.
    pub fn new(key: impl Into<Arc<str>>, host: Result<Host, String>) -> Self {
        Self::of_record(key, host.map(HostRecord::from))
    }

    /// Creates an entry with this record.
    pub fn of_record(key: impl Into<Arc<str>>, record: Result<HostRecord, String>) -> Self {
        Self { key: key.into(), record }
    }

    /// Returns its host, where the entry is valid.
    pub fn host(&self) -> Option<&Arc<Host>> {
        self.record.as_ref().ok().map(|record| &record.host)
    }
}
