//! The end of a daemon: HAProxy stops with it, or another program takes over in its process.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::message::PolicyChanged;
use proxymgr_actors::model::{OnStop, ProxyPolicy};
use proxymgr_actors::wiring::Actors;
use slog::{Logger, info, warn};
use tokio::time::timeout;

use super::adapters::{Discovery, Keeping};
use super::live_settings::LiveSettings;
use super::lock::InstanceLock;
use super::notify;
use super::restart;
use super::restart::inheritance::{Kept, StatusSockets};
use super::signals::{Request, Signals};
use crate::failure::Failure;
use crate::recording::JournalFollower;
use crate::status::listener::{OpenSockets, StatusListener};

/// Time-out for the immediate stop of HAProxy.
const HARD_STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// The parts of a running daemon that have to end.
pub struct Parts {
    /// The actors.
    pub actors: Actors,
    /// The sources.
    pub discovery: Discovery,
    /// Records the journal, if there is a recording.
    pub follower: Option<JournalFollower>,
    /// The status listener, if there is one.
    pub listener: Option<Rc<StatusListener>>,
    /// What another program needs.
    pub keeping: Keeping,
    /// The log.
    pub log: Logger,
}

/// What a daemon leaves to the next program in its process.
pub struct Left {
    /// The descriptors.
    pub kept: Kept,
    /// Whether the daemon was ready.
    pub was_ready: bool,
}

impl Parts {
    /// Stops everything; what happens to HAProxy is decided by `haproxy.on_stop`.
    pub async fn stop(self, settings: &LiveSettings, signals: &mut Signals) {
        tokio::join!(self.stop_haproxy(settings, signals), self.discovery.marathon.leave());
        if let Some(follower) = self.follower {
            follower.finish().await;
        }
        if let Some(listener) = self.listener {
            listener.stop().await;
        }
        info!(self.log, "stopped");
    }

    /// Stops HAProxy gracefully; at a second signal, at once.
    async fn stop_haproxy(&self, settings: &LiveSettings, signals: &mut Signals) {
        let on_stop = settings.current.haproxy.policy.on_stop;
        notify::stopping(on_stop);
        let stop = self.actors.stop(on_stop);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                _ = &mut stop => return,
                request = signals.next() => if let Request::Stop(name) = request {
                    warn!(self.log, "second signal: stopping HAProxy at once"; "signal" => name);
                    // A stop time-out of zero ends every process, including one that is being started.
                    let policy = settings.current.haproxy.policy.clone();
                    let policy = Arc::new(ProxyPolicy { stop_timeout: Duration::ZERO, ..policy });
                    self.actors.change_policy(&PolicyChanged { policy, ..settings.policy() });
                    if timeout(HARD_STOP_TIMEOUT, self.actors.stop(on_stop)).await.is_err() {
                        warn!(self.log, "HAProxy did not exit in time; exiting anyway");
                    }
                    return;
                }
            }
        }
    }

    /// Ends everything but HAProxy, which is left to the next program.
    ///
    /// # Errors
    /// The lock cannot be passed on.
    pub async fn leave(self, lock: InstanceLock) -> Result<Left, Failure> {
        notify::reloading();
        let (was_ready, serving) = restart::settled(&self.actors).await;
        let OpenSockets { tcp, unix } = match &self.listener {
            Some(listener) => listener.leave().await,
            None => OpenSockets::default(),
        };
        let (is_current, ()) = tokio::join!(self.actors.stop(OnStop::Leave), self.discovery.marathon.leave());
        if let Some(follower) = self.follower {
            follower.finish().await;
        }
        let lock = lock.leave().map_err(|error| Failure::CannotStart(format!("the lock cannot be kept: {error}")))?;
        let kept = Kept {
            lock: Rc::new(lock),
            listening: self.keeping.listening(),
            processes: self.keeping.processes(serving.filter(|_| is_current)),
            status: StatusSockets { tcp: tcp.map(Rc::new), unix: unix.map(Rc::new) },
        };
        Ok(Left { kept, was_ready })
    }
}
