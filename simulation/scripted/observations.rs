//! Observations of the world and of the actors, for tests.

use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{ObservedRoutes, ObservedServer, ObservedServers, ServerName, ServiceName};
use proxymgr_actors::port::{ProcessSignal, SavedState};
use proxymgr_actors::snapshot::{ActorState, HaproxyState, ServiceConfigState, WatcherState};
use proxymgr_actors::wiring::Actors;
use tokio::time::Instant;

use super::ScriptedWorld;
use crate::route_map::RouteMap;

impl ScriptedWorld {
    /// Returns the hosts of this service that get traffic, by the last part of their address.
    pub fn ready(&self, service: &str) -> Vec<u8> {
        self.world.ready(service)
    }

    /// Returns the servers of this section in the serving HAProxy; empty if it has no such section.
    pub fn servers(&self, service: &str) -> ObservedServers {
        let name = ServiceName::new(service).expect("a name in a test is a name");
        self.world
            .with(|things| {
                let serving = things.serving().and_then(|pid| things.processes.get(&pid));
                let observed = serving.map(|process| process.model.observe(Some(std::slice::from_ref(&name))));
                observed.and_then(|mut seen| seen.services.remove(&name)).map(|servers| (*servers).clone())
            })
            .unwrap_or_default()
    }

    /// Returns one of these servers.
    pub fn server(&self, service: &str, server: &str) -> Option<ObservedServer> {
        self.servers(service).get(&ServerName::new(server).expect("a name in a test is a name")).cloned()
    }

    /// Returns how often HAProxy was started or reloaded.
    pub fn starts(&self) -> usize {
        self.world.starts()
    }

    /// Returns the times of starts and reloads.
    pub fn start_times(&self) -> Vec<Instant> {
        self.world.with(|things| things.started_at.clone())
    }

    /// Returns the commands sent to HAProxy since [`Self::forget_commands`], as text of the Runtime API.
    pub fn commands(&self) -> Vec<String> {
        self.world.with(|things| things.sent.clone()).unwrap_or_default()
    }

    /// Forgets the commands so far.
    pub fn forget_commands(&self) {
        self.world.with(|things| things.sent = Some(Vec::new()));
    }

    /// Returns the times at which the manager looked up a host name.
    pub fn lookups(&self) -> Vec<Instant> {
        self.world.with(|things| things.lookups.iter().map(|(at, _)| *at).collect())
    }

    /// Returns the signals that were sent to processes.
    pub fn signals(&self) -> Vec<(u32, ProcessSignal)> {
        self.world.with(|things| things.signals.clone())
    }

    /// Returns haproxy.cfg.
    pub fn file(&self) -> String {
        self.world.file()
    }

    /// Returns the map file of haproxy.cfg.
    pub fn map_file(&self) -> Option<String> {
        self.world.with(|things| things.live_file.map.as_deref().map(ToOwned::to_owned))
    }

    /// Returns the map of the serving HAProxy.
    pub fn map(&self) -> ObservedRoutes {
        self.world.with(|things| {
            let serving = things.serving().and_then(|pid| things.processes.get(&pid));
            serving.and_then(|process| process.map.as_ref()).map(RouteMap::show).unwrap_or_default()
        })
    }

    /// Returns the state that a manager has saved.
    pub fn saved(&self) -> SavedState {
        self.world.with(|things| things.saved_state())
    }

    /// Returns the ports of the listening sockets that the manager holds.
    pub fn open_ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> =
            self.world.with(|things| things.sockets.values().map(std::net::SocketAddr::port).collect());
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// Returns the state of the ServiceConfigActor.
pub async fn config_state(actors: &Actors) -> ServiceConfigState {
    let states = actors.states().await.expect("every actor answers");
    let found = states.into_iter().find_map(|state| match state {
        ActorState::ServiceConfig(state) => Some(state),
        _ => None,
    });
    found.expect("the ServiceConfigActor answers")
}

/// Returns the state of the HaproxyStateActor.
pub async fn haproxy_state(actors: &Actors) -> HaproxyState {
    let states = actors.states().await.expect("every actor answers");
    let found = states.into_iter().find_map(|state| match state {
        ActorState::HaproxyState(state) => Some(state),
        _ => None,
    });
    found.expect("the HaproxyStateActor answers")
}

/// Returns the state of this service's watcher.
pub async fn watcher_state(actors: &Actors, service: &str) -> WatcherState {
    let states = actors.states().await.expect("every actor answers");
    let found = states.into_iter().find_map(|state| match state {
        ActorState::Watcher(state) if state.service == service => Some(state),
        _ => None,
    });
    found.expect("the service has a watcher")
}

/// Returns the journal entries of this service.
pub async fn journal(actors: &Actors, service: &str) -> Vec<JournalEntry> {
    actors.journal(ReadJournal { service: Some(service.to_owned()), ..ReadJournal::default() }).await
}
