//! etcd (3.4 and later) as a source of hosts and of definitions, by the JSON form of its API.
//!
//! - `cluster`: calls of the API, with a token if a user is configured.
//! - `message`: the responses.
//! - `prefix`: the decoded keys below a prefix, kept in sync by a watch that is resumed where it ended.
//! - `hosts`, `definitions`: decode the keys.

mod cluster;
mod definitions;
mod hosts;
mod message;
mod prefix;
#[cfg(any(test, fuzzing))]
pub(super) mod properties;

use std::rc::Rc;

use super::http::{Clients, Credentials, HttpOptions, Servers, TlsFiles};
use crate::secret::Secret;
use cluster::{Cluster, Login};
pub use definitions::EtcdDefinitions;
pub(super) use hosts::{KEYS, open};

/// A path that every member answers at once, even without the other members.
const PROBE_PATH: &str = "/version";

/// Options for etcd.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// The members. A service may name other members for its hosts.
    pub servers: Servers,
    /// The user for these members.
    pub user: Option<EtcdUser>,
    /// For URLs that begin with `https:`.
    pub tls: TlsFiles,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        let servers = "http://127.0.0.1:2379".parse().expect("this is the URL of a server");
        Self { servers, user: None, tls: TlsFiles::default() }
    }
}

/// A user and a password, which is never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdUser {
    name: String,
    password: Secret,
}

impl EtcdUser {
    /// Parses `user:password`. The error does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((name, password)) if !name.is_empty() && !password.is_empty() => {
                Ok(Self { name: name.to_owned(), password: password.into() })
            }
            _ => Err("the etcd credentials must have the form user:password".to_owned()),
        }
    }
}

/// The etcd clusters of all sources. Clones share them.
#[derive(Clone)]
pub struct Etcd {
    inner: Rc<Inner>,
}

struct Inner {
    servers: Servers,
    clients: Clients,
    login: Option<Rc<Login>>,
}

impl Etcd {
    /// Connects to nothing before a source is opened.
    pub fn new(options: EtcdOptions) -> Self {
        // The credentials are a token, which requires a login first.
        let http = HttpOptions {
            product: "etcd",
            tls: options.tls,
            credentials: Credentials::None,
            connections_max: None,
            probe_path: Some(PROBE_PATH),
        };
        let clients = Clients::new(options.servers.clone(), http);
        let login = options.user.map(|user| Rc::new(Login::new(user)));
        Self { inner: Rc::new(Inner { servers: options.servers, clients, login }) }
    }

    /// The cluster with these members, or that of the settings, which alone receives the credentials.
    fn cluster(&self, servers: Option<Servers>) -> Cluster {
        let inner = &self.inner;
        let http = inner.clients.of(servers);
        let login = inner.login.clone().filter(|_| *http.servers() == inner.servers);
        Cluster::new(http, login)
    }
}
