//! An answer: its status and headers, and its body as it arrives.

use std::rc::Rc;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use hyper::http::response::Parts;
use hyper::{HeaderMap, StatusCode};

use super::connection::{Connection, Origin};
use super::error::TransportError;
use super::pool::Pool;

/// An answer whose headers have arrived. Dropping it before the end of its body closes the connection.
#[derive(Debug)]
pub struct Response {
    head: Parts,
    body: Incoming,
    /// None once the body is complete.
    lease: Option<Lease>,
}

/// The connection that the body arrives on, and the pool that it returns to.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) origin: Origin,
    pub(super) pool: Rc<Pool>,
}

impl Response {
    pub(super) fn new(response: hyper::Response<Incoming>, lease: Lease) -> Self {
        let (head, body) = response.into_parts();
        let mut response = Self { head, body, lease: Some(lease) };
        if response.body.is_end_stream() {
            response.release();
        }
        response
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Returns the next piece of the body; `None` at its end, at every further call as well. Cancel safe.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        while self.lease.is_some() {
            match self.body.frame().await {
                None => self.release(),
                Some(Err(_)) => {
                    self.lease = None;
                    return Err(TransportError::CutOff);
                }
                // Trailers are not used.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
        Ok(None)
    }

    /// Returns the rest of the body, of at most `bytes_max` bytes.
    pub async fn read(&mut self, bytes_max: usize) -> Result<Vec<u8>, TransportError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > bytes_max {
                self.lease = None;
                return Err(TransportError::TooLarge(bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn release(&mut self) {
        if let Some(Lease { connection, origin, pool }) = self.lease.take() {
            pool.put(origin, connection);
        }
    }
}
