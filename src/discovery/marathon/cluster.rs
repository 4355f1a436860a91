//! One reader of apps and tasks for all that need them: woken by the event stream, or by events that Marathon posts, with
//! polling behind it.
//!
//! Events only say that something happened; what is the case is always read as a whole, so that none can be missed for
//! long. Several events that come together are one reading.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::limits::{
    HTTP_ANSWER_TIMEOUT, HTTP_LOSS_GRACE, HTTP_RETRY_MAX, HTTP_RETRY_MIN, MARATHON_ECHO, MARATHON_PACE, MARATHON_SETTLE,
};
use proxymgr_actors::port::OpenSource;
use slog::{Logger, info, warn};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::MarathonOptions;
use super::app::{Answer, App};
use super::callback::Registration;
use super::health::{Health, Memory};
use crate::discovery::backoff::Backoff;
use crate::discovery::http::{HttpClient, HttpError, HttpFailure, HttpOptions, Request};

/// After these, apps or tasks may be different.
pub(super) const EVENTS: [&str; 9] = [
    "app_terminated_event",
    "deployment_failed",
    "deployment_step_success",
    "deployment_success",
    "group_change_success",
    "health_status_changed_event",
    "instance_changed_event",
    "instance_health_changed_event",
    "status_update_event",
];

/// All apps as they were read.
pub(super) struct Apps {
    /// By id.
    pub(super) apps: BTreeMap<String, App>,
    /// How each task is, by its id.
    pub(super) health: BTreeMap<Arc<str>, Health>,
}

impl Apps {
    fn new(apps: Vec<App>, memory: &mut Memory) -> Self {
        let health = memory.judge(&apps);
        Self { apps: apps.into_iter().map(|app| (app.id.clone(), app)).collect(), health }
    }

    /// Reads an answer that was recorded.
    #[cfg(test)]
    pub(super) fn read(answer: &[u8], memory: &mut Memory) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Answer>(answer).map(|answer| Self::new(answer.apps, memory))
    }
}

#[derive(Clone)]
enum Link {
    /// Not known yet.
    Asking,
    /// It cannot be asked, and why.
    Away(Arc<str>),
    /// The last answer, and when it was asked for.
    Ready(Rc<Apps>, Instant),
}

/// A Marathon with the task that reads it, until this is dropped.
pub(super) struct Cluster {
    link: watch::Receiver<Link>,
    hurry: Rc<Notify>,
    tasks: [AbortHandle; 2],
}

impl Cluster {
    /// `happened` is notified of events from elsewhere.
    pub(super) fn start(options: MarathonOptions, happened: Arc<Notify>, log: Logger) -> Self {
        let (sender, link) = watch::channel(Link::Asking);
        let hurry = Rc::new(Notify::new());
        // It answers at once, whatever else it has to do.
        let http = HttpOptions { pulse: Some("/ping"), ..options.http };
        let client = HttpClient::new(options.servers, http);
        let (interval, hurry_too) = (options.interval, hurry.clone());
        let events = match options.callback {
            Some(callback) => {
                let registration = Registration { client: client.clone(), callback, interval, log: log.clone() };
                tokio::task::spawn_local(registration.run())
            }
            None => {
                let events = Events { client: client.clone(), happened: happened.clone(), log: log.clone() };
                tokio::task::spawn_local(events.run())
            }
        };
        let reader =
            Reader { client, interval, link: sender, hurry: hurry_too, happened, memory: Memory::default(), log };
        let tasks = [tokio::task::spawn_local(reader.run()).abort_handle(), events.abort_handle()];
        Self { link, hurry, tasks }
    }
}

