//! Services that share a port by their domains, with real requests, on every available HAProxy.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{self, LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready, wait_for_state};
use crate::support::backend::Backend;
use crate::support::daemon::{Daemon, DaemonBuilder};
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy::{self, HaproxyVersion};
use crate::support::http::Connection;
use crate::support::load::Load;

/// Sends a request. Returns the name of the backend that answers, or the status.
async fn answer(front: SocketAddr, host: &str, path: &str) -> Result<String, String> {
    answer_to(front, "GET", host, path).await
}

/// The same for a request with this method. `headers` are whole lines.
async fn answer_to(front: SocketAddr, method: &str, headers: &str, path: &str) -> Result<String, String> {
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    let exchange = async { Connection::open(front).await?.exchange(&request).await };
    let response = exchange.await.map_err(|error| error.to_string())?;
    Ok(response.header("x-backend").map_or_else(|| response.status.to_string(), ToOwned::to_owned))
}

async fn asked(front: SocketAddr, host: &str, path: &str) -> String {
    answer(front, &format!("Host: {host}\r\n"), path).await.expect("it answers")
}

/// A daemon with services on one port, each with its own backend.
struct Scene {
    dir: TestDir,
    files: ServiceFiles,
    backends: Vec<Backend>,
    names: Vec<String>,
    front: SocketAddr,
    daemon: Daemon,
}

impl Scene {
    async fn begin(version: &HaproxyVersion, services: &[(&str, Value)]) -> Self {
        Self::begin_with(version, services, |daemon| daemon).await
    }

    async fn begin_with(
        version: &HaproxyVersion,
        services: &[(&str, Value)],
        settings: impl FnOnce(DaemonBuilder) -> DaemonBuilder,
    ) -> Self {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, services.len());
        let port = dir.port();
        for ((name, more), backend) in services.iter().zip(&backends) {
            files.define(name, port, more.clone());
            files.hosts(name, [backend]);
        }
        let daemon =
            daemon(&dir).haproxy(version).files(&files.services()).set("haproxy.observe_interval", json!("1s"));
        let daemon = settings(daemon).start();
        for ((name, _), backend) in services.iter().zip(&backends) {
            wait_for_ready(&daemon, name, &addresses([backend])).await;
        }
        let names = services.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { dir, files, backends, names, front: ([127, 0, 0, 1], port).into(), daemon }
    }

    fn define(&self, name: &str, more: Value) {
        self.files.define(name, self.front.port(), more);
    }

    /// The name of the backend of a service.
    fn backend(&self, service: &str) -> &str {
        let at = self.names.iter().position(|name| name == service).expect("a service of the scene");
        self.backends[at].name()
    }

    /// Returns the answer to a request for this service, or this status.
    fn answer_of<'a>(&'a self, service: &'a str) -> &'a str {
        if self.names.iter().any(|name| name == service) { self.backend(service) } else { service }
    }

    /// Waits until requests for the host reach the service, or get this status.
    async fn goes_to(&self, host: &str, service: &str) {
        let wanted = self.answer_of(service);
        let what = format!("{host} goes to {service}");
        self.daemon
            .eventually(LIMIT, &what, async || {
                let answered = answer(self.front, &format!("Host: {host}\r\n"), "/").await?;
                check(answered == wanted, &answered)
            })
            .await;
    }

    fn map(&self) -> String {
        std::fs::read_to_string(self.map_path()).unwrap_or_default()
    }

    fn map_path(&self) -> std::path::PathBuf {
        let mut path = self.daemon.dir().join("haproxy.cfg").into_os_string();
        path.push(".domains");
        path.into()
    }
}

#[tokio::test]
async fn most_specific_domain_and_path_win() {
    for version in haproxy::versions() {
        let services = [
            ("any", json!({"default": true})),
            ("api", json!({"domains": ["a.example.org"], "path_prefix": "/api"})),
            ("deep", json!({"domains": ["*.b.example.org"]})),
            ("exact", json!({"domains": ["a.example.org", "::1"]})),
            ("wild", json!({"domains": ["*.example.org"]})),
        ];
        let scene = Scene::begin(&version, &services).await;
        for (host, path, service) in [
            ("a.example.org", "/", "exact"),
            ("A.Example.ORG", "/", "exact"),
            ("a.example.org:8080", "/", "exact"),
            ("a.example.org.", "/", "exact"),
            ("[::1]:8080", "/", "exact"),
            ("a.example.org", "/api", "api"),
            ("a.example.org", "/api?query=1", "api"),
            ("a.example.org", "/api/v1", "api"),
            ("a.example.org", "/apiary", "exact"),
            ("a.example.org", "/x/api", "exact"),
            ("x.example.org", "/", "wild"),
            ("x.y.example.org", "/api", "wild"),
            ("b.example.org", "/", "wild"),
            ("x.b.example.org", "/", "deep"),
            ("one.two.three.four.five.six.seven.b.example.org", "/", "deep"),
            ("example.org", "/", "any"),
            ("xexample.org", "/", "any"),
            ("10.0.0.1", "/", "any"),
            ("org", "/", "any"),
            ("", "/", "any"),
        ] {
            let answered = asked(scene.front, host, path).await;
            assert_eq!(answered, scene.backend(service), "{version}: {host}{path}");
        }
        scene.define("any", json!({"domains": ["any.example"]}));
        scene.goes_to("unknown.example", "404").await;
        assert_eq!(stage::reloads(&scene.daemon).await, 1, "{version}");
    }
}

