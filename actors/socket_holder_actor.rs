//! Opens, keeps and releases the listening sockets, so that a reload of HAProxy never closes one that is wanted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, Recipient};
use slog::{Logger, error, info, warn};

use crate::limits::BIND_RETRY;
use crate::message::{AdoptSockets, GetState, HoldSockets, ReleaseSockets, SocketOpened, SocketsHeld};
use crate::model::ServiceName;
use crate::port::{HeldSocket, ListeningSockets};
use crate::snapshot::{ActorState, SocketHolderState};

/// Holds every listening socket of the daemon.
pub struct SocketHolderActor {
    sockets: Rc<dyn ListeningSockets>,
    held: BTreeMap<SocketAddr, Box<dyn HeldSocket>>,
    /// Which service each address belongs to: the first that asked keeps it.
    owners: BTreeMap<SocketAddr, ServiceName>,
    failed: BTreeMap<ServiceName, FailedBind>,
    haproxy: Recipient<SocketOpened>,
    log: Logger,
}

struct FailedBind {
    address: SocketAddr,
    error: String,
}

impl SocketHolderActor {
    /// A holder of nothing yet. `haproxy` hears of ports that could be bound late.
    pub fn new(sockets: Rc<dyn ListeningSockets>, haproxy: Recipient<SocketOpened>, log: Logger) -> Self {
        Self { sockets, held: BTreeMap::new(), owners: BTreeMap::new(), failed: BTreeMap::new(), haproxy, log }
    }

    fn hold(&mut self, service: &ServiceName, address: SocketAddr) -> Result<Option<RawFd>, String> {
        if let Some(owner) = self.rival(service, address) {
            return Err(format!("{address} is already taken by the service {owner}, which came first"));
        }
        if !self.held.contains_key(&address) {
            let socket = self.sockets.open(address)?;
            info!(self.log, "listening"; "address" => %address, "service" => %service, "fd" => socket.descriptor());
            self.held.insert(address, socket);
        }
        self.owners.insert(address, service.clone());
        Ok(self.held[&address].descriptor())
    }

    /// Holds an address that the service may have to go back to. It stays free for whoever wants it.
    fn hold_besides(&mut self, service: &ServiceName, address: SocketAddr) -> Option<Option<RawFd>> {
        if self.rival(service, address).is_some() {
            return None;
        }
        let descriptor = self.hold(service, address).ok()?;
        self.owners.remove(&address);
        Some(descriptor)
    }

    /// The other service that has this address, or one that covers it.
    fn rival(&self, service: &ServiceName, address: SocketAddr) -> Option<&ServiceName> {
        let covers = |other: &SocketAddr| {
            other.port() == address.port()
                && (other.ip() == address.ip()
                    || (other.is_ipv4() == address.is_ipv4()
                        && (other.ip().is_unspecified() || address.ip().is_unspecified())))
        };
        self.owners.iter().find(|(held, owner)| covers(held) && *owner != service).map(|(_, owner)| owner)
    }

    fn retry(&mut self) {
        let addresses: Vec<_> = self.failed.iter().map(|(service, bind)| (service.clone(), bind.address)).collect();
        for (service, address) in addresses {
            match self.hold(&service, address) {
                Ok(_) => {
                    info!(self.log, "the port is free at last"; "service" => %service, "address" => %address);
                    self.failed.remove(&service);
                    self.haproxy.do_send(SocketOpened { service });
                }
                Err(error) => {
                    self.failed.insert(service, FailedBind { address, error });
                }
            }
        }
    }
}

impl Actor for SocketHolderActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(BIND_RETRY, |holder, _| holder.retry());
    }
}

impl Handler<HoldSockets> for SocketHolderActor {
    type Result = MessageResult<HoldSockets>;

    fn handle(&mut self, HoldSockets { wanted, last_good }: HoldSockets, _: &mut Self::Context) -> Self::Result {
        // A service that moved or went gives its address up; the socket itself stays until `ReleaseSockets`.
        self.owners.retain(|address, owner| wanted.get(owner) == Some(address));
        self.failed.retain(|service, _| wanted.contains_key(service));
        let mut answer = SocketsHeld::default();
        for (service, address) in wanted {
            match self.hold(&service, address) {
                Ok(descriptor) => {
                    self.failed.remove(&service);
                    answer.descriptors.insert(service, descriptor);
                }
                Err(error) => {
                    error!(self.log, "cannot listen, trying again every second";
                        "service" => %service, "address" => %address, "error" => &error);
                    self.failed.insert(service.clone(), FailedBind { address, error: error.clone() });
                    answer.failed.insert(service, error);
                }
            }
        }
        for (service, address) in last_good {
            answer.last_good.extend(self.hold_besides(&service, address).map(|descriptor| (service, descriptor)));
        }
        MessageResult(answer)
    }
}

impl Handler<ReleaseSockets> for SocketHolderActor {
    type Result = ();

    fn handle(&mut self, ReleaseSockets { keep }: ReleaseSockets, _: &mut Self::Context) {
        let log = &self.log;
        self.held.retain(|address, _| {
            let wanted = keep.contains_key(address);
            if !wanted {
                info!(log, "no longer listening"; "address" => %address);
            }
            wanted
        });
        self.owners = keep;
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
