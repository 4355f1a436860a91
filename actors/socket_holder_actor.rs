//! Opens, holds and releases the listening sockets, so that a reload of HAProxy never closes one in use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, Recipient};
use slog::{Logger, error, info, warn};

use crate::limits::BIND_RETRY;
use crate::message::{
    AdoptSockets, GetState, HoldSockets, ReleaseSockets, SocketOpened, SocketsHeld, WaitOnlyFor, WantedSocket,
};
use crate::model::ServiceName;
use crate::port::{HeldSocket, ListeningSockets};
use crate::snapshot::{ActorState, SocketHolderState};

/// Holds every listening socket of the daemon.
pub struct SocketHolderActor {
    sockets: Rc<dyn ListeningSockets>,
    held: BTreeMap<SocketAddr, Box<dyn HeldSocket>>,
    /// The services of each address: the first service that requested it keeps it, unless they share it.
    owners: BTreeMap<SocketAddr, Owners>,
    failed: BTreeMap<ServiceName, FailedBind>,
    /// Whether a retry of failed binds is scheduled.
    retry_waits: bool,
    haproxy: Recipient<SocketOpened>,
    log: Logger,
}

/// The services of an address; never empty.
struct Owners {
    services: BTreeSet<ServiceName>,
    /// Whether further services may share it.
    is_shared: bool,
}

struct FailedBind {
    wanted: WantedSocket,
    error: String,
}

impl SocketHolderActor {
    /// Creates a holder without sockets. `haproxy` is notified of ports that could only be bound later.
    pub fn new(sockets: Rc<dyn ListeningSockets>, haproxy: Recipient<SocketOpened>, log: Logger) -> Self {
        let (held, owners, failed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { sockets, held, owners, failed, retry_waits: false, haproxy, log }
    }

    fn hold(&mut self, service: &ServiceName, wanted: WantedSocket) -> Result<Option<RawFd>, String> {
        let descriptor = self.open(service, wanted)?;
        let nobody = || Owners { services: BTreeSet::new(), is_shared: wanted.is_shared };
        let owners = self.owners.entry(wanted.address).or_insert_with(nobody);
        owners.is_shared = wanted.is_shared;
        owners.services.insert(service.clone());
        Ok(descriptor)
    }

    /// Opens an address for a service, without assigning it: other services may still take it.
    fn open(&mut self, service: &ServiceName, wanted: WantedSocket) -> Result<Option<RawFd>, String> {
        let address = wanted.address;
        if let Some(owner) = self.rival(service, wanted) {
            return Err(format!("{address} is already taken by the service {owner}, which requested it first"));
        }
        if !self.held.contains_key(&address) {
            let socket = self.sockets.open(address)?;
            info!(self.log, "listening"; "address" => %address, "service" => %service, "fd" => socket.descriptor());
            self.held.insert(address, socket);
        }
        Ok(self.held[&address].descriptor())
    }

    /// Returns another service that has this address, or one that covers it, and does not share it.
    fn rival(&self, service: &ServiceName, wanted: WantedSocket) -> Option<&ServiceName> {
        let address = wanted.address;
        let covers = |other: &SocketAddr| {
            other.port() == address.port()
                && (other.ip() == address.ip()
                    || (other.is_ipv4() == address.is_ipv4()
                        && (other.ip().is_unspecified() || address.ip().is_unspecified())))
        };
        let goes_together =
            |held: &SocketAddr, owners: &Owners| *held == address && owners.is_shared && wanted.is_shared;
        let rivals = self.owners.iter().filter(|(held, owners)| covers(held) && !goes_together(held, owners));
        rivals.flat_map(|(_, owners)| &owners.services).find(|owner| *owner != service)
    }

    fn retry_later(&mut self, ctx: &mut Context<Self>) {
        if !self.failed.is_empty() && !std::mem::replace(&mut self.retry_waits, true) {
            ctx.run_later(BIND_RETRY, |holder, ctx| {
                holder.retry_waits = false;
                holder.retry();
                holder.retry_later(ctx);
            });
        }
    }

    fn retry(&mut self) {
        let wanted: Vec<_> = self.failed.iter().map(|(service, bind)| (service.clone(), bind.wanted)).collect();
        for (service, wanted) in wanted {
            match self.hold(&service, wanted) {
                Ok(_) => {
                    info!(self.log, "the port is free now"; "service" => %service, "address" => %wanted.address);
                    self.failed.remove(&service);
                    self.haproxy.do_send(SocketOpened { service });
                }
                Err(error) => {
                    self.failed.insert(service, FailedBind { wanted, error });
                }
            }
        }
    }

    /// Removes the owners of addresses that changed or were removed; the socket itself stays until [`ReleaseSockets`].
    /// Where the remaining owners differ on whether to share it, those that share keep it.
    fn forget_owners(&mut self, wanted: &BTreeMap<ServiceName, WantedSocket>) {
        self.owners.retain(|address, owners| {
            let here = |owner: &ServiceName| wanted.get(owner).filter(|socket| socket.address == *address);
            let shares = |owner: &ServiceName| here(owner).is_some_and(|socket| socket.is_shared);
            owners.is_shared = owners.services.iter().any(shares);
            let is_shared = owners.is_shared;
            owners.services.retain(|owner| here(owner).is_some_and(|socket| socket.is_shared == is_shared));
            let first = owners.services.first().cloned();
            owners.services.retain(|owner| is_shared || Some(owner) == first.as_ref());
            !owners.services.is_empty()
        });
    }
}

impl Actor for SocketHolderActor {
    type Context = Context<Self>;
}

impl Handler<HoldSockets> for SocketHolderActor {
    type Result = MessageResult<HoldSockets>;

