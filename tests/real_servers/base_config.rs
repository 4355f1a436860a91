//! The operator's own haproxy.cfg as the base, with real HAProxys and requests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::json;

use crate::stage::{LIMIT, ServiceFiles, backends, daemon};
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy::{HaproxyVersion, servers_state, versions};
use crate::support::http;
use crate::support::load::Load;

/// A daemon with a base configuration: a frontend with two addresses for the sections `web`, which has a server of the
/// operator, and `api`, which only services can have.
struct Scene {
    dir: TestDir,
    files: ServiceFiles,
    fronts: [SocketAddr; 2],
    daemon: Daemon,
}

fn base(fronts: [SocketAddr; 2], own: SocketAddr) -> String {
    let [first, second] = fronts;
    format!(
        "# The edge.\nglobal\n\tmaxconn 500\n\ndefaults\n\tmode http\n\ttimeout connect 2s\n\ttimeout client 9s\n\ttimeout server 9s\n\n\
         frontend www\n\tbind {first},{second} # both\n\tacl up nbsrv(web) gt 0\n\thttp-response set-header x-edge yes\n\
         \tuse_backend api if {{ path_beg /api }}\n\tdefault_backend web\n\n\
         backend web\n\tbalance roundrobin\n\tserver own {own} backup\n\t# proxymgr: servers\n\thttp-response set-header x-section web\n"
    )
}

impl Scene {
    fn begin(version: &HaproxyVersion) -> (Self, Vec<crate::support::backend::Backend>) {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 3);
        let fronts = [dir.port(), dir.port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let path = dir.write("edge.cfg", base(fronts, backends[2].address()));
        let daemon = daemon(&dir)
            .haproxy(version)
            .files(&files.services())
            .unset("haproxy.global")
            .unset("haproxy.defaults")
            .set("haproxy.base_config", json!(path))
            .set("guards.max_services_removal", json!(1))
            .start();
        (Self { dir, files, fronts, daemon }, backends)
    }

    /// Begins, and waits until the first backend serves `web`.
    async fn serving(version: &HaproxyVersion) -> (Self, Vec<crate::support::backend::Backend>) {
        let (scene, backends) = Self::begin(version);
        scene.files.hosts("web", [&backends[0]]);
        scene.define("web");
        scene.goes_to("/", backends[0].name()).await;
        (scene, backends)
    }

    fn base_path(&self) -> PathBuf {
        self.dir.path().join("edge.cfg")
    }

    fn base(&self) -> String {
        std::fs::read_to_string(self.base_path()).unwrap()
    }

    fn write_base(&self, text: &str) {
        std::fs::write(self.base_path(), text).unwrap();
    }

    /// Writes this base with another answer of the section `web`, and waits until HAProxy runs with it.
    async fn apply(&self, good: &str, section: &str) {
        self.write_base(&good.replace("x-section web", &format!("x-section {section}")));
        let applied = async || {
            let (_, answered) = self.answer("/").await?;
            check(answered == section, &answered)
        };
        self.daemon.eventually(LIMIT, "the base is applied", applied).await;
    }

    fn define(&self, name: &str) {
        self.files.define(name, 0, json!({"port": null}));
    }

    async fn answer(&self, path: &str) -> Result<(String, String), String> {
        let response = http::get(self.fronts[1], path).await.map_err(|error| error.to_string())?;
        let header = |name: &str| response.header(name).unwrap_or_default().to_owned();
        match response.header("x-backend") {
            Some(backend) => Ok((backend.to_owned(), header("x-section"))),
            None => Ok((response.status.to_string(), header("x-section"))),
        }
    }

    async fn goes_to(&self, path: &str, wanted: &str) {
        let what = format!("{path} goes to {wanted}");
        let probe = async || {
            let (answered, _) = self.answer(path).await?;
            check(answered == wanted, &answered)
        };
        self.daemon.eventually(LIMIT, &what, probe).await;
    }

