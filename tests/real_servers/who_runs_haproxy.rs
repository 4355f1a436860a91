//! `haproxy.run`: HAProxy is run by its own master process, by an operator's commands, or by systemd. Only `systemctl`
//! is a stub, which controls a real HAProxy like the unit of Debian's package.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{self, LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready, wait_for_state};
use crate::support::backend::Backend;
use crate::support::daemon::{Daemon, DaemonBuilder};
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy::{self, HaproxyVersion, installed, versions};
use crate::support::load::Load;

struct Scene {
    dir: TestDir,
    files: ServiceFiles,
    backends: Vec<Backend>,
    front: SocketAddr,
    builder: DaemonBuilder,
}

impl Scene {
    fn new(version: &HaproxyVersion) -> Self {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 2);
        let front = SocketAddr::from(([127, 0, 0, 1], dir.port()));
        files.define("web", front.port(), json!({}));
        files.hosts("web", &backends);
        let builder = daemon(&dir).files(&files.services()).haproxy(version);
        let builder = builder.set("haproxy.observe_interval", json!("1s"));
        Self { dir, files, backends, front, builder }
    }

    fn beside_socket(&self, name: &str) -> PathBuf {
        self.builder.socket().with_file_name(name)
    }

    /// Returns the shell command that starts HAProxy in the background, or replaces the running one.
    fn start_or_reload(&self, version: &HaproxyVersion) -> String {
        let path = |name| self.beside_socket(name).display().to_string();
        let (config, pid, socket) = (path("haproxy.cfg"), path("own.pid"), path("haproxy.sock"));
        let program = version.path.display();
        format!("{program} -W -D -f {config} -p {pid} $([ -s {pid} ] && echo -x {socket} -sf $(cat {pid}))")
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.write(name, format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it was just written");
        path
    }

    async fn served(&self, daemon: &Daemon) {
        wait_for_ready(daemon, "web", &addresses(&self.backends)).await;
        stage::reloads(daemon).await;
    }

    /// Defines one more service and waits for its reload, under load.
    async fn reload_under_load(&self, daemon: &Daemon) {
        let before = stage::reloads(daemon).await;
        let load = Load::new(self.front).clients(3).pause(Duration::from_millis(1)).start();
        self.files.define("more", self.dir.port(), json!({}));
        self.files.hosts("more", &self.backends[..1]);
        stage::wait_for_reload_after(daemon, before).await;
        wait_for_ready(daemon, "more", &addresses(&self.backends[..1])).await;
        load.stop().await.assert_nothing_failed();
    }
}

async fn serving_pid(daemon: &Daemon) -> u64 {
    let state = wait_for_state(daemon, "HAProxy serves", "haproxy_state", |state| state["process"]["pid"].is_u64());
    state.await["process"]["pid"].as_u64().expect("a pid")
}

async fn reload_error(daemon: &Daemon, words: &str) -> Value {
    wait_for_state(daemon, "the reload's failure is reported", "haproxy_state", |state| {
        state["reload_error"].as_str().is_some_and(|error| error.contains(words))
    })
    .await
}

