//! Marathon and Mesos, simulated by servers that answer in the documented format, fail, stall or send invalid data.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use discovery::inbox::{Hosts, Inbox, hosts, level, texts};
use discovery::kinds::{open, sources, spec};
use discovery::marathon_kind::{EVENT, marathon, script, task, web};
use discovery::proxy::{Fault, Proxy};
use proxymgr::discovery::http::{Credentials, HttpOptions};
use proxymgr::discovery::marathon::{HostPorts, Marathon, MarathonDefinitions, MarathonOptions};
use proxymgr::discovery::mesos::MesosOptions;
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen};
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use serde_json::{Value, json};
use slog::{Logger, o};
use support::daemon::Daemon;
use support::dir::TestDir;
use support::eventually::{check, eventually, stays};
use support::http;
use support::scripted_server::{Reply, ScriptedServer};

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";
const HOUR: Duration = Duration::from_secs(3_600);

fn tasks<const N: usize>(endpoints: [&str; N]) -> Hosts {
    endpoints.into_iter().map(|endpoint| (format!("web.{endpoint}"), Some(endpoint.to_owned()))).collect()
}

fn watch(marathon: Marathon) -> (Inbox<HostsSeen>, Box<dyn OpenSource>) {
    let inbox = Inbox::new();
    let sources = sources().0.with_marathon(marathon);
    let source = open(&sources, &spec("marathon", json!({"app": "web"})), &inbox).unwrap();
    (inbox, source)
}

/// A server whose apps can change without an event, with or without an event stream.
struct Quiet {
    server: ScriptedServer,
    apps: Arc<Mutex<Value>>,
}

impl Quiet {
    /// Starts it; `events` is the answer to `/v2/events`.
    async fn start(apps: Value, events: Reply) -> Self {
        let apps = Arc::new(Mutex::new(apps));
        let shown = apps.clone();
        let server = ScriptedServer::start(move |path| match path.split('?').next().unwrap_or_default() {
            "/v2/apps" => Reply::ok(shown.lock().unwrap().to_string()),
            "/v2/events" => events.clone(),
            "/ping" => Reply::ok("pong"),
            _ => Reply::status("404 Not Found"),
        });
        Self { server: server.await, apps }
    }

    fn show(&self, tasks: &[Value]) {
        *self.apps.lock().unwrap() = web(tasks);
    }

    async fn until_streams(&self, count: usize) {
        let what = format!("{count} streams are open");
        let probe = async || check(self.server.streams() == count, &self.server.streams());
        eventually(Duration::from_secs(20), &what, probe).await;
    }
}

#[actix::test]
async fn events_trigger_reads_and_bursts_are_merged() {
    for is_chunked in [false, true] {
        let marathon_server = Quiet::start(web(&[task(A, Some(true))]), Reply::Stream { is_chunked }).await;
        let (mut inbox, _source) = watch(marathon(&[&marathon_server.server], HOUR));
        inbox.until_hosts(&tasks([A])).await;
        marathon_server.until_streams(1).await;
        let count = |path: &str| marathon_server.server.heads().iter().filter(|head| head.starts_with(path)).count();
        let reads = || count("GET /v2/apps?");
        // The read at the start of the stream, and the delayed read after it, come first.
        eventually(Duration::from_secs(20), "three readings", async || check(reads() == 3, &reads())).await;
        marathon_server.show(&[task(A, Some(true)), task(B, Some(true))]);
        let changed = Instant::now();
        for _ in 0..200 {
            marathon_server.server.push(EVENT);
        }
        inbox.until_hosts(&tasks([A, B])).await;
        assert!(changed.elapsed() < Duration::from_secs(1), "{:?}", changed.elapsed());
        // Other events cause no read.
        marathon_server.server.push("event: api_post_event\ndata: {}\n\n");
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!((4..=6).contains(&reads()), "200 events at once, and a delayed read: {} reads", reads());
        assert_eq!(count("GET /v2/events"), 1, "the stream is read for as long as it lasts");
    }
}

