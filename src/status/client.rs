//! Asks a running daemon, and has it do things, over its API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use awc::error::{ConnectError, SendRequestError};
use awc::http::Method;
use awc::{Client, Connector};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::gate::caller::Token;
use super::problem::{PROBLEM_JSON, Problem};
use super::report::StatusReport;
use crate::tls::TlsFiles;

/// How long the daemon may take to answer. Its actors alone are given two seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read, in bytes; 50,000 servers take about 10 MB.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Where a daemon that listens on `listen` can be asked from this machine, by `https` where it speaks TLS.
pub fn url_of(listen: SocketAddr, tls: bool) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, listen.port()))
}

/// Why the daemon did not do as asked.
#[derive(Debug, Error)]
pub enum AskError {
    /// It does not answer, or not as a proxymgr of this version does.
    #[error("{0}")]
    NoAnswer(String),
    /// It refuses; nothing has changed.
    #[error("{text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why, and what to do.
        text: String,
    },
}

/// How a daemon is reached.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Where its listener is, such as `http://127.0.0.1:8470`.
    pub url: String,
    /// What it must be sent with an order.
    pub token: Option<Token>,
    /// PEM file with the authorities that its certificate must come from; without it those of this machine.
    pub ca: Option<PathBuf>,
}

/// Asks one daemon.
pub struct StatusClient {
    http: Client,
    url: String,
    token: Option<Token>,
}

impl StatusClient {
    /// A client of the daemon at this place. Nothing is connected yet.
    pub fn new(place: Place) -> Result<Self, String> {
        let mut connector = Connector::new().timeout(ANSWER_TIMEOUT);
        if place.url.starts_with("https:") {
            let files = TlsFiles { ca: place.ca, identity: None };
            connector = connector.rustls_0_23(files.load()?);
        }
        let http = Client::builder().connector(connector).timeout(ANSWER_TIMEOUT).finish();
        Ok(Self { http, url: place.url.trim_end_matches('/').to_owned(), token: place.token })
    }

    /// The daemon's status, as it sent it and as it is understood.
    pub async fn status(&self) -> Result<(String, StatusReport), AskError> {
        let path = "/api/v1/status";
        let text = self.text(path).await?;
        let report = self.understood(path, &text)?;
        Ok((text, report))
    }

    /// What stands under a path, as text.
    pub async fn text(&self, path: &str) -> Result<String, AskError> {
        self.ask::<()>(Method::GET, path, None).await
    }

    /// What stands under a path, understood.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        self.understood(path, &self.text(path).await?)
    }

    /// Has something done.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, AskError> {
        self.understood(path, &self.ask(Method::POST, path, Some(body)).await?)
    }

    fn understood<T: DeserializeOwned>(&self, path: &str, text: &str) -> Result<T, AskError> {
        serde_json::from_str(text).map_err(|error| {
            let url = &self.url;
            AskError::NoAnswer(format!("what {url}{path} answers is not from a proxymgr of this version: {error}"))
        })
    }

    async fn ask<T: Serialize>(&self, method: Method, path: &str, body: Option<&T>) -> Result<String, AskError> {
        let address = format!("{}{path}", self.url);
        let mut request = self.http.request(method, &address);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        let sent = match body {
            Some(body) => request.send_json(body).await,
            None => request.send().await,
        };
        let mut response = sent.map_err(|error| self.no_answer(&error))?;
        let body = response
            .body()
            .limit(ANSWER_BYTES_MAX)
            .await
            .map_err(|error| AskError::NoAnswer(format!("the answer of {address} cannot be read: {error}")))?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if response.status().is_success() {
            return Ok(text);
        }
        let said = response.headers().get("content-type").filter(|kind| *kind == PROBLEM_JSON);
        let status = response.status();
        let text = match said.and_then(|_| serde_json::from_str::<Problem>(&text).ok()) {
            Some(problem) => format!("{address} refuses: {}", problem.detail),
            None => format!("{address} answers {status}: {}", text.trim()),
        };
        Err(AskError::Refused { status: status.as_u16(), text })
    }

    fn no_answer(&self, error: &SendRequestError) -> AskError {
        let url = &self.url;
        AskError::NoAnswer(match error {
            SendRequestError::Connect(ConnectError::Io(error))
                if error.get_ref().is_some_and(|e| e.is::<rustls::Error>()) =>
            {
                format!("{url} is not trusted: {error}; name the authority of its certificate with --ca")
            }
            _ => format!("no proxymgr answers at {url}: {error}; is it running, with this status.listen?"),
        })
    }
}
