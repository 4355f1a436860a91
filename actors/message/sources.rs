//! What sources of definitions and of hosts report.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Message;
use tokio::time::Instant;

use crate::model::{RawDefinition, SeenHost};

/// definition source -> ServiceConfigActor: these are the services now, or why that cannot be said.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct DefinitionsSeen {
    /// Every definition by its name, unread. An error says nothing about the services.
    pub result: Result<BTreeMap<Arc<str>, RawDefinition>, String>,
    /// Whether the annotations that are laid over them can be read, or why not; none where there are none to be read, or
    /// nothing has been heard of them yet.
    pub annotations: Option<Result<(), String>>,
}

impl DefinitionsSeen {
    /// Definitions without annotations.
    pub fn plain(result: Result<BTreeMap<Arc<str>, RawDefinition>, String>) -> Self {
        Self { result, annotations: None }
    }
}

/// host source -> WatcherActor: these are the hosts now, or why that cannot be said.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct HostsSeen {
    /// Every entry, in any order. An error says nothing about the hosts.
    pub result: Result<Vec<SeenHost>, String>,
    /// When the source learned of the change, for the latency that is shown.
    pub seen_at: Instant,
}
