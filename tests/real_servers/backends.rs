//! Services without a listener of their own, which come and go at run time where HAProxy can add backends.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{self, LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy::{self, HaproxyVersion};
use crate::support::http::Connection;
use crate::support::load::Load;

/// A daemon with one service by its domain and one plain backend, and two more backends for services that come and go.
struct Scene {
    files: ServiceFiles,
    backends: Vec<Backend>,
    front: SocketAddr,
    daemon: Daemon,
}

fn by_domain(domain: &str) -> Value {
    json!({"domains": [domain]})
}

impl Scene {
    async fn begin(version: &HaproxyVersion) -> Self {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 3);
        let front = ([127, 0, 0, 1], dir.port()).into();
        let daemon =
            daemon(&dir).haproxy(version).files(&files.services()).set("haproxy.observe_interval", json!("1s"));
        let scene = Self { files, backends, front, daemon: daemon.start() };
        scene.define("steady", &by_domain("localhost"), 0);
        scene.files.define_backend("plain", json!({}));
        scene.files.hosts("plain", &scene.backends[..1]);
        for service in ["steady", "plain"] {
            wait_for_ready(&scene.daemon, service, &addresses(&scene.backends[..1])).await;
        }
        scene
    }

    /// Defines a service on the shared port, with one of the backends as its host.
    fn define(&self, name: &str, more: &Value, backend: usize) {
        self.files.hosts(name, [&self.backends[backend]]);
        self.files.define(name, self.front.port(), more.clone());
    }

    /// Waits until requests for the host are answered by this backend, or with this status.
    async fn goes_to(&self, host: &str, wanted: &str) {
        let what = format!("{host} goes to {wanted}");
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        self.daemon
            .eventually(LIMIT, &what, async || {
                let mut connection = Connection::open(self.front).await.map_err(|error| error.to_string())?;
                let response = connection.exchange(&request).await.map_err(|error| error.to_string())?;
                let status = response.status.to_string();
                let answered = response.header("x-backend").unwrap_or(&status);
                check(answered == wanted, &answered)
            })
            .await;
    }

    /// Waits until HAProxy has a backend of this name, or has none.
    async fn has_backend(&self, name: &str, wanted: bool) {
        let what = format!("backend {name}: {wanted}");
        self.daemon.eventually(LIMIT, &what, async || has_backend(&self.daemon.socket(), name, wanted).await).await;
    }

    /// Waits until haproxy.cfg contains this text, or does not.
    async fn file_has(&self, text: &str, wanted: bool) {
        let what = format!("{text:?} in the file: {wanted}");
        let follows = async || {
            let file = self.daemon.haproxy_config();
            check(file.contains(text) == wanted, &file)
        };
        self.daemon.eventually(LIMIT, &what, follows).await;
    }
}

async fn has_backend(socket: &Path, name: &str, wanted: bool) -> Result<(), String> {
    let shown = haproxy::runtime(socket, "show backend").await.map_err(|error| error.to_string())?;
    check(shown.lines().any(|line| line == name) == wanted, &shown)
}

fn adds_backends(version: &HaproxyVersion) -> bool {
    version.branch >= (3, 4)
}

#[tokio::test]
async fn services_come_and_go_without_failed_request() {
    for version in haproxy::versions().into_iter().filter(|version| version.branch >= (3, 2)) {
        let scene = Scene::begin(&version).await;
        let begun = stage::reloads(&scene.daemon).await;
        let load =
            |keep_alive| Load::new(scene.front).clients(4).keep_alive(keep_alive).pause(Duration::from_millis(2));
        let loads = [true, false].map(|keep_alive| load(keep_alive).start());
        for backend in [1, 2] {
            scene.define("guest", &by_domain("guest.example"), backend);
            scene.goes_to("guest.example", scene.backends[backend].name()).await;
            scene.files.define_backend("behind", json!({}));
            scene.files.hosts("behind", [&scene.backends[backend]]);
            wait_for_ready(&scene.daemon, "behind", &addresses([&scene.backends[backend]])).await;
            for name in ["guest", "behind"] {
                scene.file_has(&format!("backend {name}"), true).await;
                scene.files.remove(name);
            }
            scene.goes_to("guest.example", "404").await;
            for name in ["guest", "behind"] {
                scene.has_backend(name, false).await;
                scene.file_has(&format!("backend {name}"), false).await;
            }
        }
        for load in loads {
            load.stop().await.assert_nothing_failed();
        }
        let reloads = stage::reloads(&scene.daemon).await - begun;
        assert_eq!(reloads == 0, adds_backends(&version), "{version}: {reloads}");
    }
}

