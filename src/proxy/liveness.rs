//! The liveness probe: notices a HAProxy that is frozen or hangs while nothing is asked of it.

use proxymgr_actors::limits::{LIVENESS_PROBE_INTERVAL, LIVENESS_PROBE_TIMEOUT};
use proxymgr_actors::port::{RuntimeApi, RuntimeError};
use tokio::time::{sleep, timeout};

/// Asks for the process on a new connection each time, so that nothing holds up a process that is to stop. Resolves when
/// no answer comes in time, or when two attempts in a row fail: one alone may meet the moment of a hand-over.
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