fn first_bind(config: &str) -> &str {
    config.lines().find(|line| line.trim_start().starts_with("bind ")).expect("a section listens").trim()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_haproxy_reloads_and_outlives_daemon() {
    for version in versions() {
        let scene = Scene::new(&version);
        let pid_file = scene.beside_socket("own.pid");
        let builder = scene.builder.clone().set("haproxy.run", json!("binary"));
        let mut daemon = builder.set("haproxy.pid_file", json!(pid_file)).start();
        scene.served(&daemon).await;
        assert_eq!(first_bind(&daemon.haproxy_config()), format!("bind {}", scene.front), "{version}");
        let sockets = stage::actor_state(&daemon, "socket_holder").await.expect("its state is reported");
        assert_eq!(sockets["held"], json!({}), "{version}: HAProxy holds its own sockets");
        scene.reload_under_load(&daemon).await;

        let before = serving_pid(&daemon).await;
        assert!(daemon.terminate().await.success(), "{version}");
        let info = haproxy::info(&daemon.socket()).await.expect("HAProxy continues");
        assert_eq!(info["Pid"], before.to_string(), "{version}");
        daemon.start_again();
        scene.files.hosts("web", &scene.backends[1..]);
        wait_for_ready(&daemon, "web", &addresses(&scene.backends[1..])).await;
    }
}

#[tokio::test]
async fn background_haproxy_is_restarted_after_crash() {
    let scene = Scene::new(&installed());
    let daemon = scene.builder.clone().set("haproxy.run", json!("binary")).start();
    scene.served(&daemon).await;
    let first = serving_pid(&daemon).await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first.try_into().unwrap()), nix::sys::signal::Signal::SIGKILL)
        .expect("it runs");
    wait_for_state(&daemon, "another process serves", "haproxy_state", |state| {
        state["phase"] == "running" && state["process"]["pid"].as_u64().is_some_and(|pid| pid != first)
    })
    .await;
    scene.served(&daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_reload_command_is_reported_and_retried() {
    let scene = Scene::new(&installed());
    let text = scene.start_or_reload(&installed());
    let reload = scene.script("reload", &text);
    let daemon = scene
        .builder
        .clone()
        .set("haproxy.run", json!("command"))
        .set("haproxy.reload_command", json!([reload]))
        .set("haproxy.command_timeout", json!("3s"))
        .start();
    scene.served(&daemon).await;
    scene.reload_under_load(&daemon).await;
    let (serving, good) = (serving_pid(&daemon).await, daemon.haproxy_config());

    scene.script("reload", "echo no such luck; exit 3");
    scene.files.define("third", scene.dir.port(), json!({}));
    scene.files.hosts("third", &scene.backends);
    let state = reload_error(&daemon, "no such luck").await;
    let error = state["reload_error"].as_str().expect("just seen");
    assert!(error.contains("haproxy.reload_command") && error.contains("exit status: 3"), "{error}");
    assert_eq!(serving_pid(&daemon).await, serving, "the running process stays");
    daemon
        .eventually(stage::LIMIT, "the file matches the running process", async || match daemon.haproxy_config() {
            config if config == good => Ok(()),
            other => Err(other),
        })
        .await;

    scene.script("reload", "sleep 60");
    reload_error(&daemon, "did not end within 3s").await;
    scene.script("reload", &text);
    wait_for_ready(&daemon, "third", &addresses(&scene.backends)).await;
}

#[tokio::test]
async fn check_command_replaces_missing_binary() {
    let scene = Scene::new(&installed());
    let reload = scene.script("reload", &scene.start_or_reload(&installed()));
    let check = [installed().path.display().to_string(), "-c".into(), "-f".into(), "{candidate}".into()];
    let daemon = scene
        .builder
        .clone()
        .set("haproxy.path", json!("/nonexistent/haproxy"))
        .set("haproxy.run", json!("command"))
        .set("haproxy.check_command", json!(check))
        .set("haproxy.reload_command", json!([reload]))
        .start();
    scene.served(&daemon).await;
    scene.files.define("bad", scene.dir.port(), json!({"listen_options": ["http-request track-sc9 src"]}));
    scene.files.hosts("bad", &scene.backends);
    let state = wait_for_state(&daemon, "the bad service is named", "haproxy_state", |state| {
        state["services"]["bad"]["problem"].is_string()
    });
    assert!(state.await["services"]["web"]["problem"].is_null());
}

#[tokio::test]
async fn file_matches_running_version_without_binary() {
    let scene = Scene::new(&installed());
    assert!(installed().adds_servers(), "slots are for older versions");
    scene.files.define("web", scene.front.port(), json!({"slots": 3}));
    let files = scene.dir.join("files");
    let (config, start) = (scene.beside_socket("haproxy.cfg"), scene.start_or_reload(&installed()));
    let reload = scene.script("reload", &format!("cat {} >> {}\n{start}", config.display(), files.display()));
    let mut daemon = scene
        .builder
        .clone()
        .set("haproxy.path", json!("/nonexistent/haproxy"))
        .set("haproxy.run", json!("command"))
        .set("haproxy.check_command", json!([installed().path, "-c", "-f", "{candidate}"]))
        .set("haproxy.reload_command", json!([reload]))
        .start();
    scene.served(&daemon).await;
    daemon.terminate().await;
    std::fs::write(&files, "").expect("it was written to");
    daemon.start_again();
    scene.served(&daemon).await;
    let read = std::fs::read_to_string(&files).expect("it is there");
    assert!(read.contains("listen web") && !read.contains("slot1"), "{read}");
}

#[tokio::test]
async fn used_port_affects_one_service_only() {
    let scene = Scene::new(&installed());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    scene.files.define("late", port, json!({}));
    scene.files.hosts("late", &scene.backends);
    let daemon = scene.builder.clone().set("haproxy.run", json!("binary")).start();
    scene.served(&daemon).await;
    let state = wait_for_state(&daemon, "the port's holder is named", "haproxy_state", |state| {
        state["services"]["late"]["problem"].as_str().is_some_and(|problem| problem.contains("in use by"))
    });
    state.await;
    drop(taken);
    wait_for_ready(&daemon, "late", &addresses(&scene.backends)).await;
}

/// A program takes a port between the check of the daemon and the start of HAProxy.
#[tokio::test]
async fn port_taken_before_haproxy_starts_affects_one_service_only() {
    let scene = Scene::new(&installed());
    let port = scene.dir.port();
    scene.files.define("late", port, json!({}));
    scene.files.hosts("late", &scene.backends);
    let [starts, taken] = ["starts", "taken"].map(|name| scene.dir.join(name));
    let text = format!(
        "case \"$*\" in *-W*) touch {}; until [ -e {} ]; do sleep 0.01; done;; esac\nexec {} \"$@\"",
        starts.display(),
        taken.display(),
        installed().path.display(),
    );
    let haproxy = scene.script("haproxy", &text);
    let builder = scene.builder.clone().set("haproxy.run", json!("binary")).set("haproxy.path", json!(haproxy));
    let daemon = builder.start();
    let is_starting = async || check(starts.exists(), &"it has not been started");
    daemon.eventually(LIMIT, "HAProxy is being started", is_starting).await;
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    std::fs::write(&taken, "").expect("a new file");
    scene.served(&daemon).await;
    wait_for_state(&daemon, "the port's holder is named", "haproxy_state", |state| {
        state["services"]["late"]["problem"].as_str().is_some_and(|problem| problem.contains("in use by"))
    })
    .await;
    drop(listener);
    wait_for_ready(&daemon, "late", &addresses(&scene.backends)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_unit_is_started_or_reloaded() {
    let scene = Scene::new(&installed());
    let bin = scene.dir.subdir("bin");
    let calls = scene.dir.join("calls");
    let text = format!(
        "echo \"$*\" >> {}\nfor verb; do case $verb in\n\
         is-active) [ -s {} ] && exit 0; exit 3;;\nstart|reload) exec {};;\nesac; done",
        calls.display(),
        scene.beside_socket("own.pid").display(),
        scene.start_or_reload(&installed()),
    );
    std::fs::rename(scene.script("systemctl", &text), bin.join("systemctl")).expect("rename in one directory");
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap_or_default());
    let builder = scene.builder.clone().env("PATH", &path).set("haproxy.run", json!("systemd"));
    let daemon = builder.set("haproxy.unit", json!("edge.service")).start();
    scene.served(&daemon).await;
    scene.reload_under_load(&daemon).await;
    let verbs = verbs(&calls);
    assert_eq!(verbs.first().map(String::as_str), Some("start edge.service"), "{verbs:?}");
    assert!(verbs[1..].iter().all(|verb| verb == "reload edge.service") && verbs.len() > 1, "{verbs:?}");
}

/// Returns the orders that `systemctl` got, without queries.
fn verbs(calls: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(calls).expect("it was called");
    let orders = text.lines().filter(|line| !line.contains("is-active"));
    orders.map(|line| line.trim_start_matches("--no-ask-password ").to_owned()).collect()
}

/// Returns the environment of a running process, one `NAME=value` each.
fn environment_of(pid: u64) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).expect("the process runs");
    bytes.split(|byte| *byte == 0).map(|entry| String::from_utf8_lossy(entry).into_owned()).collect()
}