impl Cluster {
    /// Ends what listens to events, or has them posted.
    pub(super) fn hear_no_more(&self) {
        let [_, events] = &self.tasks;
        events.abort();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

struct Reader {
    client: HttpClient,
    interval: Duration,
    link: watch::Sender<Link>,
    hurry: Rc<Notify>,
    happened: Arc<Notify>,
    memory: Memory,
    log: Logger,
}

impl Reader {
    async fn run(mut self) {
        let mut backoff = Backoff::new(HTTP_RETRY_MIN, HTTP_RETRY_MAX);
        let mut lost_at = None;
        let mut has_echo = false;
        loop {
            let asked = Instant::now();
            let pause = match self.read().await {
                Ok(apps) => {
                    if matches!(*self.link.borrow(), Link::Away(_)) {
                        info!(self.log, "Marathon answers again");
                    }
                    self.link.send_replace(Link::Ready(Rc::new(apps), asked));
                    backoff.reset();
                    lost_at = None;
                    if std::mem::take(&mut has_echo) { MARATHON_ECHO.min(self.interval) } else { self.interval }
                }
                Err(error) => {
                    let lost_at = *lost_at.get_or_insert(asked);
                    // All servers are without a leader for a moment when it changes.
                    let in_grace =
                        matches!(*self.link.borrow(), Link::Ready(..)) && lost_at.elapsed() < HTTP_LOSS_GRACE;
                    if !in_grace {
                        self.away(&error.to_string());
                    }
                    backoff.pause()
                }
            };
            let settle = MARATHON_SETTLE.max(asked.elapsed() * MARATHON_PACE);
            tokio::select! {
                biased;
                () = self.hurry.notified() => {}
                () = self.happened.notified() => {
                    sleep(settle).await;
                    // An event may come before the answer shows what it tells of.
                    has_echo = true;
                }
                () = sleep(pause) => {}
            }
        }
    }

    async fn read(&mut self) -> Result<Apps, HttpError> {
        let request = Request::get("/v2/apps").query("embed", "apps.tasks").following(2);
        let answer = self.client.send(&request).await?.success()?;
        let answer = answer.json::<Answer>().await?;
        Ok(Apps::new(answer.apps, &mut self.memory))
    }

    fn away(&self, error: &str) {
        let is_new = !matches!(&*self.link.borrow(), Link::Away(known) if **known == *error);
        if is_new {
            warn!(self.log, "Marathon is away, trying on"; "error" => error);
        }
        self.link.send_replace(Link::Away(error.into()));
    }
}

/// Listens to the event stream, for ever.
struct Events {
    client: HttpClient,
    happened: Arc<Notify>,
    log: Logger,
}

impl Events {
    async fn run(self) {
        let mut backoff = Backoff::new(HTTP_RETRY_MIN, HTTP_RETRY_MAX);
        let mut told = None;
        loop {
            let Err(error) = self.listen(&mut backoff, &mut told).await;
            // What went by meanwhile is seen by reading.
            self.happened.notify_one();
            if told.as_ref() != Some(&error.failure) {
                warn!(self.log, "no events come from Marathon; its apps are read from time to time"; "error" => %error);
                told = Some(error.failure);
            }
            sleep(backoff.pause()).await;
        }
    }

    async fn listen(&self, backoff: &mut Backoff, told: &mut Option<HttpFailure>) -> Result<Infallible, HttpError> {
        let mut request = Request::get("/v2/events").long(HTTP_ANSWER_TIMEOUT);
        for event in EVENTS {
            request = request.query("event_type", event);
        }
        let mut lines = self.client.open_events(&request).await?;
        self.happened.notify_one();
        while let Some(line) = lines.next().await? {
            // A version that does not know the filter sends every event.
            let event = line.strip_prefix(b"event:").map(<[u8]>::trim_ascii);
            if event.is_some_and(|event| EVENTS.iter().any(|known| known.as_bytes() == event)) {
                self.happened.notify_one();
                backoff.reset();
                *told = None;
            }
        }
        Err(HttpError::new(HttpFailure::Unreachable, "Marathon ended its event stream"))
    }
}

/// What the apps mean to those who need them.
pub(super) trait Meaning: 'static {
    /// What is told.
    type Level: Clone + PartialEq;
    /// What these apps mean, or why nothing can be told.
    fn level(&self, apps: &Apps) -> Result<Self::Level, String>;
    /// Tells it.
    fn report(&self, level: Result<Self::Level, String>, seen_at: Instant);
}

/// Apps that are being watched, until this is dropped.
pub(in crate::discovery) struct OpenApps {
    task: AbortHandle,
    refresh: Rc<Notify>,
}

impl OpenApps {
    pub(super) fn start(cluster: Rc<Cluster>, meaning: impl Meaning) -> Self {
        let refresh = Rc::new(Notify::new());
        let task = tokio::task::spawn_local(follow(cluster, meaning, refresh.clone()));
        Self { task: task.abort_handle(), refresh }
    }
}

impl OpenSource for OpenApps {
    fn refresh(&self) {
        self.refresh.notify_one();
    }
}

impl Drop for OpenApps {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow<M: Meaning>(cluster: Rc<Cluster>, meaning: M, refresh: Rc<Notify>) {
    let mut link = cluster.link.clone();
    let mut reported = None;
    loop {
        let now = link.borrow_and_update().clone();
        let level = match now {
            Link::Asking => None,
            Link::Away(error) => Some((Err(error.to_string()), Instant::now())),
            Link::Ready(apps, asked) => Some((meaning.level(&apps), asked)),
        };
        // Told where it is not what was told last.
        if let Some((level, seen_at)) = level
            && reported.as_ref() != Some(&level)
        {
            meaning.report(level.clone(), seen_at);
            reported = Some(level);
        }
        let changed = tokio::select! {
            changed = link.changed() => changed,
            () = refresh.notified() => {
                reported = None;
                cluster.hurry.notify_one();
                link.changed().await
            }
        };
        if changed.is_err() {
            return;
        }
    }
}
