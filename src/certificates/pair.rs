//! A certificate with its chain and key: parsed from PEM, validated, and encoded anew.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proxymgr_actors::model::{GoodCertificate, Secret};
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::ocsp;

/// The length of a line of base64 in PEM (RFC 7468, section 2).
const PEM_COLUMNS: usize = 64;

/// A certificate whose key fits, whatever its period of validity.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate for HAProxy.
    pub certificate: GoodCertificate,
    /// Since when it is valid, in milliseconds since 1970.
    pub not_before_unix_ms: u64,
    /// Why HAProxy cannot fetch OCSP responses for it; `None` where it can.
    pub unstapled: Option<&'static str>,
}

/// The sections of all files.
#[derive(Default)]
struct Sections {
    chain: Vec<CertificateDer<'static>>,
    keys: Vec<(SectionKind, Vec<u8>)>,
}

impl Pair {
    /// Parses and validates PEM texts, each with the path for messages.
    ///
    /// # Errors
    /// Why the files cannot be used; never a part of their content.
    pub fn parse(texts: &[(PathBuf, Vec<u8>)]) -> Result<Self, String> {
        let mut sections = Sections::default();
        for (path, text) in texts {
            sections.read(text).map_err(|problem| format!("{}: {problem}", path.display()))?;
        }
        let shown: Vec<String> = texts.iter().map(|(path, _)| path.display().to_string()).collect();
        sections.pair().map_err(|problem| format!("{}: {problem}", shown.join(", ")))
    }

    /// Has HAProxy fetch OCSP responses for the certificate, if it can.
    #[must_use]
    pub fn stapled(mut self) -> Self {
        self.certificate.is_stapled = self.unstapled.is_none();
        self
    }

    /// Returns why clients reject the certificate at this time.
    pub fn out_of_period(&self, now_unix_ms: u64) -> Option<String> {
        let (from, to) = (self.not_before_unix_ms, self.certificate.not_after_unix_ms);
        if to <= now_unix_ms {
            Some(format!("it expired at {}", rfc3339(to)))
        } else if from > now_unix_ms {
            Some(format!("it is not valid before {}", rfc3339(from)))
        } else {
            None
        }
    }
}

impl Sections {
    fn read(&mut self, text: &[u8]) -> Result<(), String> {
        check_labels(text)?;
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
            // The error may quote the line, and so a key.
            match section.map_err(|_| "it is not a complete PEM file".to_owned())? {
                (SectionKind::Certificate, der) => self.chain.push(der.into()),
                key => self.keys.push(key),
            }
        }
        Ok(())
    }

    fn pair(self) -> Result<Pair, String> {
        let Self { chain, keys } = self;
        let [(kind, key)] = <[_; 1]>::try_from(keys).map_err(|keys| match keys.len() {
            0 => "there is no private key".to_owned(),
            count => format!("there are {count} private keys"),
        })?;
        let leaf = chain.first().ok_or_else(|| "there is no certificate".to_owned())?;
        let leaf = parsed(leaf).ok_or_else(|| "the first certificate cannot be parsed".to_owned())?;
        if let Some(at) = chain.iter().skip(1).position(|certificate| parsed(certificate).is_none()) {
            return Err(format!("certificate {} of the chain cannot be parsed", at + 2));
        }
        check_key(&chain, kind, &key)?;
        let validity = leaf.validity();
        let mut pem = String::new();
        chain.iter().for_each(|certificate| push_pem(&mut pem, "CERTIFICATE", certificate));
        push_pem(&mut pem, label(kind), &key);
        let certificate = GoodCertificate {
            pem: Secret(pem.into()),
            subject: printable(&leaf.subject().to_string()),
            names: names(&leaf),
            not_after_unix_ms: unix_ms(validity.not_after.timestamp()),
            is_stapled: false,
        };
        let unstapled = ocsp::unstapled(&leaf, chain.iter().skip(1).filter_map(parsed));
        Ok(Pair { certificate, not_before_unix_ms: unix_ms(validity.not_before.timestamp()), unstapled })
    }
}

