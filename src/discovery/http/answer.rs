//! What a server answers: whole, or line by line as it comes.

use std::rc::Rc;

use awc::ClientResponse;
use awc::http::header::HeaderMap;
use futures_util::StreamExt;
use proxymgr_actors::limits::{HTTP_ANSWER_BYTES_MAX, HTTP_PARSE_INLINE_BYTES_MAX};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::credentials::{Proof, without_secret};
use super::error::{Failure, HttpError, HttpFailure, excerpt};
use super::pulse::Pulse;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status: one that is no trouble of the server's own, for those are failures (5xx, 429).
    pub status: u16,
    pub(super) headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// What was asked, for messages: `GET http://h:8500/v1/x`.
    pub(super) asked: Rc<str>,
    pub(super) proof: Option<Proof>,
}

impl Answer {
    /// A header's value, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The answer, if its status is 2xx; else a failure with the server's words.
    pub fn success(self) -> Result<Self, HttpError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let failure = status_failure(self.status, self.header("location"), &self.body);
        let text = format!("{}: {failure}", self.asked);
        Err(HttpError::new(failure.kind, without_secret(self.proof.as_ref(), text)))
    }

    /// Reads the body as JSON; a large one on another thread.
    pub async fn json<T: DeserializeOwned + Send + 'static>(self) -> Result<T, HttpError> {
        let (asked, proof) = (self.asked.clone(), self.proof.clone());
        let wrong = |error: String| {
            HttpError::new(HttpFailure::Malformed, without_secret(proof.as_ref(), format!("{asked}: {error}")))
        };
        let parse = |body: &[u8]| {
            let parsed = serde_json::from_slice(body);
            parsed.map_err(|error| format!("the answer is not what was asked for: {error}: {:?}", excerpt(body)))
        };
        if self.body.len() <= HTTP_PARSE_INLINE_BYTES_MAX {
            return parse(&self.body).map_err(wrong);
        }
        let body = self.body;
        let parsed = spawn_blocking(move || parse(&body)).await;
        parsed.map_err(|error| wrong(error.to_string()))?.map_err(wrong)
    }
}

/// An answer that goes on. Dropping it closes the connection.
pub struct Lines {
    pub(super) status: u16,
    pub(super) response: ClientResponse,
    pub(super) pulse: Option<Rc<Pulse>>,
    pub(super) asked: Rc<str>,
    pub(super) proof: Option<Proof>,
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) buffer: Vec<u8>,
    /// How much of the buffer is known to hold no line feed.
    pub(super) searched: usize,
    /// The library panics where more is asked for after the end.
    pub(super) is_ended: bool,
}

impl Lines {
    /// The status of the answer.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The next line, without its end; none after the last. Nothing is lost when this is dropped and called again.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                line.pop();
                line.pop_if(|byte| *byte == b'\r');
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.is_ended {
                return Ok(None);
            }
            let pulse = self.pulse.clone();
            let chunk = tokio::select! {
                chunk = self.response.next() => chunk,
                failure = lost(pulse) => return Err(self.error(failure)),
            };
            match chunk {
                Some(Ok(chunk)) if self.buffer.len() + chunk.len() <= HTTP_ANSWER_BYTES_MAX => {
                    self.buffer.extend_from_slice(&chunk);
                }
                Some(Ok(_)) => return Err(self.error(too_large())),
                Some(Err(error)) => return Err(self.error(error.into())),
                None if self.buffer.is_empty() => {
                    self.is_ended = true;
                    return Ok(None);
                }
                None => {
                    self.is_ended = true;
                    self.searched = 0;
                    return Ok(Some(std::mem::take(&mut self.buffer)));
                }
            }
        }
    }

    /// The failure that an unwelcome status is, with the server's words.
    pub async fn refusal(mut self) -> HttpError {
        let body = read(&mut self.response).await.unwrap_or_default();
        self.error(status_failure(self.status, None, &body))
    }

    fn error(&self, failure: Failure) -> HttpError {
        let text = format!("{}: {failure}", self.asked);
        HttpError::new(failure.kind, without_secret(self.proof.as_ref(), text))
    }
}

/// Waits until the server counts as frozen; for ever where nobody feels its pulse.
pub(super) async fn lost(pulse: Option<Rc<Pulse>>) -> Failure {
    match pulse {
        Some(pulse) => pulse.lost().await,
        None => std::future::pending().await,
    }
}

/// The whole body, up to its limit.
pub(super) async fn read(response: &mut ClientResponse) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.next().await {
        let chunk = chunk?;
        if body.len() + chunk.len() > HTTP_ANSWER_BYTES_MAX {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn too_large() -> Failure {
    Failure::new(HttpFailure::Malformed, format!("the answer has more than {HTTP_ANSWER_BYTES_MAX} bytes"))
}

/// What it means that the status is not 2xx.
pub(super) fn status_failure(status: u16, location: Option<&str>, body: &[u8]) -> Failure {
    let words = match (location, excerpt(body)) {
        (Some(location), _) => format!(": it points to {}", excerpt(location.as_bytes())),
        (None, words) if words.is_empty() => String::new(),
        (None, words) => format!(": {words}"),
    };
    let hint = match status {
        401 | 403 => "; the credentials are missing, wrong, or not enough",
        429 => "; the server limits what one client may ask",
        _ => "",
    };
    Failure::new(HttpFailure::Status(status), format!("status {status}{words}{hint}"))
}
