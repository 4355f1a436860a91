//! Consul as a source of hosts and of definitions.
//!
//! - `blocking`: blocking queries, which the server answers when there is a change.
//! - `hosts`: the instances of a service, with their health.
//! - `key_value`, `catalog`: definitions from a tree of keys, and from the tags of services.

mod blocking;
mod catalog;
mod hosts;
mod key_value;
#[cfg(any(test, fuzzing))]
pub(super) mod properties;

use std::rc::Rc;

use proxymgr_actors::limits::CONSUL_CONNECTIONS_MAX;

use super::http::{Clients, Credentials, HttpOptions, Servers, TlsFiles};
use blocking::Agents;
pub use catalog::ConsulCatalogDefinitions;
pub(super) use hosts::{KEYS, open};
pub use key_value::ConsulKeyDefinitions;

/// The header that carries a token.
pub const TOKEN_HEADER: &str = "x-consul-token";

/// A path that every agent answers at once, without a token, and even without a leader.
const PROBE_PATH: &str = "/v1/status/leader";

/// Options for Consul.
#[derive(Debug, Clone)]
pub struct ConsulOptions {
    /// The agents. A service may name other agents for its hosts.
    pub servers: Servers,
    /// The credentials for these agents.
    pub token: Credentials,
    /// For URLs that begin with `https:`.
    pub tls: TlsFiles,
    /// The datacenter, unless a service names one; none: that of the agent.
    pub datacenter: Option<String>,
    /// The most requests that wait at the agents at once; none: a default.
    pub connections_max: Option<usize>,
}

impl Default for ConsulOptions {
    fn default() -> Self {
        Self {
            servers: "http://127.0.0.1:8500".parse().expect("this is the URL of a server"),
            token: Credentials::None,
            tls: TlsFiles::default(),
            datacenter: None,
            connections_max: None,
        }
    }
}

/// The Consul agents of all sources. Clones share them.
#[derive(Clone)]
pub struct Consul {
    inner: Rc<Inner>,
}

struct Inner {
    agents: Agents,
    datacenter: Option<String>,
}

impl Consul {
    /// Connects to nothing before a source is opened.
    pub fn new(options: ConsulOptions) -> Self {
        let connections_max = options.connections_max.unwrap_or(CONSUL_CONNECTIONS_MAX);
        let http = HttpOptions {
            product: "Consul",
            tls: options.tls,
            credentials: options.token,
            connections_max: Some(connections_max),
            probe_path: Some(PROBE_PATH),
        };
        let agents = Agents::new(Clients::new(options.servers, http), connections_max);
        Self { inner: Rc::new(Inner { agents, datacenter: options.datacenter }) }
    }
}
