//! `haproxy.targets` and `haproxy.run: none`: external HAProxies of several versions, over unix sockets and TCP,
//! updated only at run time.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::stage::{LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready, wait_for_state};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy::{self, HaproxyVersion, installed, versions};
use crate::support::process::Process;

/// An external HAProxy, with its own file.
struct Others {
    dir: TestDir,
    version: HaproxyVersion,
    port: u16,
    process: Process,
}

impl Others {
    /// Starts it with a section `web` that has these servers in the file.
    fn start(dir: &TestDir, name: &str, version: &HaproxyVersion, servers: &[Backend]) -> Self {
        let dir = dir.subdir(name);
        let port = dir.port();
        let process = Self::spawn(&dir, version, port, "web", servers);
        Self { dir, version: version.clone(), port, process }
    }

    fn spawn(dir: &TestDir, version: &HaproxyVersion, port: u16, section: &str, servers: &[Backend]) -> Process {
        let lines = servers.iter().map(|backend| {
            let address = backend.address();
            format!("    server {address} {address}\n")
        });
        let config = format!(
            "global\n    stats socket {} mode 600 level admin\n    stats socket 127.0.0.1:{port} level admin\n\
             defaults\n    mode http\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\n\
             listen {section}\n    balance roundrobin\n    bind 127.0.0.1:{}\n{}",
            dir.join("haproxy.sock").display(),
            dir.port(),
            lines.collect::<String>(),
        );
        let config = dir.write("haproxy.cfg", config);
        let mut command = std::process::Command::new(&version.path);
        command.arg("-db").arg("-f").arg(config);
        Process::start(dir, "haproxy", command)
    }

    /// Replaces the process by one with these servers, as its operator would.
    fn restart(&mut self, section: &str, servers: &[Backend]) {
        self.process.kill();
        self.process = Self::spawn(&self.dir, &self.version, self.port, section, servers);
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("haproxy.sock")
    }

