//! Sends requests: to the server that answered last, and to the others where it fails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use awc::http::Uri;
use awc::http::header::LOCATION;
use awc::{ClientResponse, Connector};
use proxymgr_actors::limits::{
    HTTP_CONNECT_TIMEOUT, HTTP_CONNECTION_IDLE_MAX, HTTP_CONNECTION_LIFE_MAX, HTTP_CONNECTIONS_MAX,
    HTTP_PULSE_INTERVAL, HTTP_PULSE_TIMEOUT,
};
use rustls::ClientConfig;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::answer::{Answer, Lines, lost, read, status_failure};
use super::credentials::{Proof, without_secret};
use super::error::{Failure, HttpError, HttpFailure};
use super::events::{Events, Stream};
use super::pulse::Pulse;
use super::request::Request;
use super::{HttpOptions, Servers};
use crate::discovery::backoff::Random;

/// A client of one service. Clones share its connections.
#[derive(Clone)]
pub struct HttpClient {
    inner: Rc<Inner>,
}

struct Inner {
    servers: Servers,
    options: HttpOptions,
    /// The servers in the order in which they are asked; one that fails goes to the end.
    order: RefCell<Vec<usize>>,
    /// Made when first needed, and anew after files were refused.
    transport: Mutex<Option<Rc<Transport>>>,
    connections: Arc<Semaphore>,
    pulses: RefCell<BTreeMap<usize, Weak<Pulse>>>,
}

/// Connections, and what requests on them prove themselves with.
struct Transport {
    client: awc::Client,
    proof: Option<Proof>,
    tls: Option<Arc<ClientConfig>>,
}

/// An event stream with what belongs to it.
type Opened = (Stream, Option<Rc<Pulse>>, Rc<str>, Option<Proof>);

/// An answer whose head has come.
struct Head {
    response: ClientResponse,
    asked: Rc<str>,
    pulse: Option<Rc<Pulse>>,
    proof: Option<Proof>,
}

impl HttpClient {
    /// Nothing is connected, and no file is read, before something is asked.
    pub fn new(servers: Servers, options: HttpOptions) -> Self {
        let mut order: Vec<usize> = (0..servers.urls().len()).collect();
        Random::new().shuffle(&mut order);
        let connections_max = options.connections_max.unwrap_or(HTTP_CONNECTIONS_MAX);
        let inner = Inner {
            servers,
            options,
            order: RefCell::new(order),
            transport: Mutex::new(None),
            connections: Arc::new(Semaphore::new(connections_max)),
            pulses: RefCell::default(),
        };
        Self { inner: Rc::new(inner) }
    }

    /// The servers.
    pub fn servers(&self) -> &Servers {
        &self.inner.servers
    }

    /// Asks each server until one answers, and reads the whole answer. A server's own trouble (5xx, 429) is a failure.
    pub async fn send(&self, request: &Request) -> Result<Answer, HttpError> {
        let _permit = self.permit().await;
        let attempt = async |server: usize, transport: &Transport| {
            let reading = async {
                let Head { mut response, asked, pulse, proof } = self.inner.head(server, transport, request).await?;
                let body = tokio::select! {
                    body = read(&mut response) => body?,
                    failure = lost(pulse) => return Err(failure),
                };
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                Ok(Answer { status, headers, body, asked, proof })
            };
            let limit = request.timeout;
            let answer =
                timeout(limit, reading).await.unwrap_or_else(|_| Err(Failure::timed_out(limit.as_secs_f64())))?;
            match answer.status {
                429 | 500..=599 => Err(status_failure(answer.status, None, &answer.body)),
                _ => Ok(answer),
            }
        };
        let answer = self.inner.ask_servers(request, attempt).await?;
        if matches!(answer.status, 401 | 403) {
            self.inner.renew().await;
        }
        Ok(answer)
    }

    /// Asks each server until one answers, and gives the answer line by line. Only its head has to come within the
    /// request's time-out.
    pub async fn open(&self, request: &Request) -> Result<Lines, HttpError> {
        let permit = self.permit().await;
        let attempt = async |server: usize, transport: &Transport| {
            let limit = request.timeout;
            let head = timeout(limit, self.inner.head(server, transport, request)).await;
            let mut head = head.unwrap_or_else(|_| Err(Failure::timed_out(limit.as_secs_f64())))?;
            match head.response.status().as_u16() {
                status @ (429 | 500..=599) => {
                    let body = timeout(limit, read(&mut head.response)).await;
                    Err(status_failure(status, None, &body.unwrap_or(Ok(Vec::new())).unwrap_or_default()))
                }
                _ => Ok(head),
            }
        };
        let Head { response, asked, pulse, proof } = self.inner.ask_servers(request, attempt).await?;
        let status = response.status().as_u16();
        if matches!(status, 401 | 403) {
            self.inner.renew().await;
        }
        let (buffer, searched, is_ended) = (Vec::new(), 0, false);
        Ok(Lines { status, response, pulse, asked, proof, _permit: permit, buffer, searched, is_ended })
    }

