//! Why an HTTP request failed.

use std::time::Duration;

use hyper::Uri;
use serde_json::error::Category;
use thiserror::Error;

use crate::http::TransportError;

/// The kind of a failure. Two failures of one kind count as one continuing problem, even if their texts differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFailure {
    /// The host name has no address, or cannot be looked up.
    UnknownHost,
    /// No connection, or a broken one, or a part of an answer.
    Unreachable,
    /// The server accepts connections and does not answer in time.
    TimedOut,
    /// One side does not trust the other's certificate.
    Tls,
    /// The server answered with this status.
    Status(u16),
    /// The response is not in the expected format, or too large.
    Malformed,
    /// A local cause: a file with a certificate or token cannot be used.
    Local,
}

/// A failed request: the cause, the servers, what was requested, and a hint, in this order. Contains no credentials, no
/// text of a library, and no text of an answer: the author of a definition chooses the server, and the answer may be a
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct HttpError {
    /// The kind.
    pub failure: HttpFailure,
    text: String,
}

impl HttpError {
    /// An error with this text.
    pub fn new(failure: HttpFailure, text: impl Into<String>) -> Self {
        Self { failure, text: text.into() }
    }
}

/// The failure of one server, of possibly several.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) kind: HttpFailure,
    pub(super) cause: String,
}

impl Failure {
    pub(super) fn new(kind: HttpFailure, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into() }
    }

    pub(super) fn timed_out(limit: Duration) -> Self {
        Self::new(HttpFailure::TimedOut, format!("no answer within {} s", limit.as_secs_f64()))
    }

    /// A status that is not 2xx, with a known message in the body, or the server that a redirect leads to.
    pub(super) fn of_status(status: u16, location: Option<&str>, body: &[u8]) -> Self {
        let detail = match location {
            Some(location) => match server_of(location) {
                Some(server) => format!(", a redirect to {server}"),
                None => ", a redirect".to_owned(),
            },
            None => match known_text(body) {
                Some(text) => format!(": {text}"),
                None if is_html(body) => " and an HTML page".to_owned(),
                None => String::new(),
            },
        };
        let (kind, meaning) = match status {
            401 | 403 => (status, "access denied, "),
            400.. if has_words(body, &DENIED) => (403, "access denied, "),
            429 => (status, "too many requests, "),
            500.. if has_words(body, &NO_QUORUM) => (status, "no quorum, "),
            _ => (status, ""),
        };
        Self::new(HttpFailure::Status(kind), format!("{meaning}status {status}{detail}"))
    }

    /// A body that is not JSON, or not the expected JSON of `product`.
    pub(super) fn of_json(error: &serde_json::Error, product: &str, body: &[u8]) -> Self {
        let cause = if body.trim_ascii().is_empty() {
            "the answer is empty".to_owned()
        } else if is_html(body) {
            format!("the answer is an HTML page, not one of {product}")
        } else {
            let what = match error.classify() {
                Category::Eof => "the answer ends too early".to_owned(),
                Category::Io | Category::Syntax => "the answer is not JSON".to_owned(),
                Category::Data => format!("the answer is not one of {product}"),
            };
            known_text(body).map_or(what.clone(), |text| format!("{what}: {text}"))
        };
        Self::new(HttpFailure::Malformed, cause)
    }

    /// What to do about it.
    fn hint(&self) -> &'static str {
        match self.kind {
            HttpFailure::Tls => {
                "; the certificate must come from an authority of this machine or of the setting tls.ca"
            }
            HttpFailure::Status(401 | 403) => "; check the credentials and their permissions",
            HttpFailure::Status(429) => "; the server limits requests per client",
            _ => "",
        }
    }
}

