//! Whom the listener asks, and what it says of the daemon itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use proxymgr_actors::clock::Clock;
use proxymgr_actors::history::History;
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::limits::{STATES_PACE, STATES_PACE_MAX};
use proxymgr_actors::message::{ConfigState, PlanPiece, ReadJournal};
use proxymgr_actors::operator::{Order, OrderRefused};
use proxymgr_actors::snapshot::ActorState;
use proxymgr_actors::wiring::Actors;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::report::DaemonFacts;

/// What a question to the actors gives, on the listener's one thread.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Every actor's snapshot, shared by all who asked for it at the same time; or which actor does not answer.
pub type States = Result<Arc<Vec<ActorState>>, String>;

/// What would be done now, in pieces; or which actor does not answer.
pub type Plan = Result<Arc<Vec<PlanPiece>>, String>;

/// Whom the listener asks: the running actors, or a test. Handlers take it as `Data<dyn View>`.
pub trait View: Send + Sync + 'static {
    /// Every actor's snapshot.
    fn states(&self) -> Asked<'_, States>;
    /// What happened.
    fn journal(&self, query: ReadJournal) -> Asked<'_, Vec<JournalEntry>>;
    /// Carries out what an operator asks for: what was done in a sentence, or why nothing was.
    fn order(&self, order: Order) -> Asked<'_, Result<String, OrderRefused>>;
    /// What the last hours were like.
    fn history(&self) -> Asked<'_, History> {
        Box::pin(async { History::default() })
    }
    /// The configuration that runs, and what the next would be made of.
    fn config(&self) -> Asked<'_, Result<ConfigState, String>> {
        Box::pin(async { Err("the configuration is not known".to_owned()) })
    }
    /// What would be done now, in pieces, and why.
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

    fn order(&self, order: Order) -> Asked<'_, Result<String, OrderRefused>> {
        Box::pin(Self::order(self, order))
    }
}

/// A view that asks the actors no more often than they can bear. An order ends what is known at once.
pub struct PacedView {
    view: Arc<dyn View>,
    states: Paced<States>,
    plan: Paced<Plan>,
}

impl PacedView {
    /// Asks `view`.
    pub fn new(view: Arc<dyn View>) -> Self {
        Self { view, states: Paced::default(), plan: Paced::default() }
    }
}

impl View for PacedView {
    fn states(&self) -> Asked<'_, States> {
        Box::pin(self.states.get(|| self.view.states()))
    }

    fn journal(&self, query: ReadJournal) -> Asked<'_, Vec<JournalEntry>> {
        self.view.journal(query)
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
            self.states.forget().await;
            self.plan.forget().await;
            done
        })
    }
}

/// Something that takes time to find out: all who ask meanwhile share one answer, and it is used again for a multiple
/// of the time it took.
pub struct Paced<T> {
    last: Mutex<Option<(T, Instant)>>,
}

impl<T> Default for Paced<T> {
    fn default() -> Self {
        Self { last: Mutex::new(None) }
    }
}

impl<T: Clone> Paced<T> {
    /// What is known, or what is found out now.
    pub async fn get<'a>(&self, find_out: impl FnOnce() -> Asked<'a, T>) -> T {
        // Held while it is found out, so that it is found out once.
        let mut last = self.last.lock().await;
        if let Some((known, _)) = last.as_ref().filter(|(_, good_until)| Instant::now() < *good_until) {
            return known.clone();
        }
        let begun = Instant::now();
        let found = find_out().await;
        let pace = (begun.elapsed() * STATES_PACE).min(STATES_PACE_MAX);
        *last = Some((found.clone(), Instant::now() + pace));
        found
    }

    /// Has the next who asks find it out anew.
    pub async fn forget(&self) {
        *self.last.lock().await = None;
    }
}

/// What the listener says of the daemon itself. Handlers take it as `Data<Identity>`.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The daemon's version.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
    /// The haproxy.cfg it writes.
    pub config_path: String,
    /// When it started, in milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// What time it is.
    pub clock: Clock,
}

impl Identity {
    /// The daemon as it is now.
    pub fn facts(&self) -> DaemonFacts {
        DaemonFacts {
            version: self.version.to_owned(),
            commit: self.commit.to_owned(),
            pid: std::process::id(),
            started_at_unix_ms: self.started_at_unix_ms,
            uptime_s: self.clock.unix_ms().saturating_sub(self.started_at_unix_ms) / 1_000,
            config_path: self.config_path.clone(),
        }
    }
}
