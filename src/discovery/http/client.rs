//! Sends requests to the server that answered last, and to the other servers if it fails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use hyper::Uri;
use hyper::header::LOCATION;
use proxymgr_actors::limits::{
    HTTP_ANSWER_BYTES_MAX, HTTP_ANSWER_TIMEOUT, HTTP_CONNECTIONS_MAX, HTTP_PROBE_INTERVAL, HTTP_PROBE_TIMEOUT,
};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use super::credentials::{AuthHeader, redacted};
use super::error::{Failure, HttpError, HttpFailure, message};
use super::opened::{Opened, Unexpected, check_event_stream, is_servers_failure};
use super::probe::LivenessProbe;
use super::redirect;
use super::request::Request;
use super::response::{Context, FullResponse, LineStream, failure_of};
use super::{HttpOptions, Servers};
use crate::discovery::backoff::Random;
use crate::http::{Response, Transport};

/// A client of one service. Clones share its connections.
#[derive(Clone)]
pub struct HttpClient {
    inner: Rc<Inner>,
}

struct Inner {
    servers: Servers,
    options: HttpOptions,
    /// The servers in the order in which they are tried; one that fails goes to the end.
    order: RefCell<Vec<usize>>,
    /// Created when first needed, and again after the server rejected its files.
    session: Mutex<Option<Rc<Session>>>,
    connections: Arc<Semaphore>,
    probes: RefCell<BTreeMap<usize, Weak<LivenessProbe>>>,
}

/// Connections, and the credentials for requests on them.
struct Session {
    transport: Transport,
    auth: Option<AuthHeader>,
}

impl HttpClient {
    /// A client without connections. No file is read before the first request.
    pub fn new(servers: Servers, options: HttpOptions) -> Self {
        let mut order: Vec<usize> = (0..servers.urls().len()).collect();
        Random::new().shuffle(&mut order);
        let connections_max = options.connections_max.unwrap_or(HTTP_CONNECTIONS_MAX);
        let inner = Inner {
            servers,
            options,
            order: RefCell::new(order),
            session: Mutex::new(None),
            connections: Arc::new(Semaphore::new(connections_max)),
            probes: RefCell::default(),
        };
        Self { inner: Rc::new(inner) }
    }

    /// The servers.
    pub fn servers(&self) -> &Servers {
        &self.inner.servers
    }

    /// Tries each server until one answers, and reads the whole response. The statuses 5xx and 429 count as failures.
    pub async fn send(&self, request: &Request) -> Result<FullResponse, HttpError> {
        let _permit = self.permit().await;
        let attempt = async |server: usize, session: &Session| {
            let (started, limit) = (Instant::now(), request.timeout);
            let opening = timeout(limit, self.inner.open(server, session, request)).await;
            let opened = opening.unwrap_or_else(|_| Err(Failure::timed_out(limit)))?;
            // A long request waits for the headers: once they have arrived, the body must follow.
            let limit = limit.min(HTTP_ANSWER_TIMEOUT);
            let deadline = if request.is_long { Instant::now() } else { started } + limit;
            let reading = async {
                let Opened { mut response, context, probe } = opened;
                let body = tokio::select! {
                    body = response.read(HTTP_ANSWER_BYTES_MAX) => body?,
                    failure = failure_of(probe) => return Err(failure),
                };
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                Ok(FullResponse { status, headers, body, context })
            };
            let response = timeout_at(deadline, reading).await.unwrap_or_else(|_| Err(Failure::timed_out(limit)))?;
            if is_servers_failure(response.status) {
                return Err(Failure::of_status(response.status, None, &response.body));
            }
            Ok(response)
        };
        let response = self.inner.try_servers(request, attempt).await?;
        self.inner.renew_after(response.status).await;
        Ok(response)
    }

    /// Tries each server until one answers, and returns the response line by line. Only its headers must arrive within
    /// the request's time-out.
    pub async fn open(&self, request: &Request) -> Result<LineStream, HttpError> {
        let check = |response: &Response| is_servers_failure(response.status().as_u16()).then_some(Unexpected::Status);
        self.open_checked(request, check).await
    }

