//! The addresses that hosts may have: the author of a definition must not reach what only this machine can.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;

use super::grants::HostGrant;
use crate::model::{Address, Endpoint, Host, HostList, SeenHost, SocketPath};

/// Which addresses hosts may have (`discovery.host_networks`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostNetworks {
    /// The networks of hosts; `None` where every network is allowed.
    allowed: Option<Vec<IpNet>>,
    /// The networks that the service's grant names, in place of `allowed`.
    granted: Option<Vec<IpNet>>,
    /// The beginnings of the paths of unix sockets that the service's grant names.
    granted_sockets: Vec<String>,
    /// The listeners of this daemon and the Runtime APIs that it uses.
    own: Vec<OwnListener>,
    /// The unix sockets among them, each with what it is.
    own_sockets: Vec<(PathBuf, &'static str)>,
}

/// A listener that no host may be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OwnListener {
    /// What it is, for messages.
    what: &'static str,
    /// Its addresses; `None` for a host name, which stands for any.
    addresses: Option<BTreeSet<IpAddr>>,
    port: u16,
}

impl HostNetworks {
    /// Allows these networks only, and no host names, which could lead anywhere.
    pub fn only(networks: Vec<IpNet>) -> Self {
        Self { allowed: Some(networks), ..Self::default() }
    }

    /// Allows the networks of this grant, if it names some, in place of those of the settings, and its unix sockets.
    #[must_use]
    pub fn granted(&self, HostGrant { networks, unix_sockets, .. }: &HostGrant) -> Self {
        let granted_sockets = unix_sockets.clone().unwrap_or_default();
        Self { granted: networks.clone(), granted_sockets, ..self.clone() }
    }

    /// Refuses hosts at a listener of this machine. `local` are the addresses of this machine, at each of which a
    /// listener on an unspecified address answers.
    #[must_use]
    pub fn without_listener(mut self, what: &'static str, at: SocketAddr, local: &[IpAddr]) -> Self {
        let address = at.ip().to_canonical();
        let addresses = if address.is_unspecified() {
            local.iter().map(IpAddr::to_canonical).collect()
        } else {
            BTreeSet::from([address])
        };
        self.own.push(OwnListener { what, addresses: Some(addresses), port: at.port() });
        self
    }

    /// Refuses hosts at this endpoint; with a host name, at its port on any address that could be it.
    #[must_use]
    pub fn without_endpoint(mut self, what: &'static str, address: &Address, port: u16) -> Self {
        let addresses = address.ip().map(|ip| BTreeSet::from([ip.to_canonical()]));
        self.own.push(OwnListener { what, addresses, port });
        self
    }

    /// Refuses hosts at this unix socket, whatever a grant allows.
    #[must_use]
    pub fn without_socket(mut self, what: &'static str, path: &Path) -> Self {
        // The components of a path are the same in each spelling.
        self.own_sockets.push((path.components().collect(), what));
        self
    }

    /// Checks the address of a host.
    ///
    /// # Errors
    /// Why it may not be one.
    pub fn check(&self, endpoint: &Endpoint) -> Result<(), String> {
        match endpoint {
            Endpoint::Tcp { address, port } => self.check_tcp(address, *port),
            Endpoint::Unix(path) => self.check_socket(path),
        }
    }

    fn check_socket(&self, path: &SocketPath) -> Result<(), String> {
        if let Some((_, what)) = self.own_sockets.iter().find(|(own, _)| own == Path::new(path.as_str())) {
            return Err(format!("{path} is {what}"));
        }
        match self.granted_sockets.iter().any(|granted| path.as_str().starts_with(granted)) {
            true => Ok(()),
            false => Err(format!("{path} needs a grant of \"host_unix_sockets\" (grants)")),
        }
    }

    fn check_tcp(&self, address: &Address, port: NonZeroU16) -> Result<(), String> {
        self.check_reach(address, port)?;
        let (allowed, key) = match (&self.granted, &self.allowed) {
            (Some(granted), _) => (granted, "the service's grant (grants, host_networks)"),
            (None, Some(allowed)) => (allowed, "discovery.host_networks"),
            (None, None) => return Ok(()),
        };
        match address.ip().map(|ip| ip.to_canonical()) {
            Some(ip) if allowed.iter().any(|network| network.contains(&ip)) => Ok(()),
            Some(_) => Err(format!("{address} is in none of the networks of {key}")),
            None => Err(format!("{address} is a host name, which {key} does not allow")),
        }
    }

    /// Checks an address that this machine connects to by order of a definition: the server of a source. It need not be
    /// in the networks of hosts.
    ///
    /// # Errors
    /// Why it may not be used.
    pub fn check_reach(&self, address: &Address, port: NonZeroU16) -> Result<(), String> {
        let ip = address.ip().map(|ip| ip.to_canonical());
        if let Some(problem) = ip.and_then(kind_of_special) {
            return Err(format!("{address} is {problem}"));
        }
        let is_at = |own: &&OwnListener| {
            own.port == port.get()
                && match (ip, &own.addresses) {
                    (Some(ip), Some(addresses)) => {
                        addresses.contains(&ip) || ip.is_loopback() && addresses.iter().any(IpAddr::is_loopback)
                    }
                    // A name can lead to any address.
                    (None, _) | (_, None) => true,
                }
        };
        match self.own.iter().find(is_at) {
            Some(own) if ip.is_none() => {
                Err(format!("{address} may lead to {}, which has the port {port}: write an IP address", own.what))
            }
            Some(own) if own.addresses.is_none() => {
                Err(format!("{address} may be {}, which has the port {port} and a host name in the settings", own.what))
            }
            Some(own) => Err(format!("{} is {}", Endpoint::Tcp { address: address.clone(), port }, own.what)),
            None => Ok(()),
        }
    }

