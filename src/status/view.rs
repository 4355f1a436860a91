//! Whom the listener asks, and what it says of the daemon itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use proxymgr_actors::clock::Clock;
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::snapshot::ActorState;
use proxymgr_actors::wiring::Actors;

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
}

impl View for Actors {
    fn states(&self) -> Asked<'_, States> {
        Box::pin(async { Self::states(self).await.map(Arc::new) })
    }

    fn journal(&self, query: ReadJournal) -> Asked<'_, Vec<JournalEntry>> {
        Box::pin(Self::journal(self, query))
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
