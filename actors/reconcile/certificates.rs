//! Certificates: loads changed ones into the running process, and gives its listeners those that definitions name.
//!
//! The files that HAProxy reads are up to date before this is notified, so that a new process has them from its start.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::certificate_sync::{Changing, ListenerChange};
use super::effect::{Effect, info, warn};
use super::observed::ListenerCertificates;
use super::state::State;
use crate::decide::listener_certificates::{certificate_file, listener_of};
use crate::limits::CERTIFICATE_AT_RUNTIME_BYTES_MAX;
use crate::model::{
    CertificateChange, CertificateName, Certificates, Moment, ReloadCause, Secret, ServiceDefinition, ServiceName,
};
use crate::port::{Answer, RuntimeError};

/// Why a certificate is not set at run time.
const TOO_LONG: &str = "it is too long for the Runtime API";

impl State {
    /// Handles a change of the certificates in the operator's directory.
    pub(super) fn certificates_changed(&mut self, certificates: &Certificates) {
        let changed = self.files.certificates.seen(certificates);
        let users = self.desired.services.iter_mut().filter(|(_, service)| uses_any(&service.definition, &changed));
        let mut retried = Vec::new();
        for (name, service) in users {
            service.retry_definition();
            retried.push(name.clone());
        }
        for name in retried {
            self.retry_certificates(&name);
            self.work.changed(name);
        }
    }

    /// Allows another attempt to set the certificates of a service at run time.
    pub(super) fn retry_certificates(&mut self, name: &ServiceName) {
        if let Some(section) = self.process.running_mut().and_then(|running| running.sections.get_mut(name)) {
            section.attempts.certificates = None;
        }
    }

    /// Sends the next change of certificates, where the process that serves needs one.
    pub(super) fn change_certificates(&mut self) {
        if !self.deploys() || !self.process.is_serving() || self.files.certificates.changing.is_some() {
            return;
        }
        match self.files.certificates.next() {
            Some((name, pem)) => self.replace(name, pem),
            None => self.change_listener(),
        }
    }

    fn replace(&mut self, name: CertificateName, pem: Arc<str>) {
        if !self.is_in_process(&name) {
            self.files.certificates.loaded.insert(name, pem);
            return;
        }
        if pem.len() > CERTIFICATE_AT_RUNTIME_BYTES_MAX {
            self.replace_by_reload(name, pem, TOO_LONG);
            return;
        }
        let path = self.certificate_path(&name);
        self.outbox.push(Effect::ChangeCertificate(CertificateChange::Replace { path, pem: Secret(pem.clone()) }));
        self.files.certificates.changing = Some(Changing::Replace(name, pem));
    }

    /// Sends the next change of a listener.
    fn change_listener(&mut self) {
        while let Some(service) = self.files.certificates.due.pop_first() {
            // Without a change, the definition is applied when the service is planned.
            let Some(change) = self.next_of_listener(&service) else { continue };
            let Some(applied) = self.running().and_then(|running| running.certificates.get(&change.listener)) else {
                continue;
            };
            let (list, path) = (applied.list.clone(), self.certificate_path(&change.name));
            let pem = self.files.certificates.good(&change.name).filter(|_| change.is_added).cloned();
            let effect = match &pem {
                None if !change.is_added => CertificateChange::Remove { list, path },
                None => {
                    self.listener_by_reload(&service, &change, "there is no good certificate of this name");
                    continue;
                }
                Some(pem) if pem.len() > CERTIFICATE_AT_RUNTIME_BYTES_MAX => {
                    self.listener_by_reload(&service, &change, TOO_LONG);
                    continue;
                }
                Some(pem) => {
                    let is_stapled = self.files.certificates.stapled.contains(&change.name);
                    CertificateChange::Add { list, path, pem: Secret(pem.clone()), is_stapled }
                }
            };
            self.outbox.push(Effect::ChangeCertificate(effect));
            self.files.certificates.changing = Some(Changing::OfListener(service, change, pem));
            return;
        }
    }

    /// Returns the next difference between the certificates of the running listener of a service and those of its
    /// definition; certificates are added first. The first certificate of a definition changes by a reload.
    pub(super) fn next_of_listener(&self, name: &ServiceName) -> Option<ListenerChange> {
        let running = self.running().filter(|_| self.deploys())?;
        let service = self.desired.services.get(name)?;
        let (desired, section) = (&service.definition, running.sections.get(name)?);
        if desired.section.tls == section.definition.section.tls || service.is_blocked(Some(&section.definition)) {
            return None;
        }
        let listener = listener_of(desired)?;
        let applied = running.certificates.get(&listener)?;
        let change = |name: &CertificateName, is_added| {
            let (listener, name) = (listener.clone(), name.clone());
            Some(ListenerChange { listener, name, is_added })
        };
        let desired_names = desired.certificates();
        if let Some(missing) = desired_names.iter().find(|name| !applied.names.contains(*name)) {
            return change(missing, true);
        }
        let others =
            running.sections.iter().filter(|(other, _)| *other != name).map(|(_, section)| &section.definition);
        let others = others.filter(|definition| listener_of(definition).as_ref() == Some(&listener));
        let named: BTreeSet<&CertificateName> =
            desired_names.iter().chain(others.flat_map(|definition| definition.certificates())).collect();
        change(applied.names.iter().find(|name| !named.contains(name))?, false)
    }

