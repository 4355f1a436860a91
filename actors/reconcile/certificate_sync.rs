//! The sync state of certificates with the running process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::limits::CERTIFICATE_AT_RUNTIME_BYTES_MAX;
use crate::model::{CertificateName, Certificates, SeenCertificate, ServiceName, StapledCertificates};

/// The PEM text of each certificate.
type Texts = BTreeMap<CertificateName, Arc<str>>;

/// The sync state of certificates with the running process.
#[derive(Debug, Default)]
pub struct CertificateSync {
    /// The last good ones, which are in the files.
    good: Texts,
    /// Those among them for which HAProxy fetches OCSP responses.
    pub stapled: Arc<StapledCertificates>,
    /// Those that the process has.
    pub loaded: Texts,
    /// Services whose listeners may have other certificates than their definitions name.
    pub due: BTreeSet<ServiceName>,
    /// The change that is under way.
    pub changing: Option<Changing>,
}

/// A change of the certificates in the process.
#[derive(Debug)]
pub enum Changing {
    /// A certificate is replaced by this text.
    Replace(CertificateName, Arc<str>),
    /// The listener of this service gets a certificate with this text, or loses one.
    OfListener(ServiceName, ListenerChange, Option<Arc<str>>),
}

/// A change of the certificates of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerChange {
    /// The listener.
    pub listener: String,
    /// The certificate.
    pub name: CertificateName,
    /// Whether it is added, or removed.
    pub is_added: bool,
}

impl CertificateSync {
    /// Returns the certificates that a process has which starts now.
    pub fn in_files(&self) -> BTreeMap<CertificateName, Arc<str>> {
        self.good.clone()
    }

    /// Records that a process serves that was started with these certificates.
    pub fn started_with(&mut self, in_files: BTreeMap<CertificateName, Arc<str>>) {
        self.loaded = in_files;
    }

    /// Records that the process may have older certificates than the files. Those that the Runtime API takes are loaded
    /// again.
    pub fn load_again(&mut self) {
        let unknown = self.loaded.values_mut().filter(|pem| pem.len() <= CERTIFICATE_AT_RUNTIME_BYTES_MAX);
        unknown.for_each(|pem| *pem = Arc::default());
    }

    /// Records the last good certificates. Returns those that are new or have changed.
    pub fn seen(&mut self, certificates: &Certificates) -> Vec<CertificateName> {
        let good = certificates.iter().filter_map(|(name, seen)| Some((name, &seen.good.as_ref()?.pem.0)));
        let changed = good.filter(|(name, pem)| self.good.get(*name) != Some(*pem));
        let changed: Vec<_> = changed.map(|(name, pem)| (name.clone(), pem.clone())).collect();
        let names = changed.iter().map(|(name, _)| name.clone()).collect();
        self.good.extend(changed);
        let is_stapled = |(name, seen): (&CertificateName, &SeenCertificate)| {
            seen.good.as_ref().is_some_and(|good| good.is_stapled).then(|| name.clone())
        };
        self.stapled = Arc::new(certificates.iter().filter_map(is_stapled).collect());
        names
    }

    /// Returns a certificate that the process has in an older version.
    pub fn next(&self) -> Option<(CertificateName, Arc<str>)> {
        let is_old =
            |(name, pem): &(&CertificateName, &Arc<str>)| self.loaded.get(*name).is_some_and(|loaded| loaded != *pem);
        self.good.iter().find(is_old).map(|(name, pem)| (name.clone(), pem.clone()))
    }

    /// Returns the last good certificate of this name.
    pub fn good(&self, name: &CertificateName) -> Option<&Arc<str>> {
        self.good.get(name)
    }
}
