//! The one HTTP client of all sources that speak it.
//!
//! - `servers`: the URLs of one service, in one normal form.
//! - `client`: sends a request to the server that answered last, and to the others, in shuffled order, where it fails.
//! - `request`, `answer`: what is asked, and what comes back: whole and bounded, or line by line as it comes.
//! - `per_servers`: one client for all that name the same servers.
//! - `events`: an event stream, which the library that the client stands on cannot read.
//! - `pulse`: tells that a server is frozen while a request to it waits for minutes, as long polls and streams do.
//! - `credentials`, and [`TlsFiles`]: files read again when they were refused; secrets never shown.
//! - `error`: failures in words.
//!
//! No proxy of the environment is used, and a redirect is followed only where the request says so; credentials go to the
//! configured servers alone. Everything runs on the actors' thread, except reading files, resolving names and parsing
//! large answers.

mod answer;
mod client;
mod credentials;
mod error;
mod events;
mod per_servers;
mod pulse;
mod request;
mod servers;

pub use crate::tls::TlsFiles;
pub use answer::{Answer, Lines};
pub use client::HttpClient;
pub use credentials::Credentials;
pub use error::{HttpError, HttpFailure};
pub use events::Events;
pub use per_servers::Clients;
pub use request::{Request, escaped};
pub use servers::Servers;

/// How one kind of service is spoken to. Holds for all its servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// Used where a server's URL begins with `https:`.
    pub tls: TlsFiles,
    /// What each request to a configured server proves itself with.
    pub credentials: Credentials,
    /// The most connections at once to all servers together; what is asked beyond that waits its turn. None: a default.
    pub connections_max: Option<usize>,
    /// A path that every healthy server answers at once, whatever the status, asked every few seconds for as long as a
    /// long request waits. None: a long request waits for as long as it says, even for a frozen server.
    pub pulse: Option<&'static str>,
}
