//! The lines of a recording.

use std::collections::BTreeMap;

use proxymgr_actors::model::{Host, ProxyVersion, RawDefinition, SeenHost};
use proxymgr_actors::port::SavedService;
use serde::{Deserialize, Serialize};

/// The version of this format.
pub const FORMAT: u32 = 1;

/// Begins a run of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub proxymgr_recording: u32,
    /// The version of the daemon.
    pub proxymgr: String,
    /// The version of the HAProxy binary.
    pub haproxy: ProxyVersion,
    /// When the daemon started, in milliseconds since 1970. Times of the lines that follow count from then.
    pub at_unix_ms: u64,
}

/// Something that was said or done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since the daemon started.
    pub at_ms: u64,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// What was said or done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The daemon knew these services from an earlier run.
    Restored(Vec<SavedService>),
    /// An operator had rejected these definitions in an earlier run.
    RejectedDefinitions(BTreeMap<String, RawDefinition>),
    /// The source of the definitions showed others than before.
    Definitions {
        /// Those that are new or different.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        set: BTreeMap<String, RawDefinition>,
        /// Those that are gone.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        gone: Vec<String>,
    },
    /// The source of the definitions could not be read.
    DefinitionsLost {
        /// Why.
        error: String,
    },
    /// The source of a service showed other hosts than before.
    Hosts {
        /// The service.
        service: String,
        /// The entries that are new or different.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        set: BTreeMap<String, Entry>,
        /// The entries that are gone.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        gone: Vec<String>,
    },
    /// The source of a service could not be read.
    HostsLost {
        /// The service.
        service: String,
        /// Why.
        error: String,
    },
    /// What the daemon did or found: an entry of its journal, as later versions may write it, too.
    Outcome(serde_json::Value),
    /// So many lines could not be recorded, because the disk was too slow for them.
    Missed(u64),
}

/// An entry of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The host it describes.
    Host(Host),
    /// What is wrong with it.
    Problem(String),
}

impl Entry {
    /// The entry as its source tells it.
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
