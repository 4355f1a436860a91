//! The signals that the daemon handles.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::process;
use crate::failure::Failure;

/// The shortest time for which the thread is idle.
const IDLE: Duration = Duration::from_millis(1);

/// The request behind a signal.
pub enum Request {
    /// SIGTERM, SIGINT.
    Stop(&'static str),
    /// SIGHUP.
    ReadSettings,
    /// SIGUSR1.
    Refresh,
    /// SIGUSR2, or an order.
    Restart {
        /// When it was requested, in milliseconds since 1970.
        at_unix_ms: u64,
    },
}

/// Handlers of all signals.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    /// Installs the handlers: from here on, no signal ends the process.
    pub fn install() -> Result<Self, Failure> {
        let install = |kind| {
            signal(kind).map_err(|error| Failure::CannotStart(format!("cannot install signal handlers: {error}")))
        };
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hang_up: install(SignalKind::hangup())?,
            user_1: install(SignalKind::user_defined1())?,
            user_2: install(SignalKind::user_defined2())?,
        })
    }

    /// Resolves at the next signal.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            signal = Self::stop(&mut self.terminate, &mut self.interrupt) => Request::Stop(signal),
            _ = self.hang_up.recv() => Request::ReadSettings,
            _ = self.user_1.recv() => Request::Refresh,
            _ = self.user_2.recv() => Request::Restart { at_unix_ms: process::unix_ms_now() },
        }
    }

    /// Resolves at the next signal that stops the daemon.
    pub async fn next_stop(&mut self) -> &'static str {
        Self::stop(&mut self.terminate, &mut self.interrupt).await
    }

    /// Returns whether a signal to stop was received and not handled yet.
    pub async fn stop_is_pending(&mut self) -> bool {
        // Signals are passed on when the thread is idle.
        sleep(IDLE).await;
        self.next_stop().now_or_never().is_some()
    }

    async fn stop(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }
}
