//! The ports, addresses and unix sockets that belong to proxymgr itself: health checks must not connect to them, and services
//! must not listen on them. Checks are also limited to the networks of hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

/// The listeners of this daemon and the Runtime APIs that it uses over TCP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnPlaces {
    ports: BTreeMap<u16, &'static str>,
    addresses: BTreeSet<IpAddr>,
    sockets: BTreeMap<PathBuf, &'static str>,
    /// The networks that health checks may connect to; `None` for all.
    networks: Option<Vec<IpNet>>,
}

impl OwnPlaces {
    /// Adds a listener. `addresses` are those at which it answers, as far as they are known.
    pub fn add(&mut self, what: &'static str, port: u16, addresses: impl IntoIterator<Item = IpAddr>) {
        self.ports.insert(port, what);
        self.addresses.extend(addresses.into_iter().map(|address| address.to_canonical()));
    }

    /// Limits health checks to these networks.
    pub fn limit_checks(&mut self, networks: Vec<IpNet>) {
        self.networks = Some(networks);
    }

    /// Returns whether health checks may connect to this address.
    pub fn are_checked_at(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.as_ref().is_none_or(|networks| networks.iter().any(|network| network.contains(&address)))
    }

    /// Adds a unix socket.
    pub fn add_socket(&mut self, what: &'static str, path: &Path) {
        // The components of a path are the same in each spelling.
        self.sockets.insert(path.components().collect(), what);
    }

    /// Returns what listens on this unix socket.
    pub fn at_socket(&self, path: &str) -> Option<&'static str> {
        self.sockets.get(&Path::new(path).components().collect::<PathBuf>()).copied()
    }

    /// Returns what has this port. The port counts at every address: a check connects to that of the host, which may be
    /// any, or a name.
    pub fn at_port(&self, port: u16) -> Option<&'static str> {
        self.ports.get(&port).copied()
    }

    /// Returns whether one of them has this address. The port counts as theirs: without the option `port` a check uses
    /// that of the host, which may be at another address.
    pub fn are_at(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address.to_canonical())
    }
}
