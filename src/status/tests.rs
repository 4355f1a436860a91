mod orders;
mod slow_clients;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use actix_web::web;
use hyper::Request;
use hyper::header::HOST;
use proxymgr_actors::clock::Clock;
use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::limits::STATUS_BODY_BYTES_MAX;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{ProcessInfo, ProxyVersion};
use proxymgr_actors::operator::{Order, OrderRefused};
use proxymgr_actors::snapshot::{ActorState, HaproxyState, ProxyPhase};

use super::access::Access;
use super::client::{self, DaemonAddress, StatusClient};
use super::concern::ConcernKind;
use super::listener::{StatusListener, bind};
use super::part::{self, Part};
use super::problem::Problem;
use super::view::{Asked, Identity, States, View};
use crate::http::Transport;

/// A daemon with fixed snapshots.
#[derive(Clone)]
struct Known(Result<ProxyPhase, String>);

impl View for Known {
    fn states(&self) -> Asked<'_, States> {
        let process = ProcessInfo {
            pid: 7,
            version: ProxyVersion { major: 2, minor: 6 },
            version_text: "2.6.12".into(),
            uptime_s: 1,
            stopping: false,
        };
        let state = |phase| HaproxyState { phase, process: Some(process), ..HaproxyState::default() };
        let states = self.0.clone().map(|phase| Arc::new(vec![ActorState::HaproxyState(state(phase))]));
        Box::pin(async { states })
    }

    fn journal(&self, query: ReadJournal) -> Asked<'_, Vec<JournalEntry>> {
        let entry = JournalEntry::new(Event::InputRefused { problem: format!("{query:?}") });
        Box::pin(async { vec![entry] })
    }

    fn order(&self, order: Order) -> Asked<'_, Result<String, OrderRefused>> {
        Box::pin(async move { Ok(format!("{order:?}")) })
    }
}

fn identity() -> Identity {
    let clock = Clock::starting_at(5_000);
    Identity {
        version: "0.1.0",
        commit: "abc",
        config_path: "/x".into(),
        started_at_unix_ms: 5_000,
        clock,
        listening: Arc::default(),
        dropped_records: Arc::default(),
        log_levels: Arc::default(),
        certificates: Arc::default(),
        restarts: Arc::default(),
    }
}

fn listen(view: Known) -> StatusListener {
    listen_with(view, Access { hosts: vec!["lb.example".into()], ..Access::default() }, part::own())
}

fn listen_with(view: impl View, access: Access, parts: Vec<Part>) -> StatusListener {
    let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    StatusListener::start(socket, access, identity(), Arc::new(view), parts).unwrap()
}

fn client_of(listener: &StatusListener) -> StatusClient {
    let url = client::url_of(listener.tcp_address().unwrap(), false);
    StatusClient::new(DaemonAddress { url, ..DaemonAddress::default() }).unwrap()
}

async fn get(listener: &StatusListener, path: &str, host: Option<&str>) -> (u16, String) {
    let mut request = Request::get(format!("{}{path}", client::url_of(listener.tcp_address().unwrap(), false)));
    if let Some(host) = host {
        request = request.header(HOST, host);
    }
    let mut response = Transport::new(None).send(request.body(Vec::new()).unwrap()).await.unwrap();
    let body = response.read(usize::MAX).await.unwrap();
    (response.status().as_u16(), String::from_utf8_lossy(&body).into_owned())
}

#[actix::test]
async fn running_daemon_is_healthy_and_ready() {
    let listener = listen(Known(Ok(ProxyPhase::Running)));
    assert_eq!(get(&listener, "/healthz", None).await, (200, "ok\n".into()));
    assert_eq!(get(&listener, "/readyz", None).await, (200, "ready\n".into()));
    let (json, report) = client_of(&listener).status().await.unwrap();
    assert!(json.contains("\"config_path\":\"/x\""), "{json}");
    assert_eq!(report.daemon.commit, "abc");
    assert_eq!(report.haproxy().unwrap().process.as_ref().unwrap().pid, 7);
    listener.stop().await;
}

