//! The inputs of the actors at their start: the ports to the outside, and the settings.

use std::rc::Rc;

use crate::decide::host_networks::HostNetworks;
use crate::decide::option_policy::OptionPolicy;
use crate::model::{DiscoveryPolicy, ProxyPolicy, ProxyVersion};
use crate::port::{
    ConfigFile, DefinitionSource, HostSources, ListeningSockets, NameResolver, ProxyProcesses, RuntimeApi,
    SavedJournal, SavedState, ServiceOutput, StateStore,
};

/// The ports, as the daemon or a simulation provides them.
#[derive(Clone)]
pub struct Outside {
    /// The source of definitions.
    pub definitions: Rc<dyn DefinitionSource>,
    /// The sources of hosts.
    pub host_sources: Rc<dyn HostSources>,
    /// The running HAProxy.
    pub runtime: Rc<dyn RuntimeApi>,
    /// haproxy.cfg.
    pub config_file: Rc<dyn ConfigFile>,
    /// The machine's resolver of host names.
    pub names: Rc<dyn NameResolver>,
    /// HAProxy's processes.
    pub processes: Rc<dyn ProxyProcesses>,
    /// The listening sockets.
    pub sockets: Rc<dyn ListeningSockets>,
    /// The store of the saved state.
    pub state_store: Rc<dyn StateStore>,
    /// The targets: further, external HAProxies.
    pub targets: Vec<RuntimeTarget>,
    /// Further outputs that are kept in sync.
    pub outputs: Vec<Rc<dyn ServiceOutput>>,
}

/// An external HAProxy that is managed at run time.
#[derive(Clone)]
pub struct RuntimeTarget {
    /// Its name in messages: the address of its Runtime API.
    pub name: String,
    /// Its Runtime API.
    pub runtime: Rc<dyn RuntimeApi>,
}

/// The settings of the actors.
pub struct Orders {
    /// How HAProxy is managed.
    pub policy: ProxyPolicy,
    /// The version of the HAProxy binary, where it is known before the first start.
    pub binary: Option<ProxyVersion>,
    /// The options that definitions may use, and their defaults.
    pub options: OptionPolicy,
    /// The largest share of the services that may be removed at once.
    pub services_removal_max: f64,
    /// How discovery is read, and how much of it is used.
    pub discovery: DiscoveryPolicy,
    /// The addresses that hosts may have.
    pub host_networks: HostNetworks,
    /// The state that an earlier run saved.
    pub restored: SavedState,
    /// The recent part of the journal that an earlier run saved.
    pub journal: SavedJournal,
}
