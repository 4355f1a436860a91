//! The life of the daemon: lock, signals, mistakes in the settings, full disks, further commands.

use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::stage::{self, LIMIT, ServiceFiles, addresses, daemon, wait_for_ready, wait_for_state, web_in_files};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::{haproxy, http};

struct Scene {
    dir: TestDir,
    files: ServiceFiles,
    backends: Vec<Backend>,
    port: u16,
    daemon: Daemon,
}

async fn scene() -> Scene {
    let dir = TestDir::new();
    let port = dir.port();
    let (files, backends) = web_in_files(&dir, port, 2, json!({}));
    let daemon = daemon(&dir).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    stage::reloads(&daemon).await;
    Scene { dir, files, backends, port, daemon }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn second_daemon_names_lock_holder() {
    let scene = scene().await;
    let second = scene.daemon.run_command(&["run"]).await;
    assert_eq!(second.status.code(), Some(3), "{}", text(&second));
    assert!(text(&second).contains(&scene.daemon.pid().to_string()), "{}", text(&second));
}

#[tokio::test]
async fn sigterm_stops_haproxy_gracefully() {
    let mut scene = scene().await;
    let mut connection = http::Connection::open(([127, 0, 0, 1], scene.port).into()).await.expect("it serves");
    assert_eq!(connection.get("/", true).await.expect("it answers").status, 200);
    let status = scene.daemon.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert!(haproxy::info(&scene.daemon.socket()).await.is_err(), "HAProxy is gone");
    assert!(http::get(([127, 0, 0, 1], scene.port).into(), "/").await.is_err(), "the port is closed");
    assert!(scene.dir.path().exists());
}

#[tokio::test]
async fn sighup_rejects_invalid_settings() {
    let mut scene = scene().await;
    let before = stage::reloads(&scene.daemon).await;
    scene.daemon.rewrite(
        "haproxy.defaults",
        json!(["mode http", "timeout connect 9s", "timeout client 9s", "timeout server 9s"]),
    );
    scene.daemon.signal(Signal::SIGHUP);
    stage::wait_for_reload_after(&scene.daemon, before).await;
    assert!(scene.daemon.haproxy_config().contains("timeout connect 9s"));

    scene.daemon.rewrite("haproxy.reload_intervall", json!("1s"));
    scene.daemon.signal(Signal::SIGHUP);
    let named = async || {
        let log = scene.daemon.log();
        check(log.contains("reload_intervall") && log.contains("reload_interval"), &log)
    };
    scene.daemon.eventually(LIMIT, "the mistake is named with the nearest key", named).await;
    scene.files.hosts("web", &scene.backends[..1]);
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[..1])).await;
}

#[tokio::test]
async fn sigusr1_refreshes_all_sources() {
    let mut scene = scene().await;
    let read_at = async |daemon: &Daemon| {
        let state = stage::actor_state(daemon, "watcher").await.expect("it answers");
        state["source"]["read_at_unix_ms"].as_u64()
    };
    let before = read_at(&scene.daemon).await;
    scene.daemon.signal(Signal::SIGUSR1);
    wait_for_state(&scene.daemon, "the source is read again", "watcher", |state| {
        state["source"]["read_at_unix_ms"].as_u64() > before
    })
    .await;
}

#[tokio::test]
async fn unwritable_file_leaves_haproxy_up_to_date() {
    let scene = scene().await;
    // A directory has the name of the new file: like a full disk this fails for root, too.
    let blocked = scene.daemon.dir().join("haproxy.cfg.new");
    std::fs::create_dir(&blocked).expect("nothing has that name");
    scene.files.hosts("web", &scene.backends[..1]);
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[..1])).await;
    wait_for_state(&scene.daemon, "the failed write is shown", "haproxy_state", |state| {
        state["file_error"].is_string()
    })
    .await;
    std::fs::remove_dir(&blocked).expect("it is empty");
    wait_for_state(&scene.daemon, "the file is written in the end", "haproxy_state", |state| {
        state["file_error"].is_null()
    })
    .await;
    let config = scene.daemon.haproxy_config();
    assert!(!config.contains(&scene.backends[1].address().to_string()), "{config}");
}

#[tokio::test]
async fn render_and_plan_show_desired_state() {
    let scene = scene().await;
    let rendered = scene.daemon.run_command(&["render"]).await;
    assert!(rendered.status.success(), "{}", text(&rendered));
    let printed = String::from_utf8_lossy(&rendered.stdout).into_owned();
    assert!(printed.contains("listen web") && printed.contains(&scene.backends[0].address().to_string()), "{printed}");

    let plan = async || text(&scene.daemon.run_command(&["plan"]).await);
    let nothing = plan().await;
    assert!(nothing.contains("Nothing to do"), "{nothing}");

    let name = scene.backends[0].address();
    haproxy::runtime(&scene.daemon.socket(), &format!("set server web/{name} state maint")).await.expect("it answers");
    let enable = plan().await;
    assert!(enable.contains(&format!("set server web/{name} state ready")), "{enable}");
    let servers = haproxy::servers_state(&scene.daemon.socket()).await.expect("it answers");
    assert!(servers.iter().any(|server| server.is_in_maintenance()), "plan changes nothing: {servers:?}");
}

#[tokio::test]
async fn status_begins_with_headline() {
    let scene = scene().await;
    let status = scene.daemon.run_command(&["status"]).await;
    assert!(status.status.success(), "{}", text(&status));
    assert!(text(&status).contains("web"), "{}", text(&status));
    let json = scene.daemon.run_command(&["status", "--json"]).await;
    let parsed: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(parsed["actors"].is_array(), "{parsed}");
    for path in ["/healthz", "/readyz"] {
        let response = http::get(scene.daemon.status_address(), path).await.expect("it answers");
        assert_eq!(response.status, 200, "{path}: {}", response.text());
    }
}

#[tokio::test]
async fn journal_has_history_of_server() {
    let scene = scene().await;
    scene.files.hosts("web", &scene.backends[..1]);
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[..1])).await;
    let path = format!("/api/v1/journal?service=web&server={}", scene.backends[1].address());
    let story = async || {
        let response = http::get(scene.daemon.status_address(), &path).await.map_err(|error| error.to_string())?;
        let text = response.text();
        check(text.contains("runtime-disable") && text.contains("state maint"), &text)
    };
    scene.daemon.eventually(LIMIT, "the removal is in the journal", story).await;
}