    fn handle(&mut self, HoldSockets { wanted, had, last_good }: HoldSockets, ctx: &mut Self::Context) -> Self::Result {
        self.forget_owners(&wanted);
        let mut answer = SocketsHeld::default();
        let (before, newer): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(service, _)| had.contains(service));
        for (service, socket) in before.into_iter().chain(newer) {
            match self.hold(&service, socket) {
                Ok(descriptor) => {
                    self.failed.remove(&service);
                    answer.descriptors.insert(service, descriptor);
                }
                Err(error) => {
                    error!(self.log, "cannot listen, retrying every second";
                        "service" => %service, "address" => %socket.address, "error" => &error);
                    self.failed.insert(service.clone(), FailedBind { wanted: socket, error: error.clone() });
                    answer.failed.insert(service, error);
                }
            }
        }
        // Sockets of last good sections are only opened: the deployment decides which service gets them.
        for (service, socket) in last_good {
            let held = self.held.get(&socket.address).map(|held| held.descriptor());
            let descriptor = held.map_or_else(|| self.open(&service, socket), Ok);
            answer.last_good.extend(descriptor.ok().map(|descriptor| (service, descriptor)));
        }
        self.retry_later(ctx);
        MessageResult(answer)
    }
}

impl Handler<ReleaseSockets> for SocketHolderActor {
    type Result = ();

    fn handle(&mut self, ReleaseSockets { keep }: ReleaseSockets, _: &mut Self::Context) {
        self.owners.clear();
        for (service, WantedSocket { address, is_shared }) in keep {
            let nobody = || Owners { services: BTreeSet::new(), is_shared };
            self.owners.entry(address).or_insert_with(nobody).services.insert(service);
        }
        let (log, owners) = (&self.log, &self.owners);
        self.held.retain(|address, _| {
            let wanted = owners.contains_key(address);
            if !wanted {
                info!(log, "no longer listening"; "address" => %address);
            }
            wanted
        });
    }
}

impl Handler<WaitOnlyFor> for SocketHolderActor {
    type Result = ();

    fn handle(&mut self, WaitOnlyFor { wanted }: WaitOnlyFor, _: &mut Self::Context) {
        self.failed.retain(|service, bind| wanted.get(service) == Some(&bind.wanted));
    }
}

impl Handler<AdoptSockets> for SocketHolderActor {
    type Result = Result<usize, String>;

    fn handle(&mut self, AdoptSockets { pid }: AdoptSockets, _: &mut Self::Context) -> Self::Result {
        let adopted = self.sockets.adopt(pid).inspect_err(|error| {
            warn!(self.log, "cannot take over the listening sockets, ports will be closed for a moment";
                "pid" => pid, "error" => error);
        })?;
        let count = adopted.len();
        for socket in adopted {
            self.held.entry(socket.address()).or_insert(socket);
        }
        info!(self.log, "took over listening sockets"; "pid" => pid, "sockets" => count);
        Ok(count)
    }
}

impl Handler<GetState> for SocketHolderActor {
    type Result = MessageResult<GetState>;

    fn handle(&mut self, _: GetState, _: &mut Self::Context) -> Self::Result {
        let held = self.held.iter().filter_map(|(address, socket)| Some((address.to_string(), socket.descriptor()?)));
        let failed = self.failed.iter().map(|(service, bind)| (service.clone(), bind.error.clone())).collect();
        MessageResult(ActorState::SocketHolder(SocketHolderState { held: held.collect(), failed }))
    }
}
