//! The words of TLS in a `bind` line.
//!
//! <https://docs.haproxy.org/3.2/configuration.html#5.1-crt>

use std::fmt::Write;
use std::sync::Arc;

use itertools::Itertools;

use super::quoting::{joined, quoted};
use crate::model::{ServiceDefinition, ServiceTls, Word};

/// The suffix of a file with a certificate and its key.
pub const FILE_SUFFIX: &str = ".pem";

/// Returns the TLS of a service with the directory of its certificates; `None` where it has none.
pub(super) fn of(definition: &ServiceDefinition) -> Option<(&ServiceTls, &Arc<str>)> {
    let path = definition.in_base.as_ref()?.certificates_path.as_ref()?;
    Some((definition.section.tls.as_ref()?, path))
}

/// Returns the words of a service's own listeners, with a space before each; empty without TLS.
pub(super) fn of_service(definition: &ServiceDefinition) -> String {
    of(definition).map_or_else(String::new, |(tls, path)| of_all(&[(tls.clone(), path.clone())]))
}

/// Returns the words of a listener that these services share: the certificates of all, of which HAProxy chooses by SNI;
/// the protocols of the first that has some, and the newest of the oldest versions.
pub(super) fn of_all(services: &[(ServiceTls, Arc<str>)]) -> String {
    let mut text = String::new();
    if services.is_empty() {
        return text;
    }
    text.push_str(" ssl");
    let files = services.iter().flat_map(|(tls, path)| {
        tls.certificates.iter().map(move |certificate| format!("{path}/{certificate}{FILE_SUFFIX}"))
    });
    for file in files.unique() {
        let word = Word::new(&file).map_or_else(|_| file.clone(), |word| quoted(&word).into_owned());
        let _ = write!(text, " crt {word}");
    }
    if let Some((tls, _)) = services.iter().find(|(tls, _)| !tls.alpn.is_empty()) {
        let alpn = tls.alpn.iter().map(Word::as_str).join(",");
        let _ = write!(text, " alpn {}", joined(&[Word::new(&alpn).expect("words without control characters")]));
    }
    if let Some(version) = services.iter().filter_map(|(tls, _)| tls.min_version).max() {
        let _ = write!(text, " ssl-min-ver {}", version.as_str());
    }
    text
}
