//! Credentials of a client. Never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// Credentials that are sent with each request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// `Authorization: Bearer ...`
    Bearer(Secret),
    /// `Authorization: Basic ...`
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A header specific to the service, such as `X-Consul-Token`.
    Header {
        /// The header, in lower case.
        name: &'static str,
        /// Its value.
        value: Secret,
    },
    /// The same, with the value in a file that is read again after the server rejected the value.
    HeaderFromFile {
        /// The header, in lower case.
        name: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// The header as it is sent, and the secret in it, which must not appear in any message.
#[derive(Clone)]
pub(super) struct AuthHeader {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
    /// The password or token, and the encoded form of both user and password.
    secrets: Vec<Secret>,
}

impl AuthHeader {
    /// The text of a server, with the secret replaced in case the server repeats it.
    fn redact(&self, text: String) -> String {
        let secrets = self.secrets.iter().map(Secret::reveal).filter(|secret| !secret.is_empty());
        secrets.fold(text, |text, secret| text.replace(secret, "***"))
    }
}

impl fmt::Debug for AuthHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthHeader({}: ***)", self.name)
    }
}

/// A text for a message, without the secret that was sent.
pub(super) fn redacted(auth: Option<&AuthHeader>, text: String) -> String {
    match auth {
        Some(auth) => auth.redact(text),
        None => text,
    }
}

impl Credentials {
    /// The header to send. Blocks while a file is read.
    pub(super) fn to_header(&self) -> Result<Option<AuthHeader>, String> {
        let (name, text, secrets) = match self {
            Self::None => return Ok(None),
            Self::Bearer(token) => (AUTHORIZATION, format!("Bearer {}", token.reveal()), vec![token.clone()]),
            Self::Basic { user, password } => {
                let encoded = BASE64_STANDARD.encode(format!("{user}:{}", password.reveal()));
                (AUTHORIZATION, format!("Basic {encoded}"), vec![encoded.into(), password.clone()])
            }
            Self::Header { name, value } => {
                (HeaderName::from_static(name), value.reveal().to_owned(), vec![value.clone()])
            }
            Self::HeaderFromFile { name, path } => {
                let value = read(path)?;
                (HeaderName::from_static(name), value.clone(), vec![value.into()])
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            format!("the credentials for the header {name} contain characters that are not allowed in a header")
        })?;
        value.set_sensitive(true);
        Ok(Some(AuthHeader { name, value, secrets }))
    }
}

fn read(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("the token file {} cannot be read: {error}", path.display()))?;
    match text.trim() {
        "" => Err(format!("the token file {} is empty", path.display())),
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        for credentials in [
            Credentials::Bearer("s3cret".into()),
            Credentials::Basic { user: "u".into(), password: "s3cret".into() },
            Credentials::Header { name: "x-consul-token", value: "s3cret".into() },
        ] {
            assert!(!format!("{credentials:?}").contains("s3cret"));
            let header = credentials.to_header().unwrap().unwrap();
            assert!(!format!("{:?}", header.value).contains("s3cret"));
            assert_eq!(header.redact("token s3cret is bad".into()), "token *** is bad");
        }
        let basic = Credentials::Basic { user: "u".into(), password: "s3cret".into() }.to_header().unwrap().unwrap();
        assert_eq!(basic.redact("you sent Basic dTpzM2NyZXQ=".into()), "you sent Basic ***");
        let bad = Credentials::Bearer("s3cret\r\nx: y".into()).to_header().err().unwrap();
        assert!(!bad.contains("s3cret"), "{bad}");
    }

    #[test]
    fn token_file_is_trimmed_and_must_hold_a_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let credentials = Credentials::HeaderFromFile { name: "x-consul-token", path: path.clone() };
        assert!(credentials.to_header().err().unwrap().contains("cannot be read"));
        std::fs::write(&path, "\n").unwrap();
        assert!(credentials.to_header().err().unwrap().contains("is empty"));
        std::fs::write(&path, "abc\n").unwrap();
        assert_eq!(credentials.to_header().unwrap().unwrap().value, "abc");
    }
}
