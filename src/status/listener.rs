//! The status listener: serves the parts' endpoints over HTTP.
//!
//! It runs on one thread of its own and asks the actors by message, so that no reader of it, however slow, and no
//! answer of it, however large, delays a change: what they are asked costs them a tenth of their time at the most.

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
use super::tls::ShownCertificate;
use super::view::{Identity, PacedView, View};

/// The listener while it runs.
pub struct StatusListener {
    handle: ServerHandle,
    address: SocketAddr,
    secrets: Secrets,
}

impl StatusListener {
    /// Serves `parts` on a socket that is bound already. The server runs until it is stopped or the actix system ends.
    pub fn start(
        socket: TcpListener,
        access: Access,
        identity: Identity,
        view: Arc<dyn View>,
        parts: Vec<Part>,
    ) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("the status cannot be served: {error}");
        let address = socket.local_addr().map_err(cannot)?;
        let secrets = Secrets::read(&access)?;
        bound_connections(&socket).map_err(|errno| cannot(errno.into()))?;
        let gate = Gate::new(AllowedHosts { listen: address.ip(), names: access.hosts }, Arc::clone(&secrets.callers));
        let tls = secrets.certificate.as_ref().map(ShownCertificate::server_config).transpose()?;
        let view = Arc::new(PacedView::new(view));
        let site = Site { gate: Arc::new(gate), identity, view, rendered: Arc::default(), parts };
        let server = site.serve(socket, tls).map_err(cannot)?;
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { handle, address, secrets })
    }

    /// Reads the token and the certificate again. What has a mistake stays as it was, and is told.
    pub fn read_secrets_again(&self) -> Vec<String> {
        self.secrets.read_again()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it without waiting for its readers.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

/// Binds the listener's port.
pub fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; another proxymgr may have it: give each its own status.listen, or none",
            io::ErrorKind::AddrNotAvailable => "; no interface has this address: see status.listen",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges: see status.listen",
            _ => "",
        };
        format!("cannot open the status listener on {address}: {error}{hint}")
    })
}

/// A client that takes nothing is the kernel's to end, and what waits for it in the kernel is little. Connections have
/// both from the socket they come in by.
fn bound_connections(socket: &TcpListener) -> nix::Result<()> {
    let unread_ms = u32::try_from(STATUS_UNREAD_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    setsockopt(socket, sockopt::TcpUserTimeout, &unread_ms)?;
    setsockopt(socket, sockopt::SndBuf, &STATUS_SEND_BUFFER_BYTES)
}

/// All that is served.
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
                .default_service(web::to(nothing_there))
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

async fn nothing_there() -> HttpResponse {
    let detail = "nothing is served under this path; there are /healthz, /readyz and what /api/v1/ holds";
    Problem::not_found(detail).answer()
}