    /// Asks each server until one answers with a stream of events. Only its head has to come within the request's
    /// time-out. No redirect is followed.
    pub async fn open_events(&self, request: &Request) -> Result<Events, HttpError> {
        let permit = self.permit().await;
        let attempt = async |server: usize, transport: &Transport| {
            let limit = request.timeout;
            let opening = self.inner.stream(server, transport, request);
            timeout(limit, opening).await.unwrap_or_else(|_| Err(Failure::timed_out(limit.as_secs_f64())))
        };
        let (stream, pulse, asked, proof) = self.inner.ask_servers(request, attempt).await?;
        Ok(Events { stream, pulse, asked, proof, _permit: permit })
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        self.inner.connections.clone().acquire_owned().await.expect("the semaphore is never closed")
    }
}

impl Inner {
    /// One attempt with each server, beginning with the one that answered last.
    async fn ask_servers<T>(
        self: &Rc<Self>,
        request: &Request,
        attempt: impl AsyncFn(usize, &Transport) -> Result<T, Failure>,
    ) -> Result<T, HttpError> {
        let order = self.order.borrow().clone();
        let transport = self.transport().await.map_err(|cause| HttpError::new(HttpFailure::Local, cause))?;
        let mut failures = BTreeMap::new();
        let attempts = if request.is_for_one { 1 } else { order.len() };
        for server in order.into_iter().take(attempts) {
            match attempt(server, &transport).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    self.put_last(server);
                    failures.insert(server, failure);
                }
            }
        }
        if failures.values().any(|failure| failure.kind == HttpFailure::Tls) {
            self.renew().await;
        }
        Err(self.no_answer(request, failures, transport.proof.as_ref()))
    }

    /// Asks the others first from now on, unless another request has seen to that already.
    fn put_last(&self, server: usize) {
        let mut order = self.order.borrow_mut();
        if order.first() == Some(&server) {
            order.rotate_left(1);
        }
    }

    /// In the order of the servers as they are configured, so that the same state of affairs has the same words.
    fn no_answer(&self, request: &Request, failures: BTreeMap<usize, Failure>, proof: Option<&Proof>) -> HttpError {
        // What a server says explains more than that another one is away.
        let told = failures.values().find(|failure| matches!(failure.kind, HttpFailure::Status(_)));
        let kind = told.or(failures.values().next()).map_or(HttpFailure::Unreachable, |failure| failure.kind);
        let urls = self.servers.urls();
        let each = failures.iter().map(|(server, failure)| format!("{}: {failure}", urls[*server]));
        let each = each.collect::<Vec<_>>().join("; ");
        let text = format!("no answer to {} {}: {each}", request.method, request.path);
        HttpError::new(kind, without_secret(proof, text))
    }

    async fn transport(&self) -> Result<Rc<Transport>, String> {
        let mut transport = self.transport.lock().await;
        if let Some(made) = &*transport {
            return Ok(made.clone());
        }
        let options = self.options.clone();
        let use_tls = self.servers.use_tls();
        let loading = spawn_blocking(move || {
            let tls = if use_tls { Some(options.tls.load()?) } else { None };
            Ok::<_, String>((tls, options.credentials.prove()?))
        });
        let (tls, proof) = loading.await.map_err(|error| error.to_string())??;
        // How many there may be is decided here and not in the pool, where a pulse would wait its turn behind others.
        let mut connector = Connector::new()
            .limit(0)
            .timeout(HTTP_CONNECT_TIMEOUT)
            .handshake_timeout(HTTP_CONNECT_TIMEOUT)
            .conn_keep_alive(HTTP_CONNECTION_IDLE_MAX)
            .conn_lifetime(HTTP_CONNECTION_LIFE_MAX);
        if let Some(tls) = tls.clone() {
            connector = connector.rustls_0_23(tls);
        }
        let builder = awc::Client::builder().connector(connector).disable_timeout().disable_redirects();
        let agent = concat!("proxymgr/", env!("CARGO_PKG_VERSION"));
        let client = builder.no_default_headers().add_default_header(("user-agent", agent)).finish();
        Ok(transport.insert(Rc::new(Transport { client, proof, tls })).clone())
    }

    /// Has the files read again before the next request.
    async fn renew(&self) {
        *self.transport.lock().await = None;
    }

    /// Sends the request to one server, follows redirects as far as it says so, and waits for the head of the answer.
    async fn head(self: &Rc<Self>, server: usize, transport: &Transport, request: &Request) -> Result<Head, Failure> {
        let pulse = if request.is_long { self.pulse(server) } else { None };
        let base = &self.servers.urls()[server];
        let mut asked: Rc<str> = format!("{} {base}{}", request.method, request.path).into();
        let parsed = format!("{base}{}", request.target()).parse::<Uri>();
        let mut url = parsed.map_err(|error| Failure::new(HttpFailure::Local, format!("no URL: {error}")))?;
        let mut redirects_left = request.redirects_max;
        loop {
            let response = tokio::select! {
                response = transport.send(request, &url, self.servers.contain(&url)) => response?,
                failure = lost(pulse.clone()) => return Err(failure),
            };
            if redirects_left == 0 || !response.status().is_redirection() {
                return Ok(Head { response, asked, pulse, proof: transport.proof.clone() });
            }
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let Some(next) = location.and_then(|location| resolve(&url, location)) else {
                return Ok(Head { response, asked, pulse, proof: transport.proof.clone() });
            };
            redirects_left -= 1;
            asked = format!("{asked}, redirected to {}", without_query(&next)).into();
            url = next;
        }
    }

    /// Sends the request to one server and waits for the head of an event stream.
    async fn stream(
        self: &Rc<Self>,
        server: usize,
        transport: &Transport,
        request: &Request,
    ) -> Result<Opened, Failure> {
        let base = &self.servers.urls()[server];
        let asked: Rc<str> = format!("{} {base}{}", request.method, request.path).into();
        let url = format!("{base}{}", request.target()).parse::<Uri>();
        let url = url.map_err(|error| Failure::new(HttpFailure::Local, format!("no URL: {error}")))?;
        let stream = Stream::open(&url, request, transport.proof.as_ref(), transport.tls.clone()).await?;
        let pulse = if request.is_long { self.pulse(server) } else { None };
        Ok((stream, pulse, asked, transport.proof.clone()))
    }

    /// The pulse of a server, felt from now on if nobody does yet.
    fn pulse(self: &Rc<Self>, server: usize) -> Option<Rc<Pulse>> {
        let path = self.options.pulse?;
        let mut pulses = self.pulses.borrow_mut();
        let felt = pulses.get(&server).and_then(Weak::upgrade).filter(|pulse| !pulse.is_lost());
        if felt.is_some() {
            return felt;
        }
        let inner = Rc::downgrade(self);
        let is_alive = async move || match inner.upgrade() {
            Some(inner) => inner.is_alive(server, path).await,
            None => false,
        };
        let pulse = Rc::new(Pulse::start(HTTP_PULSE_INTERVAL, is_alive));
        pulses.insert(server, Rc::downgrade(&pulse));
        Some(pulse)
    }

    /// Whether the server says anything at all. Why a connection cannot be made, the waiting request will find out.
    async fn is_alive(self: &Rc<Self>, server: usize, path: &'static str) -> bool {
        let Ok(transport) = self.transport().await else { return true };
        let request = Request::get(path);
        let asking = async { read(&mut self.head(server, &transport, &request).await?.response).await };
        !matches!(
            timeout(HTTP_PULSE_TIMEOUT, asking).await,
            Err(_) | Ok(Err(Failure { kind: HttpFailure::TimedOut, .. }))
        )
    }
}

