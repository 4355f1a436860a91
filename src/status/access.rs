//! Who may reach the listener, and by which secrets: as the settings say it, and as it is read from files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::gate::caller::{Callers, Token};
use super::tls::{CertificateFiles, ShownCertificate};

/// The longest file that is read as a token, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 4_096;

/// Who may reach the listener.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Names by which it may be asked for, beside `localhost` and its address.
    pub hosts: Vec<String>,
    /// What whoever changes something must know.
    pub token: TokenSource,
    /// Whether reading needs the token, too.
    pub reads_need_token: bool,
    /// TLS, where it is spoken.
    pub tls: Option<CertificateFiles>,
}

/// Where the token is from.
#[derive(Debug, Clone, Default)]
pub enum TokenSource {
    /// There is none: nobody may change anything.
    #[default]
    None,
    /// The settings.
    Given(Token),
    /// A file, whose first line it is.
    File(PathBuf),
}

impl TokenSource {
    /// The token; none where there is none.
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

/// The secrets in use, which can be read again while the listener runs.
#[derive(Debug, Clone)]
pub struct Secrets {
    source: TokenSource,
    /// Who may change something.
    pub callers: Arc<Callers>,
    /// The certificate, where TLS is spoken.
    pub certificate: Option<Arc<ShownCertificate>>,
}

impl Secrets {
    /// Reads all files.
    pub fn read(access: &Access) -> Result<Self, String> {
        let callers = Arc::new(Callers::new(access.token.read()?, access.reads_need_token));
        let certificate = access.tls.clone().map(ShownCertificate::read).transpose()?;
        Ok(Self { source: access.token.clone(), callers, certificate })
    }

    /// Reads all files again. What has a mistake stays as it was, and is told.
    pub fn read_again(&self) -> Vec<String> {
        let token = self.source.read().map(|token| self.callers.change(token));
        let certificate = self.certificate.as_ref().map_or(Ok(()), |certificate| certificate.read_again());
        [token, certificate].into_iter().filter_map(Result::err).collect()
    }
}
