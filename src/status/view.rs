//! Access of the listener to the actors, and facts about the daemon itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use proxymgr_actors::clock::Clock;
use proxymgr_actors::history::History;
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::limits::{LOG_LOSS_SHOWN, STATES_PACE, STATES_PACE_MAX};
use proxymgr_actors::message::{ConfigState, PlanPiece, ReadJournal};
use proxymgr_actors::operator::{Order, OrderRefused};
use proxymgr_actors::snapshot::ActorState;
use proxymgr_actors::wiring::Actors;
use tokio::sync;
use tokio::time::Instant;

use super::certificate_report::CertificateReport;
use super::report::DaemonFacts;
use super::restarts::Restarts;
use crate::dropped_records::DroppedRecords;
use crate::log_levels::LogLevels;

/// Answer to a question to the actors; on the thread of the listener.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Snapshots of all actors, shared by concurrent readers; or which actor does not answer.
pub type States = Result<Arc<Vec<ActorState>>, String>;

/// The current plan in pieces; or which actor does not answer.
pub type Plan = Result<Arc<Vec<PlanPiece>>, String>;

/// What the listener can ask: the running actors, or a test double. Handlers take it as `Data<dyn View>`.
pub trait View: Send + Sync + 'static {
    /// Snapshots of all actors.
    fn states(&self) -> Asked<'_, States>;
    /// Journal entries.
    fn journal(&self, query: ReadJournal) -> Asked<'_, Vec<JournalEntry>>;
    /// Executes an order of an operator; returns what was done, or why it was refused.
    fn order(&self, order: Order) -> Asked<'_, Result<String, OrderRefused>>;
    /// Adds an entry to the journal.
    fn record(&self, entry: JournalEntry) {
        drop(entry);
    }
    /// History of the last hours.
    fn history(&self) -> Asked<'_, History> {
        Box::pin(async { History::default() })
    }
    /// The running configuration and the input of the next one.
    fn config(&self) -> Asked<'_, Result<ConfigState, String>> {
        Box::pin(async { Err("the configuration is not known".to_owned()) })
    }
    /// The current plan in pieces.
    fn plan(&self) -> Asked<'_, Plan> {
        Box::pin(async { Err("the plan is not known".to_owned()) })
    }
}

impl View for Actors {
    fn states(&self) -> Asked<'_, States> {
        Box::pin(async { Self::states(self).await.map(Arc::new) })
    }

    fn journal(&self, query: ReadJournal) -> Asked<'_, Vec<JournalEntry>> {
        Box::pin(Self::journal(self, query))
    }

    fn history(&self) -> Asked<'_, History> {
        Box::pin(Self::history(self))
    }

    fn config(&self) -> Asked<'_, Result<ConfigState, String>> {
        Box::pin(Self::config(self))
    }

    fn plan(&self) -> Asked<'_, Plan> {
        Box::pin(async {
            let mut pieces = vec![self.preview_plan(None).await?];
            while let Some(after) = pieces.last().and_then(|piece| piece.next.clone()) {
                pieces.push(self.preview_plan(Some(after)).await?);
            }
            Ok(Arc::new(pieces))
        })
    }

    fn record(&self, entry: JournalEntry) {
        Self::record(self, entry);
    }

    fn order(&self, order: Order) -> Asked<'_, Result<String, OrderRefused>> {
        Box::pin(Self::order(self, order))
    }
}

/// A view with a cache that limits the load on the actors. An order invalidates the cache.
pub struct CachedView {
    view: Arc<dyn View>,
    states: Cached<States>,
    plan: Cached<Plan>,
}

impl CachedView {
    /// A cache in front of `view`.
    pub fn new(view: Arc<dyn View>) -> Self {
        Self { view, states: Cached::default(), plan: Cached::default() }
    }
}

impl View for CachedView {
    fn states(&self) -> Asked<'_, States> {
        Box::pin(self.states.get(|| self.view.states()))
    }

    fn journal(&self, query: ReadJournal) -> Asked<'_, Vec<JournalEntry>> {
        self.view.journal(query)
    }

    fn record(&self, entry: JournalEntry) {
        self.view.record(entry);
    }

    fn history(&self) -> Asked<'_, History> {
        self.view.history()
    }

    fn config(&self) -> Asked<'_, Result<ConfigState, String>> {
        self.view.config()
    }

    fn plan(&self) -> Asked<'_, Plan> {
        Box::pin(self.plan.get(|| self.view.plan()))
    }

    fn order(&self, order: Order) -> Asked<'_, Result<String, OrderRefused>> {
        Box::pin(async {
            let done = self.view.order(order).await;
            self.states.invalidate().await;
            self.plan.invalidate().await;
            done
        })
    }
}

