//! The status listener: health, readiness, state and journal over HTTP, for reading only.
//!
//! It runs on one thread of its own and asks the actors by message, so that no reader of it, however slow, and no
//! answer of it, however large, delays a change.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, Query};
use actix_web::{App, Error, HttpResponse, HttpServer};
use proxymgr_actors::clock::Clock;
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::limits::JOURNAL_ENTRIES_MAX;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::snapshot::ActorState;
use proxymgr_actors::wiring::Actors;

use super::report::{DaemonFacts, Readiness, StatusReport};

/// Journal entries in an answer to a question that names no limit.
const JOURNAL_ENTRIES_DEFAULT: usize = 200;

/// Connections the listener keeps open at once.
const CONNECTIONS_MAX: usize = 256;

/// Whom the listener asks: the running actors, or a test.
pub trait View: Clone + Send + 'static {
    /// Every actor's snapshot, or which of them does not answer.
    fn states(&self) -> impl Future<Output = Result<Vec<ActorState>, String>>;
    /// What happened.
    fn journal(&self, query: ReadJournal) -> impl Future<Output = Vec<JournalEntry>>;
}

impl View for Actors {
    async fn states(&self) -> Result<Vec<ActorState>, String> {
        Self::states(self).await
    }
    async fn journal(&self, query: ReadJournal) -> Vec<JournalEntry> {
        Self::journal(self, query).await
    }
}

/// What the listener says of the daemon itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The daemon's version.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
    /// The haproxy.cfg it writes.
    pub config_path: String,
    /// When it started, in milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// What time it is.
    pub clock: Clock,
}

impl Identity {
    fn facts(&self) -> DaemonFacts {
        DaemonFacts {
            version: self.version.to_owned(),
            commit: self.commit.to_owned(),
            pid: std::process::id(),
            started_at_unix_ms: self.started_at_unix_ms,
            uptime_s: self.clock.unix_ms().saturating_sub(self.started_at_unix_ms) / 1_000,
            config_path: self.config_path.clone(),
        }
    }
}

/// The listener while it runs.
pub struct StatusListener {
    handle: ServerHandle,
    address: SocketAddr,
}

impl StatusListener {
    /// Serves on a socket that is bound already. The server runs until it is stopped or the actix system ends.
    pub fn start(socket: TcpListener, hosts: Vec<String>, identity: Identity, view: impl View) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let allowed = AllowedHosts { listen: address.ip(), names: hosts };
        let server = serve(socket, allowed, identity, view)?;
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

fn serve<V: View>(socket: TcpListener, allowed: AllowedHosts, identity: Identity, view: V) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        let allowed = Rc::new(allowed.clone());
        App::new()
            .app_data(Data::new(identity.clone()))
            .app_data(Data::new(view.clone()))
            .wrap(from_fn(move |request, next| check_host(Rc::clone(&allowed), request, next)))
            .route("/healthz", web::get().to(healthz::<V>))
            .route("/readyz", web::get().to(readyz::<V>))
            .route("/api/v1/status", web::get().to(status::<V>))
            .route("/api/v1/journal", web::get().to(journal::<V>))
            .default_service(web::to(not_found))
    });
    Ok(server.workers(1).max_connections(CONNECTIONS_MAX).disable_signals().listen(socket)?.run())
}

/// Whether every actor answers.
async fn healthz<V: View>(view: Data<V>) -> HttpResponse {
    match view.states().await {
        Ok(_) => HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n"),
        Err(stuck) => {
            HttpResponse::ServiceUnavailable().content_type("text/plain; charset=utf-8").body(format!("{stuck}\n"))
        }
    }
}

async fn readyz<V: View>(view: Data<V>) -> HttpResponse {
    let readiness = Readiness::of(&view.states().await);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = if readiness.ready { "ready\n".to_owned() } else { format!("{}\n", readiness.reasons.join("\n")) };
    HttpResponse::build(status).content_type("text/plain; charset=utf-8").body(text)
}

async fn status<V: View>(view: Data<V>, identity: Data<Identity>) -> HttpResponse {
    HttpResponse::Ok().json(StatusReport::of(identity.facts(), view.states().await))
}

async fn journal<V: View>(view: Data<V>, query: Query<ReadJournal>) -> HttpResponse {
    let mut query = query.into_inner();
    query.limit = Some(query.limit.unwrap_or(JOURNAL_ENTRIES_DEFAULT).min(JOURNAL_ENTRIES_MAX));
    HttpResponse::Ok().json(view.journal(query).await)
}

async fn not_found() -> HttpResponse {
    HttpResponse::NotFound()
        .content_type("text/plain; charset=utf-8")
        .body("there are GET /healthz, /readyz, /api/v1/status and /api/v1/journal?service=&server=&after=&limit=\n")
}

/// By which names the listener may be asked for. Without it, any web page could point a name of its own at this
/// address and have the visitor's browser read what stands here (DNS rebinding).
#[derive(Debug, Clone)]
struct AllowedHosts {
    listen: IpAddr,
    names: Vec<String>,
}

impl AllowedHosts {
    fn allow(&self, host: &str) -> bool {
        let name = host_without_port(host).to_ascii_lowercase();
        if let Ok(ip) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            // Nobody can make an address lead elsewhere; on all interfaces, any of ours may be meant.
            return ip.is_loopback() || ip == self.listen || self.listen.is_unspecified();
        }
        name == "localhost" || self.names.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name))
    }
}

fn host_without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

async fn check_host<B: MessageBody + 'static>(
    allowed: Rc<AllowedHosts>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let host = request.uri().host().map(ToOwned::to_owned).or_else(|| {
        request.headers().get(header::HOST).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    // Browsers always name the host; simple health checks by HTTP/1.0 do not, and are no danger.
    if host.as_deref().is_none_or(|host| allowed.allow(host)) {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    }
    let answer = HttpResponse::build(StatusCode::MISDIRECTED_REQUEST)
        .content_type("text/plain; charset=utf-8")
        .body("this name is not served here; set status.hosts to allow it\n");
    Ok(request.into_response(answer).map_into_right_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_are_answered_to() {
        let allowed = AllowedHosts { listen: "10.0.0.5".parse().unwrap(), names: vec!["lb.example".into()] };
        for host in
            ["localhost", "LOCALHOST:8470", "127.0.0.1:8470", "127.0.0.2", "[::1]:8470", "10.0.0.5", "lb.example:1"]
        {
            assert!(allowed.allow(host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:8470", "10.0.0.6", "localhost.evil.example", "", "127.0.0.1.evil.example"]
        {
            assert!(!allowed.allow(host), "{host}");
        }
    }

    #[test]
    fn on_all_interfaces_any_address_is_ours_but_no_name() {
        let allowed = AllowedHosts { listen: "0.0.0.0".parse().unwrap(), names: Vec::new() };
        assert!(allowed.allow("10.0.0.6:8470"));
        assert!(!allowed.allow("evil.example"));
    }
}
