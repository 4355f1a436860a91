//! States of servers in HAProxy.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a server in HAProxy. Maintenance hides a drain, and both hide failing checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// Takes traffic.
    Ready,
    /// Its checks fail.
    Down,
    /// Keeps its sessions and takes no new ones.
    Drain,
    /// Takes no traffic.
    Maint,
}

impl ServerState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Down, Self::Drain, Self::Maint];

    /// Returns the state as used in metrics, JSON and the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Down => "down",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialised_names_equal_as_str() {
        for state in ServerState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
