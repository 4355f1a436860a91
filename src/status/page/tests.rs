use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Request;
use proxymgr_actors::clock::Clock;
use proxymgr_actors::history::History;
use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::limits::STATUS_STREAMS_MAX;
use proxymgr_actors::message::{ConfigState, ReadJournal, RunningConfig};
use proxymgr_actors::model::{
    Address, AdminState, BlockedChange, Endpoint, Host, HostList, OperatorChoice, Orderer, ProcessInfo, ProxyVersion,
    ServerName, ServerState, ServiceName,
};
use proxymgr_actors::operator::{Order, OrderRefused};
use proxymgr_actors::snapshot::{
    ActorState, DefinitionFacts, HaproxyState, JournalState, LastChange, ProxyPhase, ServerExceptions, ServiceState,
    WatcherState,
};

use super::{PageSettings, part};
use crate::http::{Response, Transport};
use crate::status::access::Access;
use crate::status::certificate_report::CertificateReport;
use crate::status::certificate_report::tests::shop;
use crate::status::client::url_of;
use crate::status::listener::{StatusListener, bind};
use crate::status::view::{Asked, Identity, States, View};

/// Text that would run as a script if it were not escaped.
const HOSTILE: &str = r#""><script>alert('x')</script><img src=x onerror=alert(1)>"#;

/// A daemon with hostile texts, if `hostile` is set, and with services that tests change.
#[derive(Default)]
struct World {
    services: Mutex<BTreeMap<&'static str, Vec<(&'static str, ServerState)>>>,
    sequence: AtomicU64,
    hostile: bool,
    certificates: Arc<CertificateReport>,
}

impl World {
    fn set(&self, service: &'static str, servers: &[(&'static str, ServerState)]) {
        self.services.lock().unwrap().insert(service, servers.to_vec());
        self.sequence.fetch_add(1, Ordering::SeqCst);
    }

    fn text(&self) -> Option<String> {
        self.hostile.then(|| HOSTILE.to_owned())
    }

    fn snapshots(&self) -> Vec<ActorState> {
        let process = ProcessInfo {
            pid: 7,
            version: ProxyVersion { major: 2, minor: 6 },
            version_text: self.text().unwrap_or_else(|| "2.6.12".to_owned()),
            uptime_s: 1,
            stopping: false,
        };
        let mut haproxy =
            HaproxyState { phase: ProxyPhase::Running, process: Some(process), ..HaproxyState::default() };
        haproxy.last_reload = self.text().into_iter().collect();
        haproxy.last_reload_unix_ms = Some(1);
        haproxy.reload_due = self.text().into_iter().collect();
        let mut states = Vec::new();
        for (name, servers) in &*self.services.lock().unwrap() {
            let named = |(name, state): &(&str, ServerState)| (ServerName::new(name).unwrap(), *state);
            let servers: BTreeMap<_, _> = servers.iter().map(named).collect();
            let endpoint = Endpoint::Tcp { address: Address::parse("10.0.0.1").unwrap(), port: 80.try_into().unwrap() };
            let hosts: HostList =
                servers.keys().map(|name| (name.clone(), Host::at(endpoint.clone()).into())).collect();
            let mut watcher = WatcherState { service: (*name).to_owned(), ..WatcherState::default() };
            watcher.source_kind = self.text().unwrap_or_else(|| "file".to_owned());
            watcher.hosts = Some(Arc::new(hosts));
            watcher.source.error = self.text();
            watcher.problems = self.text().into_iter().map(|text| (text.clone(), text)).collect();
            watcher.held = self.text().map(|reason| {
                let mut held = BlockedChange { reason, ..BlockedChange::default() };
                held.removes.count = 1;
                held.removes.first = vec![HOSTILE.to_owned()];
                held
            });
            states.push(ActorState::Watcher(watcher));
            let mut exceptions = ServerExceptions::default();
            for name in servers.keys().filter(|_| self.hostile) {
                let choice = OperatorChoice {
                    state: AdminState::Drain,
                    reason: self.text(),
                    since_unix_ms: 1,
                    until_unix_ms: Some(2),
                    gone_unix_ms: None,
                    by: Some(Orderer { who: HOSTILE.to_owned(), from: HOSTILE.to_owned() }),
                };
                exceptions.operator.insert(name.clone(), choice);
            }
            let defined = DefinitionFacts {
                origin: self.text().unwrap_or_default().into(),
                domains: self.text().into_iter().collect(),
                tags: self.text().into_iter().collect(),
                ..DefinitionFacts::default()
            };
            let service = ServiceState {
                defined,
                exceptions,
                listen: Some("127.0.0.1:80".to_owned()),
                desired: servers.len(),
                servers: Arc::new(servers),
                problem: self.text(),
                last: LastChange { class: self.text(), applied_unix_ms: Some(1), took_us: None },
                ..ServiceState::default()
            };
            haproxy.services.insert(ServiceName::new(name).unwrap(), service);
        }
        states.push(ActorState::HaproxyState(haproxy));
        let newest = self.sequence.load(Ordering::SeqCst);
        states.push(ActorState::Journal(JournalState { newest, ..JournalState::default() }));
        states
    }
}

