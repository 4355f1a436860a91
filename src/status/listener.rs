//! The status listener: serves the parts' endpoints over HTTP.
//!
//! It runs on one thread of its own and asks the actors by message, so that no reader of it, however slow, and no
//! answer of it, however large, delays a change.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};

use super::gate::host::AllowedHosts;
use super::gate::{self, Gate};
use super::part::Part;
use super::problem::{self, Problem};
use super::view::{Identity, View};

/// Connections the listener keeps open at once.
const CONNECTIONS_MAX: usize = 256;

/// The listener while it runs.
pub struct StatusListener {
    handle: ServerHandle,
    address: SocketAddr,
}

impl StatusListener {
    /// Serves `parts` on a socket that is bound already. The server runs until it is stopped or the actix system ends.
    pub fn start(
        socket: TcpListener,
        hosts: Vec<String>,
        identity: Identity,
        view: Arc<dyn View>,
        parts: Vec<Part>,
    ) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let gate = Gate::new(AllowedHosts { listen: address.ip(), names: hosts });
        let server = serve(socket, gate, identity, view, parts)?;
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { handle, address })
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

fn serve(
    socket: TcpListener,
    gate: Gate,
    identity: Identity,
    view: Arc<dyn View>,
    parts: Vec<Part>,
) -> io::Result<Server> {
    let gate = Arc::new(gate);
    let server = HttpServer::new(move || {
        let gate = Arc::clone(&gate);
        App::new()
            .app_data(Data::new(identity.clone()))
            .app_data(Data::from(Arc::clone(&view)))
            .wrap(from_fn(move |request, next| gate::pass(Arc::clone(&gate), request, next)))
            .configure(problem::of_extractors)
            .configure(|config| parts.iter().for_each(|part| part.register(config)))
            .default_service(web::to(nothing_there))
    });
    Ok(server.workers(1).max_connections(CONNECTIONS_MAX).disable_signals().listen(socket)?.run())
}

async fn nothing_there() -> HttpResponse {
    let detail = "nothing is served under this path; there are /healthz, /readyz and what /api/v1/ holds";
    Problem::not_found(detail).answer()
}
