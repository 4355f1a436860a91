//! ZooKeeper as a source of hosts and of definitions.
//!
//! - `connect_string`: `h1:2181,h2:2181/chroot`, so that two ways of writing one ensemble share its session.
//! - `session`: one session per ensemble, replaced whenever it is lost. The only file that names the client's package.
//! - `ensemble`: who shares which session, and how it is replaced.
//! - `level`, `children`, `read_children`: the children of a path and what each says, kept in step by one-shot watches.
//! - `hosts`, `definitions`, `annotations`: what a level means.

mod annotations;
mod children;
mod connect_string;
mod definitions;
mod ensemble;
mod hosts;
mod level;
mod read_children;
mod session;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use annotations::{AnnotationMap, ZookeeperAnnotations};
pub use connect_string::ConnectString;
pub use definitions::ZookeeperDefinitions;
pub use ensemble::Ensembles;
pub(super) use hosts::{CAMPANJA_KEYS, HOST_KEYS, Registrations, open};
pub(super) use level::OpenLevel;
pub(super) use session::WriteError;

/// How sessions are made. Holds for every ensemble.
#[derive(Debug, Clone)]
pub struct ZookeeperOptions {
    /// The session time-out asked for; the ensemble may grant another. A member that is silent for two fifths of what
    /// was granted is left for another one.
    pub session_timeout: Duration,
    /// Who the session is.
    pub auth: Option<DigestAuth>,
    /// Set where the connect strings name TLS ports.
    pub tls: Option<TlsFiles>,
}

impl Default for ZookeeperOptions {
    fn default() -> Self {
        Self { session_timeout: Duration::from_secs(10), auth: None, tls: None }
    }
}

/// `user:password` of ZooKeeper's digest scheme. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestAuth(String);

impl DigestAuth {
    /// Takes `user:password`. The error does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => Ok(Self(text.to_owned())),
            _ => Err("the ZooKeeper credentials must be written as user:password".to_owned()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for DigestAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestAuth(***)")
    }
}

/// The PEM files of TLS sessions, read again for each new session so that renewed certificates are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that the members' certificates must come from.
    pub ca: PathBuf,
    /// The certificate and key that we show, where the ensemble asks for one.
    pub identity: Option<TlsIdentityFiles>,
}

/// The certificate that we show, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentityFiles {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}
