//! Certificates for listeners of services.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Word;

/// The name of a certificate in the operator's directory (`haproxy.certificates`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertificateName(Arc<str>);

/// A text that is no [`CertificateName`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not the name of a certificate: letters, digits, '-', '_' and '.', at most 128, and not '.' first")]
pub struct InvalidCertificateName(String);

impl CertificateName {
    /// Parses a name, which is never a path.
    ///
    /// # Errors
    /// The text where it is empty, too long, begins with a dot or contains other characters.
    pub fn new(text: &str) -> Result<Self, InvalidCertificateName> {
        const LENGTH_MAX: usize = 128;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_good =
            !text.is_empty() && text.len() <= LENGTH_MAX && !text.starts_with('.') && text.bytes().all(allowed);
        is_good.then(|| Self(text.into())).ok_or_else(|| InvalidCertificateName(text.to_owned()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CertificateName {
    type Error = InvalidCertificateName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<CertificateName> for String {
    fn from(name: CertificateName) -> Self {
        name.0.to_string()
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The oldest version of TLS that clients may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// `TLSv1.0`
    #[serde(rename = "TLSv1.0")]
    V1_0,
    /// `TLSv1.1`
    #[serde(rename = "TLSv1.1")]
    V1_1,
    /// `TLSv1.2`
    #[serde(rename = "TLSv1.2")]
    V1_2,
    /// `TLSv1.3`
    #[serde(rename = "TLSv1.3")]
    V1_3,
}

impl TlsVersion {
    /// All versions, the oldest first.
    pub const ALL: [Self; 4] = [Self::V1_0, Self::V1_1, Self::V1_2, Self::V1_3];

    /// Returns the version as HAProxy writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "TLSv1.0",
            Self::V1_1 => "TLSv1.1",
            Self::V1_2 => "TLSv1.2",
            Self::V1_3 => "TLSv1.3",
        }
    }
}

/// TLS on the listeners of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTls {
    /// The certificates, of which HAProxy chooses by SNI; the first for clients without. Never empty.
    pub certificates: Vec<CertificateName>,
    /// The protocols that are offered (ALPN); HAProxy's default where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<Word>,
    /// The oldest version; HAProxy's default where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
}

/// A certificate that is in use: the last good one of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoodCertificate {
    /// The chain and the key, as a PEM text without comments and blank lines.
    pub pem: Secret,
    /// The subject, as `CN=www.example.org`.
    pub subject: String,
    /// The DNS names and IP addresses that it is valid for.
    pub names: Vec<String>,
    /// When it expires, in milliseconds since 1970.
    pub not_after_unix_ms: u64,
    /// Whether HAProxy fetches the responses of its OCSP responder and staples them.
    pub is_stapled: bool,
}

/// The names of certificates for which HAProxy fetches OCSP responses.
pub type StapledCertificates = BTreeSet<CertificateName>;

/// The text of a certificate with its key. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Arc<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// The state of a certificate in the operator's directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenCertificate {
    /// The last good one; `None` where there was none yet.
    pub good: Option<GoodCertificate>,
    /// Why the files cannot be used now.
    pub problem: Option<String>,
}

/// A change of the certificates in a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateChange {
    /// Replace the certificate that it read from the file at `path`.
    Replace {
        /// The file.
        path: PathBuf,
        /// The chain and the key.
        pem: Secret,
    },
    /// Add a certificate to a listener.
    Add {
        /// The file from which it read the certificates of the listener.
        list: PathBuf,
        /// The file of the certificate.
        path: PathBuf,
        /// The chain and the key.
        pem: Secret,
        /// Whether HAProxy fetches OCSP responses for it.
        is_stapled: bool,
    },
    /// Remove a certificate from a listener.
    Remove {
        /// The file from which it read the certificates of the listener.
        list: PathBuf,
        /// The file of the certificate.
        path: PathBuf,
    },
}

/// The files with the certificates of listeners (`crt-list`), by path, with their contents.
pub type CertificateLists = BTreeMap<PathBuf, Arc<str>>;

/// All certificates in the operator's directory.
pub type Certificates = BTreeMap<CertificateName, SeenCertificate>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths() {
        for text in ["shop", "www.example.org", "a_b-1"] {
            assert_eq!(CertificateName::new(text).unwrap().as_str(), text);
        }
        for text in ["", ".", "..", ".hidden", "a/b", "../x", "a b", "a\n", &"x".repeat(129)] {
            assert!(CertificateName::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn key_is_never_shown() {
        assert_eq!(format!("{:?}", Secret("-----BEGIN".into())), "(not shown)");
    }
}
