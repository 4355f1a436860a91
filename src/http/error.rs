//! Why a request had no usable answer.

use std::io::{self, ErrorKind};

use proxymgr_actors::limits::HTTP_CONNECT_TIMEOUT;
use thiserror::Error;

/// Why a request had no usable answer. The texts name neither the server nor the request: the caller knows both. They
/// have no text of a library or of the operating system.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The URL names no host, or neither `http` nor `https`.
    #[error("the URL {0} names no HTTP server")]
    Url(String),
    /// The host name has no address.
    #[error("unknown host name {0}")]
    UnknownHost(String),
    /// The host name cannot be looked up.
    #[error("the host name {0} cannot be looked up: no DNS server answers")]
    LookUp(String),
    /// The TCP connection failed.
    #[error("{}", connect_cause(.0))]
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
    /// The connection failed while the request was sent.
    #[error("the connection broke before the answer")]
    Broken,
    /// The connection ended before the end of the answer that its header announces, or the parts of the answer are
    /// malformed.
    #[error("the answer is cut off")]
    CutOff,
    /// The answer is not HTTP.
    #[error("the server does not speak HTTP")]
    NotHttp,
    /// The answer is larger than the caller allows, in bytes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

impl TransportError {
    /// A failed look-up. The system reports an unknown name and a silent DNS server with the same code.
    pub(crate) fn of_look_up(host: &str, error: &io::Error) -> Self {
        if error.to_string().contains("emporary failure") {
            Self::LookUp(host.to_owned())
        } else {
            Self::UnknownHost(host.to_owned())
        }
    }

    /// A failure before the headers of an answer.
    pub(super) fn before_answer(error: &hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            Self::Closed
        } else if error.is_parse() {
            Self::NotHttp
        } else {
            Self::Broken
        }
    }
}

/// Why a TCP connection failed.
pub(crate) fn connect_cause(error: &io::Error) -> String {
    let cause = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "no route to the server",
        ErrorKind::TimedOut => "no connection in time",
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => "the server closed the connection without an answer",
        ErrorKind::PermissionDenied => "the connection is forbidden on this machine",
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => "this machine has no free port for a connection",
        _ => match error.raw_os_error() {
            Some(code) => return format!("the connection failed (errno {code})"),
            None => "the connection failed",
        },
    };
    cause.to_owned()
}
