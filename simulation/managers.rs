//! Managers: starts, kills and queries the production actors.

use std::rc::Rc;

use actix::spawn;
use proxymgr_actors::clock::Clock;
use proxymgr_actors::decide::host_networks::HostNetworks;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{DiscoveryPolicy, OnStop, ProxyPolicy, Quotas};
use proxymgr_actors::port::{DefinitionSource, HostSources, SavedState};
use proxymgr_actors::snapshot::ActorState;
use proxymgr_actors::wiring::{Actors, Orders, Outside};
use tokio::task::{JoinHandle, LocalSet};

use super::courier::Couriers;
use super::invariant::Invariant;
use super::mishaps::CONFIRM_INTERVAL;
use super::planted_bug::PlantedBug;
use super::sources::Links;
use super::things::Things;
use super::world::{SERVICES_REMOVAL_MAX, World};

/// A running manager.
pub(super) struct Manager {
    actors: Actors,
    life: JoinHandle<()>,
}

/// Returns the settings of a simulated manager.
pub(crate) fn orders(policy: ProxyPolicy, quotas: Quotas, restored: SavedState) -> Orders {
    Orders {
        policy,
        binary: None,
        options: OptionPolicy::default(),
        services_removal_max: SERVICES_REMOVAL_MAX,
        discovery: DiscoveryPolicy { confirm_interval: CONFIRM_INTERVAL, damping: true, quotas },
        host_networks: HostNetworks::default(),
        journal: Default::default(),
        restored,
    }
}

impl World {
    /// Starts a manager: the production actors, with the state that an earlier one saved.
    pub fn start_manager(&self) {
        let restored = self.with(|things| {
            things.generation += 1;
            things.oracle.restarted(&things.saved_state(), self.unix_ms());
            things.saved_state()
        });
        let orders = orders(self.policy(), Quotas::default(), restored);
        self.start_manager_with(orders, Rc::new(self.clone()), Rc::new(self.clone()));
    }

    /// Starts a manager with this configuration, which watches these sources.
    pub(super) fn start_manager_with(
        &self,
        orders: Orders,
        definitions: Rc<dyn DefinitionSource>,
        host_sources: Rc<dyn HostSources>,
    ) {
        self.note("the world", "", "a manager starts");
        let (targets, mut outputs) = self.targets_and_outputs();
        outputs.extend(self.with(|things| things.outputs.clone()));
        let outside = Outside {
            definitions,
            host_sources,
            runtime: Rc::new(self.clone()),
            config_file: Rc::new(self.clone()),
            names: Rc::new(self.clone()),
            processes: Rc::new(self.clone()),
            sockets: Rc::new(self.clone()),
            state_store: Rc::new(self.clone()),
            targets,
            outputs,
        };
        // All tasks of the actors live in this set, and end with it without a message, as at a kill.
        let tasks = LocalSet::new();
        let entered = tasks.enter();
        let clock = Clock::starting_at(self.unix_ms());
        let actors = Actors::start_by(&Couriers::of(self), outside, orders, clock, &self.trace().logger());
        drop(entered);
        *self.manager_slot().borrow_mut() = Some(Manager { actors, life: spawn(tasks) });
    }

    /// Kills the manager. The system closes its descriptors; HAProxy continues.
    pub async fn kill_manager(&self) {
        self.note("the world", "manager", "SIGKILL");
        self.end_manager().await;
    }

    /// Makes the manager stop HAProxy and itself, as at SIGTERM.
    pub async fn stop_manager(&self) {
        self.note("the world", "manager", "SIGTERM");
        if let Some(actors) = self.actors() {
            actors.stop(OnStop::Stop).await;
        }
        let left: Vec<u32> = self.with(|things| things.processes.keys().copied().collect());
        if !left.is_empty() {
            self.violate(Invariant::NoProcessIsForgotten, format!("the manager has stopped, but {left:?} still run"));
        }
        self.end_manager().await;
    }

    /// Ends the manager abruptly: the system closes its descriptors.
    pub(super) async fn end_manager(&self) {
        let Some(manager) = self.manager_slot().borrow_mut().take() else { return };
        self.with(Things::leave_unsaved_drains);
        // From here on the system, not the manager, closes the descriptors.
        self.with(|things| {
            things.generation += 1;
            things.sockets.clear();
            things.unbound.clear();
            things.mail.clear();
            things.checks = 0;
            things.processes.values_mut().for_each(|process| process.attached_at = None);
        });
        manager.life.abort();
        // The task was cancelled above.
        let _ = manager.life.await;
        self.with(|things| things.links = Links::default());
    }

    pub(super) fn actors(&self) -> Option<Actors> {
        self.manager_slot().borrow().as_ref().map(|manager| manager.actors.clone())
    }

    /// Returns the state that every actor reports.
    ///
    /// An actor does not answer, or no manager was started.
    /// An actor does not answer, or no manager was started.
    pub async fn states(&self) -> Result<Vec<ActorState>, String> {
        let actors = self.actors().ok_or("no manager was started")?;
        let mut states = actors.states().await?;
        if self.has(PlantedBug::JournalGrows) || self.has(PlantedBug::RevisionFalls) {
            states.iter_mut().for_each(|state| self.distort(state));
        }
        Ok(states)
    }

    fn distort(&self, state: &mut ActorState) {
        match state {
            ActorState::Journal(journal) if self.has(PlantedBug::JournalGrows) && journal.newest > 20 => {
                journal.entries += 10_000;
            }
            ActorState::Watcher(watcher) if self.has(PlantedBug::RevisionFalls) && watcher.revision.0 > 2 => {
                watcher.revision.0 = 1;
            }
            _ => {}
        }
    }

    /// Returns entries of the manager's journal.
    pub async fn journal(&self, query: ReadJournal) -> Vec<JournalEntry> {
        match self.actors() {
            Some(actors) => actors.journal(query).await,
            None => Vec::new(),
        }
    }

    /// Makes the manager read every source again.
    pub fn refresh(&self) {
        self.actors().iter().for_each(Actors::refresh);
    }
}
