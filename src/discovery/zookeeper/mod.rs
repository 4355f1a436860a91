//! ZooKeeper as a source of hosts and of definitions.
//!
//! - `connect_string`: `h1:2181,h2:2181/chroot`, in a normal form, so that equal ensembles share a session.
//! - `session`: one session with an ensemble. The only file that uses the client's package.
//! - `diagnosis`: why an ensemble gives no session.
//! - `ensemble`: one session per ensemble, shared by its readers and replaced when it is lost.
//! - `level`, `children`, `read_children`: the children of a path, kept in sync by one-shot watches.
//! - `hosts`, `definitions`, `annotations`: decode the children of a path.

mod annotations;
mod children;
mod connect_string;
mod definitions;
mod diagnosis;
mod ensemble;
mod hosts;
mod level;
mod read_children;
mod session;

use crate::secret::Secret;
use std::path::PathBuf;
use std::time::Duration;

pub use annotations::{AnnotationMap, ZookeeperAnnotations};
pub use connect_string::ConnectString;
pub use definitions::ZookeeperDefinitions;
pub use ensemble::Ensembles;
pub(super) use hosts::{CAMPANJA_KEYS, HOST_KEYS, Registrations, open};
pub(super) use level::OpenLevel;
pub(super) use session::WriteError;

/// The options of the sessions with every ensemble.
#[derive(Debug, Clone)]
pub struct ZookeeperOptions {
    /// The requested session time-out; the ensemble may grant another. A member that is silent for two fifths of the
    /// granted time is replaced by another one.
    pub session_timeout: Duration,
    /// The credentials of the sessions.
    pub auth: Option<DigestAuth>,
    /// TLS; set if the connect strings name TLS ports.
    pub tls: Option<TlsFiles>,
}

impl Default for ZookeeperOptions {
    fn default() -> Self {
        Self { session_timeout: Duration::from_secs(10), auth: None, tls: None }
    }
}

/// `user:password` of ZooKeeper's digest scheme. Never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestAuth(Secret);

impl DigestAuth {
    /// Parses `user:password`. The error does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => Ok(Self(text.into())),
            _ => Err("the ZooKeeper credentials must have the form user:password".to_owned()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.reveal().as_bytes()
    }
}

/// The PEM files of TLS sessions, read again for each new session so that renewed certificates are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that must have issued the members' certificates.
    pub ca: PathBuf,
    /// The client certificate and key, if the ensemble requires them.
    pub identity: Option<TlsIdentityFiles>,
}

/// A client certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentityFiles {
    /// The certificate and the intermediate ones up to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}
