//! A response whose headers have arrived, and whether it is the one that was requested.

use std::rc::Rc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, LOCATION};
use proxymgr_actors::limits::HTTP_ANSWER_BYTES_MAX;
use tokio::time::timeout;

use super::error::Failure;
use super::probe::LivenessProbe;
use super::response::Context;
use crate::http::Response;

/// A response whose headers have arrived.
pub(super) struct Opened {
    pub(super) response: Response,
    pub(super) context: Context,
    pub(super) probe: Option<Rc<LivenessProbe>>,
}

impl Opened {
    /// Returns the failure for its status, with the beginning of its body if that arrives in time.
    pub(super) async fn into_status_failure(mut self, limit: Duration) -> Failure {
        let body = timeout(limit, self.response.read(HTTP_ANSWER_BYTES_MAX)).await;
        let location = self.response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let body = body.unwrap_or(Ok(Vec::new())).unwrap_or_default();
        Failure::of_status(self.response.status().as_u16(), location, &body)
    }
}

/// Why a response is not the one that was requested.
pub(super) enum Unexpected {
    /// Its status.
    Status,
    /// Its content.
    Content(String),
}

/// Accepts an event stream (`text/event-stream`).
pub(super) fn check_event_stream(response: &Response) -> Option<Unexpected> {
    if response.status() != StatusCode::OK {
        return Some(Unexpected::Status);
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("missing");
    let is_stream = kind.starts_with("text/event-stream");
    (!is_stream).then(|| Unexpected::Content("the answer is not an event stream".to_owned()))
}

/// Whether another server may give a better response.
pub(super) fn is_servers_failure(status: u16) -> bool {
    matches!(status, 429 | 500..=599)
}
