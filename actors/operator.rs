//! What an operator asks for, over the API, the page or the command line, and what is answered.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::ORDER_REASON_CHARS_MAX;
use crate::model::{AdminState, BlockedChange, OperatorChoice, ServerName, ServiceName};

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Read the source of one service again, or everything.
    Refresh {
        /// The service; none for all, the definitions included.
        #[serde(default)]
        service: Option<ServiceName>,
    },
    /// Reload HAProxy, as soon as its time has come.
    Reload {
        /// Why, for the journal.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Apply a list that the guard blocked, rejected before or not.
    Accept {
        /// Whose hosts; none for the definitions.
        #[serde(default)]
        service: Option<ServiceName>,
    },
    /// Keep what is in service. The blocked list is not pending again until the source shows another one.
    Reject {
        /// Whose hosts; none for the definitions.
        #[serde(default)]
        service: Option<ServiceName>,
    },
    /// Choose the state of one server, whatever discovery says, or leave it to discovery again.
    SetServer(SetServer),
}

/// An operator's choice about one server. It survives reloads and restarts of the daemon, and is forgotten when it
/// expires or the host leaves discovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetServer {
    /// The service.
    pub service: ServiceName,
    /// The server within it.
    pub server: ServerName,
    /// `ready` leaves the server to discovery again.
    pub state: AdminState,
    /// For how long, in milliseconds; without it until another order.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// Why, for those who see it later.
    #[serde(default)]
    pub reason: Option<String>,
}

/// An operator's decision about a list that the guard blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardDecision {
    /// It is applied.
    Accept,
    /// What is in service stays.
    Reject,
}

/// Why an order was not carried out. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OrderRefused {
    /// No such service.
    #[error("there is no service {0}")]
    UnknownService(ServiceName),
    /// No such server.
    #[error("the service {service} has no server {server}")]
    UnknownServer {
        /// The service.
        service: ServiceName,
        /// The server that it does not have.
        server: ServerName,
    },
    /// There is nothing to accept or reject.
    #[error("no change of {0} is blocked by the guard")]
    NothingBlocked(String),
    /// Something in the order itself is not right.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be done at the moment.
    #[error("{0}")]
    NotNow(String),
}

/// A reason as it is kept and shown: one line, of bounded length; none where it is empty.
///
/// # Errors
/// The reason has control characters, or is too long.
pub fn printable(reason: Option<String>) -> Result<Option<String>, OrderRefused> {
    let Some(reason) = reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty()) else {
        return Ok(None);
    };
    if reason.chars().any(char::is_control) {
        return Err(OrderRefused::Invalid("the reason must be one line without control characters".to_owned()));
    }
    let length = reason.chars().count();
    if length > ORDER_REASON_CHARS_MAX {
        let problem = format!("the reason has {length} characters; at most {ORDER_REASON_CHARS_MAX} are allowed");
        return Err(OrderRefused::Invalid(problem));
    }
    Ok(Some(reason))
}

/// What an order about one server does, as one sentence. `is_ended` says that it only ends an earlier one.
pub fn describe(server: &ServerName, service: &ServiceName, choice: &OperatorChoice, is_ended: bool) -> String {
    let state = match choice.state {
        _ if is_ended => "follows discovery again, and is ready",
        AdminState::Ready => "is ready, whatever discovery says",
        AdminState::Drain => "drains",
        AdminState::Maint => "is in maintenance",
    };
    let until = choice.until_unix_ms.filter(|_| !is_ended);
    let time = until.map(|until| format!(", for {} s", until.saturating_sub(choice.since_unix_ms).div_ceil(1_000)));
    let reason = choice.reason.as_ref().map(|reason| format!(": {reason}"));
    format!("server {server} of {service} {state}{}{}", time.unwrap_or_default(), reason.unwrap_or_default())
}

/// How much a blocked change adds and removes, for the answer to a decision about it.
pub fn extent(BlockedChange { adds, removes, .. }: &BlockedChange) -> String {
    format!("{} to add, {} to remove", adds.count, removes.count)
}
