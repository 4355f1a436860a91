//! Whether a server still lives while requests to it wait. A frozen one keeps its connections and says nothing; nor does
//! a healthy one while nothing changes.

use std::time::Duration;

use proxymgr_actors::limits::HTTP_PULSE_TIMEOUT;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::error::Failure;

/// The pulse of one server, felt for as long as this is held.
pub(super) struct Pulse {
    lost: watch::Receiver<bool>,
    task: AbortHandle,
}

impl Pulse {
    /// Feels it with `is_alive`, which ends in bounded time, every `interval`, until it is lost.
    pub(super) fn start(interval: Duration, is_alive: impl AsyncFn() -> bool + 'static) -> Self {
        let (sender, lost) = watch::channel(false);
        let task = tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(interval).await;
                if !is_alive().await {
                    sender.send_replace(true);
                    return;
                }
            }
        });
        Self { lost, task: task.abort_handle() }
    }

    /// Whether it is lost.
    pub(super) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Waits until it is lost.
    pub(super) async fn lost(&self) -> Failure {
        let mut lost = self.lost.clone();
        // The task ends only after it has told.
        let _ = lost.wait_for(|lost| *lost).await;
        Failure::timed_out(HTTP_PULSE_TIMEOUT.as_secs_f64())
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}
