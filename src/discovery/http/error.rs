//! Why an HTTP request brought nothing.

use std::fmt;

use actix_web::error::ParseError;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use proxymgr_actors::limits::{HTTP_CONNECT_TIMEOUT, QUOTED_VALUE_CHARS_MAX};
use thiserror::Error;

/// What kind of failure it was. Two failures of one kind are one state of affairs: the words may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFailure {
    /// No connection, or none that lasts.
    Unreachable,
    /// The server takes connections and does not answer in time.
    TimedOut,
    /// The two sides do not trust each other.
    Tls,
    /// The server answered with this status.
    Status(u16),
    /// What came is not what was asked for, or too much of it.
    Malformed,
    /// What is needed of this machine to ask cannot be had: a file of a certificate or token.
    Local,
}

/// A failure in words: what was asked, of whom, what went wrong and what to do about it. Credentials are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct HttpError {
    /// What kind it is.
    pub failure: HttpFailure,
    text: String,
}

impl HttpError {
    /// An error in these words.
    pub fn new(failure: HttpFailure, text: impl Into<String>) -> Self {
        Self { failure, text: text.into() }
    }
}

/// One server's failure, before it is known what the others say.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) kind: HttpFailure,
    pub(super) cause: String,
}

impl Failure {
    pub(super) fn new(kind: HttpFailure, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into() }
    }

    pub(super) fn timed_out(seconds: f64) -> Self {
        Self::new(HttpFailure::TimedOut, format!("no answer within {seconds} s"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = match self.kind {
            HttpFailure::Tls => "; it must come from an authority that this machine or the setting tls.ca trusts",
            _ => "",
        };
        write!(f, "{}{hint}", self.cause)
    }
}

impl From<SendRequestError> for Failure {
    fn from(error: SendRequestError) -> Self {
        match error {
            SendRequestError::Connect(error) => error.into(),
            SendRequestError::Timeout => Self::new(HttpFailure::TimedOut, "no answer in time"),
            SendRequestError::Send(error) => Self::new(HttpFailure::Unreachable, format!("sending failed: {error}")),
            SendRequestError::Response(ParseError::Io(error)) => {
                Self::new(HttpFailure::Unreachable, format!("the connection broke: {error}"))
            }
            SendRequestError::Response(ParseError::Timeout) => Self::new(HttpFailure::TimedOut, "no answer in time"),
            SendRequestError::Response(error) => {
                Self::new(HttpFailure::Malformed, format!("the answer is not HTTP: {error}"))
            }
            other => Self::new(HttpFailure::Malformed, other.to_string()),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Timeout => {
                let seconds = HTTP_CONNECT_TIMEOUT.as_secs_f64();
                Self::new(HttpFailure::TimedOut, format!("no connection within {seconds} s"))
            }
            ConnectError::Disconnected => Self::new(HttpFailure::Unreachable, "it closed the connection"),
            ConnectError::Resolver(error) => {
                Self::new(HttpFailure::Unreachable, format!("its name is not resolved: {error}"))
            }
            ConnectError::NoRecords => Self::new(HttpFailure::Unreachable, "its name has no address"),
            ConnectError::Io(error) if is_tls(&error) => Self::new(HttpFailure::Tls, format!("TLS: {error}")),
            ConnectError::Io(error) => Self::new(HttpFailure::Unreachable, format!("cannot connect: {error}")),
            other => Self::new(HttpFailure::Unreachable, other.to_string()),
        }
    }
}

impl From<PayloadError> for Failure {
    fn from(error: PayloadError) -> Self {
        Self::new(HttpFailure::Unreachable, format!("the answer broke off: {error}"))
    }
}

fn is_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// The beginning of a server's words, in one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(QUOTED_VALUE_CHARS_MAX * 4)]);
    let line = text.split(|c: char| c.is_control()).map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().take(QUOTED_VALUE_CHARS_MAX * 2).collect()
}
