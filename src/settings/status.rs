//! Settings of the status listener.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::reader::Reader;
use crate::secret::Secret;
use crate::token::{NamedToken, Role, Token, TokenDigest};

/// Settings of the status listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSettings {
    /// Its address; none if it is turned off.
    pub listen: Option<SocketAddr>,
    /// Further names that requests may use for it.
    pub hosts: Vec<String>,
    /// Whether its metrics have series per service.
    pub metrics_per_service: bool,
    /// The unix socket for orders.
    pub socket: StatusSocket,
    /// Further tokens, each with its role.
    pub tokens: Vec<NamedToken>,
    /// The token for operator commands.
    pub token: Option<Secret>,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
    /// Whether reading needs the token as well.
    pub reads_need_token: bool,
    /// PEM files with the certificate and its key, if TLS is enabled.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// The unix socket for orders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusSocket {
    /// Its path; none if it is turned off.
    pub path: Option<PathBuf>,
    /// The group whose members may use it.
    pub group: Option<String>,
}

/// Reads every key below `status` and `metrics`.
pub(super) fn read(reader: &mut Reader, state_dir: Option<&Path>) -> StatusSettings {
    let listen = reader.listen("status.listen");
    let hosts = reader.lines("status.hosts");
    let socket = socket(reader, state_dir);
    let tokens = tokens(reader);
    let token = reader.text("status.token");
    if let Some(problem) = token.as_ref().and_then(|token| Token::new(token).err()) {
        reader.refuse("status.token", problem);
    }
    let token_file = reader.path("status.token_file");
    if token.is_some() && token_file.is_some() {
        reader.refuse("status.token_file", "is set together with status.token; remove one of them");
    }
    let reads_need_token = reader.choice("status.reads") == Some("token");
    if reads_need_token && token.is_none() && token_file.is_none() && tokens.is_empty() {
        reader.refuse("status.reads", "needs status.token, status.token_file or status.tokens");
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
    let token = token.map(Secret::from);
    StatusSettings { listen, hosts, metrics_per_service, socket, tokens, token, token_file, reads_need_token, tls }
}

fn socket(reader: &mut Reader, state_dir: Option<&Path>) -> StatusSocket {
    const KEY: &str = "status.socket";
    // sockaddr_un(7), with the zero at the end.
    const LENGTH_MAX: usize = 107;
    let group = reader.text("status.socket_group").filter(|group| !group.is_empty());
    let path = match reader.path(KEY) {
        Some(path) if path.as_os_str() == "none" => return StatusSocket { path: None, group },
        given => given.or_else(|| Some(state_dir?.join("proxymgr.sock"))),
    };
    match &path {
        Some(path) if !path.is_absolute() => reader.refuse(KEY, format!("{} must be an absolute path", path.display())),
        Some(path) if path.as_os_str().len() > LENGTH_MAX && reader.is_set(KEY) => {
            reader.refuse(KEY, format!("{} has more than {LENGTH_MAX} bytes", path.display()));
        }
        _ => {}
    }
    StatusSocket { path: path.filter(|path| path.as_os_str().len() <= LENGTH_MAX), group }
}

fn tokens(reader: &mut Reader) -> Vec<NamedToken> {
    let mut names = BTreeSet::new();
    reader.entries("status.tokens", |entry| {
        entry.need("name", "name: deploy");
        entry.need("sha256", "sha256: the hash of the token, 64 hexadecimal digits");
        entry.need("role", "role: operate");
        let name = entry.text("name");
        let digest = entry.secret("sha256").map(|hash| TokenDigest::parse(hash.reveal()));
        let role = entry.choice("role", &["read", "operate", "admin"]);
        if let Some(None) = digest {
            entry.refuse("sha256", "must be 64 hexadecimal digits, as printed by sha256sum");
        }
        let name = name.filter(|name| {
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !is_name {
                entry.refuse("name", format!("{name:?} must be letters, digits, '-', '_' and '.'"));
            } else if !names.insert(name.clone()) {
                entry.refuse("name", format!("{name} is the name of another token"));
            }
            is_name
        });
        let role = match role? {
            "admin" => Role::Admin,
            "operate" => Role::Operate,
            _ => Role::Read,
        };
        Some(NamedToken { name: name?, digest: digest??, role })
    })
}
