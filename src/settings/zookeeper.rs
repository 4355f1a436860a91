//! `zookeeper`: the session, and how it is secured.

use std::path::PathBuf;
use std::time::Duration;

use super::http;
use super::reader::Reader;
use crate::secret::Secret;

/// Settings of ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZookeeperSettings {
    /// The session time-out.
    pub session_timeout: Duration,
    /// `user:password` for the digest scheme.
    pub auth: Option<Secret>,
    /// TLS, if enabled.
    pub tls: Option<TlsSettings>,
}

/// TLS for ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file with the trusted authorities.
    pub ca: PathBuf,
    /// PEM files with the client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Reads the keys of `zookeeper`.
pub(super) fn read(reader: &mut Reader) -> Option<ZookeeperSettings> {
    let session_timeout = reader.duration("zookeeper.session_timeout");
    let auth = http::user_and_password(reader, "zookeeper.auth");
    let ca = reader.path("zookeeper.tls.ca");
    let identity = http::identity(reader, "zookeeper.tls.certificate", "zookeeper.tls.key");
    if ca.is_none() && identity.is_some() {
        reader.refuse("zookeeper.tls.certificate", "needs zookeeper.tls.ca, which turns TLS on");
    }
    let tls = ca.map(|ca| TlsSettings { ca, identity });
    Some(ZookeeperSettings { session_timeout: session_timeout?, auth, tls })
}
