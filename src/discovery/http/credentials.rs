//! What a request proves itself with. Never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use awc::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// What a request proves itself with.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// `Authorization: Bearer ...`
    Bearer(String),
    /// `Authorization: Basic ...`
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A header of the service's own, such as `X-Consul-Token`.
    Header {
        /// The header, in lower case.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// The same, with the value in a file, read again when it is refused.
    HeaderFromFile {
        /// The header, in lower case.
        name: &'static str,
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bearer(_) => f.write_str("Bearer(***)"),
            Self::Basic { user, .. } => write!(f, "Basic({user}:***)"),
            Self::Header { name, .. } => write!(f, "Header({name}: ***)"),
            Self::HeaderFromFile { name, path } => write!(f, "HeaderFromFile({name}: {})", path.display()),
        }
    }
}

/// The header as it is sent, and the secret in it, which no message may repeat.
#[derive(Clone)]
pub(super) struct Proof {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
    secret: String,
}

impl Proof {
    /// A server's words without the secret, should it repeat it.
    pub(super) fn remove_from(&self, text: String) -> String {
        if self.secret.is_empty() { text } else { text.replace(&self.secret, "***") }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({}: ***)", self.name)
    }
}

/// A text without the secret that a request proved itself with.
pub(super) fn without_secret(proof: Option<&Proof>, text: String) -> String {
    match proof {
        Some(proof) => proof.remove_from(text),
        None => text,
    }
}

impl Credentials {
    /// Makes the header. Blocks where a file is read.
    pub(super) fn prove(&self) -> Result<Option<Proof>, String> {
        let (name, text, secret) = match self {
            Self::None => return Ok(None),
            Self::Bearer(token) => (AUTHORIZATION, format!("Bearer {token}"), token.clone()),
            Self::Basic { user, password } => {
                let text = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
                (AUTHORIZATION, text, password.clone())
            }
            Self::Header { name, value } => (HeaderName::from_static(name), value.clone(), value.clone()),
            Self::HeaderFromFile { name, path } => {
                let value = read(path)?;
                (HeaderName::from_static(name), value.clone(), value)
            }
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| format!("the credentials for the header {name} hold characters that a header may not"))?;
        value.set_sensitive(true);
        Ok(Some(Proof { name, value, secret }))
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
    fn no_secret_is_shown() {
        for credentials in [
            Credentials::Bearer("s3cret".into()),
            Credentials::Basic { user: "u".into(), password: "s3cret".into() },
            Credentials::Header { name: "x-consul-token", value: "s3cret".into() },
        ] {
            assert!(!format!("{credentials:?}").contains("s3cret"));
            let proof = credentials.prove().unwrap().unwrap();
            assert!(!format!("{:?}", proof.value).contains("s3cret"));
            assert_eq!(proof.remove_from("token s3cret is bad".into()), "token *** is bad");
        }
        let bad = Credentials::Bearer("s3cret\r\nx: y".into()).prove().err().unwrap();
        assert!(!bad.contains("s3cret"), "{bad}");
    }

    #[test]
    fn a_token_file_is_read_without_its_line_feed_and_must_hold_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let credentials = Credentials::HeaderFromFile { name: "x-consul-token", path: path.clone() };
        assert!(credentials.prove().err().unwrap().contains("cannot be read"));
        std::fs::write(&path, "\n").unwrap();
        assert!(credentials.prove().err().unwrap().contains("is empty"));
        std::fs::write(&path, "abc\n").unwrap();
        assert_eq!(credentials.prove().unwrap().unwrap().value, "abc");
    }
}