impl View for World {
    fn states(&self) -> Asked<'_, States> {
        Box::pin(async { Ok(Arc::new(self.snapshots())) })
    }

    fn journal(&self, query: ReadJournal) -> Asked<'_, Vec<JournalEntry>> {
        let sequence = self.sequence.load(Ordering::SeqCst);
        let service = query.service.as_deref().and_then(|name| ServiceName::new(name).ok());
        let entry = |event| {
            let mut entry = JournalEntry::new(event);
            entry.sequence = sequence;
            entry.service = service.clone();
            entry.server = ServerName::new("10.0.0.1:80").ok();
            entry
        };
        let command = |accepted| Event::Commanded { command: HOSTILE.into(), answer: HOSTILE.into(), accepted };
        let entries = [command(true), command(false), Event::Failed { error: HOSTILE.into() }].map(entry);
        let is_wanted = query.after.is_none_or(|after| sequence > after);
        Box::pin(async move { if is_wanted { entries.to_vec() } else { Vec::new() } })
    }

    fn order(&self, _: Order) -> Asked<'_, Result<String, OrderRefused>> {
        Box::pin(async { Ok("done".to_owned()) })
    }

    fn history(&self) -> Asked<'_, History> {
        let mut history = History::default();
        let causes = Default::default();
        history.add(&JournalEntry::new(Event::Reloaded { reasons: vec![HOSTILE.into()], causes, pid: 7, took_ms: 3 }));
        history.add(&JournalEntry::new(Event::ProxyExited { pid: 7, how: HOSTILE.into() }));
        Box::pin(async { history })
    }

    fn config(&self) -> Asked<'_, Result<ConfigState, String>> {
        let section = format!("listen web\n    http-request deny # {HOSTILE}\n");
        let sections = BTreeMap::from([(ServiceName::new("web").unwrap(), section.into())]);
        let base_config: Arc<str> = format!("global\n    # {HOSTILE}\n").into();
        let pieces = std::iter::once(base_config.clone()).chain(sections.values().cloned()).collect();
        let running = Some(RunningConfig { pieces, base_config, sections, frontends: Vec::new() });
        let state = ConfigState {
            running,
            next_base: HOSTILE.into(),
            next_style: Default::default(),
            map_path: "/x".into(),
            next: Vec::new(),
        };
        Box::pin(async { Ok(state) })
    }
}

fn listen(world: &Arc<World>) -> StatusListener {
    let clock = Clock::starting_at(5_000);
    let identity = Identity {
        version: "0.1.0",
        commit: "abc",
        config_path: "/x".into(),
        started_at_unix_ms: 5_000,
        clock,
        listening: Arc::default(),
        dropped_records: Arc::default(),
        log_levels: Arc::default(),
        certificates: Arc::clone(&world.certificates),
        restarts: Arc::default(),
    };
    let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let view: Arc<dyn View> = Arc::clone(world) as _;
    let page = part(Arc::clone(&view), identity.clone(), PageSettings { has_token: true, ..PageSettings::default() });
    StatusListener::start(socket, Access::default(), identity, view, vec![page]).unwrap()
}

async fn open(listener: &StatusListener, path: &str) -> Response {
    let request = Request::get(format!("{}{path}", url_of(listener.tcp_address().unwrap(), false)));
    Transport::new(None).send(request.body(Vec::new()).unwrap()).await.unwrap()
}

async fn get(listener: &StatusListener, path: &str) -> (u16, String) {
    let mut response = open(listener, path).await;
    let body = response.read(10_000_000).await.unwrap();
    (response.status().as_u16(), String::from_utf8(body).unwrap())
}