#[actix::test]
async fn apps_are_polled_without_events() {
    let marathon_server = Quiet::start(web(&[task(A, Some(true))]), Reply::status("404 Not Found")).await;
    let (mut inbox, _source) = watch(marathon(&[&marathon_server.server], Duration::from_millis(200)));
    inbox.until_hosts(&tasks([A])).await;
    marathon_server.show(&[task(B, Some(true))]);
    inbox.until_hosts(&tasks([B])).await;
}

#[actix::test]
async fn unknown_health_after_leader_change_keeps_the_task() {
    let marathon_server =
        Quiet::start(web(&[task(A, Some(true)), task(B, Some(false))]), Reply::status("404 Not Found")).await;
    let (mut inbox, _source) = watch(marathon(&[&marathon_server.server], Duration::from_millis(100)));
    assert_eq!(level(&inbox.next().await), Ok(tasks([A])));
    marathon_server.show(&[task(A, None), task(B, None), task("10.0.0.3:80", None)]);
    stays(Duration::from_secs(1), "nothing changes", async || check(inbox.waiting().is_empty(), &())).await;
    marathon_server.show(&[task(A, Some(true)), task(B, Some(true)), task("10.0.0.3:80", Some(true))]);
    inbox.until_hosts(&tasks([A, B, "10.0.0.3:80"])).await;
    marathon_server.show(&[task(A, Some(false)), task(B, Some(true)), task("10.0.0.3:80", Some(true))]);
    inbox.until_hosts(&tasks([B, "10.0.0.3:80"])).await;
}

#[actix::test]
async fn unknown_health_at_start_is_an_invalid_entry() {
    let marathon_server =
        Quiet::start(web(&[task(A, None), task(B, Some(true))]), Reply::status("404 Not Found")).await;
    let (mut inbox, _source) = watch(marathon(&[&marathon_server.server], Duration::from_millis(100)));
    let seen = inbox.next().await;
    let mut expected = tasks([B]);
    expected.insert(format!("web.{A}"), None);
    assert_eq!(level(&seen), Ok(expected));
    marathon_server.show(&[task(A, Some(true)), task(B, Some(true))]);
    inbox.until_hosts(&tasks([A, B])).await;
}

#[actix::test]
async fn invalid_responses_are_errors() {
    let server = ScriptedServer::start(script(web(&[task(A, Some(true))]).to_string())).await;
    let (mut inbox, source) = watch(marathon(&[&server], Duration::from_millis(200)));
    inbox.until_hosts(&tasks([A])).await;
    let without_tasks = json!({"apps": [{"id": "/web", "labels": {}}]}).to_string();
    let cut_short = web(&[task(A, Some(true))]).to_string().split_off(20);
    for (lie, words) in [
        (Reply::ok("<html>maintenance</html>"), "the answer is an HTML page"),
        (Reply::ok(cut_short), "the answer is not one of Marathon"),
        (Reply::ok(without_tasks), "the answer is not one of Marathon"),
        (Reply::ok("{\"message\": \"no leader\"}"), "the answer is not one of Marathon: no leader"),
        (Reply::status("500 Internal Server Error"), "status 500"),
        (Reply::status("404 Not Found"), "status 404"),
        (Reply::redirect("//127.0.0.1:1/v2/apps"), "connection refused at http://127.0.0.1:1 after a redirect: "),
        (Reply::Close, "without an answer"),
    ] {
        server.follow(move |_| lie.clone());
        let (error, before) = inbox.until_error().await;
        assert!(error.contains(words), "{words}: {error}");
        assert!(before.is_empty(), "only the error is reported: {before:?}");
        server.follow(script(web(&[task(A, Some(true))]).to_string()));
        source.refresh();
        inbox.until_hosts(&tasks([A])).await;
    }
    // A missing app is an error, too, and no empty list.
    server.follow(script(json!({"apps": []}).to_string()));
    assert!(inbox.until_error().await.0.contains("/web"));
}

#[actix::test]
async fn stalling_server_leads_to_the_next() {
    let stalling = ScriptedServer::start(|_| Reply::Stall).await;
    let good = ScriptedServer::start(script(web(&[task(A, Some(true))]).to_string())).await;
    let (mut both, _both) = watch(marathon(&[&stalling, &good], HOUR));
    let (mut alone, _alone) = watch(marathon(&[&stalling], HOUR));
    both.until_hosts(&tasks([A])).await;
    assert!(alone.until_error().await.0.contains("no answer within 10 s"));
}

