//! Liveness of a server while requests to it wait. A frozen server keeps its connections open and sends nothing; a
//! healthy one does the same while nothing changes.

use std::time::Duration;

use proxymgr_actors::limits::HTTP_PROBE_TIMEOUT;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::error::Failure;

/// A liveness probe of one server, active until this is dropped.
#[derive(Debug)]
pub(super) struct LivenessProbe {
    has_failed: watch::Receiver<bool>,
    task: AbortHandle,
}

impl LivenessProbe {
    /// Calls `is_alive`, which must end in bounded time, every `interval` until it fails.
    pub(super) fn start(interval: Duration, is_alive: impl AsyncFn() -> bool + 'static) -> Self {
        let (sender, has_failed) = watch::channel(false);
        let task = tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(interval).await;
                if !is_alive().await {
                    sender.send_replace(true);
                    return;
                }
            }
        });
        Self { has_failed, task: task.abort_handle() }
    }

    /// Whether the server counts as frozen.
    pub(super) fn has_failed(&self) -> bool {
        *self.has_failed.borrow()
    }

    /// Waits until the server counts as frozen.
    pub(super) async fn failure(&self) -> Failure {
        let mut has_failed = self.has_failed.clone();
        // The task ends only after it has sent.
        let _ = has_failed.wait_for(|has_failed| *has_failed).await;
        Failure::timed_out(HTTP_PROBE_TIMEOUT)
    }
}

impl Drop for LivenessProbe {
    fn drop(&mut self) {
        self.task.abort();
    }
}
