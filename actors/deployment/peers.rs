//! The actors and ports that a deployment works with.

use std::rc::Rc;

use actix::{MailboxError, Recipient};
use slog::Logger;

use crate::message::{AdoptSockets, FindOrphans, HoldSockets, LaunchProxy, ReleaseSockets};
use crate::port::{ConfigFile, RuntimeApi};

/// Whom a deployment asks for sockets.
#[derive(Clone)]
pub struct SocketPeers {
    /// Opens them.
    pub hold: Recipient<HoldSockets>,
    /// Takes over those of an orphaned HAProxy.
    pub adopt: Recipient<AdoptSockets>,
    /// Closes them, where nothing serves.
    pub release: Recipient<ReleaseSockets>,
}

/// What a deployment works with.
pub struct DeploymentPeers {
    /// The listening sockets.
    pub sockets: SocketPeers,
    /// Finds orphaned HAProxys.
    pub orphans: Recipient<FindOrphans>,
    /// Starts the process.
    pub launch: Recipient<LaunchProxy>,
    /// Candidate, live file and map.
    pub config_file: Rc<dyn ConfigFile>,
    /// The process that serves, before and after.
    pub runtime: Rc<dyn RuntimeApi>,
    /// For what happens on the way.
    pub log: Logger,
}

/// The answer of an actor that is no longer there.
pub(super) fn gone(_: MailboxError) -> String {
    "the daemon is stopping".to_owned()
}