#[tokio::test]
async fn most_specific_conditions_win() {
    for version in haproxy::versions() {
        let of = |conditions: Value| json!({"match": conditions});
        let services = [
            ("any", json!({"default": true})),
            ("any-put", json!({"default": true, "match": {"methods": ["PUT", "PURGE"]}})),
            ("canary", of(json!({"domains": ["a.example"], "headers": {"X-Canary": "1 -f, 'q'"}}))),
            ("debug", of(json!({"domains": ["a.example"], "headers": {"X-Canary": "1 -f, 'q'", "X-Debug": true}}))),
            ("deep", of(json!({"domains": ["*.b.a.example"], "sources": ["127.0.0.0/8"], "headers": {"x": "1"}}))),
            ("elsewhere", of(json!({"domains": ["a.example"], "sources": ["10.0.0.0/8", "2001:db8::/32"]}))),
            (
                "near",
                of(json!({"domains": ["a.example"], "sources": ["10.0.0.0/8", "127.0.0.1"], "path_prefix": "/n"})),
            ),
            ("post", of(json!({"domains": ["a.example", "*.a.example"], "methods": ["POST"], "path_prefix": "/api"}))),
            ("web", of(json!({"domains": ["a.example"]}))),
            ("web-api", of(json!({"domains": ["a.example"], "path_prefix": "/api/v1"}))),
            ("wild", of(json!({"domains": ["*.a.example"]}))),
        ];
        let scene = Scene::begin(&version, &services).await;
        const CANARY: &str = "x-canary: 1 -f, 'q'\r\n";
        const DEBUG: &str = "x-debug: \r\nX-CANARY: other\r\nX-Canary:  1 -f, 'q' \r\n";
        for (method, host, path, headers, service) in [
            ("GET", "a.example", "/", "", "web"),
            ("GET", "A.example:80", "/", CANARY, "canary"),
            ("GET", "a.example", "/", "X-Canary: 1\r\n", "web"),
            ("GET", "a.example", "/", "X-Canary: 1 -F, 'q'\r\n", "web"),
            ("GET", "a.example", "/", "X-Debug: 1\r\n", "web"),
            ("GET", "a.example", "/", DEBUG, "debug"),
            ("GET", "a.example", "/api/v1", "", "web-api"),
            ("GET", "a.example", "/api/v1", CANARY, "canary"),
            ("GET", "a.example", "/n/x", "", "near"),
            ("GET", "a.example", "/n", CANARY, "near"),
            ("GET", "a.example", "/nn", "", "web"),
            ("POST", "a.example", "/api/v1", "", "post"),
            ("POST", "a.example", "/api", CANARY, "post"),
            ("POST", "a.example", "/", "", "web"),
            ("POST", "x.a.example", "/api", "", "post"),
            ("POST", "x.b.a.example", "/api", "", "post"),
            ("POST", "x.b.a.example", "/api", "X: 1\r\n", "deep"),
            ("GET", "x.b.a.example", "/", "X: 1\r\n", "deep"),
            ("GET", "x.b.a.example", "/", "", "wild"),
            ("GET", "b.a.example", "/", "X: 1\r\n", "wild"),
            ("GET", "one.two.three.four.five.six.seven.eight.b.a.example", "/", "X: 1\r\n", "deep"),
            ("GET", "other.example", "/", CANARY, "any"),
            ("PUT", "other.example", "/", "", "any-put"),
            ("PURGE", "", "/", "", "any-put"),
            ("PUT", "a.example", "/", "", "web"),
        ] {
            let headers = format!("Host: {host}\r\n{headers}");
            let answered = answer_to(scene.front, method, &headers, path).await;
            assert_eq!(answered.as_deref(), Ok(scene.backend(service)), "{version}: {method} {host}{path} {headers}");
        }
        let reloads = stage::reloads(&scene.daemon).await;
        scene.define("canary", json!({"match": {"domains": ["c.example"], "headers": {"X-Canary": "1"}}}));
        stage::wait_for_reload_after(&scene.daemon, reloads).await;
        let answered = answer_to(scene.front, "GET", "Host: c.example\r\nX-Canary: 1\r\n", "/").await;
        assert_eq!(answered.as_deref(), Ok(scene.backend("canary")), "{version}");
        let answered = answer_to(scene.front, "GET", &format!("Host: a.example\r\n{CANARY}"), "/").await;
        assert_eq!(answered.as_deref(), Ok(scene.backend("web")), "{version}");
    }
}

