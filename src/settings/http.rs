//! Settings of Consul and etcd.

use std::path::PathBuf;

use super::reader::Reader;
use crate::http::Servers;
use crate::secret::Secret;
use crate::tls::TlsFiles;

/// Settings of Consul.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulSettings {
    /// The agents.
    pub servers: Servers,
    /// The token.
    pub token: Option<ConsulToken>,
    /// The datacenter.
    pub datacenter: Option<String>,
    /// The most requests that wait at the agents at once.
    pub connections_max: Option<usize>,
    /// For URLs that begin with `https:`.
    pub tls: TlsFiles,
}

/// A token of Consul.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsulToken {
    /// The token itself.
    Text(Secret),
    /// A file with the token.
    File(PathBuf),
}

/// Settings of etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdSettings {
    /// The members.
    pub servers: Servers,
    /// `user:password`.
    pub auth: Option<Secret>,
    /// For URLs that begin with `https:`.
    pub tls: TlsFiles,
}

/// Reads the section `consul`.
pub fn read_consul(reader: &mut Reader) -> Option<ConsulSettings> {
    let servers = reader.urls("consul.servers");
    let text = reader.text("consul.token");
    let file = reader.path("consul.token_file");
    if text.is_some() && file.is_some() {
        reader.refuse("consul.token_file", "is set together with consul.token; remove one of them");
    }
    let token = text.map(|text| ConsulToken::Text(Secret::from(text))).or(file.map(ConsulToken::File));
    let datacenter = reader.text("consul.datacenter");
    let connections_max = reader.count("consul.connections").and_then(|count| usize::try_from(count).ok());
    let ca = reader.path("consul.tls.ca");
    let identity = identity(reader, "consul.tls.certificate", "consul.tls.key");
    Some(ConsulSettings { servers: servers?, token, datacenter, connections_max, tls: TlsFiles { ca, identity } })
}

/// Reads the section `etcd`.
pub fn read_etcd(reader: &mut Reader) -> Option<EtcdSettings> {
    let servers = reader.urls("etcd.servers");
    let auth = user_and_password(reader, "etcd.auth");
    let ca = reader.path("etcd.tls.ca");
    let identity = identity(reader, "etcd.tls.certificate", "etcd.tls.key");
    Some(EtcdSettings { servers: servers?, auth, tls: TlsFiles { ca, identity } })
}

/// Reads `user:password`.
pub fn user_and_password(reader: &mut Reader, path: &'static str) -> Option<Secret> {
    let text = reader.text(path)?;
    let complete = text.split_once(':').is_some_and(|(user, password)| !user.is_empty() && !password.is_empty());
    if !complete {
        reader.refuse(path, "must be user:password");
    }
    Some(Secret::from(text))
}

/// Reads the paths of a certificate and its key, which need each other.
pub fn identity(reader: &mut Reader, certificate: &'static str, key: &'static str) -> Option<(PathBuf, PathBuf)> {
    match (reader.path(certificate), reader.path(key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (Some(_), None) => {
            reader.refuse(certificate, format!("needs {key}"));
            None
        }
        (None, Some(_)) => {
            reader.refuse(key, format!("needs {certificate}"));
            None
        }
        (None, None) => None,
    }
}
