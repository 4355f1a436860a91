//! The state of one source of hosts, as API, metrics, CLI and page show it.

use proxymgr_actors::snapshot::WatcherState;
use serde::Serialize;

/// State of a source. The first one that applies wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// It cannot be read; its last good list, if any, stays in use.
    Away,
    /// The guard blocks its newest list; the list before stays in use.
    Held,
    /// The list in use comes from an earlier run and is not confirmed yet.
    Saved,
    /// It has not returned a list yet.
    Waiting,
    /// Its newest list is in use.
    Good,
}

impl SourceState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Away, Self::Held, Self::Saved, Self::Waiting, Self::Good];

    /// State of the source of this watcher.
    pub fn of(watcher: &WatcherState) -> Self {
        if watcher.source.error.is_some() {
            Self::Away
        } else if watcher.blocked().is_some() {
            Self::Held
        } else if watcher.from_saved_state {
            Self::Saved
        } else if watcher.hosts.is_none() {
            Self::Waiting
        } else {
            Self::Good
        }
    }

    /// Since when the source of this watcher is not good, in milliseconds since 1970; none if it is good or if that is
    /// not known.
    pub fn since_unix_ms(watcher: &WatcherState) -> Option<u64> {
        match Self::of(watcher) {
            Self::Away => Some(watcher.source.since_unix_ms),
            Self::Held => watcher.blocked().map(|change| change.since_unix_ms),
            Self::Saved => watcher.confirmed_unix_ms,
            Self::Waiting | Self::Good => None,
        }
    }

    /// Stable name, used in JSON and as a label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Held => "held",
            Self::Saved => "saved",
            Self::Waiting => "waiting",
            Self::Good => "good",
        }
    }

    /// Short name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Away => "down",
            Self::Held => "blocked",
            Self::Saved => "saved",
            Self::Waiting => "waiting",
            Self::Good => "ok",
        }
    }
}
