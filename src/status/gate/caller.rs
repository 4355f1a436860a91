//! Authorisation of callers: changes require the token, and must not come from a web page of another origin.
//!
//! If reading requires the token, too, browsers ask their users for it by HTTP Basic authentication, with the token as the
//! password and any user name. Browsers send these credentials with every request, including those that a foreign page
//! triggers, so they are accepted for reading only; changes need the token in a header that no foreign page can set.

use std::sync::{PoisonError, RwLock};

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::status::callbacks;
use crate::status::problem::Problem;
use crate::token::Token;

/// Alternative to `Authorization: Bearer`, for clients behind a proxy that uses that header itself.
pub const TOKEN_HEADER: &str = "x-proxymgr-token";

/// Authorisation rules.
#[derive(Debug)]
pub struct Callers {
    /// None if no changes are possible.
    token: RwLock<Option<Token>>,
    reads_need_it: bool,
}

impl Callers {
    /// Changes require `token`; with `reads_need_it`, everything except health and readiness does.
    pub fn new(token: Option<Token>, reads_need_it: bool) -> Self {
        Self { token: RwLock::new(token), reads_need_it }
    }

    /// Replaces the token.
    pub fn change(&self, token: Option<Token>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Why a request is refused; none if it is allowed.
    pub fn refusal(&self, request: &ServiceRequest) -> Option<Problem> {
        if *request.method() == Method::POST && request.path().starts_with(callbacks::PREFIX) {
            return None;
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if reads && (!self.reads_need_it || matches!(request.path(), "/healthz" | "/readyz")) {
            return None;
        }
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = &*token else {
            return Some(Problem::new(
                StatusCode::FORBIDDEN,
                "this daemon accepts no changes: set status.token or status.token_file and restart it",
            ));
        };
        if !reads && let Some(problem) = foreign_origin(request) {
            return Some(problem);
        }
        let headers = request.headers();
        let offered = offered(headers).map(<[u8]>::to_vec).or_else(|| basic_password(headers).filter(|_| reads));
        match offered {
            Some(offered) if token.is(&offered) => None,
            Some(_) => Some(unauthorized("the token is wrong")),
            None => Some(unauthorized("a token is missing")),
        }
    }
}

fn unauthorized(what: &str) -> Problem {
    let detail = format!(
        "{what}; send the value of status.token as `Authorization: Bearer TOKEN` or `X-Proxymgr-Token`; browsers may \
         send it as the password to read"
    );
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

/// The `WWW-Authenticate` header for callers without the right token: Basic for reads, so that browsers ask their users;
/// Bearer for changes, where the page asks.
pub fn challenge(method: &Method) -> HeaderValue {
    HeaderValue::from_static(match *method {
        Method::GET | Method::HEAD => "Basic realm=\"proxymgr: status.token is the password\", charset=\"UTF-8\"",
        _ => "Bearer realm=\"proxymgr\"",
    })
}

/// The password of HTTP Basic authentication.
fn basic_password(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, credentials) = value.split_at_checked("Basic ".len())?;
    let decoded = STANDARD.decode(credentials).ok().filter(|_| scheme.eq_ignore_ascii_case(b"Basic "))?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

fn offered(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(token) = headers.get(TOKEN_HEADER) {
        return Some(token.as_bytes());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Refuses requests that a page of another origin triggers. Browsers send the origin; other clients send nothing.
fn foreign_origin(request: &ServiceRequest) -> Option<Problem> {
    let headers = request.headers();
    let fetched_from = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    let same_site = fetched_from.is_none_or(|site| matches!(site, b"same-origin" | b"none"));
    let host = headers.get(header::HOST).map_or(&b""[..], |value| value.as_bytes());
    let same_origin = headers.get(header::ORIGIN).is_none_or(|origin| {
        let origin = origin.as_bytes();
        let origin = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
        origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    });
    (!same_site || !same_origin).then(|| {
        Problem::new(StatusCode::FORBIDDEN, "a page of another origin cannot make changes; use the page of this daemon")
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn refusal(callers: &Callers, method: Method, path: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let request = TestRequest::with_uri(path).method(method).insert_header(("host", "lb:8470"));
        let request = headers.iter().fold(request, |request, (name, value)| request.append_header((*name, *value)));
        callers.refusal(&request.to_srv_request()).map(|problem| problem.status)
    }

    fn with_token(reads_need_it: bool) -> Callers {
        Callers::new(Some(Token::new(TOKEN).unwrap()), reads_need_it)
    }

    #[test]
    fn without_token_everything_is_read_only() {
        let callers = Callers::new(None, false);
        for method in [Method::POST, Method::DELETE, Method::PUT, Method::PATCH, Method::TRACE] {
            let offered = ("authorization", "Bearer 0123456789abcdef");
            assert_eq!(refusal(&callers, method.clone(), "/healthz", &[]), Some(403), "{method}");
            assert_eq!(refusal(&callers, method, "/api/v1/refresh", &[offered]), Some(403));
        }
        assert_eq!(refusal(&callers, Method::GET, "/api/v1/status", &[]), None);
    }

    #[test]
    fn callback_needs_no_token() {
        let callers = with_token(true);
        assert_eq!(refusal(&callers, Method::POST, "/callbacks/marathon/secret", &[]), None);
        assert_eq!(refusal(&callers, Method::DELETE, "/callbacks/marathon/secret", &[]), Some(401));
        assert_eq!(refusal(&callers, Method::POST, "/api/v1/reload", &[]), Some(401));
        assert_eq!(refusal(&callers, Method::POST, "/api/v1/callbacks/x", &[]), Some(401));
    }

    #[test]
    fn right_token_in_either_header_passes() {
        let callers = with_token(false);
        for (name, value, refused) in [
            ("authorization", "Bearer 0123456789abcdef", None),
            ("authorization", "bearer 0123456789abcdef", None),
            ("x-proxymgr-token", "0123456789abcdef", None),
            ("x-proxymgr-token", "0123456789abcdeg", Some(401)),
            ("x-proxymgr-token", "0123456789abcde", Some(401)),
            ("x-proxymgr-token", "", Some(401)),
            ("authorization", "Basic 0123456789abcdef", Some(401)),
            ("authorization", "Bearer", Some(401)),
            ("authorization", "0123456789abcdef", Some(401)),
            ("accept", "*/*", Some(401)),
        ] {
            assert_eq!(
                refusal(&callers, Method::POST, "/api/v1/refresh", &[(name, value)]),
                refused,
                "{name}: {value}"
            );
        }
        callers.change(Some(Token::new("another-token-entirely").unwrap()));
        let offered = ("x-proxymgr-token", TOKEN);
        assert_eq!(refusal(&callers, Method::POST, "/api/v1/refresh", &[offered]), Some(401), "the old one is void");
    }

    #[test]
    fn foreign_origin_cannot_make_changes() {
        let callers = with_token(false);
        let token = ("x-proxymgr-token", TOKEN);
        for (name, value, refused) in [
            ("origin", "http://lb:8470", None),
            ("origin", "https://LB:8470", None),
            ("origin", "http://lb:8471", Some(403)),
            ("origin", "http://evil.example", Some(403)),
            ("origin", "null", Some(403)),
            ("sec-fetch-site", "same-origin", None),
            ("sec-fetch-site", "none", None),
            ("sec-fetch-site", "same-site", Some(403)),
            ("sec-fetch-site", "cross-site", Some(403)),
        ] {
            let headers = [token, (name, value)];
            assert_eq!(refusal(&callers, Method::POST, "/api/v1/refresh", &headers), refused, "{name}: {value}");
        }
    }

    #[test]
    fn basic_password_is_for_reading_only() {
        let callers = with_token(true);
        let typed = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let asked = |method, value: &str| refusal(&callers, method, "/", &[("authorization", value)]);
        let right = typed(&format!("anyone:{TOKEN}"));
        assert_eq!(asked(Method::GET, &right), None);
        assert_eq!(asked(Method::POST, &right), Some(401));
        for wrong in [typed("anyone:0123456789abcdeg"), typed(TOKEN), typed(""), "Basic ?".into(), "Basic".into()] {
            assert_eq!(asked(Method::GET, &wrong), Some(401), "{wrong}");
        }
    }

    #[test]
    fn protected_reads_leave_health_open() {
        let callers = with_token(true);
        assert_eq!(refusal(&callers, Method::GET, "/api/v1/status", &[]), Some(401));
        assert_eq!(refusal(&callers, Method::GET, "/api/v1/status", &[("x-proxymgr-token", TOKEN)]), None);
        assert_eq!(refusal(&callers, Method::GET, "/readyz", &[]), None);
    }
}
