//! Opens, holds and releases the listening sockets, so that a reload of HAProxy never closes one in use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::rc::Rc;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, Recipient};
use slog::{Logger, error, info, warn};

use crate::decide::routing::FrontendKind;
use crate::limits::BIND_RETRY;
use crate::message::{
    AdoptSockets, CloseSockets, GetState, HoldSockets, NotOpened, ReleaseSockets, SocketOpened, SocketsHeld,
    WaitOnlyFor, WantedSockets,
};
use crate::model::{Descriptors, ListenAddress, ServiceName};
use crate::port::{HeldSocket, ListeningSockets};
use crate::snapshot::{ActorState, SocketHolderState};

/// Holds every listening socket of the daemon.
pub struct SocketHolderActor {
    sockets: Rc<dyn ListeningSockets>,
    held: BTreeMap<ListenAddress, Box<dyn HeldSocket>>,
    owners: AddressOwners,
    /// The addresses of the base configuration, which no service gets.
    base: BTreeSet<ListenAddress>,
    failed: FailedBinds,
    /// Whether a retry of failed binds is scheduled.
    retry_waits: bool,
    /// Whether the daemon stops, so that no socket is opened any more.
    is_closed: bool,
    haproxy: Recipient<SocketOpened>,
    log: Logger,
}

/// The sockets that could not be opened, which are retried.
#[derive(Default)]
struct FailedBinds {
    services: BTreeMap<ServiceName, FailedBind>,
    base: BTreeMap<ListenAddress, String>,
}

impl FailedBinds {
    fn is_empty(&self) -> bool {
        self.services.is_empty() && self.base.is_empty()
    }
}

/// The services of each address: the first service that requested it keeps it, unless they share it.
#[derive(Default)]
struct AddressOwners(BTreeMap<(u16, ListenAddress), Owners>);

/// The services of an address; never empty.
struct Owners {
    services: BTreeSet<ServiceName>,
    /// How services that may share it are distinguished.
    shared: Option<FrontendKind>,
}

impl AddressOwners {
    /// Returns the key of an address. Only addresses with the same port can cover each other.
    fn key(address: &ListenAddress) -> (u16, ListenAddress) {
        (address.ip().map_or(0, |address| address.port()), address.clone())
    }

    fn add(&mut self, service: &ServiceName, address: &ListenAddress, shared: Option<FrontendKind>) {
        let nobody = || Owners { services: BTreeSet::new(), shared };
        let owners = self.0.entry(Self::key(address)).or_insert_with(nobody);
        owners.shared = shared;
        owners.services.insert(service.clone());
    }

    /// Returns another service that has this address, or one that covers it, and does not share it.
    fn rival(
        &self,
        service: &ServiceName,
        address: &ListenAddress,
        shared: Option<FrontendKind>,
    ) -> Option<&ServiceName> {
        let (port, _) = Self::key(address);
        let same_port = self
            .0
            .range((port, first_address())..)
            .take_while(move |((held, _), _)| *held == port)
            .filter(|((_, held), _)| held.covers(address));
        let rivals = same_port
            .filter(|((_, held), owners)| !(held == address && shared.is_some() && owners.shared == shared))
            .flat_map(|(_, owners)| &owners.services);
        rivals.into_iter().find(|owner| *owner != service)
    }

    /// Removes the owners of addresses that changed or were removed; the socket itself stays until [`ReleaseSockets`].
    /// Where the remaining owners differ on whether to share it, those that share keep it.
    fn keep_only(&mut self, wanted: &BTreeMap<ServiceName, WantedSockets>) {
        self.share(wanted);
        self.0.retain(|(_, address), owners| {
            let here = |owner: &ServiceName| wanted.get(owner).filter(|sockets| sockets.addresses.contains(address));
            let sharing = owners.services.iter().filter_map(|owner| here(owner)?.shared);
            let shared = sharing.min();
            owners.shared = shared;
            owners.services.retain(|owner| here(owner).is_some_and(|sockets| sockets.shared == shared));
            let first = owners.services.first().cloned();
            owners.services.retain(|owner| shared.is_some() || Some(owner) == first.as_ref());
            !owners.services.is_empty()
        });
    }

    /// Adds services to the addresses that they share with others. One whose backend was added at run time never requested
    /// them.
    fn share(&mut self, wanted: &BTreeMap<ServiceName, WantedSockets>) {
        for (service, sockets) in wanted.iter().filter(|(_, sockets)| sockets.shared.is_some()) {
            for address in &sockets.addresses {
                let owners = self.0.get_mut(&Self::key(address)).filter(|owners| owners.shared == sockets.shared);
                if let Some(owners) = owners {
                    owners.services.insert(service.clone());
                }
            }
        }
    }

