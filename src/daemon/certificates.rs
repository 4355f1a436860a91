//! The operator's certificates: on disk before HAProxy starts, watched afterwards, and reported to the status listener.

use std::sync::Arc;

use proxymgr_actors::clock::Clock;
use proxymgr_actors::decide::capabilities::fetches_ocsp_responses;
use proxymgr_actors::model::{Certificates, ProxyVersion};
use slog::{Logger, warn};
use tokio::task::spawn_blocking;

use crate::certificates::{self, CertificateScan, CertificateStore, WatchGuard};
use crate::logging;
use crate::settings::Settings;
use crate::status::certificate_report::CertificateReport;

/// Certificates that were read and are not watched yet.
pub struct ReadCertificates {
    store: CertificateStore,
    scan: CertificateScan,
}

impl ReadCertificates {
    /// Reads the certificates for this version of HAProxy and writes the private files; `None` without
    /// `haproxy.certificates`, or if the read panics.
    pub async fn read(settings: &Settings, version: Option<ProxyVersion>, log: &Logger) -> Option<Self> {
        let directory = settings.haproxy.certificates.clone()?;
        let private = settings.haproxy.policy.base_config.certificates_path();
        let log = logging::component(log, "certificates");
        let mut store = CertificateStore::new(directory, private, log.clone());
        if settings.haproxy.ocsp_update {
            match version.is_some_and(fetches_ocsp_responses) {
                true => store = store.stapling(),
                false => {
                    warn!(log, "haproxy.ocsp_update has no effect: this HAProxy cannot fetch OCSP responses, 2.8 can")
                }
            }
        }
        let reading = spawn_blocking(move || {
            let scan = store.scan();
            Self { store, scan }
        });
        reading.await.ok()
    }

    /// Passes on the certificates now and after each change.
    pub fn watch(
        self,
        report: Arc<CertificateReport>,
        clock: Clock,
        changed: impl Fn(Certificates) + 'static,
    ) -> WatchGuard {
        let pass_on = move |scan: CertificateScan| {
            report.set(&scan.certificates, &scan.problems, clock.unix_ms());
            changed(scan.certificates);
        };
        pass_on(self.scan.clone());
        certificates::watch(self.store, self.scan, pass_on)
    }
}
