//! Checks that every request passes before its handler.
//!
//! | check | by | on failure |
//! | --- | --- | --- |
//! | host name | [`host`]: the `Host` header | 421 |
//! | connections | [`clients`]: their number per client address | closed |
//! | authorisation | [`caller`]: tokens, the [`peer`] of the unix socket, `Origin`, `Sec-Fetch-Site` | 401, 403 |
//! | rate | [`rate`]: a token bucket per client | 429 |
//! | size and time of the request body | [`request_body`] | 413, 408 |
//! | size and time of the answer | [`answer_body`] | closed, 503 |
//!
//! Changes and wrong tokens are logged and recorded by [`audit`]. The [`listener`](super::listener) limits the number of connections and their idle time.

pub mod answer_body;
pub mod audit;
pub mod caller;
pub mod clients;
pub mod host;
pub mod peer;
pub mod rate;
pub mod request_body;

use std::sync::Arc;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage};

use self::answer_body::AnswersInProgress;
use self::audit::Audit;
use self::caller::{Callers, Verdict};
use self::host::AllowedHosts;
use self::rate::{Client, Rates};
use super::problem::Problem;

/// The checks and their state.
pub struct Gate {
    hosts: AllowedHosts,
    callers: Arc<Callers>,
    rates: Rates,
    answers: AnswersInProgress,
    audit: Audit,
}

impl Gate {
    /// A gate for these callers and host names. Orders are reported to `audit`.
    pub fn new(hosts: AllowedHosts, callers: Arc<Callers>, audit: Audit) -> Self {
        Self { hosts, callers, rates: Rates::default(), answers: AnswersInProgress::default(), audit }
    }

    async fn check(&self, request: &mut ServiceRequest, verdict: Verdict) -> Result<(), Problem> {
        if let Some(problem) = self.hosts.refusal(request) {
            return Err(problem);
        }
        if client_of(request, &verdict).is_some_and(|client| !self.rates.allow(client)) {
            let detail = "too many requests from this client; slow down";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail));
        }
        if let Some(problem) = verdict.refusal {
            return Err(problem);
        }
        if is_change(request.method()) {
            request_body::read_body(request).await?;
        }
        Ok(())
    }
}

/// The client that a request counts for.
fn client_of(request: &ServiceRequest, verdict: &Verdict) -> Option<Client> {
    if let Some(caller) = &verdict.caller {
        return Some(Client::Caller(caller.name.clone()));
    }
    let address = request.peer_addr()?.ip();
    let is_health = matches!(caller::routed_path(request), "/healthz" | "/readyz");
    Some(if is_health { Client::Health(address) } else { Client::Address(address) })
}

fn is_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Middleware: runs the checks and adds the security headers to every answer.
pub async fn pass<B: MessageBody + 'static>(
    gate: Arc<Gate>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let verdict = gate.callers.judge(&request);
    let attempt = gate.audit.attempt(&request, &verdict);
    if let Some(attempt) = &attempt {
        request.extensions_mut().insert(attempt.by());
    }
    let response = match gate.check(&mut request, verdict).await {
        Err(problem) => request.into_response(problem.answer()),
        Ok(()) => with_detail(next.call(request).await?.map_into_boxed_body()),
    };
    if let Some(attempt) = attempt {
        gate.audit.report(attempt, &response);
    }
    let (request, response) = response.into_parts();
    let (head, body) = response.into_parts();
    let response = match gate.answers.take_in(body) {
        Some(body) => head.set_body(body),
        None => Problem::unavailable("too many large answers are in progress; retry in a moment").answer(),
    };
    let mut response = ServiceResponse::new(request, response);
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = caller::challenge(response.request().method());
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    add_headers(response.status(), response.headers_mut());
    Ok(response)
}

/// The answer; an error without a body, such as 405 of a route, becomes a problem object.
fn with_detail(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let refuses = status.is_client_error() || status.is_server_error();
    if !refuses || !matches!(response.response().body().size(), BodySize::None | BodySize::Sized(0)) {
        return response;
    }
    let detail = match status {
        StatusCode::METHOD_NOT_ALLOWED => "this path does not support this method",
        _ => "the request cannot be answered",
    };
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut answer = Problem::new(status, detail).answer();
    if let Some(allow) = allow {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    response.into_response(answer)
}

/// Adds the security headers that the handler has not set: no content, no frames, no type guessing, no cache, no
/// referrer.
fn add_headers(status: StatusCode, headers: &mut HeaderMap) {
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    const COMPLETION: [(header::HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in COMPLETION {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
