//! The lines of a recording.

use std::collections::BTreeMap;

use proxymgr_actors::model::{Host, ProxyVersion, RawDefinition, SeenHost};
use proxymgr_actors::port::SavedService;
use serde::{Deserialize, Serialize};

/// The version of this format.
pub const FORMAT: u32 = 1;

/// The first line of a run of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub proxymgr_recording: u32,
    /// The version of the daemon.
    pub proxymgr: String,
    /// The version of the HAProxy binary.
    pub haproxy: ProxyVersion,
    /// When the daemon started, in Unix milliseconds. The times of later lines are relative to it.
    pub at_unix_ms: u64,
    /// Whether the definitions are derived from instances, and so are removed only after a long grace period.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub derived_definitions: bool,
}

/// A line: an input from discovery, or an action of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since the daemon started.
    pub at_ms: u64,
    /// Its content.
    #[serde(flatten)]
    pub what: What,
}

/// The content of a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Services that were restored from an earlier run.
    Restored(Vec<SavedService>),
    /// Definitions that an operator rejected in an earlier run.
    RejectedDefinitions(BTreeMap<String, RawDefinition>),
    /// A change of the definitions.
    Definitions {
        /// New or changed definitions.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        set: BTreeMap<String, RawDefinition>,
        /// Removed definitions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        gone: Vec<String>,
    },
    /// The definitions could not be read.
    DefinitionsLost {
        /// Why.
        error: String,
    },
    /// A change of the hosts of a service.
    Hosts {
        /// The service.
        service: String,
        /// New or changed entries.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        set: BTreeMap<String, Entry>,
        /// Removed entries.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        gone: Vec<String>,
    },
    /// The hosts of a service could not be read.
    HostsLost {
        /// The service.
        service: String,
        /// Why.
        error: String,
    },
    /// A journal entry. Kept as JSON, because later versions may add to it.
    Outcome(serde_json::Value),
    /// The number of lines that were lost because the disk was too slow.
    Missed(u64),
}

/// An entry of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A valid host.
    Host(Host),
    /// The error of an invalid entry.
    Problem(String),
}

impl Entry {
    /// The entry as its source reports it.
    pub fn seen(&self, key: &str) -> SeenHost {
        let host = match self {
            Self::Host(host) => Ok(host.clone()),
            Self::Problem(problem) => Err(problem.clone()),
        };
        SeenHost::new(key, host)
    }
}

impl From<Result<Host, String>> for Entry {
    fn from(host: Result<Host, String>) -> Self {
        match host {
            Ok(host) => Self::Host(host),
            Err(problem) => Self::Problem(problem),
        }
    }
}
