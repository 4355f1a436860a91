//! Listening sockets and the saved state, simulated.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use proxymgr_actors::model::ListenAddress;
use proxymgr_actors::port::{HeldSocket, ListeningSockets, PortFuture, SavedState, StateStore};
use tokio::time::Instant;

use super::durations::Work;
use super::invariant::Invariant;
use super::planted_bug::PlantedBug;
use super::world::World;

struct Socket {
    world: World,
    generation: u64,
    address: SocketAddr,
    descriptor: RawFd,
}

impl HeldSocket for Socket {
    fn descriptor(&self) -> Option<RawFd> {
        Some(self.descriptor)
    }

    fn address(&self) -> ListenAddress {
        self.address.into()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let was_last = self.world.with(|things| {
            let is_asked = things.generation == self.generation && things.sockets.remove(&self.descriptor).is_some();
            is_asked && !things.sockets.values().any(|address| *address == self.address)
        });
        if was_last {
            self.world.socket_closed(self.address);
        }
    }
}

impl World {
    /// Notes that a running manager closed its last descriptor of this socket.
    pub(super) fn socket_closed(&self, address: SocketAddr) {
        self.note("SocketHolderActor", "the system", format!("close {address}"));
        let wanted_by = self.with(|things| {
            let serving = things.serving().and_then(|pid| things.processes.get(&pid));
            serving.filter(|process| process.listens.contains(&address)).map(|process| process.pid)
        });
        if let Some(pid) = wanted_by {
            self.violate(
                Invariant::SocketsStayOpen,
                format!("{address} was closed while HAProxy ({pid}) listens there"),
            );
        }
    }

    fn hold(&self, address: SocketAddr) -> Socket {
        let (generation, descriptor) = self.with(|things| {
            things.last_descriptor += 1;
            things.sockets.insert(things.last_descriptor, address);
            (things.generation, things.last_descriptor)
        });
        Socket { world: self.clone(), generation, address, descriptor }
    }
}

impl ListeningSockets for World {
    fn open(&self, address: &ListenAddress, _: &[&dyn HeldSocket]) -> Result<Box<dyn HeldSocket>, String> {
        let address = address.ip().ok_or("unix sockets are not simulated")?;
        let outcome = self.with(|things| {
            let listens = |pid: &u32| things.processes[pid].listens.contains(&address);
            let rival = things.processes.keys().find(|pid| !things.processes[pid].draining && listens(pid));
            let problem = match rival {
                _ if things.taken_ports.contains(&address.port()) => {
                    Some(format!("{address} is in use by another program"))
                }
                Some(pid) => Some(format!("{address} is in use by haproxy ({pid})")),
                None => None,
            };
            match problem {
                Some(problem) => {
                    things.unbound.insert(address);
                    Err(problem)
                }
                None => {
                    if things.unbound.remove(&address) {
                        things.oracle.cause(format!("{address} could be bound"));
                    }
                    Ok(())
                }
            }
        });
        let words = outcome.as_ref().err().cloned().unwrap_or_else(|| "opened".to_owned());
        self.note("SocketHolderActor", "the system", format!("bind {address}: {words}"));
        outcome.map(|()| Box::new(self.hold(address)) as Box<dyn HeldSocket>)
    }

    fn adopt(&self, pid: u32) -> Result<Vec<Box<dyn HeldSocket>>, String> {
        let listens = self.with(|things| {
            let process = things.processes.get(&pid)?;
            Some(if process.draining { BTreeSet::new() } else { process.listens.clone() })
        });
        let listens = listens.ok_or_else(|| format!("there is no process {pid}"))?;
        self.note("SocketHolderActor", "the system", format!("copy the {} sockets of {pid}", listens.len()));
        Ok(listens.into_iter().map(|address| Box::new(self.hold(address)) as Box<dyn HeldSocket>).collect())
    }
}

impl StateStore for World {
    fn save(&self, SavedState { services, definitions_guard }: SavedState) -> PortFuture<Result<(), String>> {
        let world = self.clone();
        let asked = Instant::now();
        Box::pin(async move {
            world.disk().await;
            world.take(Work::Save).await;
            let outcome = world.with(|things| {
                if things.disk_full {
                    return Err("no space left on device".to_owned());
                }
                if things.planted != Some(PlantedBug::SkipsTheSave) || things.saved.is_empty() {
                    things.oracle.choices.saved(asked, &services);
                    things.saved = services;
                    things.definitions_guard = definitions_guard;
                }
                if things.planted == Some(PlantedBug::ForgetsAChoice) {
                    things.saved.iter_mut().for_each(|service| service.choices.clear());
                }
                Ok(())
            });
            let words = outcome.as_ref().err().map_or("saved", String::as_str);
            world.note("HaproxyStateActor", "saved state", words);
            outcome
        })
    }
}
