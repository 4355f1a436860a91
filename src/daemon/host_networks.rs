//! The addresses that hosts may have, from the settings and the addresses of this machine.

use std::net::Ipv4Addr;

use proxymgr_actors::decide::host_networks::HostNetworks;

use crate::settings::Settings;
use crate::settings::own_places::{local_addresses, runtime_apis};

/// The networks of `discovery.host_networks`, without this daemon's own listener and the Runtime APIs that it uses.
pub fn of(settings: &Settings) -> HostNetworks {
    let networks = settings.discovery.host_networks.clone().map_or_else(HostNetworks::default, HostNetworks::only);
    let listener = settings.status.listen.into_iter();
    let networks = listener.fold(networks, |networks, listen| {
        networks.without_listener("the status listener of proxymgr", listen, &local_addresses())
    });
    let what = "the Runtime API of a HAProxy";
    let local = local_addresses();
    runtime_apis(&settings.haproxy).fold(networks, |networks, (address, port)| {
        match address.ip().filter(|ip| ip.is_unspecified() || local.contains(&ip.to_canonical())) {
            // It may listen on all addresses of this machine.
            Some(_) => networks.without_listener(what, (Ipv4Addr::UNSPECIFIED, port).into(), &local),
            None => networks.without_endpoint(what, &address, port),
        }
    })
}
