//! Who may change something: whoever knows the token, and is not a web page of another origin.
//!
//! Where reading needs the token, too, a browser asks its user for it: HTTP's Basic authentication, with the token as the
//! password and any name. A browser sends that with every request, also with those that a foreign page makes it send, so
//! that it counts for reading only: an order needs the token in a header that no foreign page can have sent.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::status::callbacks;
use crate::status::problem::Problem;

/// The header for the token beside `Authorization: Bearer`, for clients behind a proxy that uses that one itself.
pub const TOKEN_HEADER: &str = "x-proxymgr-token";

/// The shortest token that is taken, in characters: 16 random letters are not guessed.
pub const TOKEN_LENGTH_MIN: usize = 16;

/// What a caller must know. No message and no log ever shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token that can stand in a header. The error does not repeat it.
    pub fn new(text: &str) -> Result<Self, String> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("may have letters, digits and punctuation of ASCII only, and no white space".to_owned());
        }
        if text.len() < TOKEN_LENGTH_MIN {
            return Err(format!(
                "is too short: at least {TOKEN_LENGTH_MIN} characters, as from `openssl rand -hex 16`"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The token itself, for the one who sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on the lengths alone.
    fn is(&self, offered: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(offered).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<token>")
    }
}

/// Who may do what.
#[derive(Debug)]
pub struct Callers {
    /// None where nobody may change anything.
    token: RwLock<Option<Token>>,
    reads_need_it: bool,
}

impl Callers {
    /// Changes need `token`; where `reads_need_it`, all but health and readiness does.
    pub fn new(token: Option<Token>, reads_need_it: bool) -> Self {
        Self { token: RwLock::new(token), reads_need_it }
    }

    /// Replaces the token.
    pub fn change(&self, token: Option<Token>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Why a request is refused; none where it is not.
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
                "this daemon takes no orders: set status.token, or status.token_file, and restart it",
            ));
        };
        if !reads && let Some(problem) = foreign_origin(request) {
            return Some(problem);
        }
        let headers = request.headers();
        let offered = offered(headers).map(<[u8]>::to_vec).or_else(|| typed_in(headers).filter(|_| reads));
        match offered {
            Some(offered) if token.is(&offered) => None,
            Some(_) => Some(unauthorized("the token is wrong")),
            None => Some(unauthorized("a token is missing")),
        }
    }
}

fn unauthorized(what: &str) -> Problem {
    let detail = format!(
        "{what}; send that of status.token as `Authorization: Bearer TOKEN` or `X-Proxymgr-Token`; to read, a browser may \
         send it as the password, with any name"
    );
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

/// How a caller without the right token is to send it. A browser that is told of Basic asks its user; with orders, the
/// page itself does.
pub fn challenge(method: &Method) -> HeaderValue {
    HeaderValue::from_static(match *method {
        Method::GET | Method::HEAD => "Basic realm=\"proxymgr: status.token is the password\", charset=\"UTF-8\"",
        _ => "Bearer realm=\"proxymgr\"",
    })
}

/// What was typed in as the password.
fn typed_in(headers: &HeaderMap) -> Option<Vec<u8>> {
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

/// Browsers say where a request comes from. One that a page of another origin has them send is not what their user
/// asked for. Clients that are no browsers say nothing.
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
        Problem::new(StatusCode::FORBIDDEN, "a page of another origin may not give orders here; use this daemon's own")
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn asked(callers: &Callers, method: Method, path: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let request = TestRequest::with_uri(path).method(method).insert_header(("host", "lb:8470"));
        let request = headers.iter().fold(request, |request, (name, value)| request.append_header((*name, *value)));
        callers.refusal(&request.to_srv_request()).map(|problem| problem.status)
    }

    fn with_token(reads_need_it: bool) -> Callers {
        Callers::new(Some(Token::new(TOKEN).unwrap()), reads_need_it)
    }

    #[test]
    fn without_a_token_nobody_gives_orders_and_everybody_may_read() {
        let callers = Callers::new(None, false);
        for method in [Method::POST, Method::DELETE, Method::PUT, Method::PATCH, Method::TRACE] {
            let offered = ("authorization", "Bearer 0123456789abcdef");
            assert_eq!(asked(&callers, method.clone(), "/healthz", &[]), Some(403), "{method}");
            assert_eq!(asked(&callers, method, "/api/v1/refresh", &[offered]), Some(403));
        }
        assert_eq!(asked(&callers, Method::GET, "/api/v1/status", &[]), None);
    }

    #[test]
    fn a_callback_needs_no_token_and_nothing_else_passes_for_one() {
        let callers = with_token(true);
        assert_eq!(asked(&callers, Method::POST, "/callbacks/marathon/secret", &[]), None);
        assert_eq!(asked(&callers, Method::DELETE, "/callbacks/marathon/secret", &[]), Some(401));
        assert_eq!(asked(&callers, Method::POST, "/api/v1/reload", &[]), Some(401));
        assert_eq!(asked(&callers, Method::POST, "/api/v1/callbacks/x", &[]), Some(401));
    }

    #[test]
    fn the_right_token_in_either_header_is_let_pass() {
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
            assert_eq!(asked(&callers, Method::POST, "/api/v1/refresh", &[(name, value)]), refused, "{name}: {value}");
        }
        callers.change(Some(Token::new("another-token-entirely").unwrap()));
        let offered = ("x-proxymgr-token", TOKEN);
        assert_eq!(asked(&callers, Method::POST, "/api/v1/refresh", &[offered]), Some(401), "the old one is void");
    }

    #[test]
    fn a_page_of_another_origin_gives_no_orders_even_with_the_token() {
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
            assert_eq!(asked(&callers, Method::POST, "/api/v1/refresh", &headers), refused, "{name}: {value}");
        }
    }

    #[test]
    fn what_a_browser_sends_by_itself_is_enough_to_read_and_never_for_an_order() {
        let callers = with_token(true);
        let typed = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let asked = |method, value: &str| asked(&callers, method, "/", &[("authorization", value)]);
        let right = typed(&format!("anyone:{TOKEN}"));
        assert_eq!(asked(Method::GET, &right), None);
        assert_eq!(asked(Method::POST, &right), Some(401));
        for wrong in [typed("anyone:0123456789abcdeg"), typed(TOKEN), typed(""), "Basic ?".into(), "Basic".into()] {
            assert_eq!(asked(Method::GET, &wrong), Some(401), "{wrong}");
        }
    }

    #[test]
    fn where_reads_need_the_token_only_health_is_open() {
        let callers = with_token(true);
        assert_eq!(asked(&callers, Method::GET, "/api/v1/status", &[]), Some(401));
        assert_eq!(asked(&callers, Method::GET, "/api/v1/status", &[("x-proxymgr-token", TOKEN)]), None);
        assert_eq!(asked(&callers, Method::GET, "/readyz", &[]), None);
    }

    #[test]
    fn a_token_is_long_enough_and_never_shown() {
        assert!(Token::new("short").is_err_and(|error| error.contains("16") && !error.contains("short-")));
        assert!(Token::new("with white space in it").is_err());
        assert_eq!(format!("{:?}", Token::new(TOKEN).unwrap()), "<token>");
    }
}
