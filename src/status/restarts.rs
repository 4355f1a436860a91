//! Restarts in place: orders from the listener to the daemon, and the last result.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A restart in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// When it was ordered, in milliseconds since 1970. It identifies the restart.
    pub at_unix_ms: u64,
    /// The version before, with its commit.
    pub from: String,
    /// The version of the new program, with its commit; `None` before its trial.
    #[serde(default)]
    pub to: Option<String>,
    /// Its result.
    pub outcome: Outcome,
}

/// The result of a restart in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// It is under way.
    UnderWay,
    /// The new program runs and is ready.
    Done,
    /// The program from before runs.
    Failed {
        /// Why.
        why: String,
    },
}

impl Restart {
    /// The same restart, which failed.
    pub fn failed(self, why: String) -> Self {
        Self { outcome: Outcome::Failed { why }, ..self }
    }

    /// Returns why it failed.
    pub fn failure(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Failed { why } => Some(why),
            Outcome::UnderWay | Outcome::Done => None,
        }
    }
}

/// An accepted order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// The restart, by its time, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The longest time that it takes, in milliseconds.
    pub within_ms: u64,
}

/// Restarts of this daemon. By default it cannot restart in place.
#[derive(Debug, Default)]
pub struct Restarts {
    last: Mutex<Option<Restart>>,
    /// Receives the time of each order.
    orders: Option<UnboundedSender<u64>>,
    within: Duration,
}

impl Restarts {
    /// Restarts of a daemon that can restart in place, within this time, and the orders that it gets.
    pub fn possible(within: Duration) -> (Arc<Self>, UnboundedReceiver<u64>) {
        let (orders, ordered) = unbounded_channel();
        (Arc::new(Self { last: Mutex::default(), orders: Some(orders), within }), ordered)
    }

    /// Orders a restart.
    ///
    /// # Errors
    /// Why there is none.
    pub fn order(&self, now_unix_ms: u64) -> Result<Ordered, &'static str> {
        let orders = self.orders.as_ref().ok_or("this daemon cannot restart in place")?;
        if self.last().is_some_and(|last| last.outcome == Outcome::UnderWay) {
            return Err("a restart is under way");
        }
        orders.send(now_unix_ms).map_err(|_| "the daemon is stopping")?;
        let within_ms = u64::try_from(self.within.as_millis()).unwrap_or(u64::MAX);
        Ok(Ordered { at_unix_ms: now_unix_ms, within_ms })
    }

    /// The last restart.
    pub fn last(&self) -> Option<Restart> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the last restart.
    pub fn set(&self, restart: Restart) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(restart);
    }
}
