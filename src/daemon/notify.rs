//! What systemd is told, where it listens (`Type=notify`); elsewhere nothing happens.

use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::model::ProcessInfo;
use proxymgr_actors::snapshot::ActorState;
use proxymgr_actors::wiring::Actors;
use sd_notify::NotifyState;
use slog::{Logger, info};
use tokio::time::{Instant, sleep};

use crate::status::report::Readiness;

/// The first pause between two looks at whether HAProxy runs.
const LOOK_MIN: Duration = Duration::from_millis(20);

/// The longest pause: with a thousand services a look is not free, and the start should not wait for it.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Waits until HAProxy runs, says so, and then calls `then`.
pub async fn when_ready(actors: Actors, log: Logger, then: impl FnOnce(Option<ProcessInfo>)) {
    let started = Instant::now();
    let mut pause = LOOK_MIN;
    let mut told = String::new();
    let process = loop {
        let states = actors.states().await.map(Arc::new);
        let readiness = Readiness::of(&states);
        if readiness.ready {
            break states.ok().and_then(process_of);
        }
        let why = readiness.reasons.join("; ");
        if why != told {
            // Each line of a notification is a statement of its own.
            tell(&[NotifyState::Status(&why.replace(char::is_control, " "))]);
            told = why;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LOOK_MAX);
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

/// Tells systemd's watchdog, where there is one, that every actor answers: a daemon that hangs is ended by it and started
/// again, and takes HAProxy over.
pub async fn keep_watchdog_quiet(actors: Actors) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    loop {
        if actors.states().await.is_ok() {
            tell(&[NotifyState::Watchdog]);
        }
        sleep(patience / 3).await;
    }
}

/// The daemon does its work.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("HAProxy runs")]);
}

/// The settings are being read again.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("HAProxy finishes its connections")]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Nobody else can be told that systemd does not listen.
    let _ = sd_notify::notify(states);
}