    /// Turns each entry of a source whose address is not allowed into an invalid one.
    pub fn judge(&self, seen: &mut [SeenHost]) {
        for entry in seen {
            if let Some(Err(problem)) = entry.host().map(|host| self.check(&host.endpoint)) {
                entry.record = Err(problem);
            }
        }
    }

    /// Returns the hosts of a saved list whose addresses are allowed.
    pub fn allowed_of(&self, hosts: Arc<HostList>) -> Arc<HostList> {
        let is_allowed = |host: &Arc<Host>| self.check(&host.endpoint).is_ok();
        if hosts.values().all(is_allowed) {
            return hosts;
        }
        let allowed = hosts.iter().filter(|(_, host)| is_allowed(host));
        Arc::new(allowed.map(|(name, host)| (name.clone(), host.clone())).collect())
    }
}

/// Returns what an address is that no host can have.
fn kind_of_special(ip: IpAddr) -> Option<&'static str> {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => is_unicast_link_local(ip),
    };
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if is_link_local {
        // Among them the metadata services of clouds.
        Some("a link-local address, which no host may have")
    } else if ip.is_unspecified() {
        Some("an unspecified address, which leads to this machine")
    } else if ip.is_multicast() || is_broadcast {
        Some("not the address of a single host")
    } else {
        None
    }
}

fn is_unicast_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(networks: &HostNetworks, endpoint: &str) -> Result<(), String> {
        networks.check(&Endpoint::parse(endpoint).expect(endpoint))
    }

    #[test]
    fn special_addresses_are_never_hosts() {
        let networks = HostNetworks::default();
        for endpoint in [
            "169.254.169.254:80",
            "[fe80::1]:80",
            "[::ffff:169.254.169.254]:80",
            "0.0.0.0:80",
            "[::]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
        ] {
            assert!(check(&networks, endpoint).is_err(), "{endpoint}");
        }
        for endpoint in ["127.0.0.1:80", "[::1]:80", "10.0.0.1:80", "a.example:80", "[2001:db8::1]:80"] {
            assert_eq!(check(&networks, endpoint), Ok(()), "{endpoint}");
        }
    }

    #[test]
    fn only_listed_networks_are_allowed() {
        let networks = HostNetworks::only(vec!["10.1.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        for endpoint in ["10.1.2.3:80", "[2001:db8::1]:80", "[::ffff:10.1.2.3]:80"] {
            assert_eq!(check(&networks, endpoint), Ok(()), "{endpoint}");
        }
        for endpoint in ["10.2.0.1:80", "127.0.0.1:80", "[::1]:80", "a.example:80"] {
            assert!(check(&networks, endpoint).is_err(), "{endpoint}");
        }
    }

    #[test]
    fn networks_of_a_grant_replace_those_of_the_settings() {
        let networks = |text: &str| vec![text.parse::<IpNet>().unwrap()];
        let granted = |text| HostGrant { networks: Some(networks(text)), ..HostGrant::default() };
        for base in [HostNetworks::default(), HostNetworks::only(networks("10.1.0.0/16"))] {
            let own = base.granted(&granted("10.2.0.0/16"));
            assert_eq!(check(&own, "10.2.0.1:80"), Ok(()));
            assert!(check(&own, "10.1.0.1:80").is_err_and(|error| error.contains("grants")));
            assert!(check(&base.granted(&granted("0.0.0.0/0")), "169.254.169.254:80").is_err());
            assert_eq!(own.granted(&HostGrant::default()), base);
        }
    }

    #[test]
    fn unix_sockets_need_a_grant() {
        let base = HostNetworks::default().without_socket("the Runtime API", Path::new("/run/web//./haproxy.sock"));
        assert!(check(&base, "unix@/run/web/a.sock").is_err_and(|error| error.contains("host_unix_sockets")));
        let granted = HostGrant { unix_sockets: Some(vec!["/run/web/".to_owned()]), ..HostGrant::default() };
        let own = base.granted(&granted);
        assert_eq!(check(&own, "unix@/run/web/a.sock"), Ok(()));
        assert!(check(&own, "unix@/run/web.sock").is_err());
        assert!(check(&own, "unix@/run/web/haproxy.sock").is_err_and(|error| error.contains("Runtime API")));
        assert!(check(&own.granted(&HostGrant::default()), "unix@/run/web/a.sock").is_err());
    }

    #[test]
    fn own_listener_is_no_host() {
        let local = ["127.0.0.1".parse().unwrap(), "10.0.0.5".parse().unwrap()];
        let at = |at: &str| HostNetworks::default().without_listener("the listener", at.parse().unwrap(), &local);
        let refused = [
            ("127.0.0.1:8470", "127.0.0.1:8470"),
            ("127.0.0.1:8470", "127.0.0.2:8470"),
            ("127.0.0.1:8470", "localhost:8470"),
            ("127.0.0.1:8470", "[::ffff:127.0.0.1]:8470"),
            ("0.0.0.0:8470", "10.0.0.5:8470"),
            ("[::]:8470", "127.0.0.1:8470"),
        ];
        for (listen, endpoint) in refused {
            assert!(check(&at(listen), endpoint).is_err(), "{listen} {endpoint}");
        }
        let name = Address::parse("localhost").unwrap();
        let by_name = HostNetworks::default().without_endpoint("the Runtime API", &name, 9999);
        for endpoint in ["127.0.0.1:9999", "localhost:9999", "other.example:9999"] {
            assert!(check(&by_name, endpoint).is_err(), "{endpoint}");
        }
        for endpoint in ["127.0.0.1:8471", "10.0.0.6:8470", "localhost:80"] {
            assert_eq!(check(&at("0.0.0.0:8470"), endpoint), Ok(()), "{endpoint}");
        }
    }
}