#[actix::test]
async fn hostile_text_is_escaped_on_every_page() {
    let world = Arc::new(World { hostile: true, ..World::default() });
    world.set("web", &[("10.0.0.1:80", ServerState::Down)]);
    world.certificates.set(&shop(HOSTILE, HOSTILE), &[HOSTILE.into()], 1_000);
    let listener = listen(&world);
    for path in [
        "/",
        "/services/web",
        "/services/web/servers/10.0.0.1:80",
        "/hosts/10.0.0.1",
        "/journal?service=%22%3E%3Cscript%3E&server=%3Cscript%3E",
        "/config",
        "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
    ] {
        let (status, html) = get(&listener, path).await;
        assert_eq!(status, 200, "{path}: {html}");
        let lower = html.to_lowercase();
        assert_eq!(lower.matches("<script").count(), 1, "{path}: only our own script\n{html}");
        assert!(!lower.contains("<img"), "{path}\n{html}");
        assert!(!lower.contains(" style="), "{path}: the policy forbids it\n{html}");
        assert!(path.contains("?q=") || lower.contains("alert("), "{path}: the text itself is shown");
    }
    listener.stop().await;
}

#[actix::test]
async fn overview_has_certificates_if_there_are_any() {
    let world = Arc::new(World::default());
    let listener = listen(&world);
    let (_, html) = get(&listener, "/").await;
    assert!(!html.contains("certificates-title"), "{html}");
    listener.stop().await;
    world.certificates.set(&shop("CN=Shop", "the key is missing"), &[], 1_000);
    let listener = listen(&world);
    let (_, html) = get(&listener, "/").await;
    for text in ["CN=Shop", "shop.example", "in 0 days", "1970-01-01", "the key is missing"] {
        assert!(html.contains(text), "{text}\n{html}");
    }
    assert!(!html.contains("PRIVATE KEY"));
    listener.stop().await;
}

#[actix::test]
async fn every_page_has_a_content_security_policy() {
    let world = Arc::new(World::default());
    world.set("web", &[("10.0.0.1:80", ServerState::Ready)]);
    let listener = listen(&world);
    for path in ["/", "/services/web", "/services/none", "/hosts/10.0.0.1", "/hosts/none", "/journal", "/config"] {
        let response = open(&listener, path).await;
        let policy = response.headers().get("content-security-policy").and_then(|value| value.to_str().ok());
        assert!(policy.is_some_and(|policy| policy.contains("default-src 'none'") && !policy.contains("unsafe")));
    }
    let (status, html) = get(&listener, "/services/none").await;
    assert_eq!(status, 404);
    assert!(html.contains("No service has this name"), "{html}");
    listener.stop().await;
}

#[actix::test]
async fn overview_is_complete_without_scripts() {
    let world = Arc::new(World::default());
    world.set("web", &[("10.0.0.1:80", ServerState::Ready), ("10.0.0.2:80", ServerState::Ready)]);
    world.set("api", &[("10.0.1.1:80", ServerState::Down)]);
    let listener = listen(&world);
    let (_, html) = get(&listener, "/").await;
    assert!(html.contains("1 problem: HAProxy serves 2 services on 3 hosts"), "{html}");
    let place = |name: &str| html.find(&format!("data-name=\"{name}\"")).expect("the service has a line");
    assert!(place("api") < place("web"), "problems come first");
    let (_, html) = get(&listener, "/?sort=name&problems=1").await;
    assert!(html.contains("<tr hidden data-name=\"web\""), "{html}");
    assert!(html.contains("<tr data-name=\"api\""), "{html}");
    listener.stop().await;
}