    fn contains(&self, address: &ListenAddress) -> bool {
        self.0.contains_key(&Self::key(address))
    }
}

struct FailedBind {
    wanted: WantedSockets,
    not_opened: NotOpened,
}

impl SocketHolderActor {
    /// Creates a holder with the sockets from before a restart in place, if any. `haproxy` is notified of ports that could
    /// only be bound later.
    pub fn new(sockets: Rc<dyn ListeningSockets>, haproxy: Recipient<SocketOpened>, log: Logger) -> Self {
        let held = sockets.continued().into_iter().map(|socket| (socket.address(), socket)).collect();
        Self {
            sockets,
            held,
            owners: AddressOwners::default(),
            base: BTreeSet::new(),
            failed: FailedBinds::default(),
            retry_waits: false,
            is_closed: false,
            haproxy,
            log,
        }
    }

    /// Opens all addresses of a service and assigns them to it, or none.
    fn hold(&mut self, service: &ServiceName, wanted: &WantedSockets) -> Result<Descriptors, NotOpened> {
        let descriptors = self.open_all(service, wanted)?;
        for address in &wanted.addresses {
            self.owners.add(service, address, wanted.shared);
        }
        Ok(descriptors)
    }

    /// Opens all addresses of a service, without assigning them: other services may still take them.
    fn open_all(&mut self, service: &ServiceName, wanted: &WantedSockets) -> Result<Descriptors, NotOpened> {
        let open = |address: &ListenAddress| {
            let descriptor = self.open(service, address, wanted);
            descriptor
                .map(|descriptor| (address.clone(), descriptor))
                .map_err(|error| NotOpened { address: address.clone(), error })
        };
        wanted.addresses.iter().map(open).collect()
    }

    fn open(
        &mut self,
        service: &ServiceName,
        address: &ListenAddress,
        wanted: &WantedSockets,
    ) -> Result<Option<RawFd>, String> {
        if let Some(of_base) = self.base.iter().find(|of_base| of_base.covers(address)) {
            return Err(format!("{address} is already taken by the base configuration, which listens on {of_base}"));
        }
        if let Some(owner) = self.owners.rival(service, address, wanted.shared) {
            return Err(format!("{address} is already taken by the service {owner}, which requested it first"));
        }
        self.opened(address, service.as_str(), &wanted.addresses)
    }

    /// Returns the descriptor of an address, which is opened if it is not held yet. It may overlap with further addresses of
    /// its owner.
    fn opened(
        &mut self,
        address: &ListenAddress,
        owner: &str,
        own: &BTreeSet<ListenAddress>,
    ) -> Result<Option<RawFd>, String> {
        if let Some(held) = self.held.get(address) {
            return Ok(held.descriptor());
        }
        if self.is_closed {
            return Err("the daemon is stopping".to_owned());
        }
        let port = |address: &ListenAddress| address.ip().map(|address| address.port());
        let beside = own.iter().filter(|other| port(other) == port(address)).filter_map(|other| self.held.get(other));
        let beside: Vec<&dyn HeldSocket> = beside.map(|held| &**held).collect();
        let socket = self.sockets.open(address, &beside)?;
        let descriptor = socket.descriptor();
        info!(self.log, "listening"; "address" => %address, "service" => owner, "fd" => descriptor);
        self.held.insert(address.clone(), socket);
        Ok(descriptor)
    }

    /// Opens the addresses of the base configuration. They come before those of services.
    fn hold_base(&mut self, wanted: BTreeSet<ListenAddress>, answer: &mut SocketsHeld) {
        self.failed.base.retain(|address, _| wanted.contains(address));
        for address in &wanted {
            match self.opened(address, BASE, &wanted) {
                Ok(descriptor) => {
                    self.failed.base.remove(address);
                    answer.base.insert(address.clone(), descriptor);
                }
                Err(error) => {
                    if self.failed.base.insert(address.clone(), error.clone()).is_none() {
                        error!(self.log, "cannot listen for the base configuration, retrying every second";
                            "address" => %address, "error" => &error);
                    }
                    answer.base_failed.push(NotOpened { address: address.clone(), error });
                }
            }
        }
        self.base = wanted;
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
        let wanted: Vec<_> =
            self.failed.services.iter().map(|(service, bind)| (service.clone(), bind.wanted.clone())).collect();
        for (service, wanted) in wanted {
            match self.hold(&service, &wanted) {
                Ok(_) => {
                    info!(self.log, "the port is free now"; "service" => %service, "addresses" => wanted.shown());
                    self.failed.services.remove(&service);
                    self.haproxy.do_send(SocketOpened { service: Some(service) });
                }
                Err(not_opened) => {
                    self.failed.services.insert(service, FailedBind { wanted, not_opened });
                }
            }
        }
        let of_base: Vec<_> = self.failed.base.keys().cloned().collect();
        for address in of_base {
            let own = self.base.clone();
            if self.opened(&address, BASE, &own).is_ok() {
                self.failed.base.remove(&address);
                self.haproxy.do_send(SocketOpened { service: None });
            }
        }
    }
}

