//! Index of the snapshots by service, and the servers at one address.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::limits::STATUS_HOST_ENTRIES_MAX;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{Host, ServerName};
use proxymgr_actors::snapshot::{
    ActorState, HaproxyState, ProcessSupervisorState, ServiceConfigState, ServiceState, WatcherState,
};

use super::view::View;

/// The index.
#[derive(Default)]
pub struct Known<'a> {
    /// Snapshot of the ServiceConfigActor.
    pub definitions: Option<&'a ServiceConfigState>,
    /// Snapshot of the HaproxyStateActor.
    pub haproxy: Option<&'a HaproxyState>,
    /// Snapshot of the ProcessSupervisorActor.
    pub processes: Option<&'a ProcessSupervisorState>,
    services: BTreeMap<&'a str, KnownService<'a>>,
}

/// Snapshots of one service.
#[derive(Default, Clone, Copy)]
pub struct KnownService<'a> {
    /// Of its watcher.
    pub watcher: Option<&'a WatcherState>,
    /// Of its state in HAProxy.
    pub haproxy: Option<&'a ServiceState>,
}

impl<'a> Known<'a> {
    /// Indexes the snapshots.
    pub fn of(states: &'a [ActorState]) -> Self {
        let mut known = Self::default();
        for state in states {
            match state {
                ActorState::ServiceConfig(state) => known.definitions = Some(state),
                ActorState::ProcessSupervisor(state) => known.processes = Some(state),
                ActorState::HaproxyState(state) => {
                    known.haproxy = Some(state);
                    for (name, service) in &state.services {
                        known.services.entry(name.as_str()).or_default().haproxy = Some(service);
                    }
                }
                ActorState::Watcher(state) => {
                    known.services.entry(&state.service).or_default().watcher = Some(state);
                }
                _ => {}
            }
        }
        known
    }

    /// All services by name.
    pub fn services(&self) -> impl Iterator<Item = (&'a str, KnownService<'a>)> {
        self.services.iter().map(|(name, service)| (*name, *service))
    }

    /// One service.
    pub fn service(&self, name: &str) -> Option<KnownService<'a>> {
        self.services.get(name).copied()
    }

    /// All servers at this address, as pairs of service and server: an IP address or host name with or without port, or the
    /// name of a server.
    pub fn servers_at(&self, address: &str) -> Vec<(&'a str, &'a str)> {
        let is_at = |(name, host): &(&ServerName, Option<&Host>)| {
            name.as_str() == address
                || match host {
                    Some(Host { endpoint, .. }) => endpoint.address() == address || endpoint.to_string() == address,
                    None => name.as_str().rsplit_once(':').is_some_and(|(host, _)| host == address),
                }
        };
        let of_service = |(service, known): (&'a str, KnownService<'a>)| {
            known.servers().filter(is_at).map(|(name, _)| (service, name.as_str())).collect::<Vec<_>>()
        };
        self.services().flat_map(of_service).collect()
    }
}

impl<'a> KnownService<'a> {
    /// All servers that discovery or HAProxy knows, by name, with their hosts, if discovery lists them.
    pub fn servers(self) -> impl Iterator<Item = (&'a ServerName, Option<&'a Host>)> {
        let hosts = self.watcher.and_then(|watcher| watcher.hosts.as_deref());
        let listed = hosts.into_iter().flatten().map(|(name, host)| (name, Some(host.as_ref())));
        let in_haproxy = self.haproxy.into_iter().flat_map(|haproxy| haproxy.servers.keys());
        let unlisted = in_haproxy.filter(move |name| hosts.is_none_or(|hosts| !hosts.contains_key(*name)));
        listed.chain(unlisted.map(|name| (name, None))).collect::<BTreeMap<_, _>>().into_iter()
    }
}

/// The newest journal entries about these servers, pairs of service and server; oldest first.
pub async fn entries_about(view: &dyn View, servers: &[(&str, &str)]) -> Vec<JournalEntry> {
    let names: BTreeSet<&(&str, &str)> = servers.iter().collect();
    let is_about = |entry: &JournalEntry| {
        let (Some(service), Some(server)) = (&entry.service, &entry.server) else { return false };
        names.contains(&(service.as_str(), server.as_str()))
    };
    let mut entries = view.journal(ReadJournal::default()).await;
    entries.retain(is_about);
    entries.split_off(entries.len().saturating_sub(STATUS_HOST_ENTRIES_MAX))
}
