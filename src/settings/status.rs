//! The status listener: where it listens, and who may have something done.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Secret;
use super::reader::Reader;
use crate::status::gate::caller::Token;

/// The status listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSettings {
    /// Where it listens; none where it is turned off.
    pub listen: Option<SocketAddr>,
    /// Further names by which it may be asked for.
    pub hosts: Vec<String>,
    /// Whether its metrics have series of each service.
    pub metrics_per_service: bool,
    /// What whoever gives orders must send.
    pub token: Option<Secret>,
    /// The file that holds it.
    pub token_file: Option<PathBuf>,
    /// Whether reading needs it, too.
    pub reads_need_token: bool,
    /// PEM files with the certificate and its key, where TLS is spoken.
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
        reader.refuse("status.token_file", "stands beside status.token; set one of them");
    }
    let reads_need_token = reader.choice("status.reads") == Some("token");
    if reads_need_token && token.is_none() && token_file.is_none() {
        reader.refuse("status.reads", "needs status.token or status.token_file");
    }
    let certificate = reader.path("status.tls_cert");
    let private_key = reader.path("status.tls_key");
    if certificate.is_none() && private_key.is_some() {
        reader.refuse("status.tls_key", "needs status.tls_cert beside it");
    }
    if certificate.is_some() && private_key.is_none() {
        reader.refuse("status.tls_cert", "needs status.tls_key beside it");
    }
    let tls = certificate.zip(private_key);
    let metrics_per_service = reader.switch("metrics.per_service").unwrap_or(true);
    StatusSettings { listen, hosts, metrics_per_service, token: token.map(Secret), token_file, reads_need_token, tls }
}
