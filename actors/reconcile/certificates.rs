//! Certificates: loads changed ones into the running process.
//!
//! The files that HAProxy reads are up to date before this is notified, so that a new process has them from its start.

use std::path::PathBuf;
use std::sync::Arc;

use super::effect::{Effect, info, warn};
use super::state::State;
use crate::decide::tls_words::FILE_SUFFIX;
use crate::limits::CERTIFICATE_AT_RUNTIME_BYTES_MAX;
use crate::model::{CertificateName, Certificates, Moment, ReloadCause, ServiceDefinition, ServiceName};
use crate::port::{Answer, RuntimeError};

impl State {
    /// Handles a change of the certificates in the operator's directory.
    pub(super) fn certificates_changed(&mut self, certificates: &Certificates) {
        let changed = self.files.certificates.seen(certificates);
        for (name, service) in &mut self.desired.services {
            if uses_any(&service.definition, &changed) {
                service.retry_definition();
                self.work.changed(name.clone());
            }
        }
    }

    /// Loads the next changed certificate, where the process that serves uses it.
    pub(super) fn load_certificate(&mut self) {
        if !self.deploys() || !self.process.is_serving() || self.files.certificates.loading.is_some() {
            return;
        }
        let Some((name, pem)) = self.files.certificates.next() else { return };
        if !self.is_in_use(&name) {
            self.files.certificates.loaded.insert(name, pem);
            return;
        }
        if pem.len() > CERTIFICATE_AT_RUNTIME_BYTES_MAX {
            self.certificate_by_reload(name, pem, "it is too long for the Runtime API");
            return;
        }
        let path = self.certificate_path(&name);
        self.files.certificates.loading = Some((name, pem.clone()));
        self.outbox.push(Effect::LoadCertificate { path, pem });
    }

    /// Handles HAProxy's answer.
    pub(super) fn certificate_loaded(&mut self, result: Result<Answer, RuntimeError>, now: Moment) {
        let Some((name, pem)) = self.files.certificates.loading.take() else { return };
        match result {
            Ok(Answer { accepted: true, .. }) => {
                let line = info("certificate loaded into the running HAProxy").with("certificate", &name);
                self.outbox.log(line.with("services", self.users_of(&name).len()));
                self.files.certificates.loaded.insert(name, pem);
            }
            Ok(Answer { text, .. }) => self.certificate_by_reload(name, pem, &text),
            // It is loaded again, or read by the next process.
            Err(RuntimeError::Replaced) => {}
            Err(error) => {
                self.certificate_by_reload(name, pem, &error.to_string());
                self.link_failed(&error, now);
            }
        }
    }

    fn certificate_by_reload(&mut self, name: CertificateName, pem: Arc<str>, why: &str) {
        let line = warn("certificate needs a reload").with("certificate", &name);
        self.outbox.log(line.with("reason", why));
        self.reloads.request(ReloadCause::Certificate.because(format!("certificate {name} changed: {why}")));
        self.files.certificates.loaded.insert(name, pem);
    }

    fn certificate_path(&self, name: &CertificateName) -> PathBuf {
        self.settings.policy.base_config.certificates_path().join(format!("{name}{FILE_SUFFIX}"))
    }

    fn is_in_use(&self, name: &CertificateName) -> bool {
        !self.users_of(name).is_empty()
    }

    /// Returns the services of the running process with this certificate.
    fn users_of(&self, name: &CertificateName) -> Vec<&ServiceName> {
        let sections = self.running().into_iter().flat_map(|running| &running.sections);
        let users = sections.filter(|(_, section)| uses_any(&section.definition, std::slice::from_ref(name)));
        users.map(|(service, _)| service).collect()
    }
}

fn uses_any(definition: &ServiceDefinition, names: &[CertificateName]) -> bool {
    definition.section.tls.as_ref().is_some_and(|tls| tls.certificates.iter().any(|name| names.contains(name)))
}
