//! What every request passes before a handler sees it, whichever part answers.
//!
//! | asked | by | otherwise |
//! | --- | --- | --- |
//! | does it ask for us? | [`host`]: the `Host` header | 421 |
//! | is it one of too many? | [`rate`]: a bucket of tokens for each client | 429 |
//! | may it? | [`caller`]: the token, `Origin`, `Sec-Fetch-Site` | 401, 403 |
//! | is its body small, and there in time? | [`request_body`] | 413, 408 |
//! | is the answer taken in time, and not one of too many large ones? | [`answer_body`] | closed, 503 |
//!
//! How many connections there are, and how long each may be silent, is the [`listener`](super::listener)'s to bound.

pub mod answer_body;
pub mod caller;
pub mod host;
pub mod rate;
pub mod request_body;

use std::sync::Arc;

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;

use self::answer_body::AnswersUnderWay;
use self::caller::Callers;
use self::host::AllowedHosts;
use self::rate::Rates;
use super::problem::Problem;

/// Who may ask what, how often and how much.
pub struct Gate {
    hosts: AllowedHosts,
    callers: Arc<Callers>,
    rates: Rates,
    answers: AnswersUnderWay,
}

impl Gate {
    /// A gate that lets requests of these callers for these hosts pass.
    pub fn new(hosts: AllowedHosts, callers: Arc<Callers>) -> Self {
        Self { hosts, callers, rates: Rates::default(), answers: AnswersUnderWay::default() }
    }

    async fn ask(&self, request: &mut ServiceRequest) -> Result<(), Problem> {
        if let Some(problem) = self.hosts.refusal(request) {
            return Err(problem);
        }
        if request.peer_addr().is_some_and(|peer| !self.rates.allow(peer.ip())) {
            let detail = "too many requests from this address; ask less often";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail));
        }
        if let Some(problem) = self.callers.refusal(request) {
            return Err(problem);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            request_body::take_in(request).await?;
        }
        Ok(())
    }
}

/// Middleware: asks the gate, and gives every answer the headers that no answer may lack.
pub async fn pass<B: MessageBody + 'static>(
    gate: Arc<Gate>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = match gate.ask(&mut request).await {
        Err(problem) => request.into_response(problem.answer()),
        Ok(()) => told(next.call(request).await?.map_into_boxed_body()),
    };
    let (request, response) = response.into_parts();
    let (head, body) = response.into_parts();
    let response = match gate.answers.take_in(body) {
        Some(body) => head.set_body(body),
        None => Problem::unavailable("too many large answers are under way; ask again in a moment").answer(),
    };
    let mut response = ServiceResponse::new(request, response);
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = caller::challenge(response.request().method());
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    complete(response.status(), response.headers_mut());
    Ok(response)
}

/// The answer, with words where it refuses without any, as routes do that know the path but not the method.
fn told(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let refuses = status.is_client_error() || status.is_server_error();
    if !refuses || !matches!(response.response().body().size(), BodySize::None | BodySize::Sized(0)) {
        return response;
    }
    let detail = match status {
        StatusCode::METHOD_NOT_ALLOWED => "this path is there, but not for this method",
        _ => "the request cannot be answered",
    };
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut answer = Problem::new(status, detail).answer();
    if let Some(allow) = allow {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    response.into_response(answer)
}

/// Headers that hold for every answer, unless its handler has set them: browsers load nothing, show it in no frame,
/// guess no type, keep nothing, tell nobody.
fn complete(status: StatusCode, headers: &mut HeaderMap) {
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
