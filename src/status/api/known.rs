//! The actors' states, so that what belongs to one service is found.

use std::collections::BTreeMap;

use proxymgr_actors::snapshot::{
    ActorState, HaproxyState, ProcessSupervisorState, ServiceConfigState, ServiceState, WatcherState,
};

/// What is known.
#[derive(Default)]
pub struct Known<'a> {
    /// Of the definitions.
    pub definitions: Option<&'a ServiceConfigState>,
    /// Of HAProxy.
    pub haproxy: Option<&'a HaproxyState>,
    /// Of its processes.
    pub processes: Option<&'a ProcessSupervisorState>,
    services: BTreeMap<&'a str, KnownService<'a>>,
}

/// What is known of one service.
#[derive(Default, Clone, Copy)]
pub struct KnownService<'a> {
    /// What discovery says.
    pub watcher: Option<&'a WatcherState>,
    /// What HAProxy has.
    pub haproxy: Option<&'a ServiceState>,
}

impl<'a> Known<'a> {
    /// Sorts the states.
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

    /// Every service by its name.
    pub fn services(&self) -> impl Iterator<Item = (&'a str, KnownService<'a>)> {
        self.services.iter().map(|(name, service)| (*name, *service))
    }

    /// One service.
    pub fn service(&self, name: &str) -> Option<KnownService<'a>> {
        self.services.get(name).copied()
    }
}
