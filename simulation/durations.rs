//! How long the simulated world takes for each kind of work.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::world::World;

/// Kind of work that takes time. Each kind is drawn from a random stream of its own, so that a plan that loses a step
/// keeps the durations of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Delivery of a list of hosts from its source.
    Hosts,
    /// Delivery of the definitions from their source.
    Definitions,
    /// Search for an orphaned HAProxy.
    FindOrphan,
    /// `haproxy -c` on a candidate.
    Check,
    /// `haproxy -c` on a part of a candidate.
    Trial,
    /// Renaming the candidate to the live file.
    Promote,
    /// Start of a process until its process id is known.
    Start,
    /// From the process id to the first answer on the socket.
    FirstAnswer,
    /// Writing haproxy.cfg.
    Write,
    /// Writing the saved state.
    Save,
    /// A batch of runtime commands.
    Commands,
    /// An observation.
    Observe,
    /// A batch of commands about the map of domains.
    Routes,
    /// Remaining sessions of an old process.
    Finish,
}

impl Work {
    /// Every kind.
    pub(super) const ALL: [Self; 14] = [
        Self::Hosts,
        Self::Definitions,
        Self::FindOrphan,
        Self::Check,
        Self::Trial,
        Self::Promote,
        Self::Start,
        Self::FirstAnswer,
        Self::Write,
        Self::Save,
        Self::Commands,
        Self::Observe,
        Self::Routes,
        Self::Finish,
    ];

    /// Returns the name of its random stream.
    pub(super) fn purpose(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Definitions => "definitions",
            Self::FindOrphan => "find orphan",
            Self::Check => "check",
            Self::Trial => "trial",
            Self::Promote => "promote",
            Self::Start => "start",
            Self::FirstAnswer => "ready",
            Self::Write => "write",
            Self::Save => "save",
            Self::Commands => "commands",
            Self::Observe => "observe",
            Self::Routes => "routes",
            Self::Finish => "drain",
        }
    }

    /// Returns the shortest and the longest usual duration, in milliseconds.
    fn usual_ms(self) -> (u64, u64) {
        match self {
            Self::Hosts | Self::Definitions => (0, 25),
            Self::FindOrphan | Self::Start => (1, 10),
            Self::Check => (10, 80),
            Self::Trial => (2, 20),
            Self::Promote => (0, 5),
            Self::FirstAnswer => (2, 60),
            Self::Write => (1, 30),
            Self::Save => (1, 20),
            Self::Commands | Self::Routes => (0, 8),
            Self::Observe => (0, 4),
            Self::Finish => (0, 20_000),
        }
    }
}

/// Durations that differ from the usual ones: the shortest and the longest, in milliseconds.
pub(super) type Durations = BTreeMap<Work, (u64, u64)>;

impl World {
    /// Sets the range of this duration, in milliseconds.
    pub fn set_duration(&self, work: Work, low_ms: u64, high_ms: u64) {
        self.with(|things| things.durations.insert(work, (low_ms, high_ms)));
    }

    /// Resets this duration to its usual range.
    pub fn reset_duration(&self, work: Work) {
        self.with(|things| things.durations.remove(&work));
    }

    /// Draws the duration of this work, in milliseconds.
    pub(super) fn duration_ms(&self, work: Work) -> u64 {
        let (low_ms, high_ms) =
            self.with(|things| things.durations.get(&work).copied()).unwrap_or_else(|| work.usual_ms());
        self.draw(work.purpose(), low_ms, high_ms)
    }

    /// Waits for the drawn duration of this work.
    pub(super) async fn take(&self, work: Work) {
        sleep(Duration::from_millis(self.duration_ms(work))).await;
    }
}
