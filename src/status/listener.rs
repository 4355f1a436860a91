//! The status listener: serves all endpoints over HTTP.
//!
//! It runs on a thread of its own and asks the actors by message, so that no slow reader and no large answer delays a
//! change. Questions to the actors take at most a tenth of their time.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use futures_util::future::join_all;
use nix::sys::socket::{setsockopt, sockopt};
use proxymgr_actors::limits::{
    RESTART_STATUS_WAIT, STATUS_CONNECTIONS_MAX, STATUS_HEAD_TIMEOUT, STATUS_IDLE_TIMEOUT, STATUS_SEND_BUFFER_BYTES,
    STATUS_UNREAD_TIMEOUT,
};
use rustls::ServerConfig;
use slog::Logger;
use tokio::time::timeout;

use super::access::{Access, Secrets};
use super::gate::audit::Audit;
use super::gate::clients::Clients;
use super::gate::host::AllowedHosts;
use super::gate::peer::PeerRules;
use super::gate::{self, Gate};
use super::part::Part;
use super::problem::{self, Problem};
use super::rendered::RenderedAnswers;
use super::tls::ServerCertificate;
use super::view::{CachedView, Identity, View};

/// The listener: all that is served, on a TCP socket, a unix socket, or both.
pub struct StatusListener {
    site: Site,
    secrets: Secrets,
    servers: RefCell<Vec<ServerHandle>>,
    address: Cell<Option<SocketAddr>>,
    /// The path of the unix socket, which is removed at the end.
    socket_path: RefCell<Option<PathBuf>>,
    /// Copies of the sockets, for a restart in place.
    sockets: RefCell<OpenSockets>,
}

/// The sockets on which a listener is open.
#[derive(Debug, Default)]
pub struct OpenSockets {
    /// The TCP socket.
    pub tcp: Option<OwnedFd>,
    /// The unix socket.
    pub unix: Option<OwnedFd>,
}

impl StatusListener {
    /// Prepares the listener; `listen` is the address that it will have, if any.
    pub fn new(
        listen: Option<SocketAddr>,
        access: Access,
        identity: Identity,
        view: Arc<dyn View>,
        parts: Vec<Part>,
    ) -> Result<Self, String> {
        let secrets = Secrets::read(&access)?;
        let view: Arc<dyn View> = Arc::new(CachedView::new(view));
        let log = access.log.unwrap_or_else(|| Logger::root(slog::Discard, slog::o!()));
        let listen = listen.map_or_else(|| Ipv4Addr::LOCALHOST.into(), |listen| listen.ip());
        let hosts = AllowedHosts { listen, names: access.hosts };
        let gate = Gate::new(hosts, Arc::clone(&secrets.callers), Audit::new(Arc::clone(&view), log));
        let site = Site {
            gate: Arc::new(gate),
            clients: Arc::default(),
            peers: access.peers,
            identity,
            view,
            rendered: Arc::default(),
            parts,
        };
        Ok(Self {
            site,
            secrets,
            servers: RefCell::default(),
            address: Cell::new(None),
            socket_path: RefCell::default(),
            sockets: RefCell::default(),
        })
    }

    /// Serves on a bound TCP socket. The server runs until it is stopped or the actix system ends.
    pub fn start(
        socket: TcpListener,
        access: Access,
        identity: Identity,
        view: Arc<dyn View>,
        parts: Vec<Part>,
    ) -> Result<Self, String> {
        let listener = Self::new(socket.local_addr().ok(), access, identity, view, parts)?;
        listener.serve_tcp(socket)?;
        Ok(listener)
    }

    /// Serves on a bound TCP socket, too.
    pub fn serve_tcp(&self, socket: TcpListener) -> Result<(), String> {
        let address = socket.local_addr().map_err(cannot_start)?;
        limit_connections(&socket).map_err(|errno| cannot_start(errno.into()))?;
        let tls = self.secrets.certificate.as_ref().map(ServerCertificate::server_config).transpose()?;
        self.sockets.borrow_mut().tcp = Some(socket.as_fd().try_clone_to_owned().map_err(cannot_start)?);
        self.run(self.site.clone().serve(Socket::Tcp(socket, tls.map(Box::new))).map_err(cannot_start)?);
        self.address.set(Some(address));
        Ok(())
    }

    /// Serves on a bound unix socket, too, without TLS.
    pub fn serve_unix(&self, socket: UnixListener, path: PathBuf) -> Result<(), String> {
        socket.set_nonblocking(true).map_err(cannot_start)?;
        self.sockets.borrow_mut().unix = Some(socket.as_fd().try_clone_to_owned().map_err(cannot_start)?);
        self.run(self.site.clone().serve(Socket::Unix(socket)).map_err(cannot_start)?);
        self.socket_path.replace(Some(path));
        Ok(())
    }

    fn run(&self, server: Server) {
        self.servers.borrow_mut().push(server.handle());
        actix_web::rt::spawn(server);
    }

    /// Reads the token and the certificate again. A secret that cannot be read stays in use; the errors are returned.
    pub fn read_secrets_again(&self) -> Vec<String> {
        self.secrets.read_again()
    }

    /// Its TCP address; none while it has none.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.address.get()
    }

    /// Ends its answers within [`RESTART_STATUS_WAIT`], and returns its sockets, where new clients wait for the next
    /// program.
    pub async fn leave(&self) -> OpenSockets {
        let servers = self.servers.take();
        let ended = join_all(servers.iter().map(|server| server.stop(true)));
        // Those that take longer are interrupted.
        let _ = timeout(RESTART_STATUS_WAIT, ended).await;
        self.socket_path.take();
        self.sockets.take()
    }

    /// Stops it without waiting for readers.
    pub async fn stop(&self) {
        let servers = self.servers.take();
        for server in servers {
            server.stop(false).await;
        }
        if let Some(path) = self.socket_path.take() {
            // Another daemon may have replaced it already; then only its own clients lose the path for a moment.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn cannot_start(error: io::Error) -> String {
    format!("the status listener cannot be started: {error}")
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

/// What a server accepts connections on.
enum Socket {
    Tcp(TcpListener, Option<Box<ServerConfig>>),
    Unix(UnixListener),
}

/// Everything that is served.
#[derive(Clone)]
struct Site {
    gate: Arc<Gate>,
    clients: Arc<Clients>,
    peers: PeerRules,
    identity: Identity,
    view: Arc<dyn View>,
    rendered: Arc<RenderedAnswers>,
    parts: Vec<Part>,
}

impl Site {
    fn serve(self, socket: Socket) -> io::Result<Server> {
        let (clients, peers) = (Arc::clone(&self.clients), self.peers);
        let server = HttpServer::new(move || {
            let Self { gate, identity, view, rendered, parts, .. } = self.clone();
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
            .on_connect(move |connection, data| {
                peers.remember(connection, data);
                clients.count(connection, data);
            })
            .disable_signals();
        let server = match socket {
            Socket::Tcp(socket, Some(tls)) => server.listen_rustls_0_23(socket, *tls)?,
            Socket::Tcp(socket, None) => server.listen(socket)?,
            Socket::Unix(socket) => server.listen_uds(socket)?,
        };
        Ok(server.run())
    }
}

async fn unknown_path() -> HttpResponse {
    let detail = "unknown path; see /api/v1/openapi.json for the API";
    Problem::not_found(detail).answer()
}
