//! Settings of Marathon and Mesos.

use std::time::Duration;

use super::http::{identity, user_and_password};
use super::reader::Reader;
use crate::http::Servers;
use crate::secret::Secret;
use crate::tls::TlsFiles;

/// Settings of Marathon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarathonSettings {
    /// Its servers.
    pub servers: Servers,
    /// `user:password`.
    pub auth: Option<Secret>,
    /// A token, in place of user and password.
    pub token: Option<Secret>,
    /// The polling interval, in addition to events.
    pub interval: Duration,
    /// The URL at which Marathon posts its events to the status listener, if it does so.
    pub callback: Option<Servers>,
    /// Whether tasks on the host's network listen on the service ports of their app, as in proxym.
    pub use_service_ports: bool,
    /// For URLs that begin with `https:`.
    pub tls: TlsFiles,
}

/// Settings of Mesos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MesosSettings {
    /// The polling interval.
    pub interval: Duration,
    /// For URLs that begin with `https:`.
    pub tls: TlsFiles,
}

/// Reads the section `marathon`.
pub fn read_marathon(reader: &mut Reader) -> Option<MarathonSettings> {
    let servers = reader.urls("marathon.servers");
    let auth = user_and_password(reader, "marathon.auth");
    let token = reader.text("marathon.token").map(Secret::from);
    if auth.is_some() && token.is_some() {
        reader.refuse("marathon.token", "is set together with marathon.auth; remove one of them");
    }
    let interval = reader.duration("marathon.interval");
    let callback = reader.urls("marathon.callback");
    if callback.as_ref().is_some_and(|callback| callback.urls().len() > 1) {
        reader.refuse("marathon.callback", "must be one URL, at which Marathon reaches status.listen");
    }
    let host_ports = reader.choice("marathon.host_ports");
    let ca = reader.path("marathon.tls.ca");
    let identity = identity(reader, "marathon.tls.certificate", "marathon.tls.key");
    Some(MarathonSettings {
        servers: servers?,
        auth,
        token,
        interval: interval?,
        callback,
        use_service_ports: host_ports? == "service",
        tls: TlsFiles { ca, identity },
    })
}

/// Reads the section `mesos`.
pub fn read_mesos(reader: &mut Reader) -> Option<MesosSettings> {
    let interval = reader.duration("mesos.interval");
    let ca = reader.path("mesos.tls.ca");
    Some(MesosSettings { interval: interval?, tls: TlsFiles { ca, identity: None } })
}
