//! Access to the listener: host names, token, TLS, as configured and as read from files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use slog::Logger;

use super::gate::caller::Callers;
use super::gate::peer::PeerRules;
use super::tls::{CertificateFiles, ServerCertificate};
use crate::token::{NamedToken, Role, Token};

/// Longest token file, in bytes; the rest is ignored.
const TOKEN_FILE_BYTES_MAX: u64 = 4_096;

/// Access settings of the listener.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Host names that requests may use, besides `localhost` and the address of the listener.
    pub hosts: Vec<String>,
    /// The token with every right.
    pub token: TokenSource,
    /// Further tokens, each with its role.
    pub tokens: Vec<NamedToken>,
    /// Whether reading requires a token, too.
    pub reads_need_token: bool,
    /// Who may use the unix socket.
    pub peers: PeerRules,
    /// The log for orders and refused tokens; none in tests.
    pub log: Option<Logger>,
    /// Certificate for TLS; none for plain HTTP.
    pub tls: Option<CertificateFiles>,
}

/// Where the token comes from.
#[derive(Debug, Clone, Default)]
pub enum TokenSource {
    /// There is no token: no changes are possible.
    #[default]
    None,
    /// The settings.
    Given(Token),
    /// The first line of a file.
    File(PathBuf),
}

impl TokenSource {
    /// Reads the token; none if none is configured.
    pub fn read(&self) -> Result<Option<Token>, String> {
        match self {
            Self::None => Ok(None),
            Self::Given(token) => Ok(Some(token.clone())),
            Self::File(path) => read_token(path).map(Some),
        }
    }
}

fn read_token(path: &Path) -> Result<Token, String> {
    let wrong = |error: String| format!("the token in {} (status.token_file) {error}", path.display());
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    Token::new(text.lines().next().unwrap_or_default().trim_end()).map_err(wrong)
}

/// The token of the settings or of its file, with every right, and the named ones.
fn all(token: Option<&Token>, named: &[NamedToken]) -> Vec<NamedToken> {
    let own =
        token.map(|token| NamedToken { name: "status.token".to_owned(), digest: token.digest(), role: Role::Admin });
    own.into_iter().chain(named.iter().cloned()).collect()
}

/// The secrets in use. They can be read again while the listener runs.
#[derive(Debug, Clone)]
pub struct Secrets {
    source: TokenSource,
    named: Vec<NamedToken>,
    /// Checks the token of callers.
    pub callers: Arc<Callers>,
    /// The certificate; none for plain HTTP.
    pub certificate: Option<Arc<ServerCertificate>>,
}

impl Secrets {
    /// Reads all files.
    pub fn read(access: &Access) -> Result<Self, String> {
        let known = all(access.token.read()?.as_ref(), &access.tokens);
        let callers = Arc::new(Callers::new(known, access.reads_need_token));
        let certificate = access.tls.clone().map(ServerCertificate::read).transpose()?;
        Ok(Self { source: access.token.clone(), named: access.tokens.clone(), callers, certificate })
    }

    /// Reads all files again. A secret that cannot be read stays in use; the errors are returned.
    pub fn read_again(&self) -> Vec<String> {
        let token = self.source.read().map(|token| self.callers.change(all(token.as_ref(), &self.named)));
        let certificate = self.certificate.as_ref().map_or(Ok(()), |certificate| certificate.read_again());
        [token, certificate].into_iter().filter_map(Result::err).collect()
    }
}