    async fn problem(&self, text: &str) {
        let shown = async || {
            let status = self.daemon.status_json().await?.to_string();
            check(status.contains(text), &status)
        };
        self.daemon.eventually(LIMIT, text, shown).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sections_of_the_operator_get_the_servers_of_services() {
    for version in versions() {
        let (mut scene, backends) = Scene::begin(&version);
        scene.daemon.wait_until_haproxy_answers().await;
        assert_eq!(scene.answer("/").await.unwrap(), (backends[2].name().to_owned(), "web".to_owned()), "{version}");
        assert_eq!(scene.answer("/api").await.unwrap().0, "503", "{version}: the backend exists without a service");
        scene.files.hosts("web", [&backends[0]]);
        scene.define("web");
        scene.goes_to("/", backends[0].name()).await;
        scene.files.hosts("api", [&backends[1]]);
        scene.define("api");
        scene.goes_to("/api/x", backends[1].name()).await;
        let nothing_is_planned = async || {
            let plan = scene.daemon.run_command(&["plan"]).await;
            check(plan.stdout == b"Nothing to do: HAProxy is in sync.\n", &plan)
        };
        scene.daemon.eventually(LIMIT, "nothing is planned", nothing_is_planned).await;
        // At run time, where HAProxy can add servers; the server of the operator stays as it is.
        scene.files.hosts("web", [&backends[1]]);
        scene.goes_to("/", backends[1].name()).await;
        let own_is_ready = async || {
            let servers = servers_state(&scene.daemon.socket()).await.map_err(|error| error.to_string())?;
            let own = servers.iter().find(|server| server.backend() == "web" && server.name() == "own");
            check(own.is_some_and(|server| server.is_ready()), &servers.len())
        };
        scene.daemon.eventually(LIMIT, "the server of the operator stays", own_is_ready).await;
        assert!(scene.daemon.haproxy_config().contains(&format!("\tserver own {} backup\n", backends[2].address())));
        // A service that goes leaves the section, and the backend that others refer to.
        for name in ["web", "api"] {
            scene.files.remove(name);
        }
        scene.goes_to("/", backends[2].name()).await;
        scene.goes_to("/api", "503").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_base_is_refused_with_its_line_and_the_last_good_one_stays() {
    for version in versions() {
        let (mut scene, backends) = Scene::serving(&version).await;
        let good = scene.base();
        let line = good.lines().position(|line| line.contains("balance")).unwrap() + 1;
        let place = format!("edge.cfg:{line}: ");
        scene.write_base(&good.replace("balance roundrobin", "balance nonsense"));
        scene.problem(&place).await;
        scene.goes_to("/", backends[0].name()).await;
        // Also across a restart.
        scene.daemon.terminate().await;
        scene.daemon.start_again();
        scene.problem(&place).await;
        scene.goes_to("/", backends[0].name()).await;
        std::fs::remove_file(scene.base_path()).unwrap();
        scene.daemon.terminate().await;
        scene.daemon.start_again();
        scene.problem("edge.cfg: No such file").await;
        scene.goes_to("/", backends[0].name()).await;
        scene.apply(&good, "newer").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_of_the_base_may_overlap() {
    for version in versions() {
        let (mut scene, backends) = Scene::begin(&version);
        scene.files.hosts("api", [&backends[1]]);
        scene.define("api");
        scene.goes_to("/api", backends[1].name()).await;
        let [port, twice, partly] = [scene.dir.port(), scene.dir.port(), scene.dir.port()];
        let more = format!(
            "\nfrontend all\n\tbind *:{port}\n\tbind :::{port} v6only\n\tbind *:{twice}\n\tbind *:{twice}\n\
             \tbind *:{partly}\n\tdefault_backend web\n\n\
             frontend one\n\tbind 127.0.0.1:{port}\n\tbind 127.0.0.1:{partly} backlog 900\n\tdefault_backend api\n"
        );
        scene.write_base(&(scene.base() + &more));
        let own = [("127.0.0.1", port, 1), ("127.0.0.2", port, 2), ("[::1]", port, 2)];
        let left_to_haproxy = [("127.0.0.1", twice, 2), ("127.0.0.1", partly, 1), ("127.0.0.2", partly, 2)];
        for _ in 0..2 {
            for (address, port, wanted) in own.into_iter().chain(left_to_haproxy) {
                let address: SocketAddr = format!("{address}:{port}").parse().unwrap();
                let probe = async || {
                    let response = http::get(address, "/").await.map_err(|error| error.to_string())?;
                    check(response.header("x-backend") == Some(backends[wanted].name()), &response)
                };
                scene.daemon.eventually(LIMIT, &format!("{version}: {address} is served"), probe).await;
            }
            // The next daemon takes over all of them.
            scene.daemon.kill();
            scene.daemon.start_again();
            scene.daemon.wait_until_haproxy_answers().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_of_a_map_exist_without_their_services() {
    for version in versions() {
        let (scene, backends) = Scene::begin(&version);
        let map = scene.dir.write("hosts.map", "# hosts\n/shop shop\n/web web\n");
        let rule = format!("\tuse_backend %[path,map_beg({})]\n\tdefault_backend web\n", map.display());
        scene.write_base(&scene.base().replacen("\tdefault_backend web\n", &rule, 1));
        scene.goes_to("/shop", "503").await;
        scene.goes_to("/other", backends[2].name()).await;
        scene.files.hosts("shop", [&backends[1]]);
        scene.define("shop");
        scene.goes_to("/shop", backends[1].name()).await;
        scene.files.remove("shop");
        scene.goes_to("/shop", "503").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_left_to_haproxy_survive_reloads() {
    for version in versions() {
        let (scene, _backends) = Scene::serving(&version).await;
        let left = SocketAddr::from(([127, 0, 0, 1], scene.dir.port()));
        let more = format!("\nfrontend left\n\tbind {left} backlog 900\n\tdefault_backend web\n");
        let good = scene.base() + &more;
        scene.write_base(&good);
        let serves = async || http::get(left, "/").await.map(drop).map_err(|error| error.to_string());
        scene.daemon.eventually(LIMIT, "HAProxy opens it itself", serves).await;
        let load = Load::new(left).clients(2).pause(Duration::from_millis(2)).start();
        for round in 0..10 {
            scene.apply(&good, &format!("round-{round}")).await;
        }
        let report = load.stop().await;
        println!("{version}: {report}");
        report.assert_nothing_failed();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_of_the_base_survive_reloads_and_crashes() {
    for version in versions() {
        let (mut scene, backends) = Scene::serving(&version).await;
        let load = Load::new(scene.fronts[0]).clients(2).pause(Duration::from_millis(2)).start();
        let good = scene.base();
        for round in 0..5 {
            scene.apply(&good, &format!("round-{round}")).await;
        }
        load.stop().await.assert_nothing_failed();
        for _ in 0..3 {
            let pid = scene.daemon.wait_until_haproxy_answers().await;
            kill(pid, Signal::SIGKILL).unwrap();
            // The kernel accepts for the sockets that the daemon holds.
            for _ in 0..20 {
                std::net::TcpStream::connect(scene.fronts[0]).expect("no connection is refused");
            }
            scene.goes_to("/", backends[0].name()).await;
        }
        // A daemon that crashes leaves HAProxy; the next one takes over its sockets.
        scene.daemon.kill();
        scene.daemon.start_again();
        scene.goes_to("/", backends[0].name()).await;
        let adopted = async || {
            let log = scene.daemon.log();
            check(log.contains("took over listening sockets"), &log.len())
        };
        scene.daemon.eventually(LIMIT, "the sockets are taken over", adopted).await;
        scene.goes_to("/", backends[0].name()).await;
    }
}
