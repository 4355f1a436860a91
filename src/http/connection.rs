//! One HTTP/1.1 connection.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use proxymgr_actors::limits::{HTTP_CONNECT_TIMEOUT, HTTP_CONNECTION_LIFE_MAX};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::error::TransportError;

/// A request with its whole body.
pub(super) type WholeRequest = Request<Full<Bytes>>;

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// The server of a URL: its scheme, host and port. Connections are shared within one origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    is_https: bool,
    authority: Authority,
}

impl Origin {
    /// The origin of an absolute `http` or `https` URL.
    pub(super) fn of(url: &Uri) -> Result<Self, TransportError> {
        let scheme = url.scheme().filter(|scheme| [&Scheme::HTTP, &Scheme::HTTPS].contains(scheme));
        match (scheme, url.authority()) {
            (Some(scheme), Some(authority)) if !authority.host().is_empty() => {
                Ok(Self { is_https: *scheme == Scheme::HTTPS, authority: authority.clone() })
            }
            _ => Err(TransportError::Url(url.to_string())),
        }
    }

    fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_https { 443 } else { 80 })
    }
}

/// An open connection, which takes one request at a time. Dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    opened_at: Instant,
    task: AbortHandle,
}

/// Why a request was not answered.
pub(super) enum SendError {
    /// Nothing was sent: the request can be sent on another connection.
    Unsent(Box<WholeRequest>, TransportError),
    /// A part of the request may have been sent.
    Failed(TransportError),
}

impl Connection {
    /// Opens a connection. The look-up of the name with the TCP handshake, and the TLS handshake, each have the time
    /// limit [`HTTP_CONNECT_TIMEOUT`].
    pub(super) async fn open(origin: &Origin, tls: Option<&Arc<ClientConfig>>) -> Result<Self, TransportError> {
        let tcp =
            timeout(HTTP_CONNECT_TIMEOUT, connect(origin)).await.map_err(|_| TransportError::ConnectTimeout)??;
        let stream: Box<dyn Stream> = if origin.is_https {
            let handshake = timeout(HTTP_CONNECT_TIMEOUT, secure(origin, tcp, tls));
            handshake.await.map_err(|_| TransportError::ConnectTimeout)??
        } else {
            Box::new(tcp)
        };
        Self::on(stream).await
    }

    /// Opens a connection to a unix socket, whatever the host of the URL is.
    pub(super) async fn open_unix(path: &Path) -> Result<Self, TransportError> {
        let stream = timeout(HTTP_CONNECT_TIMEOUT, UnixStream::connect(path)).await;
        let stream = stream.map_err(|_| TransportError::ConnectTimeout)?.map_err(TransportError::Connect)?;
        Self::on(Box::new(stream)).await
    }

    async fn on(stream: Box<dyn Stream>) -> Result<Self, TransportError> {
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| TransportError::before_answer(&error))?;
        // The request reports errors of the connection.
        let task = tokio::task::spawn_local(async { drop(connection.await) });
        Ok(Self { sender, opened_at: Instant::now(), task: task.abort_handle() })
    }

    /// Sends a request and waits for the headers of the answer.
    pub(super) async fn send(&mut self, request: WholeRequest) -> Result<hyper::Response<Incoming>, Box<SendError>> {
        let sending = self.sender.try_send_request(request);
        sending.await.map_err(|mut error| {
            let cause = TransportError::before_answer(error.error());
            Box::new(match error.take_message() {
                Some(request) => SendError::Unsent(Box::new(request), cause),
                None => SendError::Failed(cause),
            })
        })
    }

    /// Waits until the previous answer is complete. Returns false if the server has closed the connection.
    pub(super) async fn is_usable(&mut self) -> bool {
        matches!(timeout(HTTP_CONNECT_TIMEOUT, self.sender.ready()).await, Ok(Ok(())))
    }

    /// Whether further requests must use another connection, because a name may have another address by then.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.sender.is_closed() || now.duration_since(self.opened_at) >= HTTP_CONNECTION_LIFE_MAX
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("opened_at", &self.opened_at).finish_non_exhaustive()
    }
}

async fn connect(origin: &Origin) -> Result<TcpStream, TransportError> {
    let host = origin.host();
    let addresses = lookup_host((host, origin.port())).await;
    let addresses = Vec::from_iter(addresses.map_err(|error| TransportError::of_look_up(host, &error))?);
    if addresses.is_empty() {
        return Err(TransportError::UnknownHost(host.to_owned()));
    }
    let tcp = TcpStream::connect(&*addresses).await.map_err(TransportError::Connect)?;
    tcp.set_nodelay(true).map_err(TransportError::Connect)?;
    Ok(tcp)
}

async fn secure(
    origin: &Origin,
    tcp: TcpStream,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Box<dyn Stream>, TransportError> {
    let tls = tls.ok_or_else(|| TransportError::Tls("it is not configured for this client".to_owned()))?;
    let name = ServerName::try_from(origin.host().to_owned());
    let name = name.map_err(|_| TransportError::Tls("the host name cannot be in a certificate".to_owned()))?;
    let secured = TlsConnector::from(tls.clone()).connect(name, tcp).await;
    secured.map(|stream| Box::new(stream) as Box<dyn Stream>).map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(cause) => TransportError::Tls(tls_cause(cause)),
            None => TransportError::Connect(error),
        }
    })
}

/// Why a TLS handshake failed.
fn tls_cause(error: &rustls::Error) -> String {
    use rustls::{CertificateError as Bad, Error};
    let cause = match error {
        Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => "the server's certificate comes from an unknown authority",
            Bad::Expired | Bad::ExpiredContext { .. } => "the server's certificate has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "the server's certificate is not valid yet",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "the server's certificate is for another host name"
            }
            Bad::Revoked => "the server's certificate is revoked",
            _ => "the server's certificate is invalid",
        },
        Error::AlertReceived(_) => "the server refuses the handshake or the client certificate",
        Error::InvalidMessage(_) => "the server does not speak TLS",
        _ => "the handshake failed",
    };
    cause.to_owned()
}
