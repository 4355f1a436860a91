//! The HTTP client of all sources that use HTTP, over the transport in `src/http/`.
//!
//! - `client`: sends a request to the server that answered last, and to the other ones, in random order, if it fails.
//! - `request`: a request, without the server that it is sent to.
//! - `response`: a response as a whole, in bounded size, or line by line as it arrives.
//! - `per_servers`: one client for all sources with the same servers.
//! - `probe`: detects a frozen server while a long poll or a stream waits for minutes.
//! - `credentials`, and [`TlsFiles`]: files are read again after the server rejected them; secrets are never shown.
//! - `redirect`: where a redirect leads.
//! - `opened`: whether a response is the one that was requested.
//! - `error`: the kinds of failures, and their messages.
//!
//! Proxies from the environment are not used. A redirect is followed only where the request allows it; credentials are
//! sent to the configured servers alone. Everything runs on the actors' thread, except reading files, resolving names
//! and parsing large responses.

mod client;
mod credentials;
mod error;
mod opened;
mod per_servers;
mod probe;
mod redirect;
mod request;
mod response;

pub use crate::http::Servers;
pub use crate::tls::TlsFiles;
pub use client::HttpClient;
pub use credentials::Credentials;
pub(super) use error::known_text;
pub use error::{HttpError, HttpFailure};
pub use per_servers::Clients;
pub use request::{Request, escaped};
#[cfg(any(test, fuzzing))]
pub(super) use response::LineBuffer;
pub use response::{FullResponse, LineStream};

/// Options for all servers of one kind of service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// The name of the product, for messages, like `Consul`.
    pub product: &'static str,
    /// Used for servers whose URL begins with `https:`.
    pub tls: TlsFiles,
    /// Sent with each request to a configured server.
    pub credentials: Credentials,
    /// The most connections at once to all servers together; further requests wait. None: a default.
    pub connections_max: Option<usize>,
    /// A path that every healthy server answers at once, with any status. It is requested every few seconds while a
    /// long request waits. None: a long request waits for its whole time-out, even for a frozen server.
    pub probe_path: Option<&'static str>,
}