/// Refuses sections that are neither a certificate nor a key that HAProxy can read without a password.
fn check_labels(text: &[u8]) -> Result<(), String> {
    const ENCRYPTED: &str = "the private key is encrypted: store it without a password (openssl pkey)";
    let lines = || text.split(|byte| matches!(byte, b'\n' | b'\r'));
    // RFC 1421, as OpenSSL writes keys of its own format.
    if lines().any(|line| line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED")) {
        return Err(ENCRYPTED.to_owned());
    }
    let labels = lines().filter_map(|line| line.strip_prefix(b"-----BEGIN ")?.trim_ascii_end().strip_suffix(b"-----"));
    for label in labels {
        match label {
            b"CERTIFICATE" | b"PRIVATE KEY" | b"RSA PRIVATE KEY" | b"EC PRIVATE KEY" => {}
            // The key names its curve itself.
            b"EC PARAMETERS" => {}
            b"ENCRYPTED PRIVATE KEY" => return Err(ENCRYPTED.to_owned()),
            b"DH PARAMETERS" => {
                let instead = "set ssl-dh-param-file in the global section";
                return Err(format!("it contains DH parameters: remove them, and where they are needed {instead}"));
            }
            other => {
                let other = printable(&String::from_utf8_lossy(&other[..other.len().min(PEM_COLUMNS)]));
                return Err(format!("it contains {other:?}, which is neither a certificate nor a private key"));
            }
        }
    }
    Ok(())
}

fn check_key(chain: &[CertificateDer<'static>], kind: SectionKind, key: &[u8]) -> Result<(), String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let fits = |chain: Vec<CertificateDer<'static>>| -> Result<(), Error> {
        let unreadable = || Error::General("the private key cannot be parsed".to_owned());
        let key = PrivateKeyDer::from_pem(kind, key.to_vec()).ok_or_else(unreadable)?;
        CertifiedKey::from_der(chain, key, &provider)?.keys_match()
    };
    match fits(chain.to_vec()) {
        Ok(()) => Ok(()),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let place = chain.iter().skip(1).position(|certificate| fits(vec![certificate.clone()]).is_ok());
            Err(match place {
                Some(at) => format!("the private key belongs to certificate {}, which must be the first", at + 2),
                None => "the private key does not belong to the certificate".to_owned(),
            })
        }
        Err(Error::General(problem)) => Err(problem),
        Err(error) => Err(error.to_string()),
    }
}

fn parsed<'a>(certificate: &'a CertificateDer<'static>) -> Option<X509Certificate<'a>> {
    let (rest, certificate) = X509Certificate::from_der(certificate).ok()?;
    rest.is_empty().then_some(certificate)
}

/// The DNS names and IP addresses; the common name where there are none.
fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = leaf.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    let names: Vec<String> = alternatives
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(printable(name)),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        })
        .collect();
    match names.is_empty() {
        true => leaf.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(printable).collect(),
        false => names,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// The text without control characters, which would change the look of a log.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character }).collect()
}

fn unix_ms(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or_default().saturating_mul(1_000)
}

/// A time as text.
pub fn rfc3339(unix_ms: u64) -> String {
    // RFC 3339 ends with the year 9999.
    let unix_ms = unix_ms.min(253_402_300_799_000);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(unix_ms)).to_string()
}

fn label(key: SectionKind) -> &'static str {
    match key {
        SectionKind::RsaPrivateKey => "RSA PRIVATE KEY",
        SectionKind::EcPrivateKey => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    }
}

/// Appends a section without blank lines: one ends a payload of the Runtime API.
fn push_pem(pem: &mut String, label: &str, der: &[u8]) {
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = STANDARD.encode(der);
    while !rest.is_empty() {
        let next = rest.split_off(rest.len().min(PEM_COLUMNS));
        pem.push_str(&rest);
        pem.push('\n');
        rest = next;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
}
