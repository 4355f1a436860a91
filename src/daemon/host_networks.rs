//! The addresses that hosts may have, from the settings and the addresses of this machine.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use proxymgr_actors::decide::host_networks::HostNetworks;
use proxymgr_actors::model::Address;

use crate::settings::{RuntimeAddress, Settings};

/// The networks of `discovery.host_networks`, without this daemon's own listener and the Runtime APIs that it uses.
pub fn of(settings: &Settings) -> HostNetworks {
    let networks = settings.discovery.host_networks.clone().map_or_else(HostNetworks::default, HostNetworks::only);
    let listener = settings.status.listen.into_iter();
    let networks = listener.fold(networks, |networks, listen| {
        networks.without_listener("the status listener of proxymgr", listen, &local_addresses())
    });
    let targets = settings.haproxy.targets.iter().map(|target| &target.address);
    targets.chain([&settings.haproxy.socket]).fold(networks, |networks, address| match address {
        RuntimeAddress::Unix(_) => networks,
        RuntimeAddress::Tcp(server) => match server
            .rsplit_once(':')
            .map(|(host, port)| (Address::parse(host), port.parse()))
        {
            Some((Ok(address), Ok(port))) => networks.without_endpoint("the Runtime API of a HAProxy", &address, port),
            _ => networks,
        },
    })
}

/// The addresses of this machine; loopback alone where they cannot be read.
fn local_addresses() -> Vec<IpAddr> {
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)];
    let sockets = getifaddrs().into_iter().flatten().filter_map(|interface| interface.address);
    addresses.extend(sockets.filter_map(|socket| {
        let v4 = socket.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| socket.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    }));
    addresses
}