    /// Handles HAProxy's answer.
    pub(super) fn certificate_changed(&mut self, result: Result<Answer, RuntimeError>, now: Moment) {
        let Some(changing) = self.files.certificates.changing.take() else { return };
        let refusal = match &result {
            Ok(Answer { accepted: true, .. }) => None,
            Ok(Answer { text, .. }) => Some(text.clone()),
            Err(error) => Some(error.to_string()),
        };
        match (changing, refusal) {
            // It is loaded again, or read by the next process.
            (Changing::Replace(..), _) if result == Err(RuntimeError::Replaced) => {}
            (Changing::Replace(name, pem), None) => {
                let line = info("certificate loaded into the running HAProxy").with("certificate", &name);
                self.outbox.log(line.with("services", self.users_of(&name).len()));
                self.files.certificates.loaded.insert(name, pem);
            }
            (Changing::Replace(name, pem), Some(why)) => self.replace_by_reload(name, pem, &why),
            (Changing::OfListener(service, ..), _) if result == Err(RuntimeError::Replaced) => {
                self.work.changed(service);
            }
            (Changing::OfListener(service, change, pem), None) => self.listener_changed(service, change, pem),
            (Changing::OfListener(service, change, _), Some(why)) => self.listener_by_reload(&service, &change, &why),
        }
        if let Err(error) = result
            && error != RuntimeError::Replaced
        {
            self.link_failed(&error, now);
        }
    }

    fn listener_changed(&mut self, service: ServiceName, change: ListenerChange, pem: Option<Arc<str>>) {
        let ListenerChange { listener, name, is_added } = change;
        let what = match is_added {
            true => "certificate added to the running HAProxy",
            false => "certificate removed from the running HAProxy",
        };
        let line = info(what).with("certificate", &name);
        self.outbox.log(line.with("service", &service).with("listener", &listener));
        if let Some(pem) = pem {
            self.files.certificates.loaded.insert(name.clone(), pem);
        }
        let applied = self.process.running_mut().and_then(|running| running.certificates.get_mut(&listener));
        if let Some(ListenerCertificates { names, .. }) = applied {
            if is_added {
                names.insert(name);
            } else {
                names.remove(&name);
            }
        }
        // Once all certificates are there, the definition is applied.
        self.files.certificates.due.insert(service.clone());
        self.work.changed(service);
    }

    fn listener_by_reload(&mut self, service: &ServiceName, change: &ListenerChange, why: &str) {
        let ListenerChange { name, is_added, .. } = change;
        let line = warn("certificate needs a reload").with("certificate", name);
        self.outbox.log(line.with("service", service).with("reason", why));
        let what = if *is_added { "added" } else { "removed" };
        let section = self.process.running_mut().and_then(|running| running.sections.get_mut(service));
        if let Some(section) = section {
            section.attempts.certificates = Some(format!("certificate {name} is {what}: {why}"));
        }
        self.work.changed(service.clone());
        self.timers.more_to_plan = true;
    }

    fn replace_by_reload(&mut self, name: CertificateName, pem: Arc<str>, why: &str) {
        let line = warn("certificate needs a reload").with("certificate", &name);
        self.outbox.log(line.with("reason", why));
        self.reloads.request(ReloadCause::Certificate.because(format!("certificate {name} changed: {why}")));
        self.files.certificates.loaded.insert(name, pem);
    }

    fn certificate_path(&self, name: &CertificateName) -> PathBuf {
        let directory = self.settings.policy.base_config.certificates_path();
        certificate_file(&directory.to_string_lossy(), name).into()
    }

    /// Returns whether a listener of the running process has this certificate.
    fn is_in_process(&self, name: &CertificateName) -> bool {
        let listeners = self.running().into_iter().flat_map(|running| running.certificates.values());
        listeners.into_iter().any(|listener| listener.names.contains(name))
    }

    /// Returns the services of the running process with this certificate.
    fn users_of(&self, name: &CertificateName) -> Vec<&ServiceName> {
        let sections = self.running().into_iter().flat_map(|running| &running.sections);
        let users = sections.filter(|(_, section)| uses_any(&section.definition, std::slice::from_ref(name)));
        users.map(|(service, _)| service).collect()
    }
}

fn uses_any(definition: &ServiceDefinition, changed: &[CertificateName]) -> bool {
    definition.certificates().iter().any(|name| changed.contains(name))
}