#[tokio::test]
async fn domain_moves_without_reload_or_failed_request() {
    for version in haproxy::versions() {
        // The host in the requests of the load.
        let with = json!({"domains": ["localhost", "other.example"]});
        let without = json!({"domains": ["more.example"]});
        let scene = Scene::begin(&version, &[("one", with.clone()), ("two", without.clone())]).await;
        let load =
            |keep_alive| Load::new(scene.front).clients(5).keep_alive(keep_alive).pause(Duration::from_millis(1));
        let loads = [true, false].map(|keep_alive| load(keep_alive).start());
        for round in 0..6 {
            let (to, from) = if round % 2 == 0 { ("two", "one") } else { ("one", "two") };
            // The service that gets the domain is defined first, so that both want it for a moment.
            scene.define(to, with.clone());
            wait_for_state(&scene.daemon, "both want it", "haproxy_state", |state| {
                state["services"][to]["problem"].is_string()
            })
            .await;
            scene.define(from, without.clone());
            scene.goes_to("localhost", to).await;
            scene.goes_to("more.example", from).await;
        }
        for load in loads {
            let report = load.stop().await;
            report.assert_nothing_failed();
            assert_eq!(report.answered_by.len(), 2, "{version}: both have answered");
        }
        assert_eq!(stage::reloads(&scene.daemon).await, 1, "{version}");
    }
}

#[tokio::test]
async fn domains_survive_daemon_and_process_restart() {
    for version in haproxy::versions() {
        let services = [("one", json!({"domains": ["a.example"]})), ("two", json!({"domains": ["b.example"]}))];
        let mut scene = Scene::begin(&version, &services).await;
        // The first by name would be `one`; `two` keeps the domain because it had it first.
        scene.define("two", json!({"domains": ["b.example", "c.example"]}));
        scene.goes_to("c.example", "two").await;
        scene.define("one", json!({"domains": ["a.example", "c.example"]}));
        let state = wait_for_state(&scene.daemon, "the rival is named", "haproxy_state", |state| {
            state["services"]["one"]["problem"].is_string()
        });
        let problem = state.await["services"]["one"]["problem"].to_string();
        assert!(problem.contains("c.example") && problem.contains("service two"), "{problem}");
        let follows = async || {
            let map = scene.map();
            check(map.contains("/c.example/ two\n"), &map)?;
            Ok::<_, String>(map)
        };
        let map = scene.daemon.eventually(LIMIT, "the map on disk follows", follows).await;
        scene.daemon.kill();
        assert_eq!(asked(scene.front, "c.example", "/").await, scene.backend("two"), "HAProxy continues");
        scene.daemon.start_again();
        stage::reloads(&scene.daemon).await;
        assert_eq!(scene.map(), map, "{version}");
        for (host, service) in [("a.example", "one"), ("b.example", "two"), ("c.example", "two")] {
            assert_eq!(asked(scene.front, host, "/").await, scene.backend(service), "{version}: {host}");
        }
    }
}

#[tokio::test]
async fn slots_change_hosts_and_domains_without_reload() {
    for version in haproxy::versions() {
        let by_slots =
            |domain: &str| json!({"domains": [domain], "update": "slots", "slots": {"base": 3, "min_free": 0}});
        let services = [("one", by_slots("a.example")), ("two", json!({"domains": ["b.example"]}))];
        let scene = Scene::begin(&version, &services).await;
        for hosts in [&scene.backends[..], &scene.backends[1..]] {
            scene.files.hosts("one", hosts);
            wait_for_ready(&scene.daemon, "one", &addresses(hosts)).await;
        }
        // Now the backend of `two` serves both domains.
        scene.goes_to("a.example", "two").await;
        scene.define("one", by_slots("c.example"));
        for (host, service) in [("c.example", "two"), ("b.example", "two"), ("a.example", "404")] {
            scene.goes_to(host, service).await;
        }
        assert_eq!(stage::reloads(&scene.daemon).await, 1, "{version}");
        let state = stage::actor_state(&scene.daemon, "haproxy_state").await.expect("it answers");
        assert_eq!(state["services"]["one"]["free_slots"], 2, "{version}: {state}");
    }
}

