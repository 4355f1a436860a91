//! Waiting for a condition, and checking that a condition holds for a while.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Interval between two probes; short compared to the latencies that tests assert.
const POLL_INTERVAL: Duration = Duration::from_millis(3);

/// Calls the probe until it succeeds, and returns its result.
///
/// The probe returns `Ok(result)`, or `Err` with what it saw instead. Panics after `limit` with the
/// place of the call, `what` was expected, and what was seen last.
///
/// ```ignore
/// eventually(Duration::from_secs(5), "the new host is in HAProxy", async || {
///     let servers = haproxy::servers_state(&socket).await.map_err(|error| error.to_string())?;
///     check(servers.len() == 3, &servers)
/// }).await;
/// ```
#[track_caller]
pub fn eventually<T, E: Display>(
    limit: Duration,
    what: &str,
    probe: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    eventually_or(limit, what, probe, String::new)
}

/// Like [`eventually`]; a failure message ends with `context` (such as the end of a log).
#[track_caller]
pub fn eventually_or<T, E: Display>(
    limit: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
    context: impl FnOnce() -> String,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        let mut seen = "nothing: the first probe did not end".to_owned();
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(rest, probe()).await {
                Ok(Ok(found)) => return found,
                Ok(Err(other)) => seen = other.to_string(),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                panic!("{caller}: not within {limit:?}: {what}\n  last seen: {seen}\n{}", context());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Checks for `period` that the probe succeeds; panics with what it saw otherwise.
#[track_caller]
pub fn stays<T, E: Display>(
    period: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        while start.elapsed() < period {
            if let Err(seen) = probe().await {
                panic!("{caller}: no longer after {:?}: {what}\n  seen: {seen}", start.elapsed());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// The result of a probe: success, or what it saw instead.
pub fn check(content: bool, seen: &impl Debug) -> Result<(), String> {
    if content { Ok(()) } else { Err(format!("{seen:#?}")) }
}
