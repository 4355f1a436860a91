//! One reader of apps and tasks for all who need them: triggered by events, with polling in addition.
//!
//! Events only say that something changed. The apps are always read as a whole, so that no change is missed for long.
//! Events that arrive together cause one request.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::limits::{
    HTTP_LOSS_GRACE, HTTP_RETRY_MAX, HTTP_RETRY_MIN, MARATHON_ECHO, MARATHON_PACE, MARATHON_SETTLE,
};
use slog::{Logger, info, warn};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::app::{App, AppsResponse};
use super::callback::{Callback, Registration};
use super::events::EventStream;
use super::health::{Health, HealthMemory};
use crate::discovery::backoff::Backoff;
use crate::discovery::http::{HttpClient, HttpError, HttpOptions, Request, Servers};

/// All apps of one response.
pub(super) struct Apps {
    /// By id.
    pub(super) apps: BTreeMap<String, App>,
    /// The health of each task, by its id.
    pub(super) health: BTreeMap<Arc<str>, Health>,
}

impl Apps {
    fn new(apps: Vec<App>, memory: &mut HealthMemory) -> Self {
        let health = memory.judge(&apps);
        Self { apps: apps.into_iter().map(|app| (app.id.clone(), app)).collect(), health }
    }

    /// Parses a recorded response.
    #[cfg(any(test, fuzzing))]
    pub(super) fn parse(response: &[u8], memory: &mut HealthMemory) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<AppsResponse>(response).map(|response| Self::new(response.apps, memory))
    }
}

/// The state of the connection to Marathon.
#[derive(Clone)]
pub(super) enum Link {
    /// No response yet.
    Connecting,
    /// The requests fail, with this error.
    Failed(Arc<str>),
    /// The last response, and when it was requested.
    Ready(Rc<Apps>, Instant),
}

/// What a cluster needs to know of the settings.
pub(super) struct ClusterOptions {
    pub(super) servers: Servers,
    pub(super) http: HttpOptions,
    pub(super) interval: Duration,
    /// Where Marathon posts its events; none: they are read from its event stream.
    pub(super) callback: Option<Callback>,
}

/// The reader of one Marathon, active until this is dropped.
pub(super) struct Cluster {
    link: watch::Receiver<Link>,
    read_now: Rc<Notify>,
    reader: AbortHandle,
    events: AbortHandle,
}

impl Cluster {
    /// `changed` is notified after events, wherever they come from.
    pub(super) fn start(options: ClusterOptions, changed: Arc<Notify>, log: Logger) -> Self {
        let (sender, link) = watch::channel(Link::Connecting);
        let read_now = Rc::new(Notify::new());
        let http = HttpOptions { product: "Marathon", probe_path: Some("/ping"), ..options.http };
        let client = HttpClient::new(options.servers, http);
        let interval = options.interval;
        let events = match options.callback {
            Some(callback) => {
                let registration = Registration { client: client.clone(), callback, interval, log: log.clone() };
                tokio::task::spawn_local(registration.run())
            }
            None => {
                let events = EventStream { client: client.clone(), changed: changed.clone(), log: log.clone() };
                tokio::task::spawn_local(events.run())
            }
        };
        let memory = HealthMemory::default();
        let reader = Reader { client, interval, link: sender, read_now: read_now.clone(), changed, memory, log };
        let reader = tokio::task::spawn_local(reader.run()).abort_handle();
        Self { link, read_now, reader, events: events.abort_handle() }
    }

    /// The state of the connection, with every change of it.
    pub(super) fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Has the apps read at once.
    pub(super) fn read_now(&self) {
        self.read_now.notify_one();
    }

    /// Ends the event stream, or the registration of the callback.
    pub(super) fn stop_events(&self) {
        self.events.abort();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.reader.abort();
        self.events.abort();
    }
}

struct Reader {
    client: HttpClient,
    interval: Duration,
    link: watch::Sender<Link>,
    read_now: Rc<Notify>,
    changed: Arc<Notify>,
    memory: HealthMemory,
    log: Logger,
}

impl Reader {
    async fn run(mut self) {
        let mut backoff = Backoff::new(HTTP_RETRY_MIN, HTTP_RETRY_MAX);
        let mut failing_since = None;
        let mut reads_again = false;
        loop {
            let requested_at = Instant::now();
            // The pause until the next read, and the shorter one after an event.
            let (pause, settle) = match self.read().await {
                Ok(apps) => {
                    if matches!(*self.link.borrow(), Link::Failed(_)) {
                        info!(self.log, "Marathon is reachable again");
                    }
                    self.link.send_replace(Link::Ready(Rc::new(apps), requested_at));
                    backoff.reset();
                    failing_since = None;
                    let settle = MARATHON_SETTLE.max(requested_at.elapsed() * MARATHON_PACE).min(self.interval);
                    let reads_again = std::mem::take(&mut reads_again);
                    (if reads_again { MARATHON_ECHO.min(self.interval) } else { self.interval }, settle)
                }
                Err(error) => {
                    let since = *failing_since.get_or_insert(requested_at);
                    // No server answers for a moment while the leader changes.
                    let in_grace = matches!(*self.link.borrow(), Link::Ready(..)) && since.elapsed() < HTTP_LOSS_GRACE;
                    if !in_grace {
                        self.report_failure(&error.to_string());
                    }
                    // The time of a read that failed shows nothing of the load of the server.
                    let pause = backoff.pause();
                    (pause, pause)
                }
            };
            tokio::select! {
                biased;
                () = self.read_now.notified() => {}
                () = self.changed.notified() => {
                    tokio::select! {
                        () = sleep(settle) => {}
                        () = self.read_now.notified() => {}
                    }
                    // An event may arrive before the response shows the change.
                    reads_again = true;
                }
                () = sleep(pause) => {}
            }
        }
    }

    async fn read(&mut self) -> Result<Apps, HttpError> {
        let request = Request::get("/v2/apps").query("embed", "apps.tasks").following(2);
        let response = self.client.send(&request).await?.success()?;
        let parsed = response.json::<AppsResponse>().await?;
        Ok(Apps::new(parsed.apps, &mut self.memory))
    }

    fn report_failure(&self, error: &str) {
        let is_new = !matches!(&*self.link.borrow(), Link::Failed(known) if **known == *error);
        if is_new {
            warn!(self.log, "Marathon is not reachable, retrying"; "error" => error);
        }
        self.link.send_replace(Link::Failed(error.into()));
    }
}
