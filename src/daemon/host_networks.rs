//! The addresses that hosts may have, from the settings and the addresses of this machine.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use proxymgr_actors::decide::base;
use proxymgr_actors::decide::host_networks::HostNetworks;

use crate::settings::Settings;
use crate::settings::own_places::{self, local_addresses, runtime_apis};

const RUNTIME_API: &str = "the Runtime API of a HAProxy";

/// The networks of `discovery.host_networks`, without this daemon's own listeners and the Runtime APIs that it uses.
pub fn of(settings: &Settings) -> HostNetworks {
    let networks = settings.discovery.host_networks.clone().map_or_else(HostNetworks::default, HostNetworks::only);
    let listener = settings.status.listen.into_iter();
    let networks = listener.fold(networks, |networks, listen| {
        networks.without_listener("the status listener of proxymgr", listen, &local_addresses())
    });
    let local = local_addresses();
    let networks = runtime_apis(&settings.haproxy).fold(networks, |networks, (address, port)| {
        match address.ip().filter(|ip| ip.is_unspecified() || local.contains(&ip.to_canonical())) {
            // It may listen on all addresses of this machine.
            Some(_) => networks.without_listener(RUNTIME_API, (Ipv4Addr::UNSPECIFIED, port).into(), &local),
            None => networks.without_endpoint(RUNTIME_API, &address, port),
        }
    });
    own_sockets(settings).into_iter().fold(networks, |networks, (what, path)| networks.without_socket(what, &path))
}

/// Returns the unix sockets of this daemon and its HAProxies, each as HAProxy reaches it.
fn own_sockets(settings: &Settings) -> Vec<(&'static str, PathBuf)> {
    let base = &settings.haproxy.policy.base_config;
    let mut own = own_places::sockets(settings.status.socket.path.as_deref(), &settings.haproxy);
    if let Some(root) = base::chroot(base) {
        let below =
            own.iter().filter_map(|(what, path)| Some((*what, Path::new("/").join(path.strip_prefix(&root).ok()?))));
        own.extend(below.collect::<Vec<_>>());
    }
    own
}
