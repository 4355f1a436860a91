//! What an operator chose for one server.

use serde::{Deserialize, Serialize};

use super::AdminState;

/// The state an operator wants a server to be in, whatever discovery says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorChoice {
    /// The state.
    pub state: AdminState,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Until when, in milliseconds since 1970; none until another order.
    pub until_unix_ms: Option<u64>,
    /// Since when its host has been gone from discovery, in milliseconds since 1970; none while it is there. The choice
    /// is forgotten [`crate::limits::CHOICE_KEEP`] later.
    #[serde(default)]
    pub gone_unix_ms: Option<u64>,
}
