//! The certificates of a listener in a file of their own (`crt-list`): the running process can add certificates to it,
//! and remove them.
//!
//! <https://docs.haproxy.org/3.2/configuration.html#5.1-crt-list>

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::stable_hash::StableHash;
use crate::model::{CertificateName, StapledCertificates};

/// The suffix of a file with a certificate and its key.
pub const FILE_SUFFIX: &str = ".pem";

/// The suffix of a file with the certificates of a listener.
pub const LIST_SUFFIX: &str = ".list";

/// The options of a certificate for which HAProxy 2.8 and later fetches OCSP responses. HAProxy refuses the list if the
/// certificate names no responder, or if its issuer is not in the chain.
pub const OCSP_UPDATE: &str = " [ocsp-update on]";

/// Returns the file of a certificate in this directory.
pub fn certificate_file(directory: &str, name: &CertificateName) -> String {
    format!("{directory}/{name}{FILE_SUFFIX}")
}

/// The certificates of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateList {
    /// The name of the listener.
    listener: String,
    /// The directory of the certificates, and of the list.
    directory: Arc<str>,
    /// The certificates, each once. The first is the one for clients without a matching name.
    names: Vec<CertificateName>,
}

impl CertificateList {
    /// Creates an empty list.
    pub fn new(listener: String, directory: Arc<str>) -> Self {
        Self { listener, directory, names: Vec::new() }
    }

    /// Adds the certificates that the list does not have yet.
    pub fn add(&mut self, names: &[CertificateName]) {
        for name in names {
            if !self.names.contains(name) {
                self.names.push(name.clone());
            }
        }
    }

    /// Returns the certificates.
    pub fn names(&self) -> &[CertificateName] {
        &self.names
    }

    /// Returns the path of the file. Other certificates have another path, so that a candidate does not change the
    /// certificates in the file that a restart of HAProxy reads.
    pub fn path(&self) -> PathBuf {
        let mut hash = StableHash::default();
        hash.write_str(&self.text(&StapledCertificates::new())).expect("hashing cannot fail");
        format!("{}/{}.{:016x}{LIST_SUFFIX}", self.directory, self.listener, hash.finish()).into()
    }

    /// Returns the content of the file, by which HAProxy fetches OCSP responses for the `stapled` certificates.
    pub fn text(&self, stapled: &StapledCertificates) -> Arc<str> {
        let mut text = String::new();
        for name in &self.names {
            let options = if stapled.contains(name) { OCSP_UPDATE } else { "" };
            let _ = writeln!(text, "{}{options}", certificate_file(&self.directory, name));
        }
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> CertificateList {
        let mut list = CertificateList::new("web".to_owned(), "/certs".into());
        let names: Vec<CertificateName> = names.iter().map(|name| CertificateName::new(name).unwrap()).collect();
        list.add(&names);
        list
    }

    #[test]
    fn each_certificate_stands_once_in_its_order() {
        assert_eq!(&*list(&["b", "a", "b"]).text(&StapledCertificates::new()), "/certs/b.pem\n/certs/a.pem\n");
    }

    #[test]
    fn stapling_is_an_option_of_a_certificate() {
        let stapled = StapledCertificates::from([CertificateName::new("a").unwrap()]);
        assert_eq!(&*list(&["b", "a"]).text(&stapled), "/certs/b.pem\n/certs/a.pem [ocsp-update on]\n");
    }

    #[test]
    fn other_content_has_another_file() {
        assert_eq!(list(&["a", "b"]).path(), list(&["a", "b"]).path());
        assert_ne!(list(&["a", "b"]).path(), list(&["a"]).path());
        let path = list(&["a"]).path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("web.") && name.ends_with(LIST_SUFFIX), "{name}");
    }
}
