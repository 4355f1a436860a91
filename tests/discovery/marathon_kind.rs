//! `marathon`: a server that answers in the documented format, because Marathon cannot be installed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use proxymgr::discovery::http::HttpOptions;
use proxymgr::discovery::marathon::{HostPorts, Marathon, MarathonOptions};
use proxymgr_actors::model::SourceSpec;
use serde_json::{Value, json};
use slog::{Logger, o};

use super::kinds::{Kind, OverHttp, spec};
use crate::support::dir::TestDir;
use crate::support::scripted_server::{Reply, ScriptedServer};

/// An event in the format of `/v2/events`.
pub const EVENT: &str = "event: status_update_event\r\ndata: {\"eventType\":\"status_update_event\",\"taskStatus\":\"TASK_RUNNING\"}\r\n\r\n";

/// Returns the app `/web` with these tasks, in the format of `/v2/apps?embed=apps.tasks`.
pub fn web(tasks: &[Value]) -> Value {
    let mapping =
        json!({"containerPort": 8080, "hostPort": 0, "servicePort": 10101, "protocol": "tcp", "name": "http"});
    let container = json!({"type": "DOCKER", "docker": {"network": "BRIDGE", "portMappings": [mapping]}});
    let check = json!({"protocol": "HTTP", "path": "/", "portIndex": 0});
    let app = json!({"id": "/web", "container": container, "healthChecks": [check], "labels": {}, "tasks": tasks});
    json!({"apps": [app]})
}

/// Returns a task of `/web` at this endpoint; its check found `alive`, or has no result yet.
pub fn task(endpoint: &str, alive: Option<bool>) -> Value {
    let (host, port) = endpoint.rsplit_once(':').expect("host:port");
    let port: u16 = port.parse().expect("a port");
    let results = alive.map_or(json!([]), |alive| json!([{"alive": alive, "consecutiveFailures": 0}]));
    json!({
        "id": format!("web.{endpoint}"), "appId": "/web", "host": host, "ports": [port], "servicePorts": [10101],
        "state": "TASK_RUNNING", "healthCheckResults": results,
    })
}

/// Makes the server answer with these apps, with an event stream.
pub fn serve(server: &ScriptedServer, apps: &Value) {
    let apps = apps.to_string();
    server.follow(script(apps));
    server.push(EVENT);
}

/// Returns the script of a Marathon with these apps.
pub fn script(apps: String) -> impl Fn(&str) -> Reply + Send + Sync + 'static {
    move |path| match path.split('?').next().unwrap_or_default() {
        "/v2/apps" => Reply::ok(apps.clone()),
        "/v2/events" => Reply::Stream { is_chunked: false },
        "/ping" => Reply::ok("pong"),
        _ => Reply::status("404 Not Found"),
    }
}

/// Creates a client of these servers.
pub fn marathon(servers: &[&ScriptedServer], interval: Duration) -> Marathon {
    marathon_at(&Vec::from_iter(servers.iter().map(|server| server.url())), interval)
}

/// Creates a client of the servers with these URLs.
pub fn marathon_at(urls: &[String], interval: Duration) -> Marathon {
    let servers = proxymgr::discovery::http::Servers::parse(urls.iter().map(String::as_str)).expect("good URLs");
    let options = MarathonOptions {
        servers,
        http: HttpOptions::default(),
        interval,
        callback: None,
        host_ports: HostPorts::Assigned,
    };
    Marathon::new(options, &Logger::root(slog::Discard, o!()))
}

/// `marathon`, with one app.
pub struct MarathonApp {
    server: ScriptedServer,
    tasks: BTreeMap<String, Value>,
    is_away: bool,
}

impl MarathonApp {
    fn publish(&self) {
        if !self.is_away {
            serve(&self.server, &web(&Vec::from_iter(self.tasks.values().cloned())));
        }
    }
}

impl Kind for MarathonApp {
    const HAS_WEIGHTS: bool = false;

    async fn start(_dir: &TestDir) -> Self {
        let server = ScriptedServer::start(script(web(&[]).to_string())).await;
        Self { server, tasks: BTreeMap::new(), is_away: false }
    }

    fn sources(&self) -> proxymgr::discovery::Sources {
        let marathon = marathon(&[&self.server], Duration::from_secs(3_600));
        super::kinds::sources().0.with_marathon(marathon)
    }

    fn spec(&self) -> SourceSpec {
        spec("marathon", json!({"app": "/web"}))
    }

    async fn put(&mut self, endpoint: &str, _weight: Option<u16>) {
        self.tasks.insert(endpoint.to_owned(), task(endpoint, Some(true)));
        self.publish();
    }

    async fn put_bad(&mut self) {
        self.tasks.insert("bad".to_owned(), task("10.0.0.300:80", Some(true)));
        self.publish();
    }

    async fn remove(&mut self, endpoint: &str) {
        self.tasks.remove(endpoint);
        self.publish();
    }

    fn key(endpoint: &str) -> String {
        format!("web.{endpoint}")
    }

    fn bad_key() -> &'static str {
        "web.10.0.0.300:80"
    }

    async fn go_away(&mut self) {
        self.is_away = true;
        self.server.follow(|_| Reply::status("503 Service Unavailable"));
    }

    async fn come_back(&mut self) {
        self.is_away = false;
        self.publish();
    }
}

impl OverHttp for MarathonApp {
    const SHOWS_AGE: bool = false;

    fn port(&self) -> u16 {
        self.server.address().port()
    }

    fn through(&self, proxy: SocketAddr) -> (proxymgr::discovery::Sources, SourceSpec) {
        let marathon = marathon_at(&[format!("http://{proxy}")], Duration::from_secs(3_600));
        (super::kinds::sources().0.with_marathon(marathon), self.spec())
    }
}
