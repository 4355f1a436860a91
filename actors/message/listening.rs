//! Messages about listening sockets.

use std::collections::{BTreeMap, BTreeSet};

use actix::Message;
use itertools::Itertools;

use crate::decide::routing::{FrontendKind, shares};
use crate::model::{Descriptors, ListenAddress, ServiceDefinition, ServiceName};

/// deployment -> SocketHolderActor: hold these listening sockets, and open those that are not open yet. Closes nothing.
#[derive(Debug, Clone, Message)]
#[rtype(result = "SocketsHeld")]
pub struct HoldSockets {
    /// The addresses that each service listens on.
    pub wanted: BTreeMap<ServiceName, WantedSockets>,
    /// The addresses of the base configuration.
    pub base: BTreeSet<ListenAddress>,
    /// The services that had these addresses before: they come first, also after a restart of the daemon.
    pub had: BTreeSet<ServiceName>,
    /// The addresses of the last good sections of an earlier run of the daemon, where they differ: they may be needed
    /// again. Ports in use are not waited for.
    pub last_good: BTreeMap<ServiceName, WantedSockets>,
}

/// The listening sockets that a service needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedSockets {
    /// The addresses.
    pub addresses: BTreeSet<ListenAddress>,
    /// How services that share them are distinguished; `None` where none shares them.
    pub shared: Option<FrontendKind>,
}

impl WantedSockets {
    /// Returns the sockets of a service with this definition; `None` where it needs none.
    pub fn of(definition: &ServiceDefinition) -> Option<Self> {
        let addresses: BTreeSet<_> = definition.addresses().collect();
        (!addresses.is_empty()).then_some(Self { addresses, shared: shares(definition) })
    }

    /// Returns the addresses as text.
    pub fn shown(&self) -> String {
        self.addresses.iter().join(", ")
    }
}

/// An address that could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotOpened {
    /// The address.
    pub address: ListenAddress,
    /// Why.
    pub error: String,
}

/// SocketHolderActor's answer to [`HoldSockets`].
#[derive(Debug, Clone, Default)]
pub struct SocketsHeld {
    /// The services whose sockets are held, with their descriptors.
    pub descriptors: BTreeMap<ServiceName, Descriptors>,
    /// The sockets of the base configuration that are held.
    pub base: Descriptors,
    /// The sockets of the last good sections, as far as they are available. Another service may use the same ones.
    pub last_good: BTreeMap<ServiceName, Descriptors>,
    /// The services with an address that could not be opened. The holder retries.
    pub failed: BTreeMap<ServiceName, NotOpened>,
    /// The addresses of the base configuration that could not be opened. The holder retries.
    pub base_failed: Vec<NotOpened>,
}

/// HaproxyStateActor -> SocketHolderActor: only these sockets are in use; close all others, so that clients are refused
/// instead of waiting.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ReleaseSockets {
    /// The sockets in use, by service: these stay open, and other services have to wait for them.
    pub keep: BTreeMap<ServiceName, WantedSockets>,
    /// The sockets in use by the base configuration.
    pub base: BTreeSet<ListenAddress>,
}

/// HaproxyStateActor -> SocketHolderActor: only these sockets are needed; end the waits for all others.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct WaitOnlyFor {
    /// The sockets of all defined services.
    pub wanted: BTreeMap<ServiceName, WantedSockets>,
    /// The sockets of the base configuration.
    pub base: BTreeSet<ListenAddress>,
}

/// SocketHolderActor -> HaproxyStateActor: a port that could not be bound before is now held.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SocketOpened {
    /// The service that was waiting for it; `None` for the base configuration.
    pub service: Option<ServiceName>,
}

/// deployment -> SocketHolderActor: take copies of the listening sockets of an orphaned HAProxy.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<usize, String>")]
pub struct AdoptSockets {
    /// The process that holds them.
    pub pid: u32,
}
