//! The words of TLS in a `bind` line.
//!
//! <https://docs.haproxy.org/3.2/configuration.html#5.1-crt>

use std::fmt::Write;
use std::sync::Arc;

use itertools::Itertools;

use super::certificate_list::{CertificateList, certificate_file};
use super::quoting::{joined, quoted_text};
use crate::model::{ServiceDefinition, ServiceTls, Word};

/// Returns the TLS of a service with the directory of its certificates; `None` where it has none.
pub(super) fn of(definition: &ServiceDefinition) -> Option<(&ServiceTls, &Arc<str>)> {
    let path = definition.in_base.as_ref()?.certificates_path.as_ref()?;
    Some((definition.section.tls.as_ref()?, path))
}

/// Returns the words of a service's own listeners, with a space before each; empty without TLS.
pub(super) fn of_service(definition: &ServiceDefinition) -> String {
    let services = of(definition).map(|(tls, path)| (tls.clone(), path.clone()));
    of_all(definition.name.to_string(), &Vec::from_iter(services))
}

/// Returns the words that describe TLS in the comment of a section: with the first certificate, because the others can
/// be changed at run time.
pub(super) fn in_comment(definition: &ServiceDefinition) -> String {
    let Some((tls, path)) = of(definition) else { return String::new() };
    let first = tls.certificates.first().map(|name| format!(" crt {}", quoted_text(&certificate_file(path, name))));
    format!(" ssl{}{}", first.unwrap_or_default(), options(std::slice::from_ref(&(tls.clone(), path.clone()))))
}

/// Returns the words of a listener that these services share: the certificates of all, of which HAProxy chooses by SNI;
/// the protocols of the first that has some, and the newest of the oldest versions.
pub(super) fn of_all(listener: String, services: &[(ServiceTls, Arc<str>)]) -> String {
    let Some((_, directory)) = services.first() else { return String::new() };
    let mut list = CertificateList::new(listener, directory.clone());
    services.iter().for_each(|(tls, _)| list.add(&tls.certificates));
    format!(" ssl crt-list {}{}", quoted_text(&list.path().to_string_lossy()), options(services))
}

fn options(services: &[(ServiceTls, Arc<str>)]) -> String {
    let mut text = String::new();
    if let Some((tls, _)) = services.iter().find(|(tls, _)| !tls.alpn.is_empty()) {
        let alpn = tls.alpn.iter().map(Word::as_str).join(",");
        let _ = write!(text, " alpn {}", joined(&[Word::new(&alpn).expect("words without control characters")]));
    }
    if let Some(version) = services.iter().filter_map(|(tls, _)| tls.min_version).max() {
        let _ = write!(text, " ssl-min-ver {}", version.as_str());
    }
    text
}
