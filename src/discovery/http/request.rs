//! A request, without the server that it is sent to.

use std::time::Duration;

use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use proxymgr_actors::limits::HTTP_ANSWER_TIMEOUT;

/// One request. Its path is appended to the URL of the server that it is sent to.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
    pub(super) timeout: Duration,
    pub(super) is_long: bool,
    pub(super) redirects_max: u8,
    pub(super) is_for_one: bool,
}

impl Request {
    /// `GET` of a path that begins with `/`.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: HTTP_ANSWER_TIMEOUT,
            is_long: false,
            redirects_max: 0,
            is_for_one: false,
        }
    }

    /// `POST` of an empty body.
    pub fn post(path: impl Into<String>) -> Self {
        Self { method: Method::POST, ..Self::get(path) }
    }

    /// `DELETE` of a path.
    pub fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    /// `POST` of a JSON value.
    pub fn post_json(path: impl Into<String>, body: &serde_json::Value) -> Self {
        let json = HeaderValue::from_static("application/json");
        let request = Self { body: body.to_string().into_bytes(), ..Self::post(path) };
        request.header(CONTENT_TYPE, json)
    }

    /// Adds a parameter to the query. Messages omit the query.
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Follows at most so many redirects. By default none is followed.
    pub fn following(mut self, redirects_max: u8) -> Self {
        self.redirects_max = redirects_max;
        self
    }

    /// Sets a longer time-out for the response, for requests that mostly wait: the server is probed during that time.
    pub fn long(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.is_long = true;
        self
    }

    /// Tries one server only: the request has no meaning for other servers.
    pub fn for_one_server(mut self) -> Self {
        self.is_for_one = true;
        self
    }

    /// The path and the query, with each value escaped.
    pub(super) fn target(&self) -> String {
        let mut target = self.path.clone();
        for (at, (name, value)) in self.query.iter().enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target.push_str(name);
            // Flags such as `?recurse` and `?stale` have no value.
            if !value.is_empty() {
                target.push('=');
                target.push_str(&escaped(value));
            }
        }
        target
    }
}

/// A text, escaped as one segment of a path or one value of a query.
pub fn escaped(text: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(text, KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_escaped() {
        let request = Request::get("/v1/x").query("stale", "").query("dc", "a&token=b c/é");
        assert_eq!(request.target(), "/v1/x?stale&dc=a%26token%3Db%20c%2F%C3%A9");
        assert_eq!(Request::get("/").target(), "/");
    }
}
