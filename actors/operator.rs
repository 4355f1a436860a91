//! Orders of operators, given by the API, the page or the command line, and the answers to them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::ORDER_REASON_CHARS_MAX;
use crate::model::{AdminState, BlockedChange, OperatorChoice, Orderer, ServerName, ServiceName};

/// An order of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Read the source of one service again, or everything.
    Refresh {
        /// The service; `None` for all, including the definitions.
        #[serde(default)]
        service: Option<ServiceName>,
    },
    /// Reload HAProxy, as soon as `haproxy.reload_interval` allows.
    Reload {
        /// The reason, for the journal.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Apply a list that the guard blocked, rejected before or not.
    Accept {
        /// The service; `None` for the definitions.
        #[serde(default)]
        service: Option<ServiceName>,
    },
    /// Keep the list in service. The blocked list is rejected until the source returns another one.
    Reject {
        /// The service; `None` for the definitions.
        #[serde(default)]
        service: Option<ServiceName>,
    },
    /// Override the state of one server, or let it follow discovery again.
    SetServer(SetServer),
}

/// An override for one server. It survives reloads and restarts of the daemon, and ends when it expires or its host has
/// left discovery for long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetServer {
    /// The service.
    pub service: ServiceName,
    /// The server within it.
    pub server: ServerName,
    /// The state; `ready` only ends an override, unless discovery reports another state.
    pub state: AdminState,
    /// The duration, in milliseconds; without it the override lasts until another order.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// The reason, for later readers.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who gives it; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Orderer>,
}

/// An operator's decision about a list that the guard blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardDecision {
    /// It is applied.
    Accept,
    /// The list in service stays.
    Reject,
}

/// Why an order was refused. Nothing has changed.
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
    /// The order is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The order cannot be executed at the moment.
    #[error("{0}")]
    NotNow(String),
}

/// Checks a reason: one line, of bounded length. Returns `None` where it is empty.
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

/// Describes the effect of an override as one sentence. `is_ended` means that it only ends an earlier one.
pub fn describe(server: &ServerName, service: &ServiceName, choice: &OperatorChoice, is_ended: bool) -> String {
    let state = match choice.state {
        _ if is_ended => "follows discovery again, and is ready",
        AdminState::Ready => "is ready, regardless of discovery",
        AdminState::Drain => "drains",
        AdminState::Maint => "is in maintenance",
    };
    let until = choice.until_unix_ms.filter(|_| !is_ended);
    let time = until.map(|until| format!(", for {} s", until.saturating_sub(choice.since_unix_ms).div_ceil(1_000)));
    let reason = choice.reason.as_ref().map(|reason| format!(": {reason}"));
    format!("server {server} of {service} {state}{}{}", time.unwrap_or_default(), reason.unwrap_or_default())
}

/// Describes how much a blocked change adds and removes, for the answer to a decision about it.
pub fn extent(BlockedChange { adds, removes, .. }: &BlockedChange) -> String {
    format!("{} to add, {} to remove", adds.count, removes.count)
}