    fn unix(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    fn tcp(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    async fn has_ready(&self, daemon: &Daemon, wanted: &[String]) {
        let what = format!("external HAProxy {} has exactly {wanted:?} ready", self.version);
        let probe = async || {
            let ready = haproxy::ready_servers(&self.socket(), "web").await.map_err(|error| error.to_string())?;
            check(ready == wanted, &ready)
        };
        daemon.eventually(LIMIT, &what, probe).await;
    }
}

struct Scene {
    dir: TestDir,
    files: ServiceFiles,
    backends: Vec<Backend>,
}

/// Creates a service of three hosts, none of which is shown yet.
fn scene() -> Scene {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 3);
    files.define("web", dir.port(), json!({"min_hosts": 0}));
    Scene { dir, files, backends }
}

impl Scene {
    fn daemon(&self, settings: &[(&str, Value)]) -> Daemon {
        let builder = daemon(&self.dir).files(&self.files.services()).set("haproxy.observe_interval", json!("1s"));
        settings.iter().fold(builder, |builder, (key, value)| builder.set(key, value.clone())).start()
    }
}

/// Waits until the state of a target meets the condition, and returns it.
async fn target_state(daemon: &Daemon, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let probe = async || {
        let status = daemon.status_json().await?;
        let actors = status["actors"].as_array().ok_or("no actors")?;
        let target = actors.iter().find(|state| state["actor"] == "target" && state["name"] == name);
        let target = target.ok_or_else(|| format!("no target {name} in {status}"))?["haproxy"].clone();
        check(wanted(&target), &target)?;
        Ok::<_, String>(target)
    };
    daemon.eventually(LIMIT, what, probe).await
}

/// Returns the oldest and the newest available version.
fn oldest_and_newest() -> (HaproxyVersion, HaproxyVersion) {
    let versions = versions();
    (versions.first().expect("one is installed").clone(), versions.last().expect("one is installed").clone())
}

#[tokio::test]
async fn targets_are_in_sync_over_unix_and_tcp() {
    let scene = scene();
    let (oldest, newest) = oldest_and_newest();
    let old = Others::start(&scene.dir, "old", &oldest, &scene.backends);
    let new = Others::start(&scene.dir, "new", &newest, &scene.backends[..2]);
    scene.files.hosts("web", &scene.backends[..2]);
    let named = format!("edge={}", new.tcp());
    let daemon = scene.daemon(&[("haproxy.targets", json!([old.unix(), named]))]);
    let first_two = addresses(&scene.backends[..2]);
    wait_for_ready(&daemon, "web", &first_two).await;
    old.has_ready(&daemon, &first_two).await;
    new.has_ready(&daemon, &first_two).await;

    scene.files.hosts("web", &scene.backends);
    old.has_ready(&daemon, &addresses(&scene.backends)).await;
    if newest.adds_servers() {
        new.has_ready(&daemon, &addresses(&scene.backends)).await;
    } else {
        target_state(&daemon, "edge", "the new host waits", |state| state["reload_due"][0].is_string()).await;
    }
    scene.files.hosts("web", &scene.backends[1..2]);
    wait_for_ready(&daemon, "web", &addresses(&scene.backends[1..2])).await;
    old.has_ready(&daemon, &addresses(&scene.backends[1..2])).await;
    new.has_ready(&daemon, &addresses(&scene.backends[1..2])).await;
    target_state(&daemon, "edge", "a target is shown by its name", |state| state["phase"] == "running").await;
    let plan = daemon.run_command(&["plan"]).await;
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(plan.contains("\ntarget edge\n") && plan.contains(&format!("\ntarget {}\n", old.unix())), "{plan}");
}

#[tokio::test]
async fn target_that_returns_is_updated() {
    let scene = scene();
    let mut frozen = Others::start(&scene.dir, "frozen", &installed(), &scene.backends);
    let mut dead = Others::start(&scene.dir, "dead", &installed(), &scene.backends);
    scene.files.hosts("web", &scene.backends);
    let daemon = scene.daemon(&[("haproxy.targets", json!([frozen.tcp(), dead.unix()]))]);
    for target in [&frozen, &dead] {
        target.has_ready(&daemon, &addresses(&scene.backends)).await;
    }
    target_state(&daemon, &frozen.tcp(), "it is updated", |state| state["phase"] == "running").await;
    frozen.process.signal(Signal::SIGSTOP);
    dead.process.kill();
    scene.files.hosts("web", &scene.backends[..1]);
    wait_for_ready(&daemon, "web", &addresses(&scene.backends[..1])).await;
    target_state(&daemon, &dead.unix(), "its absence is reported", |state| {
        state["runtime_error"].is_string() && state["phase"] == "down"
    })
    .await;

    dead.restart("web", &scene.backends);
    dead.has_ready(&daemon, &addresses(&scene.backends[..1])).await;
    frozen.process.signal(Signal::SIGCONT);
    frozen.has_ready(&daemon, &addresses(&scene.backends[..1])).await;
    for name in [frozen.tcp(), dead.unix()] {
        target_state(&daemon, &name, "it has recovered", |state| {
            state["runtime_error"].is_null() && state["phase"] == "running"
        })
        .await;
    }
}

#[tokio::test]
async fn target_reload_is_left_to_its_operator() {
    let scene = scene();
    let mut others = Others::start(&scene.dir, "others", &installed(), &scene.backends);
    others.restart("elsewhere", &scene.backends);
    scene.files.hosts("web", &scene.backends[..2]);
    let daemon = scene.daemon(&[("haproxy.targets", json!([others.tcp()]))]);
    let waits = |state: &Value| state["reload_due"].to_string().contains("web: HAProxy has no section of this name");
    target_state(&daemon, &others.tcp(), "the missing section is named", waits).await;
    let status = daemon.status_json().await.expect("it answers");
    let reload_needed = |concern: &Value| concern["kind"] == "reload_needed";
    assert!(status["concerns"].as_array().is_some_and(|all| all.iter().any(reload_needed)), "{status}");
    let elsewhere = haproxy::ready_servers(&others.socket(), "elsewhere").await.expect("it answers");
    assert_eq!(elsewhere.len(), 3, "other sections are left alone");

    others.restart("web", &scene.backends);
    others.has_ready(&daemon, &addresses(&scene.backends[..2])).await;
    let at_rest = |state: &Value| state["reload_due"].as_array().is_some_and(Vec::is_empty);
    target_state(&daemon, &others.tcp(), "nothing waits any more", at_rest).await;
}

#[tokio::test]
async fn target_drain_is_kept_and_override_applied() {
    let scene = scene();
    let others = Others::start(&scene.dir, "others", &installed(), &scene.backends);
    scene.files.hosts("web", &scene.backends);
    let token = "0123456789abcdef0123";
    let daemon = scene.daemon(&[("haproxy.targets", json!([others.tcp()])), ("status.token", json!(token))]);
    others.has_ready(&daemon, &addresses(&scene.backends)).await;
    let drained = scene.backends[0].address();
    haproxy::runtime(&others.socket(), &format!("set server web/{drained} state drain")).await.expect("it answers");
    let seen = |state: &Value| state["services"]["web"]["drained_on_socket"][0] == drained.to_string();
    target_state(&daemon, &others.tcp(), "the drain is seen", seen).await;
    scene.files.hosts("web", &scene.backends[..2]);
    others.has_ready(&daemon, &addresses(&scene.backends[1..2])).await;
    wait_for_ready(&daemon, "web", &addresses(&scene.backends[..2])).await;

    let server = scene.backends[1].address().to_string();
    let done = daemon.run_command(&["server", "maint", "web", &server]).await;
    assert!(done.status.success(), "{done:?}");
    wait_for_ready(&daemon, "web", &addresses(&scene.backends[..1])).await;
    others.has_ready(&daemon, &[]).await;
    for server in [server, drained.to_string()] {
        let done = daemon.run_command(&["server", "ready", "web", &server]).await;
        assert!(done.status.success(), "{done:?}");
    }
    others.has_ready(&daemon, &addresses(&scene.backends[..2])).await;
}

#[tokio::test]
async fn first_target_replaces_own_haproxy() {
    for version in versions() {
        let scene = scene();
        let mut others = Others::start(&scene.dir, "others", &version, &scene.backends);
        scene.files.hosts("web", &scene.backends[..2]);
        let builder = daemon(&scene.dir).files(&scene.files.services()).set("haproxy.observe_interval", json!("1s"));
        let daemon = builder
            .set("haproxy.path", json!("/nonexistent/haproxy"))
            .set("haproxy.run", json!("none"))
            .set("haproxy.targets", json!([others.tcp()]))
            .unset("haproxy.socket_path");
        let config = daemon.config_path().with_file_name("haproxy.cfg");
        let mut daemon = daemon.start();
        others.has_ready(&daemon, &addresses(&scene.backends[..2])).await;
        assert!(!config.exists(), "{version}: the file is not written");
        let before = wait_for_state(&daemon, "it is updated", "haproxy_state", |state| {
            state["phase"] == "running" && state["run_by_others"] == true && state["counts"]["reload"] == 0
        });
        let pid = before.await["process"]["pid"].clone();
        // A change that needs a reload is reported with its description, and as pending.
        scene.files.define("more", scene.dir.port(), json!({"min_hosts": 0}));
        scene.files.hosts("more", &scene.backends);
        wait_for_state(&daemon, "the new service waits", "haproxy_state", |state| {
            state["reload_due"].to_string().contains("more: HAProxy has no section of this name")
        })
        .await;
        others.restart("web", &scene.backends);
        others.has_ready(&daemon, &addresses(&scene.backends[..2])).await;
        wait_for_state(&daemon, "the other process is updated", "haproxy_state", |state| {
            state["phase"] == "running" && state["process"]["pid"].is_u64() && state["process"]["pid"] != pid
        })
        .await;
        assert!(daemon.terminate().await.success(), "{version}");
        haproxy::info(&others.socket()).await.expect("proxymgr does not stop it");
    }
}

#[tokio::test]
async fn plan_shows_runtime_changes_and_reloads_of_targets() {
    let scene = scene();
    let [first, second] = [(&scene.backends[..2], "first"), (&scene.backends[1..], "second")]
        .map(|(servers, name)| Others::start(&scene.dir, name, &installed(), servers));
    for others in [&first, &second] {
        haproxy::wait_until_answering(&others.socket(), LIMIT, String::new).await;
    }
    scene.files.hosts("web", &scene.backends[1..]);
    scene.files.define("more", scene.dir.port(), json!({"update": "slots"}));
    scene.files.hosts("more", &scene.backends);
    let gone = scene.dir.join("nobody.sock");
    let builder = daemon(&scene.dir).files(&scene.files.services()).set("haproxy.run", json!("none"));
    let builder = builder.set("haproxy.socket_path", json!(first.socket()));
    let builder = builder
        .set("haproxy.targets", json!([second.tcp(), format!("unix:{}", gone.display())]))
        .set("haproxy.path", json!("/nonexistent/haproxy"));
    let output = builder.run_command(&["plan"]).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let plans: Vec<&str> = text.split("\ntarget ").collect();
    let [first, second, third] = plans.as_slice() else { panic!("{text}") };

    let waits =
        "to be applied by the operator of this HAProxy, by a reload\n    more: HAProxy has no section of this name\n";
    let [left, _, new] = [0, 1, 2].map(|at| scene.backends[at].address());
    for command in [format!("set server web/{left} state maint"), format!("add server web/{new} {new}")] {
        assert!(first.contains(&command), "{text}");
    }
    assert!(first.ends_with(waits) && second.ends_with(waits), "{text}");
    assert!(second.starts_with("tcp://") && !second.contains("web"), "no change for a service in sync: {text}");
    assert!(third.contains("HAProxy does not answer"), "{text}");
}
