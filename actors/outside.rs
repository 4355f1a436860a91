//! What the actors are started with: the outside world, and what to do with it.

use std::rc::Rc;

use crate::decide::option_policy::OptionPolicy;
use crate::model::{ProxyPolicy, ProxyVersion};
use crate::port::{
    ConfigFile, DefinitionSource, HostSources, ListeningSockets, NameResolver, ProxyProcesses, RuntimeApi, SavedState,
    ServiceOutput, StateStore,
};

/// The outside world, as the daemon or a simulation provides it.
#[derive(Clone)]
pub struct Outside {
    /// Where services are defined.
    pub definitions: Rc<dyn DefinitionSource>,
    /// Where hosts are found.
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
    /// What survives a restart of the daemon.
    pub state_store: Rc<dyn StateStore>,
    /// Further HAProxies, which somebody else runs.
    pub targets: Vec<RuntimeTarget>,
    /// What else is kept in step.
    pub outputs: Vec<Rc<dyn ServiceOutput>>,
}

/// A HAProxy that somebody else runs and that is driven at run time.
#[derive(Clone)]
pub struct RuntimeTarget {
    /// What messages call it: where its Runtime API is.
    pub name: String,
    /// Its Runtime API.
    pub runtime: Rc<dyn RuntimeApi>,
}

/// What the actors are to do with the outside.
pub struct Orders {
    /// How HAProxy is driven.
    pub policy: ProxyPolicy,
    /// The version of the HAProxy binary, where it is known before the first start.
    pub binary: Option<ProxyVersion>,
    /// What services' definitions may say, and what holds where they say nothing.
    pub options: OptionPolicy,
    /// The largest share of the services that definitions may take away at once.
    pub services_removal_max: f64,
    /// What an earlier run saved.
    pub restored: SavedState,
}
