//! The Runtime API of one process, on a connection that was opened before its start: commands wait for its first
//! answer.

use std::path::PathBuf;

use proxymgr_actors::model::{
    Observation, ObservedRoutes, ObservedServers, ProcessInfo, RouteCommand, RuntimeCommand, ServiceName,
};
use proxymgr_actors::port::{Answer, PortFuture, RuntimeApi, RuntimeError, ServerSessions};
use tokio::time::sleep;

use super::processes::{CONNECT, Process, SocketFault, until_given_up};
use super::route_map::RouteMap;
use super::runtime_api::broken;
use super::world::World;

/// A connection to one process.
pub(super) struct ProcessRuntime {
    pub(super) world: World,
    pub(super) pid: u32,
}

impl ProcessRuntime {
    /// Waits for the process, and then for the answer that `ask` reads or the commands that it executes.
    fn once_up<T: 'static>(
        &self,
        ask: impl FnOnce(&World, u32) -> Option<T> + 'static,
    ) -> PortFuture<Result<T, RuntimeError>> {
        let (world, pid) = (self.world.clone(), self.pid);
        Box::pin(async move {
            until_up(&world, pid).await?;
            sleep(CONNECT).await;
            match world.with(|things| things.processes.get(&pid).map(|process| process.fault)) {
                None => Err(broken()),
                Some(Some(SocketFault::Down)) => Err(broken()),
                Some(Some(SocketFault::Hangs { obeys })) => {
                    if obeys {
                        ask(&world, pid);
                    }
                    until_given_up().await;
                    Err(broken())
                }
                Some(None) => ask(&world, pid).ok_or_else(broken),
            }
        })
    }

    fn read<T: 'static>(&self, read: impl FnOnce(&Process) -> T + 'static) -> PortFuture<Result<T, RuntimeError>> {
        self.once_up(move |world, pid| world.with(|things| things.processes.get(&pid).map(read)))
    }
}

/// Resolves when the process answers, with an error if it has ended. Waiting tasks continue in the order of their
/// calls; with `tokio::sync::watch` that order is random.
async fn until_up(world: &World, pid: u32) -> Result<(), RuntimeError> {
    loop {
        let process =
            world.with(|things| things.processes.get(&pid).map(|process| (process.answers, process.up.clone())));
        let (answers, up) = process.ok_or_else(broken)?;
        if answers {
            return Ok(());
        }
        up.notified().await;
    }
}

impl RuntimeApi for ProcessRuntime {
    fn run(&self, commands: Vec<RuntimeCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        self.once_up(move |world, pid| world.obey(pid, &commands))
    }

    fn observe(&self, services: Option<Vec<ServiceName>>) -> PortFuture<Result<Observation, RuntimeError>> {
        self.read(move |process| process.model.observe(services.as_deref()))
    }

    fn sessions(&self, services: Vec<ServiceName>) -> PortFuture<Result<ServerSessions, RuntimeError>> {
        let idle = |servers: &ObservedServers| servers.keys().map(|name| (name.clone(), 0)).collect();
        self.read(move |process| {
            let seen = process.model.observe(Some(&services)).services;
            seen.into_iter().map(|(service, servers)| (service, idle(&servers))).collect()
        })
    }

    fn change_routes(&self, _: PathBuf, commands: Vec<RouteCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        self.once_up(move |world, pid| world.route(pid, &commands))
    }

    fn routes(&self, _: PathBuf) -> PortFuture<Result<Option<ObservedRoutes>, RuntimeError>> {
        self.read(|process| process.map.as_ref().map(RouteMap::show))
    }

    fn process(&self) -> PortFuture<Result<ProcessInfo, RuntimeError>> {
        self.read(Process::info)
    }

    fn disconnect(&self) {}
}
