//! The listeners of this daemon and the Runtime APIs that it uses, from the settings and the addresses of this machine.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use nix::ifaddrs::getifaddrs;
use proxymgr_actors::decide::base;
use proxymgr_actors::decide::own_places::OwnPlaces;
use proxymgr_actors::model::Address;

use super::{HaproxySettings, RuntimeAddress};

const RUNTIME_API: &str = "the Runtime API of a HAProxy";

/// Returns the status listener, the Runtime APIs that are reached over TCP, and all unix sockets. `orders` is that of the
/// command line.
pub(super) fn of(listen: Option<SocketAddr>, orders: Option<&Path>, haproxy: &HaproxySettings) -> OwnPlaces {
    let mut own = OwnPlaces::default();
    for (what, path) in sockets(orders, haproxy) {
        own.add_socket(what, &path);
    }
    if let Some(listen) = listen {
        let addresses = if listen.ip().is_unspecified() { local_addresses() } else { vec![listen.ip()] };
        own.add("the status listener of proxymgr", listen.port(), addresses);
    }
    for (address, port) in runtime_apis(haproxy) {
        let addresses = match address.ip() {
            Some(ip) if ip.is_unspecified() => local_addresses(),
            ip => ip.into_iter().collect(),
        };
        own.add(RUNTIME_API, port, addresses);
    }
    own
}

/// Returns the unix sockets of this daemon and its HAProxies, each with what it is.
pub fn sockets(orders: Option<&Path>, haproxy: &HaproxySettings) -> Vec<(&'static str, PathBuf)> {
    let base = &haproxy.policy.base_config;
    let apis = haproxy.targets.iter().map(|target| &target.address).chain([&haproxy.socket]);
    let apis = apis.filter_map(|address| match address {
        RuntimeAddress::Unix(path) => Some(path.clone()),
        RuntimeAddress::Tcp(_) => None,
    });
    let apis = apis.chain(base::runtime_sockets(base)).map(|path| (RUNTIME_API, path));
    let orders = orders.map(|path| ("the socket for orders of proxymgr", path.to_owned()));
    let peers = ("the socket of HAProxy's local peer", base::peer_socket_path(base));
    apis.chain(orders).chain([peers]).collect()
}

/// Returns the addresses of the Runtime APIs that are reached over TCP: those that proxymgr uses, and those that the base
/// configuration opens for others. An unspecified address stands for all of this machine.
pub fn runtime_apis(haproxy: &HaproxySettings) -> impl Iterator<Item = (Address, u16)> {
    let addresses = haproxy.targets.iter().map(|target| &target.address).chain([&haproxy.socket]);
    let used = addresses.filter_map(|address| match address {
        RuntimeAddress::Unix(_) => None,
        RuntimeAddress::Tcp(server) => {
            let (host, port) = server.rsplit_once(':')?;
            Some((Address::parse(host).ok()?, port.parse().ok()?))
        }
    });
    used.chain(base::runtime_apis(&haproxy.policy.base_config))
}

/// The addresses of this machine; loopback alone where they cannot be read.
pub fn local_addresses() -> Vec<IpAddr> {
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)];
    let sockets = getifaddrs().into_iter().flatten().filter_map(|interface| interface.address);
    addresses.extend(sockets.filter_map(|socket| {
        let v4 = socket.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| socket.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    }));
    addresses
}