#[actix::test]
async fn services_are_found_by_address_of_host() {
    let world = Arc::new(World::default());
    world.set("web", &[("10.0.0.1:80", ServerState::Ready)]);
    world.set("api", &[("10.0.1.1:80", ServerState::Down)]);
    let listener = listen(&world);
    let found = async |text: &str| get(&listener, &format!("/find?q={text}")).await.1;
    assert_eq!(found("10.0.1").await, r#"{"services":["api"],"host":null}"#);
    assert_eq!(found("10.0.1.1:80").await, r#"{"services":["api"],"host":"10.0.1.1:80"}"#);
    assert_eq!(found("10").await, r#"{"services":[],"host":null}"#);
    let (_, html) = get(&listener, "/?q=10.0.1.1:80").await;
    assert!(html.contains("<tr hidden data-name=\"web\""), "{html}");
    assert!(html.contains("<tr data-name=\"api\"") && html.contains("/hosts/10.0.1.1:80"), "{html}");
    let (_, html) = get(&listener, "/hosts/10.0.0.1").await;
    assert!(html.contains("/services/web/servers/10.0.0.1:80"), "{html}");
    listener.stop().await;
}

#[actix::test]
async fn row_has_reason_of_its_problem() {
    let world = Arc::new(World::default());
    world.set("web", &[("10.0.0.1:80", ServerState::Ready), ("10.0.0.2:80", ServerState::Down)]);
    world.set("api", &[("10.0.1.1:80", ServerState::Down)]);
    let listener = listen(&world);
    let (_, html) = get(&listener, "/").await;
    for reason in ["reason warning\">1 down<", "reason critical\">no server takes traffic: 1 down<"] {
        assert!(html.contains(reason), "{reason}\n{html}");
    }
    listener.stop().await;
}

#[actix::test]
async fn servers_are_in_numeric_order() {
    let world = Arc::new(World::default());
    world.set("web", &[("10.0.0.10:80", ServerState::Ready), ("10.0.0.9:80", ServerState::Ready)]);
    let listener = listen(&world);
    let (_, html) = get(&listener, "/services/web").await;
    let place = |name: &str| html.find(&format!("data-server=\"{name}\"")).expect("the server has a line");
    assert!(place("10.0.0.9:80") < place("10.0.0.10:80"));
    listener.stop().await;
}

#[actix::test]
async fn assets_are_served_at_their_paths() {
    let listener = listen(&Arc::new(World::default()));
    let (_, html) = get(&listener, "/").await;
    let paths = html.split('"').filter(|text| text.starts_with("&#x2f;assets")).map(|text| text.replace("&#x2f;", "/"));
    let paths: Vec<String> = paths.collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    for path in paths {
        assert_eq!(get(&listener, &path).await.0, 200, "{path}");
    }
    assert_eq!(get(&listener, "/assets/page.0000000000000000.js").await.0, 404);
    listener.stop().await;
}

/// Reads a stream until this text was received.
async fn read_until(stream: &mut Response, text: &str) -> String {
    let mut seen = String::new();
    let read = async {
        while !seen.contains(text) {
            let bytes = stream.chunk().await.unwrap().expect("the stream goes on");
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), read).await.is_ok();
    assert!(in_time, "`{text}` did not come, but: {seen}");
    seen
}

#[actix::test]
async fn reader_receives_changes_since_its_tick() {
    let world = Arc::new(World::default());
    world.set("web", &[("10.0.0.1:80", ServerState::Ready)]);
    let listener = listen(&world);
    let (_, html) = get(&listener, "/").await;
    let tick = html.split("data-tick=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let mut stream = open(&listener, &format!("/events?tick={tick}")).await;
    let first = read_until(&mut stream, "event: update").await;
    assert!(first.contains("event: hello"), "{first}");
    assert!(!first.contains("data-name"), "the reader has this row already: {first}");
    world.set("web", &[("10.0.0.1:80", ServerState::Maint)]);
    let next = read_until(&mut stream, "data-name=\\\"web\\\"").await;
    assert!(next.contains("\"headline\""), "the headline changed as well: {next}");
    world.services.lock().unwrap().remove("web");
    world.sequence.fetch_add(1, Ordering::SeqCst);
    read_until(&mut stream, "\"gone\":[\"web\"]").await;
    listener.stop().await;
}

#[actix::test]
async fn number_of_streams_is_limited() {
    let world = Arc::new(World::default());
    world.set("web", &[("10.0.0.1:80", ServerState::Ready)]);
    let view: Arc<dyn View> = Arc::clone(&world) as _;
    let clock = Clock::starting_at(5_000);
    let identity = Identity {
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
    };
    let board = std::rc::Rc::new(super::board::Board::new(view, identity, None));
    let streams = super::stream::Streams::new(board);
    let mut open = Vec::new();
    for _ in 0..STATUS_STREAMS_MAX {
        open.push(Box::pin(streams.open(0).await.expect("there is room")));
    }
    assert!(streams.open(0).await.is_none());
    open.pop();
    assert!(streams.open(0).await.is_some(), "a slot is free again once its reader is gone");
}
