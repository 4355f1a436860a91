//! Index of the snapshots by service.

use std::collections::BTreeMap;

use proxymgr_actors::snapshot::{
    ActorState, HaproxyState, ProcessSupervisorState, ServiceConfigState, ServiceState, WatcherState,
};

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
}
