//! Messages of the sources of definitions and hosts.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Message;
use tokio::time::Instant;

use crate::model::{RawDefinition, SeenHost};

/// definition source -> ServiceConfigActor: a snapshot of all definitions, or the error of the source.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct DefinitionsSeen {
    /// Every raw definition by name. After an error the known services stay.
    pub result: Result<BTreeMap<Arc<str>, RawDefinition>, String>,
    /// Whether a confirmation found a change that the watch of the source did not report.
    pub missed: bool,
    /// Whether their annotations can be read, or the error; `None` where no source of annotations is configured, or
    /// nothing was reported yet.
    pub annotations: Option<Result<(), String>>,
}

impl DefinitionsSeen {
    /// Creates a message without annotations.
    pub fn plain(result: Result<BTreeMap<Arc<str>, RawDefinition>, String>) -> Self {
        Self { result, missed: false, annotations: None }
    }
}

/// host source -> WatcherActor: a snapshot of all hosts, or the error of the source.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct HostsSeen {
    /// Every entry, in any order. After an error the known hosts stay.
    pub result: Result<Vec<SeenHost>, String>,
    /// When the source learned of the change, for the reported latency.
    pub seen_at: Instant,
    /// Whether a confirmation found a change that the watch of the source did not report.
    pub missed: bool,
}

impl HostsSeen {
    /// Creates the report of a snapshot that the watch of the source returned.
    pub fn watched(result: Result<Vec<SeenHost>, String>, seen_at: Instant) -> Self {
        Self { result, seen_at, missed: false }
    }
}
