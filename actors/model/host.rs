//! A host that provides a service, as discovery describes it.

use std::sync::Arc;

use litemap::LiteMap;
use serde::{Deserialize, Serialize};

use super::{Endpoint, ServerName, Word};

/// What discovery wants a server's administrative state to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// Takes traffic.
    #[default]
    Ready,
    /// Keeps what it has, takes nothing new.
    Drain,
    /// Takes nothing: HAProxy's maintenance.
    Maint,
}

impl AdminState {
    /// The state as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// One host, and what it says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Host {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The name it asked for; without one the server is named after its endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ServerName>,
    /// HAProxy's weight, 0 to 256; without one, HAProxy's default or that of the service's options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Takes traffic only when no other server can.
    #[serde(default)]
    pub backup: bool,
    /// Its place among the hosts of a service whose order matters (backups, `balance first`): the lowest number comes
    /// first, hosts without one last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// The value of the server's persistence cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Word>,
    /// The administrative state that discovery asks for.
    #[serde(default)]
    pub state: AdminState,
    /// Further server options, already checked against the allow-list; they follow those of the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Word>,
}

impl Host {
    /// A host with nothing but its endpoint.
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
        }
    }
}

/// The hosts of one service, by the name of the server that stands for each. Of a list that changes most hosts stay, and
/// are shared with the list before; all else is copied, which one piece of memory makes cheaper than the many of a tree.
pub type HostList = LiteMap<ServerName, Arc<Host>>;

/// What an entry of a source says: a host, and keys that nobody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// The host.
    pub host: Arc<Host>,
    /// The entry's keys that are not those of a host, in ascending order.
    pub unknown_keys: Vec<Arc<str>>,
}

impl From<Host> for HostRecord {
    /// A record whose keys are all known.
    fn from(host: Host) -> Self {
        Self { host: Arc::new(host), unknown_keys: Vec::new() }
    }
}

/// One entry of a source: a znode, a line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenHost {
    /// What identifies the entry within its source, stable over time: the child's name, the line's text.
    pub key: Arc<str>,
    /// What it says, or what is wrong with it.
    pub record: Result<HostRecord, String>,
}

impl SeenHost {
    /// An entry whose keys are all known.
    pub fn new(key: impl Into<Arc<str>>, host: Result<Host, String>) -> Self {
        Self::of_record(key, host.map(HostRecord::from))
    }

    /// An entry as it was read just now.
    pub fn of_record(key: impl Into<Arc<str>>, record: Result<HostRecord, String>) -> Self {
        Self { key: key.into(), record }
    }

    /// The host that it describes, where it can be used.
    pub fn host(&self) -> Option<&Arc<Host>> {
        self.record.as_ref().ok().map(|record| &record.host)
    }
}
