//! Addresses of hosts.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::SocketPath;

/// An IP address or a DNS host name. No other kind of HAProxy address (`fd@`, `abns@`, `${ENV}`, `*`) can be represented;
/// a unix socket is an [`Endpoint`] without an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A host name by RFC 1123, which HAProxy resolves when it reads its configuration.
    Name(Arc<str>),
}

/// Why a text is not an [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is neither an IP address nor a host name")]
pub struct InvalidAddress {
    /// The refused text.
    pub text: String,
}

impl Address {
    /// Parses an IP address (an IPv6 address with or without brackets) or a host name.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self::Ip(ip));
        }
        if is_host_name(text) { Ok(Self::Name(text.into())) } else { Err(InvalidAddress { text: text.to_owned() }) }
    }

    /// Returns the IP address; `None` for a host name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

fn is_host_name(text: &str) -> bool {
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels = text.strip_suffix('.').unwrap_or(text);
    labels.len() <= 253 && !ends_in_number(labels) && labels.split('.').all(label_ok)
}

/// Returns whether the last label is a number. Such a text is a mistyped IPv4 address, or one in a spelling that only
/// resolvers know (`0x7f.1`, `0`: inet_aton(3)), and never a host name (<https://url.spec.whatwg.org/#ends-in-a-number-checker>).
fn ends_in_number(labels: &str) -> bool {
    let last = labels.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = InvalidAddress;
    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

/// What identifies a host: the place where it accepts connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// The address.
        address: Address,
        /// The port.
        port: NonZeroU16,
    },
    /// A unix socket on the machine of HAProxy.
    Unix(SocketPath),
}

impl Endpoint {
    /// Parses the form in HAProxy's file; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = SocketPath::in_address(text) {
            return path.ok().map(Self::Unix);
        }
        let (address, port) = text.rsplit_once(':')?;
        // Rust's numbers may have a sign; HAProxy's port with one is relative to the client's.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self::Tcp { address: Address::parse(address).ok()?, port: port.parse().ok()? })
    }

    /// Returns its IP address; `None` for a host name and a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { address, .. } => address.ip(),
            Self::Unix(_) => None,
        }
    }

    /// Returns its host name, if it has one instead of an IP address.
    pub fn host_name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Tcp { address: Address::Name(name), .. } => Some(name),
            _ => None,
        }
    }

    /// Returns its port; `None` for a unix socket.
    pub fn port(&self) -> Option<NonZeroU16> {
        match self {
            Self::Tcp { port, .. } => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// Returns its address without the port, as a host has it under `address`.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp { address, .. } => address.to_string(),
            Self::Unix(path) => path.to_string(),
        }
    }
}

impl fmt::Display for Endpoint {
    /// Writes `10.0.0.1:80`, `[2001:db8::1]:80`, `a.example:80` or `unix@/run/a.sock`: the form in HAProxy's file and on
    /// its socket.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address: Address::Ip(IpAddr::V6(ip)), port } => write!(f, "[{ip}]:{port}"),
            Self::Tcp { address, port } => write!(f, "{address}:{port}"),
            Self::Unix(path) => path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_of_ip_addresses_are_no_names() {
        for text in
            ["0", "0x0", "0X7f000001", "0x7f.1", "127.1", "127.0.0.0x1", "017700000001", "1.2.3.4.", "a.1", "0x"]
        {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        for text in ["a", "0x0.example", "1a", "web-1", "0xg", "a.b."] {
            assert!(Address::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn endpoint_is_parsed_as_it_is_written() {
        for text in ["10.0.0.1:80", "[2001:db8::1]:80", "a.example:65535", "unix@/run/web.sock"] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.to_string(), text);
            let json = serde_json::to_string(&endpoint).unwrap();
            assert_eq!(serde_json::from_str::<Endpoint>(&json).unwrap(), endpoint, "{json}");
        }
        for text in
            ["", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", ":80", "10.0.0.1:+80", "/run/web.sock", "fd@3", "unix@run/x"]
        {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
    }
}