    /// The same for a stream of server-sent events (`text/event-stream`); any other response counts as a failure.
    pub async fn open_events(&self, request: &Request) -> Result<LineStream, HttpError> {
        self.open_checked(request, check_event_stream).await
    }

    async fn open_checked(
        &self,
        request: &Request,
        check: impl Fn(&Response) -> Option<Unexpected>,
    ) -> Result<LineStream, HttpError> {
        let permit = self.permit().await;
        let attempt = async |server: usize, session: &Session| {
            let limit = request.timeout;
            let opening = timeout(limit, self.inner.open(server, session, request)).await;
            let opened = opening.unwrap_or_else(|_| Err(Failure::timed_out(limit)))?;
            match check(&opened.response) {
                None => Ok(opened),
                Some(Unexpected::Content(cause)) => Err(Failure::new(HttpFailure::Malformed, cause)),
                Some(Unexpected::Status) => Err(opened.into_status_failure(limit).await),
            }
        };
        let Opened { response, context, probe } = self.inner.try_servers(request, attempt).await?;
        self.inner.renew_after(response.status().as_u16()).await;
        Ok(LineStream { response, probe, context, lines: Default::default(), _permit: permit })
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        self.inner.connections.clone().acquire_owned().await.expect("the semaphore is never closed")
    }
}

impl Inner {
    /// One attempt with each server, beginning with the one that answered last.
    async fn try_servers<T>(
        self: &Rc<Self>,
        request: &Request,
        attempt: impl AsyncFn(usize, &Session) -> Result<T, Failure>,
    ) -> Result<T, HttpError> {
        let order = self.order.borrow().clone();
        let session = self.session().await.map_err(|cause| HttpError::new(HttpFailure::Local, cause))?;
        let mut failures = BTreeMap::new();
        let attempts = if request.is_for_one { 1 } else { order.len() };
        for server in order.into_iter().take(attempts) {
            match attempt(server, &session).await {
                Ok(response) => return Ok(response),
                Err(failure) => {
                    self.put_last(server);
                    failures.insert(server, failure);
                }
            }
        }
        if failures.values().any(|failure| failure.kind == HttpFailure::Tls) {
            self.renew().await;
        }
        Err(self.no_answer(request, &failures, session.auth.as_ref()))
    }

    /// Moves this server to the end of the order, unless another request has done so already.
    fn put_last(&self, server: usize) {
        let mut order = self.order.borrow_mut();
        if order.first() == Some(&server) {
            order.rotate_left(1);
        }
    }

    /// Lists the servers as they are configured, so that the same failures give the same text.
    fn no_answer(
        &self,
        request: &Request,
        failures: &BTreeMap<usize, Failure>,
        auth: Option<&AuthHeader>,
    ) -> HttpError {
        // A status explains more than an unreachable server.
        let status = failures.values().find(|failure| matches!(failure.kind, HttpFailure::Status(_)));
        let kind = status.or(failures.values().next()).map_or(HttpFailure::Unreachable, |failure| failure.kind);
        let urls = self.servers.urls();
        let each = Vec::from_iter(failures.iter().map(|(server, failure)| (&*urls[*server], failure)));
        let text = message(self.options.product, &format!("{} {}", request.method, request.path), &each);
        HttpError::new(kind, redacted(auth, text))
    }

    async fn session(&self) -> Result<Rc<Session>, String> {
        let mut session = self.session.lock().await;
        if let Some(open) = &*session {
            return Ok(open.clone());
        }
        let options = self.options.clone();
        let use_tls = self.servers.use_tls();
        let loading = spawn_blocking(move || {
            let tls = if use_tls { Some(options.tls.load()?) } else { None };
            Ok::<_, String>((tls, options.credentials.to_header()?))
        });
        let (tls, auth) = loading.await.map_err(|error| error.to_string())??;
        Ok(session.insert(Rc::new(Session { transport: Transport::new(tls), auth })).clone())
    }