/// One message for the failures of one or more servers, each with its URL: servers with the same cause are listed
/// together.
pub(super) fn message(product: &str, request: &str, failures: &[(&str, &Failure)]) -> String {
    let mut causes: Vec<(&Failure, Vec<&str>)> = Vec::new();
    for (url, failure) in failures {
        match causes.iter_mut().find(|(known, _)| known.cause == failure.cause) {
            Some((_, urls)) => urls.push(url),
            None => causes.push((failure, vec![url])),
        }
    }
    let hint = causes.iter().map(|(failure, _)| failure.hint()).find(|hint| !hint.is_empty()).unwrap_or_default();
    let product = if product.is_empty() { String::new() } else { format!("{product} ") };
    let each = causes.iter().map(|(failure, urls)| format!("{}: {product}{}", failure.cause, urls.join(", ")));
    format!("{} ({request}){hint}", each.collect::<Vec<_>>().join("; "))
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        let kind = match &error {
            TransportError::UnknownHost(_) | TransportError::LookUp(_) => HttpFailure::UnknownHost,
            TransportError::Connect(_) | TransportError::Closed | TransportError::Broken | TransportError::CutOff => {
                HttpFailure::Unreachable
            }
            TransportError::ConnectTimeout => HttpFailure::TimedOut,
            TransportError::Tls(_) => HttpFailure::Tls,
            TransportError::NotHttp | TransportError::TooLarge(_) => HttpFailure::Malformed,
            TransportError::Url(_) => HttpFailure::Local,
        };
        Self::new(kind, error.to_string())
    }
}

/// Words of Consul, etcd, Marathon and Mesos in answers without a quorum.
const NO_QUORUM: [&str; 2] = ["leader", "etcdserver: request timed out"];

/// Words of etcd in answers to requests without sufficient credentials, whose status depends on the version.
const DENIED: [&str; 3] = ["user name is empty", "permission denied", "invalid auth token"];

/// The bytes of a body that are looked at for messages.
const LOOKED_AT_BYTES: usize = 4_096;

fn has_words(body: &[u8], words: &[&str]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT_BYTES)]).to_ascii_lowercase();
    words.iter().any(|it| text.contains(it))
}

fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Messages of Consul, etcd, Marathon and Mesos that help to find the cause.
const KNOWN_TEXTS: [&str; 17] = [
    "No cluster leader",
    "No path to datacenter",
    "ACL not found",
    "ACL token not found",
    "Permission denied",
    "Unknown check",
    "etcdserver: user name is empty",
    "etcdserver: permission denied",
    "etcdserver: invalid auth token",
    "etcdserver: request timed out",
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "authentication failed, invalid user ID or password",
    "authentication is not enabled",
    "Could not determine the current leader",
    "No leader elected",
    "no leader",
];

/// The known message that a text of a server contains. Other texts are not repeated.
pub(in crate::discovery) fn known_text(body: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT_BYTES)]);
    KNOWN_TEXTS.into_iter().find(|known| text.contains(known))
}

/// The server in an absolute URL, without user and password.
fn server_of(location: &str) -> Option<String> {
    let url: Uri = location.parse().ok()?;
    let authority = url.authority()?;
    let port = authority.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", url.scheme_str()?, authority.host()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_servers_are_not_repeated() {
        let of_status = |location, body| Failure::of_status(500, location, body).cause;
        assert_eq!(of_status(None, b"\r\n No cluster leader\nstack"), "no quorum, status 500: No cluster leader");
        let both = br#"{"error":"etcdserver: permission denied","message":"etcdserver: permission denied"}"#;
        assert_eq!(of_status(None, both), "access denied, status 500: etcdserver: permission denied");
        assert_eq!(of_status(None, b"your password is hunter2"), "status 500");
        assert_eq!(of_status(None, b" <!DOCTYPE html><html>"), "status 500 and an HTML page");
        let to = "http://user:hunter2@sso.example:81/login?token=hunter2";
        assert_eq!(of_status(Some(to), b""), "status 500, a redirect to http://sso.example:81");
        let error = serde_json::from_str::<u8>("hunter2").unwrap_err();
        assert_eq!(Failure::of_json(&error, "Consul", b"hunter2").cause, "the answer is not JSON");
    }

    #[test]
    fn servers_with_the_same_cause_are_listed_together() {
        let refused = Failure::from(TransportError::Connect(std::io::ErrorKind::ConnectionRefused.into()));
        let status = Failure::of_status(500, None, b"No cluster leader");
        let text =
            message("Consul", "GET /v1/x", &[("http://a", &refused), ("http://b", &status), ("http://c", &refused)]);
        assert_eq!(
            text,
            "connection refused: Consul http://a, http://c; no quorum, status 500: No cluster leader: Consul http://b \
             (GET /v1/x)"
        );
    }
}
