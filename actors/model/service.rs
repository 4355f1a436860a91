//! A service: one `listen` section, and where its hosts are found.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Domain, PathPrefix, ServiceName, ServiceUpdate, Word};
use crate::limits::GUARD_WINDOW;

/// A service's definition as a definition source found it, unread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawDefinition {
    /// The JSON or YAML text (JSON is YAML; sources hand over JSON).
    pub text: Arc<str>,
    /// Where it stands, for messages: a file's path, or `znode /service_config/web`.
    pub origin: Arc<str>,
    /// What somebody else adds to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation: Option<Annotation>,
}

impl RawDefinition {
    /// A definition without an annotation.
    pub fn new(text: impl Into<Arc<str>>, origin: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), origin: origin.into(), annotation: None }
    }
}

/// What somebody else adds to a service's definition, unread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// The JSON text.
    pub text: Arc<str>,
    /// Where it stands, for messages: `znode /annotations/web`.
    pub origin: Arc<str>,
}

/// Where a service's hosts are found. The keys belong to the adapter that serves this kind of source,
/// so that a new kind of source touches no actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSpec {
    /// `zookeeper`, `campanjazk`, `file`, `static`, ...
    pub kind: String,
    /// Every key of the definition that is not the service's own.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// A kind of source of hosts, declared by the adapter that serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceKind {
    /// What a definition's `type` names it.
    pub name: &'static str,
    /// The keys of a definition that it reads.
    pub keys: &'static [&'static str],
    /// Whether the order of its entries is one that somebody chose.
    pub is_ordered: bool,
}

/// The guard's limits for the hosts of one service.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Removal {
    /// A list that shrinks below so many hosts is blocked. 0 lets a service run without hosts.
    pub min_hosts: usize,
    /// The largest share, 0 to 1, of the most hosts in service within the window that may be missing. 1 lets all go.
    pub max_removal: f64,
    /// How far back the guard looks.
    #[serde(default = "default_guard_window")]
    pub window: Duration,
}

impl Default for Removal {
    fn default() -> Self {
        Self { min_hosts: 1, max_removal: 1.0, window: default_guard_window() }
    }
}

fn default_guard_window() -> Duration {
    GUARD_WINDOW
}

/// How the servers of one service come and go, where that differs from the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLifeCycle {
    /// How long a server whose host is gone may finish its sessions before it goes into maintenance.
    pub drain_timeout: Option<Duration>,
    /// How long a newcomer's weight takes to rise to its own.
    pub ramp_up: Option<Duration>,
}

/// A service that can be used: everything in it has been checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceDefinition {
    /// The name of the `listen` section.
    pub name: ServiceName,
    /// Where the definition stands, for messages.
    pub origin: Arc<str>,
    /// The address clients connect to; none where the service listens by a `bind` of its own making elsewhere.
    pub listen: Option<SocketAddr>,
    /// The section's lines, each split into words, each checked against the allow-list.
    pub listen_options: Vec<Vec<Word>>,
    /// Options of every server of the section, checked against the allow-list.
    pub server_options: Vec<Word>,
    /// The domains it answers to: over HTTP it shares its port with others that have some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
    /// Of its domains it answers only to paths that begin so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<PathPrefix>,
    /// Whether it answers to every domain of its port that no service has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_default: bool,
    /// Where the hosts are found.
    pub source: SourceSpec,
    /// The guard's limits.
    pub removal: Removal,
    /// How its servers come and go.
    #[serde(default)]
    pub life_cycle: ServiceLifeCycle,
    /// How its changes reach the running HAProxy.
    #[serde(default)]
    pub update: ServiceUpdate,
}
