//! Calls of etcd's API.

use std::rc::Rc;

use awc::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use proxymgr_actors::limits::{ETCD_LOGIN_PAUSE, HTTP_ANSWER_TIMEOUT};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::EtcdUser;
use super::message::{Authenticated, Range, range_of};
use crate::discovery::http::{Answer, HttpClient, HttpError, HttpFailure, Lines, Request, Servers};

/// Ends a watch when its member loses the leader: it would go on in silence otherwise.
const REQUIRE_LEADER: (HeaderName, HeaderValue) =
    (HeaderName::from_static("grpc-metadata-hasleader"), HeaderValue::from_static("true"));

/// A user, and the token that is had for its password.
pub(super) struct Login {
    user: EtcdUser,
    token: Mutex<Token>,
}

/// Shared by all who use it, and replaced once for all of them.
#[derive(Default)]
struct Token {
    /// None where the cluster wants none.
    value: Option<HeaderValue>,
    /// How many there have been.
    number: u64,
    is_good: bool,
    /// Why none was given, and when that was: checking a password costs the members much.
    refused: Option<(HttpError, Instant)>,
}

impl Login {
    pub(super) fn new(user: EtcdUser) -> Self {
        Self { user, token: Mutex::default() }
    }
}

/// One cluster, and who we are to it.
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

    /// All keys that begin with `prefix`.
    pub(super) async fn range(&self, prefix: &str) -> Result<Range, HttpError> {
        let request = Request::post_json("/v3/kv/range", &range_of(prefix));
        let (answer, token) = self.send(&request).await?;
        if !is_refused_token(&answer) || self.login.is_none() {
            return answer.success()?.json().await;
        }
        self.renew_token(token).await;
        self.send(&request).await?.0.success()?.json().await
    }

    /// What happens to keys that begin with `prefix`, from `revision` on.
    pub(super) async fn watch(&self, prefix: &str, revision: i64) -> Result<Lines, HttpError> {
        let mut create = range_of(prefix);
        create["start_revision"] = revision.to_string().into();
        create["progress_notify"] = Value::from(true);
        let request = Request::post_json("/v3/watch", &json!({"create_request": create}));
        let request = request.header(REQUIRE_LEADER.0, REQUIRE_LEADER.1).long(HTTP_ANSWER_TIMEOUT);
        let (request, _) = self.authorized(&request).await?;
        let lines = self.http.open(&request).await?;
        if (200..300).contains(&lines.status()) { Ok(lines) } else { Err(lines.refusal().await) }
    }

    /// Has the next call log in again.
    pub(super) async fn forget_token(&self) {
        if let Some(login) = &self.login {
            login.token.lock().await.is_good = false;
        }
    }

    /// The same, unless another call has seen to it already.
    async fn renew_token(&self, number: u64) {
        if let Some(login) = &self.login {
            let mut token = login.token.lock().await;
            token.is_good &= token.number != number;
        }
    }

    async fn send(&self, request: &Request) -> Result<(Answer, u64), HttpError> {
        let (request, token) = self.authorized(request).await?;
        Ok((self.http.send(&request).await?, token))
    }

    async fn authorized(&self, request: &Request) -> Result<(Request, u64), HttpError> {
        let Some(login) = &self.login else { return Ok((request.clone(), 0)) };
        let mut token = login.token.lock().await;
        if !token.is_good {
            let refused = token.refused.as_ref().filter(|(_, at)| at.elapsed() < ETCD_LOGIN_PAUSE);
            if let Some((error, _)) = refused {
                return Err(error.clone());
            }
            let given = self.log_in(&login.user).await;
            token.value = given.inspect_err(|error| token.refused = Some((error.clone(), Instant::now())))?;
            token.number += 1;
            token.is_good = true;
        }
        let request = request.clone();
        let request = match &token.value {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        };
        Ok((request, token.number))
    }

    async fn log_in(&self, user: &EtcdUser) -> Result<Option<HeaderValue>, HttpError> {
        let body = json!({"name": user.name, "password": user.password});
        let answer = self.http.send(&Request::post_json("/v3/auth/authenticate", &body)).await?;
        if says(&answer, "authentication is not enabled") {
            return Ok(None);
        }
        if says(&answer, "authentication failed") {
            let text = format!("etcd {} does not take the password of user {:?}", self.servers(), user.name);
            return Err(HttpError::new(HttpFailure::Status(401), text));
        }
        let token = answer.success()?.json::<Authenticated>().await?.token;
        let mut value = HeaderValue::from_str(&token).map_err(|_| {
            HttpError::new(HttpFailure::Malformed, format!("etcd {} gave a token that is none", self.servers()))
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// A token lives for minutes without use, not beyond a restart, and not beyond a change of users.
fn is_refused_token(answer: &Answer) -> bool {
    answer.status == 401 || says(answer, "user name is empty") || says(answer, "revision of auth store is old")
}

/// Whether it is an error with these words: they stay the same, while its status differs from version to version.
fn says(answer: &Answer, text: &str) -> bool {
    answer.status >= 400 && answer.body.windows(text.len()).any(|window| window == text.as_bytes())
}
