//! Notifications to systemd (`Type=notify`); without systemd they have no effect.

use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::model::{OnStop, ProcessInfo};
use proxymgr_actors::snapshot::ActorState;
use proxymgr_actors::wiring::Actors;
use sd_notify::NotifyState;
use slog::{Logger, info};
use tokio::time::{Instant, sleep};

use crate::status::readiness::Readiness;

/// First interval between two checks of readiness.
const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// Longest interval: with a thousand services, a check is not free.
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Waits until HAProxy runs, notifies systemd, and calls `then`.
pub async fn when_ready(actors: Actors, log: Logger, then: impl FnOnce(Option<ProcessInfo>)) {
    let started = Instant::now();
    let mut pause = CHECK_INTERVAL_MIN;
    let mut last_reason = String::new();
    let process = loop {
        let states = actors.states().await.map(Arc::new);
        let readiness = Readiness::of(&states);
        if readiness.ready {
            break states.ok().and_then(process_of);
        }
        let why = readiness.reasons.join("; ");
        if why != last_reason {
            // A line break would begin another notification.
            notify(&[NotifyState::Status(&why.replace(char::is_control, " "))]);
            last_reason = why;
        }
        sleep(pause).await;
        pause = (pause * 2).min(CHECK_INTERVAL_MAX);
    };
    info!(log, "HAProxy runs"; "after_ms" => u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    ready();
    then(process);
}

fn process_of(states: Arc<Vec<ActorState>>) -> Option<ProcessInfo> {
    let process =
        |state: &ActorState| if let ActorState::HaproxyState(state) = state { state.process.clone() } else { None };
    states.iter().find_map(process)
}

/// Notifies the watchdog of systemd, if enabled, while all actors answer. systemd restarts a daemon that hangs; the new
/// one adopts HAProxy.
pub async fn keep_watchdog_alive(actors: Actors) {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return };
    loop {
        if actors.states().await.is_ok() {
            notify(&[NotifyState::Watchdog]);
        }
        sleep(timeout / 3).await;
    }
}

/// Notifies systemd that the daemon is ready.
pub fn ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("HAProxy runs")]);
}

/// Notifies systemd that the settings are read again.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// Notifies systemd that the daemon stops.
pub fn stopping(on_stop: OnStop) {
    let status = match on_stop {
        OnStop::Stop => "HAProxy is draining",
        OnStop::Leave => "HAProxy is left running",
    };
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn notify(states: &[NotifyState<'_>]) {
    // A failed notification cannot be reported to anyone.
    let _ = sd_notify::notify(states);
}
