//! The actors and ports that a deployment works with.

use std::rc::Rc;

use actix::{MailboxError, Recipient};
use slog::Logger;

use crate::message::{
    AdoptSockets, CloseSockets, FindOrphans, HoldSockets, LaunchProxy, OrphanAdopted, ReleaseSockets,
};
use crate::port::{ConfigFile, RuntimeApi};

/// The recipients of a deployment's requests for sockets.
#[derive(Clone)]
pub struct SocketPeers {
    /// Opens them.
    pub hold: Recipient<HoldSockets>,
    /// Takes over those of an orphaned HAProxy.
    pub adopt: Recipient<AdoptSockets>,
    /// Closes them, where no process serves.
    pub release: Recipient<ReleaseSockets>,
    /// Closes all of them for good.
    pub close: Recipient<CloseSockets>,
}

/// The peers of a deployment.
pub struct DeploymentPeers {
    /// The listening sockets.
    pub sockets: SocketPeers,
    /// Finds orphaned HAProxys.
    pub orphans: Recipient<FindOrphans>,
    /// Learns the state of an orphaned HAProxy.
    pub adopted: Recipient<OrphanAdopted>,
    /// Starts the process.
    pub launch: Recipient<LaunchProxy>,
    /// Candidate, live file and map.
    pub config_file: Rc<dyn ConfigFile>,
    /// The process that serves, before and after.
    pub runtime: Rc<dyn RuntimeApi>,
    /// The log.
    pub log: Logger,
}

/// The answer of an actor that is no longer there.
pub(super) fn gone(_: MailboxError) -> String {
    "the daemon is stopping".to_owned()
}
