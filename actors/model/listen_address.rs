//! Local addresses that clients connect to.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A local address that clients connect to, which the daemon can open and HAProxy inherit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ListenAddress {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The absolute path of a unix socket.
    Unix(Arc<str>),
}

/// The descriptor of each address of a section, which HAProxy inherits under the same number; `None` where HAProxy opens
/// the socket itself.
pub type Descriptors = BTreeMap<ListenAddress, Option<RawFd>>;

/// A text that is no [`ListenAddress`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is neither an IP address with a port, such as 10.0.0.1:80 or [::]:80, nor unix@ with an absolute path")]
pub struct InvalidListenAddress(String);

/// The longest path of a unix socket: that of `sockaddr_un`, less the suffix that a temporary name adds.
const UNIX_PATH_BYTES_MAX: usize = 92;

impl ListenAddress {
    /// Returns the IP address and port; `None` for a unix socket.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Returns a unix socket at this path, if HAProxy can read the path as one word.
    pub fn unix(path: &str) -> Option<Self> {
        let is_good = path.starts_with('/')
            && path.len() <= UNIX_PATH_BYTES_MAX
            && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:@".contains(&byte));
        is_good.then(|| Self::Unix(path.into()))
    }

    /// Returns whether both cannot be open at once: they are equal, or one of them is every address of that port.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(a), Self::Ip(b)) => {
                let any = a.ip().is_unspecified() || b.ip().is_unspecified();
                a.port() == b.port() && (a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && any))
            }
            _ => self == other,
        }
    }

    /// Returns whether both need `SO_REUSEPORT` to be open at once: like [`Self::covers`], where a socket on `[::]` accepts
    /// IPv4, too.
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_any_ipv6 = |address: SocketAddr| address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let beside_ipv6 = match (self.ip(), other.ip()) {
            (Some(a), Some(b)) => a.port() == b.port() && (is_any_ipv6(a) || is_any_ipv6(b)),
            _ => false,
        };
        beside_ipv6 || self.covers(other)
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    /// Parses `10.0.0.1:80`, `[::]:80`, `*:80`, `unix@/run/x.sock` or `/run/x.sock`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidListenAddress(text.to_owned());
        let path = text.strip_prefix("unix@").or_else(|| text.starts_with('/').then_some(text));
        if let Some(path) = path {
            return Self::unix(path).ok_or_else(invalid);
        }
        let address = match text.strip_prefix("*:") {
            Some(port) => port.parse().ok().map(|port| SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port)),
            None => text.parse().ok(),
        };
        address.filter(|address| address.port() != 0).map(Self::Ip).ok_or_else(invalid)
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = InvalidListenAddress;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ListenAddress {
    /// Writes the address as a `bind` line of HAProxy has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix@{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ListenAddress {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["10.0.0.1:80", "[::]:443", "unix@/run/x.sock"] {
            assert_eq!(address(text).to_string(), text);
        }
        assert_eq!(address("*:80").to_string(), "0.0.0.0:80");
        assert_eq!(address("/run/x.sock"), address("unix@/run/x.sock"));
    }

    #[test]
    fn other_texts_are_no_addresses() {
        for text in ["", "80", ":80", "10.0.0.1", "10.0.0.1:0", "localhost:80", "unix@x", "abns@x", "/run/a b", "fd@5"]
        {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
        assert!(format!("/{}", "x".repeat(UNIX_PATH_BYTES_MAX)).parse::<ListenAddress>().is_err());
    }

    #[test]
    fn every_address_covers_each_of_its_family() {
        assert!(address("*:80").covers(&address("10.0.0.1:80")) && address("10.0.0.1:80").covers(&address("*:80")));
        assert!(!address("*:80").covers(&address("*:81")) && !address("*:80").covers(&address("[::1]:80")));
        assert!(address("[::]:80").overlaps(&address("10.0.0.1:80")) && address("*:80").overlaps(&address("[::]:80")));
        assert!(!address("*:80").overlaps(&address("[::1]:80")) && !address("[::]:80").overlaps(&address("*:81")));
        assert!(address("/x").covers(&address("/x")) && !address("/x").covers(&address("/y")));
    }
}
