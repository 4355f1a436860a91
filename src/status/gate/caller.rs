//! Authorisation of callers: changes require a token with a sufficient role, or the unix socket with the right user, and
//! must not come from a web page of another origin.
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

use super::peer::Peer;
use crate::status::callbacks;
use crate::status::problem::Problem;
use crate::token::{NamedToken, Role, TokenDigest};

/// Alternative to `Authorization: Bearer`, for clients behind a proxy that uses that header itself.
pub const TOKEN_HEADER: &str = "x-proxymgr-token";

/// The path of the log levels: what is logged of all services is no business of an operator of some.
const LOG: &str = "/api/v1/log";

/// The beginning of the paths of all orders.
const ORDERS: &str = "/api/v1/";

/// Who sent a request, as far as that is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// `token deploy`, or `user root` for a peer of the unix socket.
    pub name: String,
    /// What the caller may do; `None` for nothing.
    pub role: Option<Role>,
}

/// Whether a request may pass, and who sent it.
#[derive(Debug)]
pub struct Verdict {
    /// The caller; none if nothing was proven.
    pub caller: Option<Caller>,
    /// Why it is refused; none if it is allowed.
    pub refusal: Option<Problem>,
    /// Whether a token was sent that the daemon does not know.
    pub has_wrong_token: bool,
}

/// Authorisation rules.
#[derive(Debug)]
pub struct Callers {
    tokens: RwLock<Vec<NamedToken>>,
    reads_need_one: bool,
}

impl Callers {
    /// Changes require one of `tokens`; with `reads_need_one`, everything except health and readiness does.
    pub fn new(tokens: Vec<NamedToken>, reads_need_one: bool) -> Self {
        Self { tokens: RwLock::new(tokens), reads_need_one }
    }

