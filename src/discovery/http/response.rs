//! Responses of a server: whole, or line by line as they arrive.

use std::rc::Rc;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::LOCATION;
use proxymgr_actors::limits::{HTTP_ANSWER_BYTES_MAX, HTTP_ANSWER_TIMEOUT, HTTP_PARSE_INLINE_BYTES_MAX};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::credentials::{AuthHeader, redacted};
use super::error::{Failure, HttpError, HttpFailure, message};
use super::probe::LivenessProbe;
use crate::http::{Response, TransportError};

/// What a response answers, for messages.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// `Consul`
    pub(super) product: &'static str,
    /// `http://h:8500`
    pub(super) server: Arc<str>,
    /// `GET /v1/x`, and where redirects led.
    pub(super) request: Rc<str>,
    /// The credentials that were sent, which no message may repeat.
    pub(super) auth: Option<AuthHeader>,
}

impl Context {
    fn error(&self, failure: &Failure) -> HttpError {
        let text = message(self.product, &self.request, &[(&self.server, failure)]);
        HttpError::new(failure.kind, redacted(self.auth.as_ref(), text))
    }
}

/// A complete response.
#[derive(Debug)]
pub struct FullResponse {
    /// The status, other than 5xx and 429, which are errors.
    pub status: u16,
    pub(super) headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    pub(super) context: Context,
}

impl FullResponse {
    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The response itself if its status is 2xx, else an error with the status and the beginning of the body.
    pub fn success(self) -> Result<Self, HttpError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(self.context.error(&Failure::of_status(self.status, self.header("location"), &self.body)))
    }

    /// The error that this response is for this reason.
    pub fn error(&self, kind: HttpFailure, cause: impl Into<String>) -> HttpError {
        self.context.error(&Failure::new(kind, cause))
    }

    /// Parses the body as JSON; a large one on another thread.
    pub async fn json<T: DeserializeOwned + Send + 'static>(self) -> Result<T, HttpError> {
        let Self { body, context, .. } = self;
        let product = context.product;
        let parse =
            move |body: &[u8]| serde_json::from_slice(body).map_err(|error| Failure::of_json(&error, product, body));
        let parsed = if body.len() <= HTTP_PARSE_INLINE_BYTES_MAX {
            parse(&body)
        } else {
            let stopped = |_| Err(Failure::new(HttpFailure::Local, "the answer was not read: proxymgr is stopping"));
            spawn_blocking(move || parse(&body)).await.unwrap_or_else(stopped)
        };
        parsed.map_err(|failure| context.error(&failure))
    }
}

/// The body of a response, line by line. Dropping it closes the connection.
#[derive(Debug)]
pub struct LineStream {
    pub(super) response: Response,
    pub(super) probe: Option<Rc<LivenessProbe>>,
    pub(super) context: Context,
    pub(super) lines: LineBuffer,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl LineStream {
    /// The status of the response.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The next line, without its end; none after the last. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        loop {
            if let Some(line) = self.lines.pop() {
                return Ok(Some(line));
            }
            let probe = self.probe.clone();
            let is_in_line = self.lines.len() > 0;
            let chunk = tokio::select! {
                chunk = self.response.chunk() => chunk.map_err(Failure::from),
                failure = failure_of(probe) => Err(failure),
                // Nothing may come for a long time between two lines, but the rest of a line must follow.
                () = sleep(HTTP_ANSWER_TIMEOUT), if is_in_line => Err(Failure::timed_out(HTTP_ANSWER_TIMEOUT)),
            };
            match chunk.map_err(|failure| self.context.error(&failure))? {
                Some(chunk) if self.lines.len() + chunk.len() > HTTP_ANSWER_BYTES_MAX => {
                    let failure = TransportError::TooLarge(HTTP_ANSWER_BYTES_MAX).into();
                    return Err(self.context.error(&failure));
                }
                Some(chunk) => self.lines.push(&chunk),
                None => return Ok(self.lines.take_rest()),
            }
        }
    }

    /// The error that an unexpected status is, with the beginning of the body.
    pub async fn into_status_error(mut self) -> HttpError {
        let location = self.response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.map(str::to_owned);
        let body = timeout(HTTP_ANSWER_TIMEOUT, self.response.read(HTTP_ANSWER_BYTES_MAX)).await;
        let body = body.unwrap_or(Ok(Vec::new())).unwrap_or_default();
        self.context.error(&Failure::of_status(self.status(), location.as_deref(), &body))
    }
}

/// Bytes that are cut into lines. The work is linear in the number of bytes.
#[derive(Debug, Default)]
pub(in crate::discovery) struct LineBuffer {
    bytes: Vec<u8>,
    /// The number of bytes of lines that were taken.
    taken: usize,
    /// The number of bytes, with those, that are known to contain no further line feed.
    searched: usize,
}

impl LineBuffer {
    fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(in crate::discovery) fn push(&mut self, chunk: &[u8]) {
        self.bytes.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        self.bytes.extend_from_slice(chunk);
    }

    /// The next complete line, without `\n` or `\r\n`.
    pub(in crate::discovery) fn pop(&mut self) -> Option<Vec<u8>> {
        let Some(length) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + length;
        let line = &self.bytes[self.taken..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        self.taken = end + 1;
        self.searched = self.taken;
        Some(line)
    }

    /// A last line without an end, if there is one.
    pub(in crate::discovery) fn take_rest(&mut self) -> Option<Vec<u8>> {
        let Self { mut bytes, taken, .. } = std::mem::take(self);
        let rest = bytes.split_off(taken);
        (!rest.is_empty()).then_some(rest)
    }
}

/// Waits until the probe fails; for ever without one.
pub(super) async fn failure_of(probe: Option<Rc<LivenessProbe>>) -> Failure {
    match probe {
        Some(probe) => probe.failure().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_may_cut_lines_anywhere() {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for chunk in ["event: a\r", "\nda", "ta: 1\n", "\n", "cut off"] {
            buffer.push(chunk.as_bytes());
            lines.extend(std::iter::from_fn(|| buffer.pop()));
        }
        assert_eq!(lines, [&b"event: a"[..], b"data: 1", b""]);
        assert_eq!(buffer.take_rest().as_deref(), Some(&b"cut off"[..]));
        assert_eq!(buffer.take_rest(), None);
    }

    /// Each line moved the rest of the buffer, so that the work was quadratic.
    #[test]
    fn many_short_lines_are_cut_in_linear_time() {
        let mut buffer = LineBuffer::default();
        buffer.push(&b"\n".repeat(4_000_000));
        assert_eq!(std::iter::from_fn(|| buffer.pop()).count(), 4_000_000);
        assert_eq!(buffer.len(), 0);
    }
}
