//! The certificate lists of all TLS listeners: one for the listeners of a service, one for each frontend that services
//! share.

use std::collections::BTreeMap;

pub use super::certificate_list::{CertificateList, FILE_SUFFIX, LIST_SUFFIX, OCSP_UPDATE, certificate_file};
use super::frontend;
use super::routing::{kind_of, routed_at};
use super::tls_words;
use crate::model::{CertificateLists, ServiceDefinition, StapledCertificates};

/// Returns the name of the listener with the certificates of a service; `None` for a service without TLS.
pub fn listener_of(definition: &ServiceDefinition) -> Option<String> {
    tls_words::of(definition)?;
    Some(match routed_at(definition) {
        Some(listen) => frontend::name(listen, kind_of(definition)),
        None => definition.name.to_string(),
    })
}

/// Returns the lists of these services, by listener. Services come in the order of their names.
pub fn lists<'a>(definitions: impl IntoIterator<Item = &'a ServiceDefinition>) -> BTreeMap<String, CertificateList> {
    let mut lists: BTreeMap<String, CertificateList> = BTreeMap::new();
    for definition in definitions {
        let Some((tls, directory)) = tls_words::of(definition) else { continue };
        let Some(listener) = listener_of(definition) else { continue };
        let new = || CertificateList::new(listener.clone(), directory.clone());
        lists.entry(listener.clone()).or_insert_with(new).add(&tls.certificates);
    }
    lists
}

/// Returns the files of these services' lists. HAProxy fetches OCSP responses for the `stapled` certificates.
pub fn files<'a>(
    definitions: impl IntoIterator<Item = &'a ServiceDefinition>,
    stapled: &StapledCertificates,
) -> CertificateLists {
    lists(definitions).values().map(|list| (list.path(), list.text(stapled))).collect()
}
