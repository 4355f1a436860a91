//! The transport of the one HTTP/1.1 client in this tree, over `hyper`: connections, their pool, and bodies in bounded
//! size. Retries, credentials, redirects and time limits of an answer belong to its two users: the client of discovery
//! (`src/discovery/http/`) and that of the status API (`src/status/client.rs`).
//!
//! - `connection`: opens a TCP or TLS connection; each phase has a time limit.
//! - `pool`: idle connections by origin, with a limit on their idle time and their age.
//! - `transport`: sends a request, on an idle connection if there is one.
//! - `response`: the status and headers of an answer, and its body in pieces or as a whole.
//! - `error`: the types of failures.
//! - `servers`: the URLs of one HTTP service, in normal form.
//!
//! The pool of `hyper-util` is not used because it opens another connection whenever none is idle at that instant, even
//! if one is about to be: a Consul agent closes the connections beyond its limit.

mod connection;
mod error;
mod pool;
mod response;
mod servers;
mod transport;

pub use error::TransportError;
pub(crate) use error::connect_cause;
pub use response::Response;
pub use servers::Servers;
pub use transport::Transport;