#[tokio::test]
async fn backend_added_at_run_time_survives_reload_and_restart() {
    let Some(version) = haproxy::newest(adds_backends) else { return };
    let mut scene = Scene::begin(&version).await;
    let begun = stage::reloads(&scene.daemon).await;
    scene.define("guest", &by_domain("guest.example"), 1);
    scene.goes_to("guest.example", scene.backends[1].name()).await;
    scene.file_has("backend guest", true).await;
    assert_eq!(stage::reloads(&scene.daemon).await, begun);
    // Another set of lines needs a reload.
    scene.define("other", &json!({"domains": ["other.example"], "listen_options": ["balance leastconn"]}), 2);
    scene.goes_to("other.example", scene.backends[2].name()).await;
    stage::wait_for_reload_after(&scene.daemon, begun).await;
    scene.goes_to("guest.example", scene.backends[1].name()).await;
    // It has no further reason for a reload, and a later daemon continues with the same process.
    let reloads = stage::reloads(&scene.daemon).await;
    scene.define("more", &json!({"domains": ["more.example"], "listen_options": ["balance leastconn"]}), 1);
    scene.goes_to("more.example", scene.backends[1].name()).await;
    scene.file_has("backend more", true).await;
    assert_eq!(stage::reloads(&scene.daemon).await, reloads);
    scene.daemon.kill();
    scene.daemon.start_again();
    for (host, backend) in [("guest.example", 1), ("other.example", 2), ("more.example", 1), ("localhost", 0)] {
        scene.goes_to(host, scene.backends[backend].name()).await;
    }
    let begun = stage::reloads(&scene.daemon).await;
    scene.files.remove("more");
    scene.goes_to("more.example", "404").await;
    scene.has_backend("more", false).await;
    assert_eq!(stage::reloads(&scene.daemon).await, begun);
}

#[tokio::test]
async fn service_returns_while_its_backend_leaves() {
    let Some(version) = haproxy::newest(adds_backends) else { return };
    let scene = Scene::begin(&version).await;
    let begun = stage::reloads(&scene.daemon).await;
    scene.define("guest", &by_domain("guest.example"), 1);
    scene.goes_to("guest.example", scene.backends[1].name()).await;
    scene.files.remove("guest");
    scene.goes_to("guest.example", "404").await;
    scene.define("guest", &by_domain("guest.example"), 2);
    scene.goes_to("guest.example", scene.backends[2].name()).await;
    assert_eq!(stage::reloads(&scene.daemon).await, begun);
}

#[tokio::test]
async fn backend_deleted_by_others_is_added_again() {
    let Some(version) = haproxy::newest(adds_backends) else { return };
    let scene = Scene::begin(&version).await;
    let begun = stage::reloads(&scene.daemon).await;
    let socket = scene.daemon.socket();
    let server = haproxy::servers_state(&socket).await.expect("it answers");
    let server = server.iter().find(|server| server.backend() == "plain").expect("it has one").name().to_owned();
    let name = format!("plain/{server}");
    for command in [
        "unpublish backend plain".to_owned(),
        format!("set server {name} state maint; del server {name}"),
        "del backend plain".to_owned(),
    ] {
        haproxy::runtime(&socket, &command).await.expect("it answers");
    }
    wait_for_ready(&scene.daemon, "plain", &addresses(&scene.backends[..1])).await;
    assert_eq!(stage::reloads(&scene.daemon).await, begun);
}

#[tokio::test]
async fn plan_shows_backends_that_come_and_go() {
    let Some(version) = haproxy::newest(adds_backends) else { return };
    let mut scene = Scene::begin(&version).await;
    scene.define("guest", &by_domain("guest.example"), 1);
    scene.goes_to("guest.example", scene.backends[1].name()).await;
    let in_sync = async || {
        let plan = scene.daemon.run_command(&["plan"]).await;
        check(plan.stdout == b"Nothing to do: HAProxy is in sync.\n", &String::from_utf8_lossy(&plan.stdout))
    };
    scene.daemon.eventually(LIMIT, "the file has the new backend", in_sync).await;
    scene.daemon.kill();
    scene.files.remove("guest");
    scene.define("new", &by_domain("new.example"), 2);
    scene.define("other", &json!({"domains": ["other.example"], "listen_options": ["balance leastconn"]}), 2);
    let plan = scene.daemon.run_command(&["plan"]).await;
    let text = String::from_utf8_lossy(&plan.stdout);
    for expected in [
        "add backend new from proxymgr:lines:",
        "publish backend new",
        "unpublish backend guest",
        "del backend guest",
        "other: the service is new, and no service in the file has the same lines yet",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
    assert!(!text.contains("    new: ") && !text.contains("    guest: "), "{text}");
}
