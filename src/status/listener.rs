//! The status listener: serves all endpoints over HTTP.
//!
//! It runs on a thread of its own and asks the actors by message, so that no slow reader and no large answer delays a
//! change. Questions to the actors take at most a tenth of their time.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use nix::sys::socket::{setsockopt, sockopt};
use proxymgr_actors::limits::{
    STATUS_CONNECTIONS_MAX, STATUS_HEAD_TIMEOUT, STATUS_IDLE_TIMEOUT, STATUS_SEND_BUFFER_BYTES, STATUS_UNREAD_TIMEOUT,
};
use rustls::ServerConfig;

use super::access::{Access, Secrets};
use super::gate::host::AllowedHosts;
use super::gate::{self, Gate};
use super::part::Part;
use super::problem::{self, Problem};
use super::rendered::RenderedAnswers;
use super::tls::ServerCertificate;
use super::view::{CachedView, Identity, View};

/// A running listener.
pub struct StatusListener {
    handle: ServerHandle,
    address: SocketAddr,
    secrets: Secrets,
}

impl StatusListener {
    /// Serves `parts` on a bound socket. The server runs until it is stopped or the actix system ends.
    pub fn start(
        socket: TcpListener,
        access: Access,
        identity: Identity,
        view: Arc<dyn View>,
        parts: Vec<Part>,
    ) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("the status listener cannot be started: {error}");
        let address = socket.local_addr().map_err(cannot)?;
        let secrets = Secrets::read(&access)?;
        limit_connections(&socket).map_err(|errno| cannot(errno.into()))?;
        let gate = Gate::new(AllowedHosts { listen: address.ip(), names: access.hosts }, Arc::clone(&secrets.callers));
        let tls = secrets.certificate.as_ref().map(ServerCertificate::server_config).transpose()?;
        let view = Arc::new(CachedView::new(view));
        let site = Site { gate: Arc::new(gate), identity, view, rendered: Arc::default(), parts };
        let server = site.serve(socket, tls).map_err(cannot)?;
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { handle, address, secrets })
    }

    /// Reads the token and the certificate again. A secret that cannot be read stays in use; the errors are returned.
    pub fn read_secrets_again(&self) -> Vec<String> {
        self.secrets.read_again()
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it without waiting for readers.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

/// Binds the socket of the listener.
pub fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; another proxymgr may use it: set a different status.listen, or none",
            io::ErrorKind::AddrNotAvailable => "; no interface has this address: check status.listen",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges: check status.listen",
            _ => "",
        };
        format!("cannot open the status listener on {address}: {error}{hint}")
    })
}

/// Limits each connection: the kernel closes it if the client reads nothing, and buffers little for it. Connections
/// inherit both from the listening socket.
fn limit_connections(socket: &TcpListener) -> nix::Result<()> {
    let unread_ms = u32::try_from(STATUS_UNREAD_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    setsockopt(socket, sockopt::TcpUserTimeout, &unread_ms)?;
    setsockopt(socket, sockopt::SndBuf, &STATUS_SEND_BUFFER_BYTES)
}

/// Everything that is served.
#[derive(Clone)]
struct Site {
    gate: Arc<Gate>,
    identity: Identity,
    view: Arc<dyn View>,
    rendered: Arc<RenderedAnswers>,
    parts: Vec<Part>,
}

impl Site {
    fn serve(self, socket: TcpListener, tls: Option<ServerConfig>) -> io::Result<Server> {
        let server = HttpServer::new(move || {
            let Self { gate, identity, view, rendered, parts } = self.clone();
            App::new()
                .app_data(Data::new(identity))
                .app_data(Data::from(view))
                .app_data(Data::from(rendered))
                .wrap(from_fn(move |request, next| gate::pass(Arc::clone(&gate), request, next)))
                .configure(problem::of_extractors)
                .configure(|config| parts.iter().for_each(|part| part.register(config)))
                .default_service(web::to(unknown_path))
        });
        let server = server
            .workers(1)
            .max_connections(STATUS_CONNECTIONS_MAX)
            .keep_alive(STATUS_IDLE_TIMEOUT)
            .client_request_timeout(STATUS_HEAD_TIMEOUT)
            .tls_handshake_timeout(STATUS_HEAD_TIMEOUT)
            .disable_signals();
        let server = match tls {
            Some(tls) => server.listen_rustls_0_23(socket, tls)?,
            None => server.listen(socket)?,
        };
        Ok(server.run())
    }
}

async fn unknown_path() -> HttpResponse {
    let detail = "unknown path; see /api/v1/openapi.json for the API";
    Problem::not_found(detail).answer()
}