#[tokio::test]
async fn background_haproxy_changes_domains_without_reload() {
    for version in haproxy::versions() {
        let services = [("one", json!({"domains": ["a.example"]})), ("two", json!({"domains": ["b.example"]}))];
        let in_background = |daemon: DaemonBuilder| daemon.set("haproxy.run", json!("binary"));
        let scene = Scene::begin_with(&version, &services, in_background).await;
        let begun = stage::reloads(&scene.daemon).await;
        scene.define("one", json!({"domains": ["c.example"]}));
        let expected = [("c.example", "one"), ("b.example", "two"), ("a.example", "404")];
        for (host, service) in expected {
            scene.goes_to(host, service).await;
        }
        assert_eq!(stage::reloads(&scene.daemon).await, begun, "{version}");
        scene.define("two", json!({"domains": ["b.example"], "listen_options": ["balance leastconn"]}));
        stage::wait_for_reload_after(&scene.daemon, begun).await;
        for (host, service) in expected {
            assert_eq!(asked(scene.front, host, "/").await, scene.answer_of(service), "{version}: {host}");
        }
    }
}

#[tokio::test]
async fn drift_of_domain_map_is_repaired() {
    for version in haproxy::versions() {
        let services = [("one", json!({"domains": ["a.example"]})), ("two", json!({"domains": ["b.example"]}))];
        let scene = Scene::begin(&version, &services).await;
        let path = scene.map_path().display().to_string();
        let key = |host: &str| format!("{}/{host}/", scene.front);
        let written = scene.map();
        for command in [
            format!("set map {path} {} two", key("a.example")),
            format!("del map {path} {}", key("b.example")),
            format!("add map {path} {} one", key("c.example")),
            format!("add map {path} {} two", key("a.example")),
        ] {
            haproxy::runtime(&scene.daemon.socket(), &command).await.expect("the socket answers");
        }
        std::fs::write(&path, "nonsense").expect("the map is there");
        for (host, service) in [("a.example", "one"), ("b.example", "two"), ("c.example", "404")] {
            scene.goes_to(host, service).await;
        }
        scene
            .daemon
            .eventually(LIMIT, "the map's file is restored", async || check(scene.map() == written, &scene.map()))
            .await;
        assert_eq!(stage::reloads(&scene.daemon).await, 1, "{version}");
        let state = stage::actor_state(&scene.daemon, "haproxy_state").await.expect("it answers");
        assert!(state["counts"]["drift"].as_u64() >= Some(4), "{version}: {}", state["counts"]);
        assert!(scene.dir.path().exists());
    }
}

#[tokio::test]
async fn exclusive_port_is_not_shared() {
    for version in haproxy::versions() {
        let services = [("one", json!({"domains": ["a.example"]})), ("two", json!({"domains": ["b.example"]}))];
        // Both are removed within the window of the guard.
        let settings = |daemon: DaemonBuilder| daemon.set("guards.max_services_removal", json!(1));
        let scene = Scene::begin_with(&version, &services, settings).await;
        scene.define("alone", json!({}));
        scene.files.hosts("alone", &scene.backends[1..]);
        let bad = json!({"domains": ["a.example", "c.example"], "listen_options": ["http-request track-sc9 src"]});
        scene.define("one", bad);
        let named = |state: &Value, name: &str| state["services"][name]["problem"].as_str().map(str::to_owned);
        let state = wait_for_state(&scene.daemon, "both are named", "haproxy_state", |state| {
            named(state, "alone").is_some() && named(state, "one").is_some()
        })
        .await;
        let problem = named(&state, "alone").expect("it was waited for");
        assert!(problem.contains("already taken by the service"), "{version}: {problem}");
        for (host, service) in [("a.example", "one"), ("b.example", "two"), ("c.example", "404")] {
            scene.goes_to(host, service).await;
        }
        // The domains of the other service still change.
        scene.define("two", json!({"domains": ["d.example"]}));
        scene.goes_to("d.example", "two").await;
        scene.goes_to("b.example", "404").await;
        // Without domains, frontend and map are removed.
        scene.files.remove("one");
        scene.goes_to("a.example", "404").await;
        scene.files.remove("two");
        scene.goes_to("a.example", scene.backends[1].name()).await;
        scene
            .daemon
            .eventually(LIMIT, "the map is gone", async || check(!scene.map_path().exists(), &"it is there"))
            .await;
    }
}
