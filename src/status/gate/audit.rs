//! Who gave which order, from where, and with which result: in the journal and in the log. Refused ones are limited in
//! number, so that a stranger can fill neither.

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::HttpRequest;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use percent_encoding::percent_decode_str;
use proxymgr_actors::decide::visible::visible;
use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::limits::{STATUS_REFUSALS_BURST_MAX, STATUS_REFUSALS_INTERVAL};
use proxymgr_actors::model::{Orderer, ServerName, ServiceName};
use slog::{Logger, info, warn};
use tokio::time::Instant;

use super::caller::{Verdict, routed_path};
use super::peer::Peer;
use crate::status::callbacks;
use crate::status::problem::Detail;
use crate::status::view::View;

/// The longest path in a record, in characters.
const PATH_CHARS_MAX: usize = 200;

/// Reports orders.
pub struct Audit {
    view: Arc<dyn View>,
    log: Logger,
    refused: Mutex<Throttle>,
}

/// A request for a change, or one with a wrong token.
pub struct Attempt {
    by: Orderer,
    what: String,
    has_wrong_token: bool,
    is_change: bool,
}

impl Attempt {
    /// Who sent it, for the handler of an order.
    pub fn by(&self) -> Orderer {
        self.by.clone()
    }
}

impl Audit {
    /// Reports to the journal behind `view`, and to `log`.
    pub fn new(view: Arc<dyn View>, log: Logger) -> Self {
        Self { view, log, refused: Mutex::default() }
    }

    /// What to report about a request, once it is answered; none for ordinary reads and for callbacks.
    pub fn attempt(&self, request: &ServiceRequest, verdict: &Verdict) -> Option<Attempt> {
        let is_change = super::is_change(request.method()) && !routed_path(request).starts_with(callbacks::PREFIX);
        if !is_change && !verdict.has_wrong_token {
            return None;
        }
        let who = match &verdict.caller {
            Some(caller) => caller.name.clone(),
            None if verdict.has_wrong_token => "an unknown token".to_owned(),
            None => "nobody".to_owned(),
        };
        let from = match (request.conn_data::<Peer>(), request.peer_addr()) {
            (Some(Peer { uid, pid, .. }), _) => match pid {
                Some(pid) => format!("the unix socket, uid {uid}, pid {pid}"),
                None => format!("the unix socket, uid {uid}"),
            },
            (None, Some(address)) => address.to_string(),
            (None, None) => "an unknown address".to_owned(),
        };
        let path: String = routed_path(request).chars().take(PATH_CHARS_MAX).collect();
        let what = visible(&format!("{} {path}", request.method())).into_owned();
        let by = Orderer { who, from };
        Some(Attempt { by, what, has_wrong_token: verdict.has_wrong_token, is_change })
    }

    /// Reports it with its result.
    pub fn report<B>(&self, attempt: Attempt, response: &ServiceResponse<B>) {
        let status = response.status();
        let Attempt { by: Orderer { who, from }, what, has_wrong_token, is_change } = attempt;
        let accepted = status.is_success();
        let subject = Subject::of(response.request());
        if accepted && !has_wrong_token {
            info!(self.log, "order accepted"; "who" => &who, "from" => &from, "what" => &what);
            self.record(subject, Event::OrderRequested { who, from, what, result: "done".to_owned(), accepted });
            return;
        }
        let Some(suppressed) = self.refused.lock().unwrap_or_else(PoisonError::into_inner).pass(Instant::now()) else {
            return;
        };
        let detail = response.response().extensions().get::<Detail>().map(|detail| detail.0.clone());
        let result = detail.unwrap_or_else(|| status.to_string());
        let message = if has_wrong_token { "wrong token" } else { "order refused" };
        warn!(self.log, "{}", message; "who" => &who, "from" => &from, "what" => &what, "result" => &result,
            "not_logged_before" => suppressed);
        if is_change {
            self.record(subject, Event::OrderRequested { who, from, what, result, accepted });
        }
    }

    /// Adds the order to the journal, so that the history of its service and server says who gave it.
    fn record(&self, Subject { service, server }: Subject, event: Event) {
        self.view.record(JournalEntry { service, server, ..JournalEntry::new(event) });
    }
}

/// The service and the server that a request names in its path.
struct Subject {
    service: Option<ServiceName>,
    server: Option<ServerName>,
}

impl Subject {
    fn of(request: &HttpRequest) -> Self {
        let named = |key| Some(percent_decode_str(request.match_info().get(key)?).decode_utf8().ok()?.into_owned());
        let service = named("service").and_then(|name| ServiceName::new(&name).ok());
        let server = named("server").and_then(|name| ServerName::new(&name).ok());
        Self { server: server.filter(|_| service.is_some()), service }
    }
}

/// A bucket of reports, refilled at a constant rate.
struct Throttle {
    left: u32,
    filled_at: Option<Instant>,
    suppressed: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { left: STATUS_REFUSALS_BURST_MAX, filled_at: None, suppressed: 0 }
    }
}

impl Throttle {
    /// Returns how many reports were suppressed since the last one; `None` to suppress this one.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let filled_at = *self.filled_at.get_or_insert(now);
        let gained = (now - filled_at).as_millis() / STATUS_REFUSALS_INTERVAL.as_millis();
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(gained).min(STATUS_REFUSALS_BURST_MAX);
        self.filled_at = Some(filled_at + STATUS_REFUSALS_INTERVAL * gained.min(STATUS_REFUSALS_BURST_MAX));
        if gained >= STATUS_REFUSALS_BURST_MAX {
            self.filled_at = Some(now);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.suppressed))
            }
            None => {
                self.suppressed += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reports_are_limited_and_counted() {
        let mut throttle = Throttle::default();
        let passed = |throttle: &mut Throttle| (0..100).filter(|_| throttle.pass(Instant::now()).is_some()).count();
        assert_eq!(passed(&mut throttle), STATUS_REFUSALS_BURST_MAX as usize);
        tokio::time::advance(STATUS_REFUSALS_INTERVAL + Duration::from_millis(1)).await;
        assert_eq!(throttle.pass(Instant::now()), Some(100 - u64::from(STATUS_REFUSALS_BURST_MAX)));
        assert_eq!(throttle.pass(Instant::now()), None);
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(passed(&mut throttle), STATUS_REFUSALS_BURST_MAX as usize);
    }
}
