//! How Marathon and the masters of Mesos are spoken to.

use std::time::Duration;

use super::Secret;
use super::http::{identity, user_and_password};
use super::reader::Reader;
use crate::discovery::http::{Servers, TlsFiles};

/// How Marathon is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarathonSettings {
    /// Its servers.
    pub servers: Servers,
    /// `user:password`.
    pub auth: Option<Secret>,
    /// A token, in the place of user and password.
    pub token: Option<Secret>,
    /// How often everything is read without an event.
    pub interval: Duration,
    /// The URL by which Marathon reaches the status listener, where it is to post its events there.
    pub callback: Option<Servers>,
    /// Whether tasks on the host's network listen on the service ports of their app, as proxym takes it.
    pub use_service_ports: bool,
    /// TLS, where URLs ask for it.
    pub tls: TlsFiles,
}

/// How the masters of Mesos are spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MesosSettings {
    /// How often they are asked who leads.
    pub interval: Duration,
    /// TLS, where URLs ask for it.
    pub tls: TlsFiles,
}

/// Reads the section `marathon`.
pub fn read_marathon(reader: &mut Reader) -> Option<MarathonSettings> {
    let servers = reader.urls("marathon.servers");
    let auth = user_and_password(reader, "marathon.auth");
    let token = reader.text("marathon.token").map(Secret);
    if auth.is_some() && token.is_some() {
        reader.refuse("marathon.token", "stands beside marathon.auth; one of them has to go");
    }
    let interval = reader.duration("marathon.interval");
    let callback = reader.urls("marathon.callback");
    if callback.as_ref().is_some_and(|callback| callback.urls().len() > 1) {
        reader.refuse("marathon.callback", "must be one URL, by which Marathon reaches status.listen");
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
