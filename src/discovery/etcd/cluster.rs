//! Calls of etcd's API, with a login.

use std::rc::Rc;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use proxymgr_actors::limits::{ETCD_LOGIN_PAUSE, HTTP_ANSWER_TIMEOUT};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::EtcdUser;
use super::message::{Authenticated, Range, range_of};
use crate::discovery::http::{FullResponse, HttpClient, HttpError, HttpFailure, LineStream, Request, Servers};

/// Ends a watch when its member loses the leader. Otherwise the watch would stay open without changes.
const REQUIRE_LEADER: (HeaderName, HeaderValue) =
    (HeaderName::from_static("grpc-metadata-hasleader"), HeaderValue::from_static("true"));

/// A user, and the token for its password.
pub(super) struct Login {
    user: EtcdUser,
    token: Mutex<Token>,
}

/// A token, shared by all requests.
#[derive(Default)]
struct Token {
    /// None if the cluster has no authentication.
    value: Option<HeaderValue>,
    /// The number of tokens so far.
    number: u64,
    is_valid: bool,
    /// The error of the last login and its time: checking a password is expensive for the members.
    refused: Option<(HttpError, Instant)>,
}

impl Login {
    pub(super) fn new(user: EtcdUser) -> Self {
        Self { user, token: Mutex::default() }
    }
}

/// One cluster, with the login for it.
#[derive(Clone)]
pub(super) struct Cluster {
    http: Rc<HttpClient>,
    login: Option<Rc<Login>>,
}

impl Cluster {
    pub(super) fn new(http: Rc<HttpClient>, login: Option<Rc<Login>>) -> Self {
        Self { http, login }
    }

    /// The members, for messages.
    pub(super) fn servers(&self) -> &Servers {
        self.http.servers()
    }

    /// All keys with `prefix`.
    pub(super) async fn range(&self, prefix: &str) -> Result<Range, HttpError> {
        let request = Request::post_json("/v3/kv/range", &range_of(prefix));
        let (answer, token) = self.send(&request).await?;
        if !is_token_rejected(&answer) || self.login.is_none() {
            return answer.success()?.json().await;
        }
        self.renew_token(token).await;
        self.send(&request).await?.0.success()?.json().await
    }

    /// Opens a watch of the keys with `prefix`, from `revision` on.
    pub(super) async fn watch(&self, prefix: &str, revision: i64) -> Result<LineStream, HttpError> {
        let mut create = range_of(prefix);
        create["start_revision"] = revision.to_string().into();
        create["progress_notify"] = Value::from(true);
        let request = Request::post_json("/v3/watch", &json!({"create_request": create}));
        let request = request.header(REQUIRE_LEADER.0, REQUIRE_LEADER.1).long(HTTP_ANSWER_TIMEOUT);
        let (request, _) = self.authorized(&request).await?;
        let lines = self.http.open(&request).await?;
        if (200..300).contains(&lines.status()) { Ok(lines) } else { Err(lines.into_status_error().await) }
    }

    /// Makes the next call log in again.
    pub(super) async fn forget_token(&self) {
        if let Some(login) = &self.login {
            login.token.lock().await.is_valid = false;
        }
    }

    /// The same, unless another call has renewed the token already.
    async fn renew_token(&self, number: u64) {
        if let Some(login) = &self.login {
            let mut token = login.token.lock().await;
            token.is_valid &= token.number != number;
        }
    }

    async fn send(&self, request: &Request) -> Result<(FullResponse, u64), HttpError> {
        let (request, token) = self.authorized(request).await?;
        Ok((self.http.send(&request).await?, token))
    }

    async fn authorized(&self, request: &Request) -> Result<(Request, u64), HttpError> {
        let Some(login) = &self.login else { return Ok((request.clone(), 0)) };
        let mut token = login.token.lock().await;
        if !token.is_valid {
            let refused = token.refused.as_ref().filter(|(_, at)| at.elapsed() < ETCD_LOGIN_PAUSE);
            if let Some((error, _)) = refused {
                return Err(error.clone());
            }
            let login_result = self.log_in(&login.user).await;
            token.value = login_result.inspect_err(|error| token.refused = Some((error.clone(), Instant::now())))?;
            token.number += 1;
            token.is_valid = true;
        }
        let request = request.clone();
        let request = match &token.value {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        };
        Ok((request, token.number))
    }

    async fn log_in(&self, user: &EtcdUser) -> Result<Option<HeaderValue>, HttpError> {
        let body = json!({"name": user.name, "password": user.password.reveal()});
        let answer = self.http.send(&Request::post_json("/v3/auth/authenticate", &body)).await?;
        if is_error(&answer, "authentication is not enabled") {
            return Ok(None);
        }
        if is_error(&answer, "authentication failed") {
            let text = format!("access denied, the password of user {:?} is wrong: etcd {}", user.name, self.servers());
            return Err(HttpError::new(HttpFailure::Status(401), text));
        }
        let token = answer.success()?.json::<Authenticated>().await?.token;
        let mut value = HeaderValue::from_str(&token).map_err(|_| {
            HttpError::new(HttpFailure::Malformed, format!("etcd {} returned an invalid token", self.servers()))
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Whether the token is rejected: it expires after minutes without use, at a restart, and when users change.
fn is_token_rejected(answer: &FullResponse) -> bool {
    answer.status == 401 || is_error(answer, "user name is empty") || is_error(answer, "revision of auth store is old")
}

/// Whether it is an error with this text, which is stable, while the status depends on the version.
fn is_error(answer: &FullResponse, text: &str) -> bool {
    answer.status >= 400 && answer.body.windows(text.len()).any(|window| window == text.as_bytes())
}
