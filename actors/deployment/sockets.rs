//! The listening sockets of a deployment: those of orphaned HAProxys are adopted, the others are opened.

use std::collections::{BTreeMap, BTreeSet};

use slog::warn;

use super::peers::{DeploymentPeers, gone};
use crate::decide::deployment::{BoundSection, ServiceSection};
use crate::message::{AdoptSockets, HoldSockets, SocketsHeld, WantedSockets};
use crate::model::{ListenAddress, ServiceName};

/// Takes over the sockets of orphaned HAProxy processes.
pub(super) async fn adopt(orphans: Vec<u32>, peers: &DeploymentPeers) -> Result<(), String> {
    for pid in orphans {
        if let Err(error) = peers.sockets.adopt.send(AdoptSockets { pid }).await.map_err(gone)? {
            warn!(peers.log, "cannot adopt the sockets of an orphaned HAProxy, opening its ports once it closes them";
                "pid" => pid, "error" => error);
        }
    }
    Ok(())
}

/// Requests the sockets of the base and of all desired sections, of last good sections of an earlier run, and of `more`,
/// which need not be available.
pub(super) async fn hold_sockets(
    base: BTreeSet<ListenAddress>,
    services: &BTreeMap<ServiceName, ServiceSection>,
    more: BTreeMap<ServiceName, WantedSockets>,
    peers: &DeploymentPeers,
) -> Result<SocketsHeld, String> {
    let desired = |(name, service): (&ServiceName, &ServiceSection)| {
        Some((name.clone(), WantedSockets::of(&service.desired.definition)?))
    };
    let elsewhere = |(name, service): (&ServiceName, &ServiceSection)| match &service.last_good {
        Some(BoundSection { spec, descriptors: None, .. })
            if !spec.definition.addresses().eq(service.desired.definition.addresses()) =>
        {
            Some((name.clone(), WantedSockets::of(&spec.definition)?))
        }
        _ => None,
    };
    let had = services.iter().filter(|(_, service)| {
        let last = service.last_good.as_ref().map(|good| good.spec.definition.addresses().collect());
        let last: BTreeSet<ListenAddress> = last.unwrap_or_else(|| service.earlier_listens.clone());
        service.desired.definition.addresses().all(|address| last.contains(&address))
    });
    let hold = HoldSockets {
        wanted: services.iter().filter_map(desired).collect(),
        base,
        had: had.map(|(name, _)| name.clone()).collect(),
        last_good: services.iter().filter_map(elsewhere).chain(more).collect(),
    };
    peers.sockets.hold.send(hold).await.map_err(gone)
}
