//! Messages that start and end the watch of one service.

use std::sync::Arc;

use actix::Message;

use crate::decide::grants::HostGrant;
use crate::model::ServiceDefinition;

/// ServiceConfigActor -> WatcherActor: the service's definition was updated. The list in service stays until the
/// source, which is reopened where its description changed, returns another one.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Redefine {
    /// The new definition.
    pub definition: Arc<ServiceDefinition>,
    /// The hosts that it may have.
    pub grant: HostGrant,
    /// Whether to reopen its source even if its description is the same.
    pub reopen: bool,
}

/// ServiceConfigActor -> WatcherActor: the service was removed; end the watch.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct StopWatching;
