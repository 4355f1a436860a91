//! The liveness probe: detects a HAProxy that is frozen or hangs while no other call uses it.

use proxymgr_actors::limits::{LIVENESS_PROBE_INTERVAL, LIVENESS_PROBE_TIMEOUT};
use proxymgr_actors::port::{RuntimeApi, RuntimeError};
use tokio::time::{sleep, timeout};

/// Queries the process, on a new connection each time so that no connection delays the exit of a process. Resolves when
/// no answer comes in time, or when two attempts in a row fail: a single failure may be caused by a reload.
pub(super) async fn until_silent(probe: impl RuntimeApi, path: String) -> RuntimeError {
    let mut has_failed = false;
    loop {
        sleep(LIVENESS_PROBE_INTERVAL).await;
        match timeout(LIVENESS_PROBE_TIMEOUT, probe.process()).await {
            Ok(Ok(_)) => has_failed = false,
            Ok(Err(error)) if has_failed => return error,
            Ok(Err(_)) => has_failed = true,
            Err(_) => {
                let timeout_ms = LIVENESS_PROBE_TIMEOUT.as_millis().try_into().unwrap_or(u64::MAX);
                return RuntimeError::TimedOut { path, timeout_ms };
            }
        }
    }
}
