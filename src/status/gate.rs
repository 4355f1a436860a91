//! What every request passes before a handler sees it, whichever part answers.
//!
//! | asked | by | otherwise |
//! | --- | --- | --- |
//! | does it ask for us? | [`host`]: the `Host` header | 421 |

pub mod host;

use std::sync::Arc;

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;

use self::host::AllowedHosts;
use super::problem::Problem;

/// Who may ask.
pub struct Gate {
    hosts: AllowedHosts,
}

impl Gate {
    /// A gate that lets requests for these hosts pass.
    pub fn new(hosts: AllowedHosts) -> Self {
        Self { hosts }
    }

    fn refusal(&self, request: &ServiceRequest) -> Option<Problem> {
        self.hosts.refusal(request)
    }
}

/// Middleware: asks the gate, and gives every answer the headers that no answer may lack.
pub async fn pass<B: MessageBody + 'static>(
    gate: Arc<Gate>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = match gate.refusal(&request) {
        Some(problem) => request.into_response(problem.answer()),
        None => told(next.call(request).await?.map_into_boxed_body()),
    };
    complete(response.headers_mut());
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
fn complete(headers: &mut HeaderMap) {
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
