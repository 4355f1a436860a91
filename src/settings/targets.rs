//! `haproxy.targets`: further HAProxies, which somebody else runs, by where their Runtime APIs are.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::reader::{Reader, check_servers};

const KEY: &str = "haproxy.targets";

/// Where a Runtime API is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeAddress {
    /// A unix socket of this machine.
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

impl FromStr for RuntimeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPES: &str = "write unix:/run/haproxy.sock or tcp://10.0.0.2:9999";
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return match path.is_absolute() {
                true => Ok(Self::Unix(path)),
                false => Err(format!("{text} is no absolute path: {SHAPES}")),
            };
        }
        let Some(server) = text.strip_prefix("tcp://") else {
            return Err(format!("{text:?} is not known where: {SHAPES}"));
        };
        let port = server.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(1..)) if !server.contains([',', '/']) && check_servers(server).is_ok() => {
                Ok(Self::Tcp(server.to_owned()))
            }
            None => Err(format!("{text} has no port: {SHAPES}")),
            _ => Err(format!("{text} must have a host and a port: {SHAPES}")),
        }
    }
}

/// A further HAProxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What status, metrics and journal call it: its own name, or else its address.
    pub name: String,
    /// Where its Runtime API is.
    pub address: RuntimeAddress,
}

impl FromStr for Target {
    type Err = String;

    /// Reads `tcp://10.0.0.2:9999`, or `edge=tcp://10.0.0.2:9999` with a name.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        // What stands before a `=` of a socket's path is no name.
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
        let read =
            line.parse::<Target>().and_then(|target| match targets.iter().find(|known| known.is_like(&target)) {
                None => Ok(target),
                Some(known) if known.address == target.address => Err(format!("{} is there twice", target.address)),
                Some(_) => Err(format!("the name {} is there twice", target.name)),
            });
        match read {
            Ok(target) => targets.push(target),
            Err(problem) => reader.refuse_line(KEY, at, problem),
        }
    }
    targets
}

impl Target {
    /// Whether one of the two would be taken for the other.
    fn is_like(&self, other: &Self) -> bool {
        self.name == other.name || self.address == other.address
    }
}