    /// Replaces the tokens.
    pub fn change(&self, tokens: Vec<NamedToken>) {
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// Finds out who sent a request, and whether it may pass.
    pub fn judge(&self, request: &ServiceRequest) -> Verdict {
        let offered = offered(request).map(|sent| (sent.by_page, self.caller_with(&sent.token)));
        let peer = request.conn_data::<Peer>();
        let caller = match (&offered, peer) {
            (Some((_, Some(caller))), _) => Some(caller.clone()),
            (_, Some(peer)) => Some(Caller { name: format!("user {}", peer.user), role: peer.role }),
            _ => None,
        };
        let refusal = self.refusal(request, offered.as_ref(), peer, caller.as_ref());
        Verdict { caller, refusal, has_wrong_token: matches!(offered, Some((_, None))) }
    }

    fn refusal(
        &self,
        request: &ServiceRequest,
        offered: Option<&(bool, Option<Caller>)>,
        peer: Option<&Peer>,
        caller: Option<&Caller>,
    ) -> Option<Problem> {
        let path = routed_path(request);
        if *request.method() == Method::POST && path.starts_with(callbacks::PREFIX) {
            return None;
        }
        let needed = needed_role(request.method(), path);
        if needed == Role::Read && (!self.reads_need_one || matches!(path, "/healthz" | "/readyz")) {
            return None;
        }
        let has_tokens = !self.tokens.read().unwrap_or_else(PoisonError::into_inner).is_empty();
        if peer.is_none() && !has_tokens {
            return Some(Problem::new(
                StatusCode::FORBIDDEN,
                "this daemon accepts no changes over TCP: use status.socket, or set status.token or status.token_file and \
                 restart it",
            ));
        }
        if needed > Role::Read
            && let Some(problem) = foreign_origin(request)
        {
            return Some(problem);
        }
        match (offered, caller) {
            // Browsers send these credentials also with requests that a foreign page triggers.
            (Some((true, Some(_))), _) if needed > Role::Read => Some(unauthorized("a token is missing")),
            (_, Some(caller)) if caller.role >= Some(needed) => None,
            (_, Some(Caller { name, role: Some(role) })) => Some(Problem::new(
                StatusCode::FORBIDDEN,
                format!("{name} has the role {}; this needs {}", role.as_str(), needed.as_str()),
            )),
            (_, Some(Caller { name, role: None })) => Some(Problem::new(
                StatusCode::FORBIDDEN,
                format!(
                    "{name} may not give orders: root, the user of the daemon and members of status.socket_group may"
                ),
            )),
            (Some(_), None) => Some(unauthorized("the token is wrong")),
            (None, None) => Some(unauthorized("a token is missing")),
        }
    }

    /// The holder of this token. All tokens are compared, each in constant time.
    fn caller_with(&self, sent: &[u8]) -> Option<Caller> {
        let digest = TokenDigest::of(sent);
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let found = tokens.iter().fold(None, |found, known| if known.digest.is(&digest) { Some(known) } else { found });
        found.map(|known| Caller { name: format!("token {}", known.name), role: Some(known.role) })
    }
}

/// The path by which the handler of a request is chosen: decoded, unlike that of the URI.
pub fn routed_path(request: &ServiceRequest) -> &str {
    request.match_info().as_str()
}

/// The least role for a request. What is no order changes the services themselves.
fn needed_role(method: &Method, path: &str) -> Role {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Role::Read,
        _ if path == LOG => Role::Admin,
        _ if path.starts_with(ORDERS) => Role::Operate,
        _ => Role::Admin,
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

/// What a caller sent as a token.
struct Offered {
    token: Vec<u8>,
    /// Whether a browser's login sent it.
    by_page: bool,
}

fn offered(request: &ServiceRequest) -> Option<Offered> {
    let headers = request.headers();
    if let Some(token) = headers.get(TOKEN_HEADER) {
        return Some(Offered { token: token.as_bytes().to_vec(), by_page: false });
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let bearer = value.split_at_checked("Bearer ".len()).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    match bearer {
        Some((_, token)) => Some(Offered { token: token.to_vec(), by_page: false }),
        None => basic_password(headers).map(|token| Offered { token, by_page: true }),
    }
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
    use crate::token::Token;

    const TOKEN: &str = "0123456789abcdef";

    fn refusal(callers: &Callers, method: Method, path: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let request = TestRequest::with_uri(path).method(method).insert_header(("host", "lb:8470"));
        let request = headers.iter().fold(request, |request, (name, value)| request.append_header((*name, *value)));
        callers.judge(&request.to_srv_request()).refusal.map(|problem| problem.status)
    }

    fn named(name: &str, token: &str, role: Role) -> NamedToken {
        NamedToken { name: name.to_owned(), digest: Token::new(token).unwrap().digest(), role }
    }

    fn with_token(reads_need_it: bool) -> Callers {
        Callers::new(vec![named("all", TOKEN, Role::Admin)], reads_need_it)
    }

    #[test]
    fn without_token_everything_is_read_only() {
        let callers = Callers::new(Vec::new(), false);
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
        callers.change(vec![named("new", "another-token-entirely", Role::Admin)]);
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

    #[test]
    fn roles_limit_what_tokens_may_do() {
        let (reader, operator) = ("reader-0123456789", "operator-0123456789");
        let tokens =
            vec![named("r", reader, Role::Read), named("o", operator, Role::Operate), named("a", TOKEN, Role::Admin)];
        let callers = Callers::new(tokens, true);
        let asked = |method, path: &str, token: &str| refusal(&callers, method, path, &[(TOKEN_HEADER, token)]);
        for (token, order, annotation) in
            [(reader, Some(403), Some(403)), (operator, None, Some(403)), (TOKEN, None, None)]
        {
            assert_eq!(asked(Method::GET, "/api/v1/status", token), None, "{token}");
            assert_eq!(asked(Method::POST, "/api/v1/refresh", token), order, "{token}");
            for path in [
                "/annotations/web",
                "/%61nnotations/web",
                "/annotation%73/web",
                "http://lb/%61nnotations/web",
                "/other",
            ] {
                assert_eq!(asked(Method::POST, path, token), annotation, "{token} {path}");
                assert_eq!(asked(Method::DELETE, path, token), annotation, "{token} {path}");
            }
            assert_eq!(asked(Method::POST, "/%61pi/v1/refresh", token), order, "{token}");
        }
        let request = TestRequest::post().insert_header((TOKEN_HEADER, operator)).to_srv_request();
        assert_eq!(callers.judge(&request).caller.unwrap().name, "token o");
    }

    #[test]
    fn peer_of_the_socket_needs_no_token() {
        let callers = Callers::new(Vec::new(), true);
        let asked = |role| {
            let request = TestRequest::post().uri("/api/v1/refresh").to_srv_request();
            let peer = Peer { user: "root".to_owned(), uid: 0, pid: Some(1), role };
            callers.refusal(&request, None, Some(&peer), Some(&Caller { name: "user root".to_owned(), role }))
        };
        assert_eq!(asked(Some(Role::Operate)), None);
        assert_eq!(asked(None).map(|problem| problem.status), Some(403));
    }
}
