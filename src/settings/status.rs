//! Settings of the status listener.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Secret;
use super::reader::Reader;
use crate::token::Token;

/// Settings of the status listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSettings {
    /// Its address; none if it is turned off.
    pub listen: Option<SocketAddr>,
    /// Further names that requests may use for it.
    pub hosts: Vec<String>,
    /// Whether its metrics have series per service.
    pub metrics_per_service: bool,
    /// The token for operator commands.
    pub token: Option<Secret>,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
    /// Whether reading needs the token as well.
    pub reads_need_token: bool,
    /// PEM files with the certificate and its key, if TLS is enabled.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// Reads every key below `status` and `metrics`.
pub(super) fn read(reader: &mut Reader) -> StatusSettings {
    let listen = reader.listen("status.listen");
    let hosts = reader.lines("status.hosts");
    let token = reader.text("status.token");
    if let Some(problem) = token.as_ref().and_then(|token| Token::new(token).err()) {
        reader.refuse("status.token", problem);
    }
    let token_file = reader.path("status.token_file");
    if token.is_some() && token_file.is_some() {
        reader.refuse("status.token_file", "is set together with status.token; remove one of them");
    }
    let reads_need_token = reader.choice("status.reads") == Some("token");
    if reads_need_token && token.is_none() && token_file.is_none() {
        reader.refuse("status.reads", "needs status.token or status.token_file");
    }
    let certificate = reader.path("status.tls_cert");
    let private_key = reader.path("status.tls_key");
    if certificate.is_none() && private_key.is_some() {
        reader.refuse("status.tls_key", "needs status.tls_cert");
    }
    if certificate.is_some() && private_key.is_none() {
        reader.refuse("status.tls_cert", "needs status.tls_key");
    }
    let tls = certificate.zip(private_key);
    let metrics_per_service = reader.switch("metrics.per_service").unwrap_or(true);
    StatusSettings { listen, hosts, metrics_per_service, token: token.map(Secret), token_file, reads_need_token, tls }
}
