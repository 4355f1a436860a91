//! Client for the API of a running daemon.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::timeout;

use super::problem::{PROBLEM_JSON, Problem};
use super::report::StatusReport;
use crate::http::{Transport, TransportError};
use crate::tls::TlsFiles;
use crate::token::Token;

/// Time-out for an answer of the daemon, which itself waits two seconds for its actors.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest accepted answer, in bytes; 50,000 servers need about 10 MB.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// URL of a daemon on this machine that listens on `listen`; with scheme `https` if it uses TLS.
pub fn url_of(listen: SocketAddr, tls: bool) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, listen.port()))
}

/// Error of a request to the daemon.
#[derive(Debug, Error)]
pub enum AskError {
    /// It does not answer, or not like a proxymgr of this version.
    #[error("{0}")]
    NoAnswer(String),
    /// It refuses the request; nothing has changed.
    #[error("{text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The reason, and what to do.
        text: String,
    },
}

/// How to reach a daemon.
#[derive(Debug, Clone, Default)]
pub struct DaemonAddress {
    /// URL of its listener, such as `http://127.0.0.1:8470`.
    pub url: String,
    /// Its unix socket, which is used in place of the URL and needs no token.
    pub socket: Option<PathBuf>,
    /// Its token, required for changes over TCP.
    pub token: Option<Token>,
    /// PEM file with the certificate authorities to trust; by default those of this machine.
    pub ca: Option<PathBuf>,
}

/// A client for one daemon.
pub struct StatusClient {
    http: Transport,
    url: String,
    /// The unix socket or the URL, for messages.
    place: String,
    token: Option<Token>,
}

impl StatusClient {
    /// A client for this daemon. It does not connect yet.
    pub fn new(daemon: DaemonAddress) -> Result<Self, String> {
        if let Some(socket) = daemon.socket {
            let place = format!("unix:{}", socket.display());
            return Ok(Self {
                http: Transport::to_unix(socket),
                url: "http://localhost".to_owned(),
                place,
                token: None,
            });
        }
        let tls = if daemon.url.starts_with("https:") {
            Some(TlsFiles { ca: daemon.ca, identity: None }.load()?)
        } else {
            None
        };
        let url = daemon.url.trim_end_matches('/').to_owned();
        Ok(Self { http: Transport::new(tls), place: url.clone(), url, token: daemon.token })
    }

    /// Reads the status, as text and parsed.
    pub async fn status(&self) -> Result<(String, StatusReport), AskError> {
        let path = "/api/v1/status";
        let text = self.text(path).await?;
        let report = self.parse(path, &text)?;
        Ok((text, report))
    }

    /// Reads a path as text.
    pub async fn text(&self, path: &str) -> Result<String, AskError> {
        self.ask::<()>(Method::GET, path, None).await
    }

    /// Reads a path as JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        self.parse(path, &self.text(path).await?)
    }

    /// Sends an order.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, AskError> {
        self.parse(path, &self.ask(Method::POST, path, Some(body)).await?)
    }

    /// Sends an order to end something.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        self.parse(path, &self.ask::<()>(Method::DELETE, path, None).await?)
    }

    fn parse<T: DeserializeOwned>(&self, path: &str, text: &str) -> Result<T, AskError> {
        serde_json::from_str(text).map_err(|error| {
            let place = &self.place;
            AskError::NoAnswer(format!("the answer of {place}{path} is not from a proxymgr of this version: {error}"))
        })
    }

    async fn ask<T: Serialize>(&self, method: Method, path: &str, body: Option<&T>) -> Result<String, AskError> {
        let address = format!("{}{path}", self.url);
        let request = self.request(method, &address, body).map_err(AskError::NoAnswer)?;
        let sent = timeout(ANSWER_TIMEOUT, self.http.send(request)).await;
        let mut response = match sent {
            Ok(sent) => sent.map_err(|error| self.no_answer(&error))?,
            Err(_) => return Err(self.timed_out()),
        };
        let address = format!("{}{path}", self.place);
        let body = match timeout(ANSWER_TIMEOUT, response.read(ANSWER_BYTES_MAX)).await {
            Ok(read) => {
                read.map_err(|error| AskError::NoAnswer(format!("the answer of {address} cannot be read: {error}")))?
            }
            Err(_) => return Err(self.timed_out()),
        };
        let text = String::from_utf8_lossy(&body).into_owned();
        if response.status().is_success() {
            return Ok(text);
        }
        let is_problem = response.headers().get(CONTENT_TYPE).filter(|kind| *kind == PROBLEM_JSON);
        let status = response.status();
        let text = match is_problem.and_then(|_| serde_json::from_str::<Problem>(&text).ok()) {
            Some(problem) => format!("{address} refuses: {}", problem.detail),
            None => format!("{address} answers {status}: {}", text.trim()),
        };
        Err(AskError::Refused { status: status.as_u16(), text })
    }

    fn request<T: Serialize>(
        &self,
        method: Method,
        address: &str,
        body: Option<&T>,
    ) -> Result<Request<Vec<u8>>, String> {
        let mut request = Request::builder().method(method).uri(address);
        if let Some(token) = &self.token {
            let bearer = HeaderValue::from_str(&format!("Bearer {}", token.reveal()));
            request =
                request.header(AUTHORIZATION, bearer.map_err(|_| "the token is not valid in a header".to_owned())?);
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).map_err(|error| error.to_string())?
            }
            None => Vec::new(),
        };
        request.body(body).map_err(|error| format!("{address} is not a URL: {error}"))
    }

    fn timed_out(&self) -> AskError {
        let seconds = ANSWER_TIMEOUT.as_secs();
        AskError::NoAnswer(format!("{} did not answer within {seconds} s", self.place))
    }

    fn no_answer(&self, error: &TransportError) -> AskError {
        let url = &self.place;
        AskError::NoAnswer(match error {
            TransportError::Tls(cause) => {
                format!("{url} is not trusted: {cause}; pass the authority of its certificate with --ca")
            }
            _ => format!("no proxymgr answers at {url}: {error}; is it running, with this status.listen?"),
        })
    }
}
