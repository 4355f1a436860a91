//! An operator's override for one server.

use serde::{Deserialize, Serialize};

use super::AdminState;

/// Who gave an order, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orderer {
    /// The name of the token, or the user of the process at the unix socket.
    pub who: String,
    /// The address, or the process.
    pub from: String,
}

/// The state that an operator set for a server, which takes precedence over discovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorChoice {
    /// The state.
    pub state: AdminState,
    /// The reason, in the operator's words.
    pub reason: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Until when, in milliseconds since 1970; `None` until another order.
    pub until_unix_ms: Option<u64>,
    /// Since when its host has been gone from discovery, in milliseconds since 1970; `None` while it is there. The
    /// override ends [`crate::limits::CHOICE_KEEP`] later.
    #[serde(default)]
    pub gone_unix_ms: Option<u64>,
    /// Who ordered it; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Orderer>,
}