    /// Makes the next request read the files again.
    async fn renew(&self) {
        *self.session.lock().await = None;
    }

    /// Does the same if the server rejected the credentials.
    async fn renew_after(&self, status: u16) {
        if matches!(status, 401 | 403) {
            self.renew().await;
        }
    }

    /// Sends the request to one server, follows redirects as far as it allows, and waits for the headers of the
    /// response.
    async fn open(self: &Rc<Self>, server: usize, session: &Session, request: &Request) -> Result<Opened, Failure> {
        let probe = if request.is_long { self.probe(server) } else { None };
        let base = &self.servers.urls()[server];
        let mut description = format!("{} {}", request.method, request.path);
        let parsed = format!("{base}{}", request.target()).parse::<Uri>();
        let mut url = parsed.map_err(|_| Failure::new(HttpFailure::Local, "the path cannot be part of a URL"))?;
        let mut redirects_left = request.redirects_max;
        let mut redirected_to = None;
        loop {
            let response = tokio::select! {
                response = session.send(request, &url, self.servers.contain(&url)) => response,
                failure = failure_of(probe.clone()) => Err(failure),
            };
            let response = response.map_err(|failure| match &redirected_to {
                Some(url) => Failure::new(failure.kind, format!("{} at {url} after a redirect", failure.cause)),
                None => failure,
            })?;
            let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
            let location = location.filter(|_| redirects_left > 0).and_then(|location| location.to_str().ok());
            let Some(next) = location.and_then(|location| redirect::resolve(&url, location)) else {
                let (product, server) = (self.options.product, base.clone());
                let context = Context { product, server, request: description.into(), auth: session.auth.clone() };
                return Ok(Opened { response, context, probe });
            };
            redirects_left -= 1;
            let target = redirect::for_messages(&next);
            description = format!("{description}, redirected to {target}");
            redirected_to = Some(target);
            url = next;
        }
    }

    /// The liveness probe of a server, started unless another request has one.
    fn probe(self: &Rc<Self>, server: usize) -> Option<Rc<LivenessProbe>> {
        let path = self.options.probe_path?;
        let mut probes = self.probes.borrow_mut();
        let active = probes.get(&server).and_then(Weak::upgrade).filter(|probe| !probe.has_failed());
        if active.is_some() {
            return active;
        }
        let inner = Rc::downgrade(self);
        let is_alive = async move || match inner.upgrade() {
            Some(inner) => inner.is_alive(server, path).await,
            None => false,
        };
        let probe = Rc::new(LivenessProbe::start(HTTP_PROBE_INTERVAL, is_alive));
        probes.insert(server, Rc::downgrade(&probe));
        Some(probe)
    }

    /// Whether the server sends anything at all. The waiting request finds out itself why a connection fails.
    async fn is_alive(self: &Rc<Self>, server: usize, path: &'static str) -> bool {
        let Ok(session) = self.session().await else { return true };
        let request = Request::get(path);
        let probing = async {
            let mut opened = self.open(server, &session, &request).await?;
            Ok::<_, Failure>(opened.response.read(HTTP_ANSWER_BYTES_MAX).await?)
        };
        !matches!(
            timeout(HTTP_PROBE_TIMEOUT, probing).await,
            Err(_) | Ok(Err(Failure { kind: HttpFailure::TimedOut, .. }))
        )
    }
}

impl Session {
    /// Sends the request, with the credentials if the server is trusted.
    async fn send(&self, request: &Request, url: &Uri, is_trusted: bool) -> Result<Response, Failure> {
        let mut http = hyper::Request::new(request.body.clone());
        *http.method_mut() = request.method.clone();
        *http.uri_mut() = url.clone();
        let auth = self.auth.iter().filter(|_| is_trusted).map(|auth| (&auth.name, &auth.value));
        for (name, value) in request.headers.iter().map(|(name, value)| (name, value)).chain(auth) {
            http.headers_mut().insert(name, value.clone());
        }
        Ok(self.transport.send(http).await?)
    }
}
