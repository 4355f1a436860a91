//! `haproxy.targets`: further HAProxies, which somebody else runs, by where their Runtime APIs are.

use std::collections::BTreeSet;
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

/// Reads the targets.
pub(super) fn read(reader: &mut Reader) -> Vec<RuntimeAddress> {
    let mut targets = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, line) in reader.lines(KEY).iter().enumerate() {
        match line.parse::<RuntimeAddress>() {
            Ok(target) if !seen.insert(target.clone()) => {
                reader.refuse_line(KEY, at, format!("{target} is there twice"))
            }
            Ok(target) => targets.push(target),
            Err(problem) => reader.refuse_line(KEY, at, problem),
        }
    }
    targets
}
