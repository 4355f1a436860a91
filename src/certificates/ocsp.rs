//! Whether HAProxy can fetch OCSP responses for a certificate (RFC 6960).
//!
//! HAProxy refuses its configuration where it is to fetch them and cannot: what it needs is checked here before.
//!
//! <https://docs.haproxy.org/3.2/configuration.html#12.7.1-ocsp-update>

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_OCSP;

/// Returns why HAProxy cannot fetch OCSP responses for a certificate with this chain; `None` where it can.
pub(super) fn unstapled<'a>(
    leaf: &X509Certificate<'_>,
    chain: impl IntoIterator<Item = X509Certificate<'a>>,
) -> Option<&'static str> {
    if !responders(leaf).iter().any(|url| url.starts_with("http://")) {
        return Some("it names no OCSP responder that is reached by http");
    }
    let has_issuer = chain.into_iter().any(|issuer| is_issuer(&issuer, leaf));
    (!has_issuer).then_some("its issuer is not in the chain, so that OCSP responses cannot be verified")
}

fn responders(leaf: &X509Certificate<'_>) -> Vec<String> {
    let access = leaf.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(&access.accessdescs),
        _ => None,
    });
    let of_ocsp = access.flatten().filter(|access| access.access_method == OID_PKIX_ACCESS_DESCRIPTOR_OCSP);
    let urls = of_ocsp.filter_map(|access| match &access.access_location {
        GeneralName::URI(url) => Some((*url).to_owned()),
        _ => None,
    });
    urls.collect()
}

/// Returns whether a certificate is that of the issuer by its name, its key identifier and its purpose, like
/// `X509_check_issued` of OpenSSL.
fn is_issuer(issuer: &X509Certificate<'_>, leaf: &X509Certificate<'_>) -> bool {
    let subject_key = issuer.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
        _ => None,
    });
    let authority_key = leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref().map(|key| key.0),
        _ => None,
    });
    let other_key = subject_key.zip(authority_key).is_some_and(|(subject, authority)| subject != authority);
    let signs = issuer.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
    issuer.subject().as_raw() == leaf.issuer().as_raw() && !other_key && signs
}