/// A cached value: concurrent readers share one computation, and its result is reused for a multiple of the time it took.
pub struct Cached<T> {
    last: sync::Mutex<Option<(T, Instant)>>,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self { last: sync::Mutex::new(None) }
    }
}

impl<T: Clone> Cached<T> {
    /// The cached value, or a new one.
    pub async fn get<'a>(&self, compute: impl FnOnce() -> Asked<'a, T>) -> T {
        // Locked during the computation, so that it runs once.
        let mut last = self.last.lock().await;
        if let Some((known, _)) = last.as_ref().filter(|(_, good_until)| Instant::now() < *good_until) {
            return known.clone();
        }
        let started = Instant::now();
        let value = compute().await;
        let pace = (started.elapsed() * STATES_PACE).min(STATES_PACE_MAX);
        *last = Some((value.clone(), Instant::now() + pace));
        value
    }

    /// Makes the next reader compute a new value.
    pub async fn invalidate(&self) {
        *self.last.lock().await = None;
    }
}

/// Facts about the daemon. Handlers take it as `Data<Identity>`.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Version of the daemon.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
    /// Path of the haproxy.cfg that it writes.
    pub config_path: String,
    /// When it started, in milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// Clock.
    pub clock: Clock,
    /// Problems of the listener itself.
    pub listening: Arc<ListeningProblems>,
    /// The dropped records of the log.
    pub dropped_records: Arc<DroppedRecords>,
    /// The levels of the log.
    pub log_levels: Arc<LogLevels>,
    /// The operator's certificates.
    pub certificates: Arc<CertificateReport>,
    /// Restarts in place.
    pub restarts: Arc<Restarts>,
}

/// Why the daemon does not listen everywhere that it should.
#[derive(Debug, Default)]
pub struct ListeningProblems(Mutex<BTreeMap<&'static str, OwnProblem>>);

/// A problem of the daemon that no actor knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnProblem {
    /// What is wrong.
    pub text: String,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

impl ListeningProblems {
    /// Sets or clears the problem of one setting. Returns whether it is new or has another text.
    pub fn set(&self, key: &'static str, text: Option<&str>, now_unix_ms: u64) -> bool {
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(text) = text else { return problems.remove(key).is_some() };
        let known = problems.get(key);
        let is_new = known.is_none_or(|known| known.text != text);
        let since_unix_ms = known.map_or(now_unix_ms, |known| known.since_unix_ms);
        problems.insert(key, OwnProblem { text: text.to_owned(), since_unix_ms });
        is_new
    }

    /// The current problems.
    pub fn all(&self) -> Vec<OwnProblem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Identity {
    /// Current facts about the daemon.
    pub fn facts(&self) -> DaemonFacts {
        DaemonFacts {
            version: self.version.to_owned(),
            commit: self.commit.to_owned(),
            pid: std::process::id(),
            started_at_unix_ms: self.started_at_unix_ms,
            uptime_s: self.clock.unix_ms().saturating_sub(self.started_at_unix_ms) / 1_000,
            config_path: self.config_path.clone(),
            problems: self.listening.all(),
            dropped_records: self.dropped_records.count(),
            log_loss: self.log_loss(),
            certificates: self.certificates.at(self.clock.unix_ms()),
            restart: self.restarts.last(),
        }
    }

    /// The problem of a log that dropped records a short time ago.
    fn log_loss(&self) -> Option<OwnProblem> {
        let shown_ms = u64::try_from(LOG_LOSS_SHOWN.as_millis()).unwrap_or(u64::MAX);
        let is_recent = |last: &u64| last.saturating_add(shown_ms) >= self.clock.unix_ms();
        let since_unix_ms = self.dropped_records.last_unix_ms().filter(is_recent)?;
        let text = format!("{} records of the log were dropped since the start", self.dropped_records.count());
        Some(OwnProblem { text, since_unix_ms })
    }
}
