//! One client for all sources with the same servers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use super::{Credentials, HttpClient, HttpOptions, Servers};

/// The clients of one kind of service, by servers.
pub struct Clients {
    servers: Servers,
    options: HttpOptions,
    open: RefCell<BTreeMap<Servers, Weak<HttpClient>>>,
}

impl Clients {
    /// Returns an empty set. The credentials of `options` are sent only to `servers`: the author of a definition may
    /// name other servers.
    pub fn new(servers: Servers, options: HttpOptions) -> Self {
        Self { servers, options, open: RefCell::default() }
    }

    /// The client of these servers, or of those in the settings. Its connections are closed when the last user drops
    /// it.
    pub fn of(&self, servers: Option<Servers>) -> Rc<HttpClient> {
        let servers = servers.unwrap_or_else(|| self.servers.clone());
        let mut open = self.open.borrow_mut();
        if let Some(client) = open.get(&servers).and_then(Weak::upgrade) {
            return client;
        }
        open.retain(|_, client| client.strong_count() > 0);
        let mut options = self.options.clone();
        if servers != self.servers {
            options.credentials = Credentials::None;
            options.tls.identity = None;
        }
        let client = Rc::new(HttpClient::new(servers.clone(), options));
        open.insert(servers, Rc::downgrade(&client));
        client
    }
}
