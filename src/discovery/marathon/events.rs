//! Marathon's events: which of them matter, and the reader of its event stream.

use std::convert::Infallible;
use std::sync::Arc;

use proxymgr_actors::limits::{HTTP_ANSWER_TIMEOUT, HTTP_RETRY_MAX, HTTP_RETRY_MIN};
use serde::Deserialize;
use slog::{Logger, warn};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::discovery::backoff::Backoff;
use crate::discovery::http::{HttpClient, HttpError, HttpFailure, Request};

/// The events after which apps or tasks may differ.
const RELEVANT: [&str; 9] = [
    "app_terminated_event",
    "deployment_failed",
    "deployment_step_success",
    "deployment_success",
    "group_change_success",
    "health_status_changed_event",
    "instance_changed_event",
    "instance_health_changed_event",
    "status_update_event",
];

/// Whether apps or tasks may differ after the event in this body, which Marathon posted; an error if it is not an
/// event.
pub fn is_relevant(body: &[u8]) -> Result<bool, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Event {
        event_type: String,
    }
    let event: Event = serde_json::from_slice(body).map_err(|_| "not an event of Marathon".to_owned())?;
    Ok(RELEVANT.contains(&event.event_type.as_str()))
}

/// Reads the event stream (`/v2/events`), for ever.
pub(super) struct EventStream {
    pub(super) client: HttpClient,
    /// Notified after relevant events, and after gaps in the stream.
    pub(super) changed: Arc<Notify>,
    pub(super) log: Logger,
}

impl EventStream {
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(HTTP_RETRY_MIN, HTTP_RETRY_MAX);
        let mut logged = None;
        loop {
            let Err(error) = self.read(&mut backoff, &mut logged).await;
            // Events in the gap are lost.
            self.changed.notify_one();
            if logged != Some(error.failure) {
                warn!(self.log, "Marathon's event stream is not available; polling its apps"; "error" => %error);
                logged = Some(error.failure);
            }
            sleep(backoff.pause()).await;
        }
    }

    async fn read(&self, backoff: &mut Backoff, logged: &mut Option<HttpFailure>) -> Result<Infallible, HttpError> {
        let mut request = Request::get("/v2/events").long(HTTP_ANSWER_TIMEOUT);
        for event in RELEVANT {
            request = request.query("event_type", event);
        }
        let mut lines = self.client.open_events(&request).await?;
        self.changed.notify_one();
        while let Some(line) = lines.next().await? {
            // Versions without the filter send every event.
            let event = line.strip_prefix(b"event:").map(<[u8]>::trim_ascii);
            if event.is_some_and(|event| RELEVANT.iter().any(|known| known.as_bytes() == event)) {
                self.changed.notify_one();
                backoff.reset();
                *logged = None;
            }
        }
        Err(HttpError::new(HttpFailure::Unreachable, "Marathon ended its event stream"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_are_accepted() {
        assert_eq!(is_relevant(br#"{"eventType": "status_update_event", "taskStatus": "TASK_RUNNING"}"#), Ok(true));
        assert_eq!(is_relevant(br#"{"eventType": "api_post_event"}"#), Ok(false));
        for garbage in [&b""[..], b"{}", b"[1]", b"\xff", br#"{"eventType": 7}"#] {
            assert!(is_relevant(garbage).is_err(), "{garbage:?}");
        }
    }
}
