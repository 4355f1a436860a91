//! Decodes the children of one path and keeps them in sync with ZooKeeper.
//!
//! Reports are snapshots of all children. One task per path waits for all its watches. A removal costs the event and
//! one list request, because only the list shows what is gone; an addition costs a list and a read, changed data one
//! read. In a new session everything is read again, and reported only if it differs from the last report.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::StreamExt;
use proxymgr_actors::limits::{ZOOKEEPER_LOSSES_MAX, ZOOKEEPER_READ_RETRY, ZOOKEEPER_REFUSED_RETRY};
use proxymgr_actors::port::OpenSource;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::children::Children;
use super::ensemble::{Ensemble, Link};
use super::session::{Fired, ReadError, Session, Watch};

/// A decoder of the children for one recipient.
pub(super) trait Meaning: 'static {
    /// A decoded child.
    type Entry: Clone + PartialEq;
    /// Decodes a child's data.
    fn entry(&self, child: &str, data: &[u8]) -> Self::Entry;
    /// Returns the entry for a child whose data cannot be read.
    fn refused(&self, child: &str, reason: String) -> Self::Entry;
    /// Returns an error with a remedy for a path that does not exist; `None` if that counts as a path without children.
    fn absent(&self) -> Option<String>;
    /// Sends a snapshot, or why there is none, to the recipient. `missed` is true for a change that no watch reported.
    fn report(&self, level: Result<&BTreeMap<Arc<str>, Self::Entry>, String>, seen_at: Instant, missed: bool);
}

/// A watch of the children of a path, active until this is dropped.
pub(in crate::discovery) struct OpenLevel {
    task: AbortHandle,
    refresh: Rc<Notify>,
    confirm: Rc<Notify>,
}

impl OpenLevel {
    /// Starts to watch the children of `path`, which begins at the root of the ensemble.
    pub(super) fn start(ensemble: Rc<Ensemble>, path: Arc<str>, meaning: impl Meaning) -> Self {
        let (refresh, confirm) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let level = Level {
            path,
            meaning,
            refresh: refresh.clone(),
            confirm: confirm.clone(),
            is_confirming: false,
            children: Children::default(),
            list_watch: None,
            retry_refused_at: Instant::now(),
            losses: 0,
            reported: Reported::Nothing,
        };
        Self { task: tokio::task::spawn_local(level.run(ensemble)).abort_handle(), refresh, confirm }
    }
}

impl OpenSource for OpenLevel {
    fn refresh(&self) {
        self.refresh.notify_one();
    }

    fn confirm(&self) {
        self.confirm.notify_one();
    }
}

impl Drop for OpenLevel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The last report to the recipient.
#[derive(PartialEq, Eq)]
enum Reported {
    /// None, or an outdated one.
    Nothing,
    /// The current snapshot.
    Level,
    /// This error.
    Error(String),
}

struct Level<M: Meaning> {
    path: Arc<str>,
    meaning: M,
    refresh: Rc<Notify>,
    confirm: Rc<Notify>,
    /// Whether the next report answers a confirmation.
    is_confirming: bool,
    children: Children<M::Entry>,
    list_watch: Option<LocalBoxFuture<'static, Result<Fired, ReadError>>>,
    retry_refused_at: Instant,
    /// The number of consecutive reads that failed while the session seemed intact.
    losses: u32,
    reported: Reported,
}

/// The events collected since the last update.
struct Events {
    /// Whether the list may have changed.
    list: bool,
    /// The children to read again.
    children: BTreeSet<Arc<str>>,
    seen_at: Instant,
}

impl Events {
    fn add<E: PartialEq>(&mut self, known: &mut Children<E>, child: Arc<str>, fired: Fired) {
        match fired {
            Fired::Deleted => {
                self.list = true;
                known.deleted(child);
            }
            Fired::Changed => drop(self.children.insert(child)),
        }
    }
}

