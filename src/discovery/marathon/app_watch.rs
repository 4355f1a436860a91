//! Watches of the apps: each decodes them into what its recipient needs, and reports it when it changes.

use std::rc::Rc;

use proxymgr_actors::port::OpenSource;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::cluster::{Apps, Cluster, Link};

/// Decodes apps for one recipient.
pub(super) trait AppDecoder: 'static {
    /// What is reported.
    type Snapshot: Clone + PartialEq;
    /// Decodes the apps; an error is reported in place of a snapshot.
    fn decode(&self, apps: &Apps) -> Result<Self::Snapshot, String>;
    /// Sends it to the recipient.
    fn report(&self, snapshot: Result<Self::Snapshot, String>, seen_at: Instant);
}

/// A watch of the apps, active until this is dropped.
pub(in crate::discovery) struct AppWatch {
    task: AbortHandle,
    refresh: Rc<Notify>,
}

impl AppWatch {
    pub(super) fn start(cluster: Rc<Cluster>, decoder: impl AppDecoder) -> Self {
        let refresh = Rc::new(Notify::new());
        let task = tokio::task::spawn_local(watch(cluster, decoder, refresh.clone()));
        Self { task: task.abort_handle(), refresh }
    }
}

impl OpenSource for AppWatch {
    fn refresh(&self) {
        self.refresh.notify_one();
    }
}

impl Drop for AppWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch<D: AppDecoder>(cluster: Rc<Cluster>, decoder: D, refresh: Rc<Notify>) {
    let mut link = cluster.link();
    let mut reported = None;
    // After a refresh, a response that was requested before it is not reported.
    let mut not_before = None;
    loop {
        let now = link.borrow_and_update().clone();
        let snapshot = match now {
            Link::Connecting => None,
            Link::Failed(error) => Some((Err(error.to_string()), Instant::now())),
            Link::Ready(_, requested_at) if not_before.is_some_and(|refreshed| requested_at < refreshed) => None,
            Link::Ready(apps, requested_at) => Some((decoder.decode(&apps), requested_at)),
        };
        if let Some((snapshot, seen_at)) = snapshot
            && reported.as_ref() != Some(&snapshot)
        {
            decoder.report(snapshot.clone(), seen_at);
            reported = Some(snapshot);
        }
        let changed = tokio::select! {
            changed = link.changed() => changed,
            () = refresh.notified() => {
                reported = None;
                not_before = Some(Instant::now());
                cluster.read_now();
                link.changed().await
            }
        };
        if changed.is_err() {
            return;
        }
    }
}
