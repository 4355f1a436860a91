//! How the source of a service is, in a word.

use proxymgr_actors::snapshot::WatcherState;

/// How a source can be; the first that is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceStanding {
    /// It cannot be read; its last good list, if any, is served.
    Away,
    /// The guard blocks its newest list; the one before is served.
    Held,
    /// The list that is served is of an earlier run, and was not confirmed since.
    Saved,
    /// It has not shown a list yet.
    Waiting,
    /// Its newest list is served.
    Good,
}

impl SourceStanding {
    /// Every way there is.
    pub const ALL: [Self; 5] = [Self::Away, Self::Held, Self::Saved, Self::Waiting, Self::Good];

    /// How this watcher's source is.
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

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Held => "held",
            Self::Saved => "saved",
            Self::Waiting => "waiting",
            Self::Good => "good",
        }
    }
}
