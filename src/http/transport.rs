//! Sends requests.

use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use http_body_util::Full;
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use rustls::ClientConfig;

use super::connection::{Connection, Origin, SendError};
use super::error::TransportError;
use super::pool::Pool;
use super::response::{Lease, Response};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("proxymgr/", env!("CARGO_PKG_VERSION")));

/// Sends requests over its own connections. Runs on one thread, inside a `LocalSet`.
pub struct Transport {
    tls: Option<Arc<ClientConfig>>,
    /// The unix socket for all requests; by default each goes to the host of its URL.
    unix: Option<PathBuf>,
    pool: Rc<Pool>,
}

impl Transport {
    /// Returns a transport without connections. Requests to `https` URLs fail without `tls`.
    pub fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls, unix: None, pool: Rc::default() }
    }

    /// Returns a transport to a unix socket. The host of URLs is sent, and has no other effect.
    pub fn to_unix(path: PathBuf) -> Self {
        Self { tls: None, unix: Some(path), pool: Rc::default() }
    }

    /// Sends a request to the server of its URL and waits for the headers of the answer without a time limit. The
    /// request is repeated only if nothing of it was sent before.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response, TransportError> {
        let origin = Origin::of(request.uri())?;
        let mut request = prepared(request)?;
        while let Some(mut connection) = self.pool.take(&origin).await {
            match connection.send(request).await.map_err(|error| *error) {
                Ok(response) => return Ok(self.response(response, origin, connection)),
                Err(SendError::Unsent(unsent, _)) => request = *unsent,
                Err(SendError::Failed(error)) => return Err(error),
            }
        }
        let mut connection = match &self.unix {
            Some(path) => Connection::open_unix(path).await?,
            None => Connection::open(&origin, self.tls.as_ref()).await?,
        };
        match connection.send(request).await.map_err(|error| *error) {
            Ok(response) => Ok(self.response(response, origin, connection)),
            Err(SendError::Unsent(_, error) | SendError::Failed(error)) => Err(error),
        }
    }

    fn response(&self, response: hyper::Response<Incoming>, origin: Origin, connection: Connection) -> Response {
        Response::new(response, Lease { connection, origin, pool: self.pool.clone() })
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("has_tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

/// The request as it is sent: the path alone in its first line, with the headers `host` and `user-agent`.
fn prepared(request: Request<Vec<u8>>) -> Result<Request<Full<Bytes>>, TransportError> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().map_or("", |authority| authority.as_str());
    // A redirect may contain a user and a password, which must not be sent in the header.
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = HeaderValue::from_str(host).map_err(|_| TransportError::Url(head.uri.to_string()))?;
    head.headers.entry(HOST).or_insert(host);
    head.headers.insert(USER_AGENT, AGENT);
    head.uri = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    Ok(Request::from_parts(head, Full::from(body)))
}
