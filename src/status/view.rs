//! Whom the listener asks, and what it says of the daemon itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use proxymgr_actors::clock::Clock;
use proxymgr_actors::history::History;
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::limits::{STATES_PACE, STATES_PACE_MAX};
use proxymgr_actors::message::{ConfigState, ReadJournal};
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
}

impl View for Actors {
    fn states(&self) -> Asked<'_, States> {
        Box::pin(async { Self::states(self).await.map(Arc::new) })
    }

    fn journal(&self, query: ReadJournal) -> Asked<'_, Vec<JournalEntry>> {
        Box::pin(Self::journal(self, query))
    }

    fn order(&self, order: Order) -> Asked<'_, Result<String, OrderRefused>> {
        Box::pin(Self::order(self, order))
    }

    fn history(&self) -> Asked<'_, History> {
        Box::pin(Self::history(self))
    }

    fn config(&self) -> Asked<'_, Result<ConfigState, String>> {
        Box::pin(Self::config(self))
    }
}

/// A view that asks the actors for their states no more often than they can bear: all who ask meanwhile share one
/// answer, and it is used again for a multiple of the time it took to collect. An order ends that at once.
pub struct PacedView {
    view: Arc<dyn View>,
    last: Mutex<Option<Collected>>,
}

struct Collected {
    states: States,
    good_until: Instant,
}

impl PacedView {
    /// Asks `view`.
    pub fn new(view: Arc<dyn View>) -> Self {
        Self { view, last: Mutex::new(None) }
    }
}

impl View for PacedView {
    fn states(&self) -> Asked<'_, States> {
        Box::pin(async {
            // Held while the actors are asked, so that they are asked once.
            let mut last = self.last.lock().await;
            if let Some(collected) = last.as_ref().filter(|collected| Instant::now() < collected.good_until) {
                return collected.states.clone();
            }
            let begun = Instant::now();
            let states = self.view.states().await;
            let pace = (begun.elapsed() * STATES_PACE).min(STATES_PACE_MAX);
            *last = Some(Collected { states: states.clone(), good_until: Instant::now() + pace });
            states
        })
    }

    fn journal(&self, query: ReadJournal) -> Asked<'_, Vec<JournalEntry>> {
        self.view.journal(query)
    }

    fn order(&self, order: Order) -> Asked<'_, Result<String, OrderRefused>> {
        Box::pin(async {
            let done = self.view.order(order).await;
            *self.last.lock().await = None;
            done
        })
    }

    fn history(&self) -> Asked<'_, History> {
        self.view.history()
    }

    fn config(&self) -> Asked<'_, Result<ConfigState, String>> {
        self.view.config()
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
