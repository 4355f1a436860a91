//! `haproxy.targets`: further external HAProxies, by the addresses of their Runtime APIs.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::reader::Reader;
use super::value::check_servers;

const KEY: &str = "haproxy.targets";

/// The address of a Runtime API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeAddress {
    /// A unix socket on this machine.
    Unix(PathBuf),
    /// `host:port`, on any machine.
    Tcp(String),
}

impl fmt::Display for RuntimeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(server) => write!(f, "tcp://{server}"),
        }
    }
}

impl RuntimeAddress {
    /// Returns the address as messages show it: a path as it is.
    pub fn in_messages(&self) -> String {
        match self {
            Self::Unix(path) => path.display().to_string(),
            Self::Tcp(_) => self.to_string(),
        }
    }
}

impl FromStr for RuntimeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "write unix:/run/haproxy.sock or tcp://10.0.0.2:9999";
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return match path.is_absolute() {
                true => Ok(Self::Unix(path)),
                false => Err(format!("{text} is not an absolute path: {EXPECTED}")),
            };
        }
        let Some(server) = text.strip_prefix("tcp://") else {
            return Err(format!("{text:?} is not an address: {EXPECTED}"));
        };
        let port = server.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(1..)) if !server.contains([',', '/']) && check_servers(server).is_ok() => {
                Ok(Self::Tcp(server.to_owned()))
            }
            None => Err(format!("{text} has no port: {EXPECTED}")),
            _ => Err(format!("{text} must have a host and a port: {EXPECTED}")),
        }
    }
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name in status, metrics and journal: its own name, or else its address.
    pub name: String,
    /// The address of its Runtime API.
    pub address: RuntimeAddress,
}

impl FromStr for Target {
    type Err = String;

    /// Parses `tcp://10.0.0.2:9999`, or `edge=tcp://10.0.0.2:9999` with a name.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        // A `=` in the path of a socket does not end a name.
        match text.split_once('=').filter(|(name, _)| is_name(name)) {
            Some(("", address)) => Err(format!("={address} has an empty name")),
            Some((name, address)) => Ok(Self { name: name.to_owned(), address: address.parse()? }),
            None => Ok(Self { name: text.to_owned(), address: text.parse()? }),
        }
    }
}

/// Reads the targets.
pub(super) fn read(reader: &mut Reader) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for (at, line) in reader.lines(KEY).iter().enumerate() {
        let read = line.parse::<Target>().and_then(|target| {
            match targets.iter().find(|known| known.conflicts_with(&target)) {
                None => Ok(target),
                Some(known) if known.address == target.address => Err(format!("{} is a duplicate", target.address)),
                Some(_) => Err(format!("the name {} is a duplicate", target.name)),
            }
        });
        match read {
            Ok(target) => targets.push(target),
            Err(problem) => reader.refuse_line(KEY, at, problem),
        }
    }
    targets
}

impl Target {
    /// Whether the two have the same name or address.
    fn conflicts_with(&self, other: &Self) -> bool {
        self.name == other.name || self.address == other.address
    }
}
