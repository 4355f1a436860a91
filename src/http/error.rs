//! Why a request had no usable answer.

use std::error::Error;
use std::io;

use proxymgr_actors::limits::HTTP_CONNECT_TIMEOUT;
use thiserror::Error;

/// Why a request had no usable answer. The texts name neither the server nor the request: the caller knows both.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The URL names no host, or neither `http` nor `https`.
    #[error("the URL {0} names no HTTP server")]
    Url(String),
    /// The host name has no address.
    #[error("the host name {host} does not resolve: {cause}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver reports.
        cause: String,
    },
    /// The TCP connection failed.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The TCP connection, the look-up of its name included, or the TLS handshake took too long.
    #[error("no connection within {} s", HTTP_CONNECT_TIMEOUT.as_secs_f64())]
    ConnectTimeout,
    /// The TLS handshake failed: mostly, one side does not trust the other.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server closed the connection without an answer.
    #[error("the server closed the connection without an answer")]
    Closed,
    /// The connection failed while the request was sent or before the answer was complete.
    #[error("the connection failed: {0}")]
    Broken(String),
    /// The answer is not HTTP.
    #[error("the answer is not HTTP: {0}")]
    NotHttp(String),
    /// The answer is larger than the caller allows, in bytes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

impl TransportError {
    /// A failure before the headers of an answer.
    pub(super) fn before_answer(error: &hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            Self::Closed
        } else if error.is_parse() {
            Self::NotHttp(with_causes(error))
        } else {
            Self::Broken(with_causes(error))
        }
    }

    /// A failure in the body of an answer.
    pub(super) fn in_body(error: &hyper::Error) -> Self {
        Self::Broken(format!("the answer is incomplete: {}", with_causes(error)))
    }
}

/// The error and its causes in one line; hyper's own text leaves the causes out.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