#[actix::test]
async fn redirect_loop_is_an_error() {
    let server = ScriptedServer::start(Reply::redirect).await;
    let (mut inbox, _source) = watch(marathon(&[&server], HOUR));
    let error = inbox.next().await.result.unwrap_err();
    assert!(error.contains("status 307"), "{error}");
    let asked = server.heads().iter().filter(|head| head.starts_with("GET /v2/apps")).count();
    assert!(asked <= 6, "{asked}");
}

#[actix::test]
async fn credentials_are_sent_and_never_logged() {
    let server = ScriptedServer::start(|_| Reply::Send("401 Unauthorized", String::new(), "bad hunter2".into())).await;
    let options = MarathonOptions {
        servers: server.url().parse().unwrap(),
        http: HttpOptions {
            credentials: Credentials::Basic { user: "proxymgr".into(), password: "hunter2".into() },
            ..HttpOptions::default()
        },
        interval: HOUR,
        callback: None,
        host_ports: HostPorts::Assigned,
    };
    assert!(!format!("{options:?}").contains("hunter2"));
    let (mut inbox, _source) = watch(Marathon::new(options, &Logger::root(slog::Discard, o!())));
    let error = inbox.next().await.result.unwrap_err();
    assert!(error.contains("status 401") && !error.contains("hunter2"), "{error}");
    let heads = server.heads();
    assert!(
        heads.iter().all(|head| head.to_lowercase().contains("authorization: basic chjvehltz3i6ahvudgvymg==")),
        "{heads:?}"
    );
}

#[actix::test]
async fn apps_are_definitions_and_none_is_an_error() {
    let recorded = include_str!("recorded/marathon/apps.json");
    let server = ScriptedServer::start(script(recorded.to_owned())).await;
    let mut inbox: Inbox<DefinitionsSeen> = Inbox::new();
    let definitions = MarathonDefinitions::new(marathon(&[&server], HOUR));
    let source = definitions.open(inbox.recipient.clone());
    let all = texts(&inbox.next().await).unwrap();
    assert_eq!(all.len(), 8);
    assert!(all["marathon_registry_5000"].contains("\"app\":\"/registry\""));
    server.follow(script(json!({"apps": []}).to_string()));
    let (seen, _) = inbox.until("an error".into(), |seen| seen.result.is_err()).await;
    assert!(seen.result.is_err());
    server.follow(script(web(&[]).to_string()));
    let only_web =
        |seen: &DefinitionsSeen| texts(seen).is_ok_and(|texts| Vec::from_iter(texts.keys()) == ["marathon_web_8080"]);
    inbox.until("one app".into(), only_web).await;
    source.refresh();
    inbox.until("one app, reported again".into(), only_web).await;
}

// ---- events that Marathon posts -----------------------------------------------------------------------------------

/// Returns the URL that was registered, as a path.
fn registered(server: &ScriptedServer) -> Option<String> {
    let heads = server.heads();
    let head = heads.iter().rev().find(|head| head.starts_with("POST /v2/eventSubscriptions?callbackUrl="))?;
    let url = head.split(' ').nth(1)?.split_once('=')?.1;
    let url = percent_encoding::percent_decode_str(url).decode_utf8().ok()?;
    Some(url[url.find("/callbacks/")?..].to_owned())
}

