//! Error answers as problem objects: <https://www.rfc-editor.org/rfc/rfc9457>.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::web::{JsonConfig, PathConfig, QueryConfig, ServiceConfig};
use actix_web::{HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};

/// The media type of a problem object.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request failed, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status code.
    pub status: u16,
    /// The kind of problem; the same for every occurrence.
    pub title: String,
    /// What is wrong with this request, and what to do.
    pub detail: String,
}

impl Problem {
    /// A problem with this status and its standard title.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem").to_owned();
        Self { status: status.as_u16(), title, detail: detail.into() }
    }

    /// 400: the request is invalid.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: the object does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503: something required does not answer.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// The HTTP answer.
    pub fn answer(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code()).content_type(PROBLEM_JSON).json(self);
        answer.extensions_mut().insert(Detail(self.detail.clone()));
        answer
    }
}

/// The detail of a problem, kept with the answer for the audit.
#[derive(Debug, Clone)]
pub struct Detail(pub String);

/// Makes the extractors of actix-web report invalid paths, queries and bodies as problem objects.
pub fn of_extractors(config: &mut ServiceConfig) {
    config
        .app_data(PathConfig::default().error_handler(|error, _| Problem::bad_request(error.to_string()).into()))
        .app_data(QueryConfig::default().error_handler(|error, _| Problem::bad_request(error.to_string()).into()))
        .app_data(JsonConfig::default().error_handler(|error, _| Problem::bad_request(error.to_string()).into()));
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        self.answer()
    }
}
