//! Scans again when files changed. No events are used: links into other directories, as certbot has them, and network
//! file systems send none.

use std::rc::Rc;

use proxymgr_actors::limits::{CERTIFICATE_LOOK_INTERVAL, CERTIFICATE_SETTLE, CERTIFICATE_SETTLE_LOOKS_MAX};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinError, spawn_blocking, spawn_local};
use tokio::time::{sleep, timeout};

use super::store::{CertificateScan, CertificateStore, Fingerprints};

/// A watch, active until this is dropped.
pub struct WatchGuard {
    task: AbortHandle,
    refresh: Rc<Notify>,
}

/// Watches the files of `store`, whose last scan was `last`. Calls `changed` with each scan that has another result.
pub fn watch(
    store: CertificateStore,
    last: CertificateScan,
    changed: impl Fn(CertificateScan) + 'static,
) -> WatchGuard {
    let refresh = Rc::new(Notify::new());
    let requested = Rc::clone(&refresh);
    let watching = async move {
        // Only a panic in a scan ends it, which ends the daemon.
        let _ = run(store, last, &requested, changed).await;
    };
    WatchGuard { task: spawn_local(watching).abort_handle(), refresh }
}

impl WatchGuard {
    /// Reads all files again, whether they changed or not.
    pub fn refresh(&self) {
        self.refresh.notify_one();
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    mut store: CertificateStore,
    mut last: CertificateScan,
    requested: &Notify,
    changed: impl Fn(CertificateScan),
) -> Result<(), JoinError> {
    loop {
        let is_requested = timeout(CERTIFICATE_LOOK_INTERVAL, requested.notified()).await.is_ok();
        let (looked_at, mut seen) = look(store).await?;
        store = looked_at;
        if !store.is_due(&seen) && !is_requested {
            continue;
        }
        for _ in 0..CERTIFICATE_SETTLE_LOOKS_MAX {
            sleep(CERTIFICATE_SETTLE).await;
            let before = seen;
            (store, seen) = look(store).await?;
            if seen == before {
                break;
            }
        }
        let scanning = spawn_blocking(move || {
            let scan = store.scan();
            (store, scan)
        });
        let (scanned, scan) = scanning.await?;
        store = scanned;
        if scan != last {
            last = scan.clone();
            changed(scan);
        }
    }
}

async fn look(store: CertificateStore) -> Result<(CertificateStore, Fingerprints), JoinError> {
    spawn_blocking(move || {
        let seen = store.fingerprints();
        (store, seen)
    })
    .await
}