impl Transport {
    async fn send(&self, request: &Request, url: &Uri, is_trusted: bool) -> Result<ClientResponse, Failure> {
        let mut sending = self.client.request(request.method.clone(), url.clone());
        for (name, value) in &request.headers {
            sending = sending.insert_header((name.clone(), value.clone()));
        }
        if let Some(proof) = self.proof.as_ref().filter(|_| is_trusted) {
            sending = sending.insert_header((proof.name.clone(), proof.value.clone()));
        }
        let sent = if request.body.is_empty() { sending.send() } else { sending.send_body(request.body.clone()) };
        Ok(sent.await?)
    }
}

/// Where a redirect leads.
fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    let text = match location {
        // Mesos writes it so.
        relative if relative.starts_with("//") => format!("{scheme}:{relative}"),
        path if path.starts_with('/') => format!("{scheme}://{authority}{path}"),
        absolute => absolute.to_owned(),
    };
    let url: Uri = text.parse().ok()?;
    matches!(url.scheme_str(), Some("http" | "https")).then_some(url).filter(|url| url.authority().is_some())
}

fn without_query(url: &Uri) -> String {
    format!("{}://{}{}", url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_to_http_servers_only() {
        let from: Uri = "https://a:5050/master/state".parse().unwrap();
        let leads = |location: &str| resolve(&from, location).map(|url| url.to_string());
        assert_eq!(leads("/x?y"), Some("https://a:5050/x?y".into()));
        assert_eq!(leads("//b:5050/x"), Some("https://b:5050/x".into()));
        assert_eq!(leads("http://c/x"), Some("http://c/x".into()));
        assert_eq!(leads("file:///etc/passwd"), None);
        assert_eq!(leads("x"), None);
    }
}