/// Returns the first address in the order of addresses.
fn first_address() -> ListenAddress {
    ListenAddress::Ip(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
}

/// The owner of the sockets of the base configuration, in the log.
const BASE: &str = "the base configuration";

impl Actor for SocketHolderActor {
    type Context = Context<Self>;
}

impl Handler<HoldSockets> for SocketHolderActor {
    type Result = MessageResult<HoldSockets>;

    fn handle(&mut self, request: HoldSockets, ctx: &mut Self::Context) -> Self::Result {
        let HoldSockets { wanted, base, had, last_good } = request;
        self.owners.keep_only(&wanted);
        let mut answer = SocketsHeld::default();
        self.hold_base(base, &mut answer);
        let (before, newer): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(service, _)| had.contains(service));
        for (service, sockets) in before.into_iter().chain(newer) {
            match self.hold(&service, &sockets) {
                Ok(descriptors) => {
                    self.failed.services.remove(&service);
                    answer.descriptors.insert(service, descriptors);
                }
                Err(not_opened) => {
                    error!(self.log, "cannot listen, retrying every second";
                        "service" => %service, "address" => %not_opened.address, "error" => &not_opened.error);
                    let failed = FailedBind { wanted: sockets, not_opened: not_opened.clone() };
                    self.failed.services.insert(service.clone(), failed);
                    answer.failed.insert(service, not_opened);
                }
            }
        }
        // Sockets of last good sections are only opened: the deployment decides which service gets them.
        for (service, sockets) in last_good {
            let held = |address: &ListenAddress| {
                let held = self.held.get(address).filter(|_| !self.base.contains(address))?;
                Some((address.clone(), held.descriptor()))
            };
            let held: Option<Descriptors> = sockets.addresses.iter().map(held).collect();
            let descriptors = held.map_or_else(|| self.open_all(&service, &sockets), Ok);
            answer.last_good.extend(descriptors.ok().map(|descriptors| (service, descriptors)));
        }
        self.retry_later(ctx);
        MessageResult(answer)
    }
}

impl Handler<ReleaseSockets> for SocketHolderActor {
    type Result = ();

    fn handle(&mut self, ReleaseSockets { keep, base }: ReleaseSockets, _: &mut Self::Context) {
        self.owners = AddressOwners::default();
        self.base = base;
        for (service, sockets) in keep {
            for address in &sockets.addresses {
                self.owners.add(&service, address, sockets.shared);
            }
        }
        let (log, owners, base) = (&self.log, &self.owners, &self.base);
        self.held.retain(|address, _| {
            let wanted = owners.contains(address) || base.contains(address);
            if !wanted {
                info!(log, "no longer listening"; "address" => %address);
            }
            wanted
        });
    }
}

impl Handler<CloseSockets> for SocketHolderActor {
    type Result = ();

    fn handle(&mut self, _: CloseSockets, _: &mut Self::Context) {
        self.is_closed = true;
        self.failed = FailedBinds::default();
        let held = std::mem::take(&mut self.held);
        info!(self.log, "new clients are refused"; "sockets" => held.len());
        held.values().for_each(|socket| socket.refuse_clients());
    }
}

impl Handler<WaitOnlyFor> for SocketHolderActor {
    type Result = ();

    fn handle(&mut self, WaitOnlyFor { wanted, base }: WaitOnlyFor, _: &mut Self::Context) {
        self.failed.services.retain(|service, bind| wanted.get(service) == Some(&bind.wanted));
        self.failed.base.retain(|address, _| base.contains(address));
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
        if count > 0 {
            info!(self.log, "took over listening sockets"; "pid" => pid, "sockets" => count);
        }
        Ok(count)
    }
}

impl Handler<GetState> for SocketHolderActor {
    type Result = MessageResult<GetState>;

    fn handle(&mut self, _: GetState, _: &mut Self::Context) -> Self::Result {
        let held = self.held.iter().filter_map(|(address, socket)| Some((address.to_string(), socket.descriptor()?)));
        let failed = self.failed.services.iter();
        let failed = failed.map(|(service, bind)| (service.clone(), bind.not_opened.error.clone())).collect();
        MessageResult(ActorState::SocketHolder(SocketHolderState { held: held.collect(), failed }))
    }
}
