//! Why an HTTP request failed.

use std::fmt;
use std::time::Duration;

use proxymgr_actors::limits::QUOTED_VALUE_CHARS_MAX;
use thiserror::Error;

use crate::http::TransportError;

/// The kind of a failure. Two failures of one kind count as one continuing problem, even if their texts differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFailure {
    /// No connection, or a broken one.
    Unreachable,
    /// The server accepts connections and does not answer in time.
    TimedOut,
    /// One side does not trust the other's certificate.
    Tls,
    /// The server answered with this status.
    Status(u16),
    /// The response is not in the expected format, or too large.
    Malformed,
    /// A local cause: a file with a certificate or token cannot be used.
    Local,
}

/// A failed request: what was requested, from which servers, the cause, and a hint. Contains no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct HttpError {
    /// The kind.
    pub failure: HttpFailure,
    text: String,
}

impl HttpError {
    /// An error with this text.
    pub fn new(failure: HttpFailure, text: impl Into<String>) -> Self {
        Self { failure, text: text.into() }
    }
}

/// The failure of one server, of possibly several.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) kind: HttpFailure,
    pub(super) cause: String,
}

impl Failure {
    pub(super) fn new(kind: HttpFailure, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into() }
    }

    pub(super) fn timed_out(limit: Duration) -> Self {
        Self::new(HttpFailure::TimedOut, format!("no answer within {} s", limit.as_secs_f64()))
    }

    /// A status that is not 2xx, with the beginning of the body, or where a redirect leads.
    pub(super) fn of_status(status: u16, location: Option<&str>, body: &[u8]) -> Self {
        let detail = match (location, excerpt(body)) {
            (Some(location), _) => format!(": redirect to {}", excerpt(location.as_bytes())),
            (None, detail) if detail.is_empty() => String::new(),
            (None, detail) => format!(": {detail}"),
        };
        let hint = match status {
            401 | 403 => "; check the credentials and their permissions",
            429 => "; the server limits requests per client",
            _ => "",
        };
        Self::new(HttpFailure::Status(status), format!("status {status}{detail}{hint}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = match self.kind {
            HttpFailure::Tls => {
                "; the certificate must come from an authority of this machine or of the setting tls.ca"
            }
            _ => "",
        };
        write!(f, "{}{hint}", self.cause)
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        let kind = match &error {
            TransportError::Resolve { .. }
            | TransportError::Connect(_)
            | TransportError::Closed
            | TransportError::Broken(_) => HttpFailure::Unreachable,
            TransportError::ConnectTimeout => HttpFailure::TimedOut,
            TransportError::Tls(_) => HttpFailure::Tls,
            TransportError::NotHttp(_) | TransportError::TooLarge(_) => HttpFailure::Malformed,
            TransportError::Url(_) => HttpFailure::Local,
        };
        Self::new(kind, error.to_string())
    }
}

/// The first non-empty line of a text from a server, shortened.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(QUOTED_VALUE_CHARS_MAX * 4)]);
    let line = text.split(|c: char| c.is_control()).map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().take(QUOTED_VALUE_CHARS_MAX * 2).collect()
}