/// Why watching stopped while the session is open.
enum Stop {
    /// Everything must be read again and reported even if unchanged.
    Refresh,
    /// The same, and what the watches did not report is to be noticed.
    Confirm,
    /// The path cannot be read, or the session failed.
    Failed(ReadError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Failed(error)
    }
}

impl<M: Meaning> Level<M> {
    async fn run(mut self, ensemble: Rc<Ensemble>) {
        let mut link = ensemble.link();
        loop {
            let now = link.borrow_and_update().clone();
            let changed = match now {
                Link::Connecting => link.changed().await,
                Link::Away(error) => {
                    self.report_error(error.to_string());
                    tokio::select! {
                        changed = link.changed() => changed,
                        () = self.refresh.notified() => {
                            self.reported = Reported::Nothing;
                            ensemble.hurry();
                            Ok(())
                        }
                    }
                }
                // A new session replaces the old one at once: reads in progress are repeated in the new one.
                Link::Ready(session) => tokio::select! {
                    biased;
                    changed = link.changed() => changed,
                    () = self.follow(&session) => Ok(()),
                },
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Reads everything and follows changes until everything must be read again.
    async fn follow(&mut self, session: &Session) {
        let Err(stop) = self.keep_in_step(session).await;
        match stop {
            Stop::Refresh => self.reported = Reported::Nothing,
            Stop::Confirm => self.is_confirming = true,
            Stop::Failed(ReadError::Absent) => match session.awaited(&self.path).await {
                Ok(Some(watch)) => {
                    match self.meaning.absent() {
                        Some(error) => self.report_error(error),
                        None => self.report_level(Instant::now(), false),
                    }
                    self.until_refresh(watch.fired()).await;
                }
                // The path was created in between.
                Ok(None) => {}
                Err(error) => self.pause_after(error).await,
            },
            Stop::Failed(error) => self.pause_after(error).await,
        }
    }

    async fn pause_after(&mut self, error: ReadError) {
        match error {
            ReadError::Refused(error) => {
                self.report_error(error);
                self.until_refresh(sleep(ZOOKEEPER_REFUSED_RETRY)).await;
            }
            ReadError::Lost(error) => {
                // Usually the session is about to be replaced, which ends this pause.
                self.until_refresh(sleep(ZOOKEEPER_READ_RETRY)).await;
                self.losses += 1;
                if self.losses >= ZOOKEEPER_LOSSES_MAX {
                    self.report_error(error);
                }
            }
            ReadError::Absent => {}
        }
    }

    /// Waits for the future or a refresh.
    async fn until_refresh<T>(&mut self, waiting: impl Future<Output = T>) {
        tokio::select! {
            _ = waiting => {}
            () = self.refresh.notified() => self.reported = Reported::Nothing,
            () = self.confirm.notified() => self.is_confirming = true,
        }
    }

    async fn keep_in_step(&mut self, session: &Session) -> Result<Infallible, Stop> {
        self.load(session).await?;
        loop {
            match self.events().await {
                Err(Stop::Confirm) if self.is_up_to_date(session).await? => {
                    self.reported = Reported::Nothing;
                    self.report_level(Instant::now(), false);
                }
                Err(Stop::Confirm) => {
                    self.is_confirming = true;
                    self.load(session).await?;
                }
                events => self.update(session, events?).await?,
            }
        }
    }

    /// Returns whether the known children are what ZooKeeper has, whatever the watches reported. It is false as well where
    /// they cannot all be read at once.
    async fn is_up_to_date(&self, session: &Session) -> Result<bool, ReadError> {
        let Some(children) = session.children_at_once(&self.path).await? else { return Ok(false) };
        let known = &self.children.entries;
        let is_known = |(child, data): &(String, Vec<u8>)| {
            known.get(child.as_str()).is_some_and(|entry| *entry == self.meaning.entry(child, data))
        };
        Ok(children.len() == known.len() && children.iter().all(is_known))
    }

    /// Reads everything. The known children are replaced only once all of them have been read.
    async fn load(&mut self, session: &Session) -> Result<(), ReadError> {
        let seen_at = Instant::now();
        let (children, list_watch) = session.children(&self.path).await?;
        let children = children.into_iter().map(|child| self.children.shared_name(child)).collect();
        let mut fresh = Children::default();
        let all_there = fresh.read(session, &self.path, &self.meaning, children).await?;
        let list_watch = match all_there {
            true => list_watch,
            false => fresh.follow_list(session, &self.path, &self.meaning, BTreeSet::new()).await?,
        };
        let is_different = fresh.entries != self.children.entries;
        fresh.is_changed = self.children.is_changed || is_different;
        // ZooKeeper sends the event of a change before any answer that shows it.
        let missed = self.is_confirming && is_different && self.reported == Reported::Level && !self.has_events();
        // Old watches are dropped after new ones are set, so that the client need not remove them from the ensemble.
        self.children = fresh;
        self.watch_list(list_watch);
        self.retry_refused_at = Instant::now() + ZOOKEEPER_REFUSED_RETRY;
        self.losses = 0;
        if std::mem::take(&mut self.is_confirming) {
            self.reported = Reported::Nothing;
        }
        self.report_level(seen_at, missed);
        Ok(())
    }

    /// Returns whether a watch has fired whose event was not handled yet.
    fn has_events(&mut self) -> bool {
        let list = self.list_watch.as_mut().is_some_and(|watch| watch.now_or_never().is_some());
        list || matches!(self.children.watches.next().now_or_never(), Some(Some(_)))
    }

    /// Waits for an event, and collects further events that have arrived with it.
    async fn events(&mut self) -> Result<Events, Stop> {
        let Self { children, list_watch, refresh, confirm, retry_refused_at, .. } = self;
        let list_watch = list_watch.as_mut().expect("the list has a watch once it was loaded");
        let mut events = Events { list: false, children: BTreeSet::new(), seen_at: Instant::now() };
        tokio::select! {
            biased;
            fired = &mut *list_watch => {
                fired?;
                events.list = true;
            }
            Some((child, fired)) = children.watches.next() => events.add(children, child, fired?),
            () = refresh.notified() => return Err(Stop::Refresh),
            () = confirm.notified() => return Err(Stop::Confirm),
            () = sleep_until(*retry_refused_at), if !children.refused.is_empty() => {
                *retry_refused_at = Instant::now() + ZOOKEEPER_REFUSED_RETRY;
                events.children.clone_from(&children.refused);
            }
        }
        events.seen_at = Instant::now();
        while let Some(Some((child, fired))) = children.watches.next().now_or_never() {
            events.add(children, child, fired?);
        }
        if !events.list
            && let Some(fired) = list_watch.now_or_never()
        {
            fired?;
            events.list = true;
        }
        Ok(events)
    }

    /// Reads only what the events concern.
    async fn update(&mut self, session: &Session, events: Events) -> Result<(), ReadError> {
        let Events { mut list, children: mut changed, seen_at } = events;
        if !list {
            // The event of a child that is known to be gone may arrive late.
            changed.retain(|child| self.children.entries.contains_key(child));
            let changed = std::mem::take(&mut changed);
            list = !self.children.read(session, &self.path, &self.meaning, changed).await?;
        }
        if list {
            let watch = self.children.follow_list(session, &self.path, &self.meaning, changed).await?;
            self.watch_list(watch);
        }
        self.report_level(seen_at, false);
        Ok(())
    }

    fn watch_list(&mut self, watch: Watch) {
        self.list_watch = Some(watch.fired().boxed_local());
    }

    fn report_level(&mut self, seen_at: Instant, missed: bool) {
        let is_changed = self.children.take_changed();
        if is_changed || self.reported != Reported::Level {
            self.reported = Reported::Level;
            self.meaning.report(Ok(&self.children.entries), seen_at, missed);
        }
    }

    fn report_error(&mut self, error: String) {
        let reported = Reported::Error(error.clone());
        if self.reported != reported {
            self.reported = reported;
            self.meaning.report(Err(error), Instant::now(), false);
        }
    }
}