#[actix::test]
async fn callback_is_registered_and_accepts_events_only() {
    let dir = TestDir::new();
    let shown = Arc::new(Mutex::new(web(&[task(A, Some(true))])));
    let apps = shown.clone();
    let left_over = format!("http://127.0.0.1:{}", dir.port());
    let callbacks =
        json!({"callbackUrls": [format!("{left_over}/callbacks/marathon/old"), "http://other/x"]}).to_string();
    let server = ScriptedServer::start(move |path| match path.split('?').next().unwrap_or_default() {
        "/v2/apps" => Reply::ok(apps.lock().unwrap().to_string()),
        "/v2/eventSubscriptions" => Reply::ok(callbacks.clone()),
        _ => Reply::status("404 Not Found"),
    });
    let server = server.await;
    let files = dir.subdir("services");
    files.write("web.json", json!({"type": "marathon", "app": "/web", "port": dir.port()}).to_string());
    let mut daemon = Daemon::builder(env!("CARGO_BIN_EXE_proxymgr"), &dir)
        .files(files.path())
        .set("marathon.servers", json!(server.url()))
        .set("marathon.interval", json!("1h"))
        .set("status.listen", json!(left_over.trim_start_matches("http://")))
        .set("marathon.callback", json!(left_over))
        .start();
    let status: SocketAddr = left_over.trim_start_matches("http://").parse().unwrap();
    let limit = Duration::from_secs(20);
    let path =
        daemon.eventually(limit, "the callback is registered", async || registered(&server).ok_or("not yet")).await;
    let asked = |start: &str| server.heads().iter().filter(|head| head.starts_with(start)).count();
    assert_eq!(asked("DELETE /v2/eventSubscriptions?callbackUrl=http%3A%2F%2F127.0.0.1"), 1, "of an earlier run");
    assert_eq!(asked("DELETE /v2/eventSubscriptions?callbackUrl=http%3A%2F%2Fother"), 0, "of another program");
    let servers = async || {
        let answer = http::get(status, "/api/v1/services/web/servers").await.map_err(|error| error.to_string())?;
        Ok::<_, String>(answer.text())
    };
    let has = async |endpoint: &str| servers().await.and_then(|text| check(text.contains(endpoint), &text));
    daemon.eventually(limit, "the first host", async || has(A).await).await;

    let reads = asked("GET /v2/apps");
    *shown.lock().unwrap() = web(&[task(A, Some(true)), task(B, Some(true))]);
    let event = json!({"eventType": "status_update_event", "taskStatus": "TASK_RUNNING"}).to_string();
    for (path, body, expected) in [
        ("/callbacks/marathon/0123", event.as_str(), 404),
        (path.as_str(), "garbage", 400),
        (path.as_str(), "{\"eventType\": \"api_post_event\"}", 204),
    ] {
        let answer = http::request(status, "POST", path, &[], body).await.unwrap();
        assert_eq!(answer.status, expected, "{path} {body}: {}", answer.text());
    }
    stays(Duration::from_secs(1), "nothing is read", async || check(asked("GET /v2/apps") == reads, &reads)).await;
    assert_eq!(http::request(status, "POST", &path, &[], &event).await.unwrap().status, 204);
    daemon.eventually(limit, "the second host", async || has(B).await).await;

    let secret = path.rsplit_once('/').unwrap().1;
    assert!(!daemon.log().contains(secret), "{}", daemon.log());
    daemon.terminate().await;
    let farewell = format!("DELETE /v2/eventSubscriptions?callbackUrl=http%3A%2F%2F127.0.0.1%3A{}", status.port());
    let heads = server.heads();
    assert!(heads.iter().any(|head| head.starts_with(&farewell) && head.contains(secret)), "{heads:?}");
}

// ---- Mesos ------------------------------------------------------------------------------------------------------

/// Masters, and the leader that each of them reports; `None` if it knows none.
struct Masters {
    servers: Vec<ScriptedServer>,
    names: BTreeMap<usize, Arc<Mutex<Option<String>>>>,
}

impl Masters {
    async fn start(count: usize) -> Self {
        let mut masters = Self { servers: Vec::new(), names: BTreeMap::new() };
        for place in 0..count {
            let named: Arc<Mutex<Option<String>>> = Arc::default();
            masters.names.insert(place, named.clone());
            let server = ScriptedServer::start(move |_| match &*named.lock().unwrap() {
                Some(leader) => Reply::redirect(&format!("//{leader}")),
                None => Reply::status("503 Service Unavailable"),
            });
            masters.servers.push(server.await);
        }
        masters
    }

    fn name(&self, master: usize, leader: Option<&str>) {
        *self.names[&master].lock().unwrap() = leader.map(str::to_owned);
    }