#[tokio::test]
async fn haproxy_inherits_listed_variables_only() {
    for run in ["supervise", "binary"] {
        let scene = Scene::new(&installed());
        let builder = scene.builder.clone().set("haproxy.run", json!(run));
        let listed = json!(["STARTED_BY_TEST_IN", "PROXY_REGION"]);
        let builder = builder.set("haproxy.environment", listed).env("PROXY_REGION", "eu");
        let secret = ("PROXYMGR_ZOOKEEPER__AUTH", "user:a-password-of-the-daemon");
        let daemon = builder.env(secret.0, secret.1).env("AWS_SECRET_ACCESS_KEY", "another").start();
        scene.served(&daemon).await;
        let environment = environment_of(serving_pid(&daemon).await);
        let has = |name: &str| environment.iter().any(|entry| entry.starts_with(name));
        assert!(has("PROXY_REGION=eu") && has("PATH="), "{run}: {environment:?}");
        for name in ["PROXYMGR_", "AWS_", "NOTIFY_SOCKET", "CARGO"] {
            assert!(!has(name), "{run}: {name} in {environment:?}");
        }
    }
}

/// Returns the effective user of a process.
fn user_of(pid: u64) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("it has a user");
    line.split_whitespace().nth(1).expect("the effective one").parse().expect("a number")
}

#[tokio::test]
async fn haproxy_of_root_serves_as_its_own_user() {
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten();
    let Some(nobody) = nobody.filter(|_| nix::unistd::Uid::effective().is_root()) else { return };
    let scene = Scene::new(&installed());
    let daemon = scene.builder.clone().set("haproxy.user", json!("nobody")).start();
    scene.served(&daemon).await;
    assert_eq!(user_of(serving_pid(&daemon).await), nobody.uid.as_raw());
    scene.reload_under_load(&daemon).await;
    assert_eq!(user_of(serving_pid(&daemon).await), nobody.uid.as_raw());
    scene.files.hosts("web", &scene.backends[1..]);
    wait_for_ready(&daemon, "web", &addresses(&scene.backends[1..])).await;
}