#[actix::test]
async fn unready_daemon_has_reasons() {
    let listener = listen(Known(Ok(ProxyPhase::Down)));
    assert_eq!(get(&listener, "/healthz", None).await.0, 200);
    assert_eq!(get(&listener, "/readyz", None).await, (503, "HAProxy is not running\n".into()));
    listener.stop().await;
}

#[actix::test]
async fn silent_actor_is_named() {
    let listener = listen(Known(Err("HaproxyStateActor does not answer".into())));
    assert_eq!(get(&listener, "/readyz", None).await, (503, "HaproxyStateActor does not answer\n".into()));
    let (_, report) = client_of(&listener).status().await.unwrap();
    assert_eq!(report.concerns[0].kind, ConcernKind::ActorSilent);
    listener.stop().await;
}

#[actix::test]
async fn foreign_host_header_is_refused() {
    let listener = listen(Known(Ok(ProxyPhase::Running)));
    for host in ["localhost", "127.0.0.1:1", "lb.example"] {
        assert_eq!(get(&listener, "/api/v1/status", Some(host)).await.0, 200, "{host}");
    }
    for path in ["/healthz", "/api/v1/status", "/api/v1/journal"] {
        let (status, text) = get(&listener, path, Some("evil.example")).await;
        assert_eq!(status, 421, "{path}");
        assert!(text.contains("status.hosts"), "{text}");
    }
    listener.stop().await;
}

#[actix::test]
async fn journal_query_has_limit() {
    let listener = listen(Known(Ok(ProxyPhase::Running)));
    let (_, text) = get(&listener, "/api/v1/journal?service=web&server=a&after=5&limit=99999999", None).await;
    for part in ["service: Some(\\\"web\\\")", "server: Some(\\\"a\\\")", "after: Some(5)", "limit: Some(10000)"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(get(&listener, "/api/v1/journal?limit=many", None).await.0, 400);
    listener.stop().await;
}

#[actix::test]
async fn used_port_is_named() {
    let taken = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let error = bind(taken.local_addr().unwrap()).unwrap_err();
    assert!(error.contains(&taken.local_addr().unwrap().to_string()) && error.contains("status.listen"), "{error}");
}

#[actix::test]
async fn unreachable_daemon_is_named() {
    let free = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap().local_addr().unwrap();
    let place = DaemonAddress { url: client::url_of(free, false), ..DaemonAddress::default() };
    let error = StatusClient::new(place).unwrap().status().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("no proxymgr answers at http://{free}")), "{error}");
}

#[actix::test]
async fn errors_are_problem_objects_with_security_headers() {
    let listener = listen(Known(Ok(ProxyPhase::Running)));
    let url = client::url_of(listener.tcp_address().unwrap(), false);
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("POST", "/api/v1/status", 403),
        ("GET", "/api/v1/journal?limit=many", 400),
        ("GET", "/api/v1/journal?after=-1", 400),
        ("GET", "/api/v1/status", 200),
        ("HEAD", "/readyz", 200),
    ] {
        let request = Request::builder().method(method).uri(format!("{url}{path}")).body(Vec::new()).unwrap();
        let mut response = Transport::new(None).send(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        for (name, value) in [
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(
                response.headers().get(name).map(|value| value.to_str().unwrap()),
                Some(value),
                "{method} {path}"
            );
        }
        if status >= 400 {
            assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json", "{method} {path}");
            let problem: Problem = serde_json::from_slice(&response.read(usize::MAX).await.unwrap()).unwrap();
            assert_eq!(problem.status, status);
            assert!(!problem.detail.is_empty(), "{method} {path}");
        }
    }
    listener.stop().await;
}

#[actix::test]
async fn parts_register_endpoints() {
    let hello = Part::new(|config| {
        config.route("/hello/{name}", web::get().to(|name: web::Path<String>| async move { format!("hello, {name}") }));
    });
    let listener = listen_with(
        Known(Ok(ProxyPhase::Running)),
        Access::default(),
        part::own().into_iter().chain([hello]).collect(),
    );
    assert_eq!(get(&listener, "/hello/you", None).await, (200, "hello, you".into()));
    assert_eq!(get(&listener, "/hello/you", Some("evil.example")).await.0, 421, "the gate checks every part");
    assert_eq!(get(&listener, "/readyz", None).await.0, 200);
    listener.stop().await;
}