    fn watch(&self) -> (Inbox<HostsSeen>, Box<dyn OpenSource>) {
        watch_masters(&Vec::from_iter(self.servers.iter().map(ScriptedServer::url)))
    }
}

fn watch_masters(urls: &[String]) -> (Inbox<HostsSeen>, Box<dyn OpenSource>) {
    let inbox = Inbox::new();
    let options = MesosOptions { interval: Duration::from_millis(100), ..MesosOptions::default() };
    let source = open(&sources().0.with_mesos(options), &spec("mesos", json!({"masters": urls})), &inbox).unwrap();
    (inbox, source)
}

fn one(leader: &str) -> Hosts {
    hosts([(leader, Some(leader))])
}

#[actix::test]
async fn majority_of_masters_decides_the_leader() {
    let masters = Masters::start(3).await;
    (0..3).for_each(|master| masters.name(master, Some("10.0.0.1:5050")));
    let (mut inbox, source) = masters.watch();
    inbox.until_hosts(&one("10.0.0.1:5050")).await;
    masters.name(2, Some("10.0.0.9:5050"));
    stays(Duration::from_secs(1), "the leader stays", async || check(inbox.waiting().is_empty(), &())).await;
    // During an election one master does not know the new leader yet, two do.
    masters.name(1, Some("10.0.0.9:5050"));
    inbox.until_hosts(&one("10.0.0.9:5050")).await;
    // Without a leader, the last leader stays and the source is unreachable.
    (0..3).for_each(|master| masters.name(master, None));
    assert!(inbox.until_error().await.0.contains("status 503"));
    masters.name(0, Some("10.0.0.2:5050"));
    inbox.until_hosts(&one("10.0.0.2:5050")).await;
    source.refresh();
    inbox.until_hosts(&one("10.0.0.2:5050")).await;
}

#[actix::test]
async fn answers_of_something_else_name_no_leader() {
    let masters = Masters::start(1).await;
    masters.name(0, Some("10.0.0.1:5050"));
    let proxy = Proxy::to(masters.servers[0].address().port()).await;
    let (mut inbox, source) = watch_masters(&[format!("http://{}", proxy.address())]);
    inbox.until_hosts(&one("10.0.0.1:5050")).await;
    let answer = |head: &str, body: &str| {
        Fault::Send(format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    };
    let html = "<html><body>login</body></html>";
    let cuts = (0..70).step_by(7).map(Fault::Cut);
    let others = [
        answer("302 Found\r\nlocation: https://login.example/", html),
        answer("301 Moved\r\nlocation: https://m1:5050/master/redirect", ""),
        answer("200 OK", html),
        answer("200 OK", ""),
        answer("429 Too Many", html),
        answer("502 Bad Gateway", html),
    ];
    for fault in cuts.chain(others) {
        proxy.set(fault.clone());
        source.refresh();
        let error = inbox.next().await.result.expect_err("no leader is named");
        assert!(error.len() < 200 && !error.contains('<'), "{fault:?}: {error}");
    }
    proxy.heal();
    source.refresh();
    inbox.until_hosts(&one("10.0.0.1:5050")).await;
}

#[actix::test]
async fn leader_may_come_from_the_state() {
    let recorded = include_str!("recorded/mesos/state.json");
    let server = ScriptedServer::start(move |path| match path {
        "/master/state" => Reply::ok(recorded),
        _ => Reply::status("404 Not Found"),
    })
    .await;
    let (mut inbox, _source) = watch_masters(&[server.url()]);
    inbox.until_hosts(&one("10.141.141.10:5050")).await;
    server.follow(|path| match path {
        "/master/state" => Reply::ok("{\"leader\": \"master@10.141.141.11:5050\"}"),
        _ => Reply::redirect("/somewhere"),
    });
    inbox.until_hosts(&one("10.141.141.11:5050")).await;
    server.follow(|_| Reply::ok("{}"));
    inbox.until_error().await;
    server.follow(|path| Reply::redirect(&format!("//0.0.0.0:5050{path}")));
    let seen = inbox.until_hosts(&hosts([("0.0.0.0:5050", None)])).await;
    assert!(seen.result.unwrap()[0].record.clone().unwrap_err().contains("not the address of a single host"));
}
