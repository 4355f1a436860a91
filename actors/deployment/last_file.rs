//! The last good file, as a fallback where no process serves: outdated hosts are better than none.
//!
//! The file of a process that ended while this daemon runs is used unchanged. A file of an earlier run of the daemon
//! contains old descriptors, which are replaced by those of the sockets held now.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::sync::Arc;

use slog::warn;

use super::peers::{DeploymentPeers, gone};
use super::sockets::hold_sockets;
use crate::decide::deployment::{DeployFailure, Deployed, LastFile, RestartedProcess, ServiceSection};
use crate::decide::earlier_file::{Listener, listeners, ready_servers, with_descriptors};
use crate::message::{LaunchProxy, ReleaseSockets, WantedSockets};
use crate::model::{HostList, ProcessInfo, ServiceName};
use crate::port::{ConfigFile, ConfigText};

/// Starts a process with the file of the last one, if that is still in place.
pub async fn restart_on(
    last_file: LastFile,
    failure: DeployFailure,
    peers: &DeploymentPeers,
) -> Result<Deployed, DeployFailure> {
    let Some(text) = peers.config_file.read().await.ok().filter(|text| last_file.is(text)) else { return Err(failure) };
    warn!(peers.log, "no HAProxy process serves, starting one with the last file"; "error" => &failure.error);
    let descriptors = last_file.descriptors.into_iter().collect();
    let servers = ready_servers(&text);
    match peers
        .launch
        .send(LaunchProxy { with_candidate: false, descriptors, state_file: None, stats_file: None, servers })
        .await
    {
        Ok(Ok(process)) => Ok(Deployed::OnLastFile(Box::new(RestartedProcess { process, failure }))),
        _ => Err(failure),
    }
}

/// The file of an earlier run of the daemon.
pub struct EarlierFile {
    text: String,
    map: Option<String>,
    listeners: Vec<Listener>,
    services: BTreeMap<ServiceName, ServiceSection>,
}

impl EarlierFile {
    /// Reads it, before a deployment replaces it. Returns `None` where proxymgr did not write it, or where sections of
    /// this run already use sockets. `services` are those of the deployment.
    pub async fn read(services: &BTreeMap<ServiceName, ServiceSection>, config_file: &dyn ConfigFile) -> Option<Self> {
        let has_socket =
            |service: &ServiceSection| service.last_good.as_ref().is_some_and(|good| good.descriptors.is_some());
        if services.values().any(has_socket) {
            return None;
        }
        let text = config_file.read().await.ok()?;
        let map = config_file.read_map().await.ok()?;
        Some(Self { listeners: listeners(&text)?, text, map, services: services.clone() })
    }

    /// Starts HAProxy with it after a failed deployment. Returns the failure, with the servers that take traffic now.
    /// If the start fails, all sockets are closed, so that clients get a refusal instead of waiting for an answer.
    pub async fn start(self, failure: DeployFailure, peers: &DeploymentPeers) -> DeployFailure {
        let servers = ready_servers(&self.text);
        match self.try_start(servers.clone(), peers).await {
            Ok(process) => {
                warn!(peers.log, "HAProxy was started with the file of an earlier run";
                    "pid" => process.pid, "error" => &failure.error);
                let error =
                    format!("{}; until the next attempt HAProxy serves the file of an earlier run", failure.error);
                DeployFailure { error, file_is_ahead: false, unmanaged: Some(servers), ..failure }
            }
            Err(error) => {
                warn!(peers.log, "HAProxy cannot be started with the file of an earlier run"; "error" => error);
                peers.sockets.release.do_send(ReleaseSockets { keep: BTreeMap::new(), base: BTreeSet::new() });
                failure
            }
        }
    }

    async fn try_start(
        self,
        servers: BTreeMap<ServiceName, Arc<HostList>>,
        peers: &DeploymentPeers,
    ) -> Result<ProcessInfo, String> {
        let (mut base, mut wanted) = (BTreeSet::new(), BTreeMap::new());
        for listener in &self.listeners {
            let addresses = listener.sockets.iter().map(|(address, _)| address.clone());
            match service_of(listener) {
                Some(name) => {
                    let none = WantedSockets { addresses: BTreeSet::new(), shared: listener.shared };
                    wanted.entry(name).or_insert(none).addresses.extend(addresses);
                }
                None => base.extend(addresses),
            }
        }
        let held = hold_sockets(base, &self.services, wanted, peers).await?;
        let of_listener = |listener: &Listener| {
            let held = match service_of(listener) {
                Some(name) => held.last_good.get(&name),
                None => Some(&held.base),
            };
            let sockets = listener.sockets.iter();
            sockets
                .filter_map(|(address, old)| Some((*old, held?.get(address).copied().flatten()?)))
                .collect::<Vec<(RawFd, RawFd)>>()
        };
        let by_old: BTreeMap<RawFd, RawFd> = self.listeners.iter().flat_map(of_listener).collect();
        let text = with_descriptors(&self.text, &by_old).ok_or("another service uses one of its ports")?;
        let descriptors: Vec<RawFd> = by_old.into_values().collect();
        let text = ConfigText { pieces: vec![text.into()], map: self.map.map(Into::into), ..ConfigText::default() };
        peers.config_file.check(text, descriptors.clone()).await.map_err(|failure| failure.to_string())?;
        let start = LaunchProxy { with_candidate: true, descriptors, state_file: None, stats_file: None, servers };
        peers.launch.send(start).await.map_err(gone)?.map_err(|error| error.to_string())
    }
}

/// Returns the service, or the shared frontend by its name, whose section listens; `None` for the base configuration.
fn service_of(listener: &Listener) -> Option<ServiceName> {
    ServiceName::new(listener.section.as_deref()?).ok()
}
