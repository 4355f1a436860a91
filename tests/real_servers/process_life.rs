//! HAProxy crashes, hangs or is changed by other programs; the daemon is killed and restarted.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::stage::{self, LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready, wait_for_state};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy;
use crate::support::http;
use crate::support::load::Load;

struct Scene {
    dir: TestDir,
    files: ServiceFiles,
    backends: Vec<Backend>,
    front: SocketAddr,
    daemon: Daemon,
}

async fn scene() -> Scene {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 3);
    let front = SocketAddr::from(([127, 0, 0, 1], dir.port()));
    files.define("web", front.port(), json!({}));
    files.hosts("web", &backends);
    let daemon = daemon(&dir).files(&files.services()).set("haproxy.observe_interval", json!("1s")).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    stage::reloads(&daemon).await;
    Scene { dir, files, backends, front, daemon }
}

async fn haproxy_pid(daemon: &Daemon) -> Pid {
    let state = wait_for_state(daemon, "HAProxy runs", "process_supervisor", |state| state["current_pid"].is_u64());
    let pid = state.await["current_pid"].as_u64().expect("a pid");
    Pid::from_raw(i32::try_from(pid).expect("a pid"))
}

#[tokio::test]
async fn killed_haproxy_restarts_with_runtime_changes() {
    let scene = scene().await;
    scene.files.hosts("web", &scene.backends[1..]);
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..])).await;
    let first = haproxy_pid(&scene.daemon).await;
    kill(first, Signal::SIGKILL).expect("it runs");
    wait_for_state(&scene.daemon, "another process serves", "process_supervisor", |state| {
        state["current_pid"].as_u64().is_some_and(|pid| pid != u64::from(first.as_raw().unsigned_abs()))
    })
    .await;
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..])).await;
    let zombie = std::fs::read_to_string(format!("/proc/{first}/stat"));
    assert!(zombie.is_err(), "the dead process was reaped: {zombie:?}");
}

/// Waits until the newest health change of this server in the journal is this one, with a result of the check.
async fn wait_for_health(daemon: &Daemon, server: SocketAddr, up: bool) {
    let path = format!("/api/v1/journal?event=health_changed&server={server}");
    let newest = async || {
        let response = http::get(daemon.status_address(), &path).await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&response.body).map_err(|error| error.to_string())?;
        let entry = answer["entries"].as_array().and_then(|entries| entries.last()).cloned().unwrap_or_default();
        let event = &entry["event"];
        let has_result = event["check"].as_str().is_some_and(|check| !check.is_empty());
        check(has_result && event["up"] == up, &entry)
    };
    daemon.eventually(LIMIT, "the change is in the journal", newest).await;
}

#[tokio::test]
async fn health_changes_are_journalled_with_their_check() {
    let mut scene = scene().await;
    let before = stage::reloads(&scene.daemon).await;
    scene.files.define("web", scene.front.port(), json!({"server_options": "check inter 200ms fall 1 rise 1"}));
    stage::wait_for_reload_after(&scene.daemon, before).await;
    let server = scene.backends[0].address();
    scene.backends[0].stop().await;
    wait_for_health(&scene.daemon, server, false).await;
    scene.backends[0].resume();
    wait_for_health(&scene.daemon, server, true).await;
}

#[tokio::test]
async fn haproxy_killed_after_a_reload_restarts_at_once() {
    let scene = scene().await;
    // A crash before the reload does not count.
    for round in 0..2 {
        let before = stage::reloads(&scene.daemon).await;
        scene.files.define("more", scene.dir.port(), json!({"listen_options": format!("maxconn 10{round}")}));
        scene.files.hosts("more", &scene.backends);
        stage::wait_for_reload_after(&scene.daemon, before).await;
        let pid = haproxy_pid(&scene.daemon).await;
        kill(pid, Signal::SIGKILL).expect("it runs");
        let state = wait_for_state(&scene.daemon, "another process serves", "process_supervisor", |state| {
            state["current_pid"].as_i64().is_some_and(|other| other != i64::from(pid.as_raw()))
        });
        assert_eq!(state.await["backoff_ms"], 0, "round {round}");
    }
}

#[tokio::test]
async fn crash_with_full_disk_restarts_on_old_file() {
    let scene = scene().await;
    // Directories have the names of the new files: like a full disk this fails for root, too.
    let blocked = ["haproxy.cfg.new", "haproxy.cfg.candidate"].map(|name| scene.daemon.dir().join(name));
    blocked.iter().for_each(|path| std::fs::create_dir(path).expect("nothing has that name"));
    scene.files.hosts("web", &scene.backends[1..]);
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..])).await;
    let first = haproxy_pid(&scene.daemon).await;
    kill(first, Signal::SIGKILL).expect("it runs");
    wait_for_state(&scene.daemon, "another process serves", "haproxy_state", |state| {
        state["phase"] == "running" && state["process"]["pid"] != first.as_raw()
    })
    .await;
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..])).await;
    let report = Load::new(scene.front).clients(2).timeout(LIMIT).start();
    scene.files.hosts("web", &scene.backends);
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends)).await;
    assert_eq!(report.stop().await.failed(), 0);
    blocked.iter().for_each(|path| std::fs::remove_dir(path).expect("it is empty"));
    wait_for_state(&scene.daemon, "the file is written in the end", "haproxy_state", |state| {
        state["file_error"].is_null() && state["reload_error"].is_null()
    })
    .await;
}

#[tokio::test]
async fn crashes_under_load_refuse_no_connection() {
    const CLIENTS: usize = 3;
    const CRASHES: usize = 20;
    let scene = scene().await;
    let load = Load::new(scene.front).clients(CLIENTS).pause(Duration::from_millis(2)).timeout(LIMIT).start();
    for round in 0..CRASHES {
        // After a reload, the first crash restarts HAProxy without a delay.
        let before = stage::reloads(&scene.daemon).await;
        scene.files.define("web", scene.front.port(), json!({"listen_options": format!("maxconn {}", 1_000 + round)}));
        stage::wait_for_reload_after(&scene.daemon, before).await;
        let pid = haproxy_pid(&scene.daemon).await;
        kill(pid, Signal::SIGKILL).expect("it runs");
        wait_for_state(&scene.daemon, "another process serves", "haproxy_state", |state| {
            state["phase"] == "running" && state["process"]["pid"] != pid.as_raw()
        })
        .await;
    }
    let report = load.stop().await;
    println!("{CRASHES} crashes: {report}");
    let not_connected = report.failures.keys().filter(|reason| reason.starts_with("connect: "));
    assert_eq!(not_connected.count(), 0, "{report}");
    let in_flight = u64::try_from(CRASHES * CLIENTS).expect("a small number");
    assert!(report.failed() <= in_flight, "only requests inside of a killed HAProxy may fail: {report}");
}

#[tokio::test]
async fn frozen_haproxy_is_reported_and_updated() {
    let scene = scene().await;
    let pid = haproxy_pid(&scene.daemon).await;
    kill(pid, Signal::SIGSTOP).expect("it runs");
    scene.files.hosts("web", &scene.backends[..1]);
    wait_for_state(&scene.daemon, "the missing answer is shown at once", "haproxy_state", |state| {
        state["runtime_error"].is_string()
    })
    .await;
    wait_for_state(&scene.daemon, "the missing answer becomes an error", "haproxy_state", |state| {
        state["counts"]["unanswered"].as_u64() > Some(0)
    })
    .await;
    kill(pid, Signal::SIGCONT).expect("it is there");
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[..1])).await;
}

#[tokio::test]
async fn drift_of_server_and_file_is_repaired() {
    let scene = scene().await;
    let socket = scene.daemon.socket();
    let name = scene.backends[0].address();
    haproxy::runtime(&socket, &format!("set server web/{name} state maint")).await.expect("HAProxy answers");
    wait_for_state(&scene.daemon, "the drift is counted", "haproxy_state", |state| {
        state["counts"]["drift"].as_u64() > Some(0)
    })
    .await;
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends)).await;
    let path = scene.daemon.dir().join("haproxy.cfg");
    std::fs::write(&path, "# somebody was here\n").expect("write the file");
    scene
        .daemon
        .eventually(LIMIT, "the file is written again", async || {
            let config = scene.daemon.haproxy_config();
            check(config.contains("listen web"), &config)
        })
        .await;
}

#[tokio::test]
async fn killed_daemon_adopts_haproxy_without_failed_requests() {
    let mut scene = scene().await;
    let before = haproxy_pid(&scene.daemon).await;
    let load = Load::new(scene.front).clients(4).pause(Duration::from_millis(1)).start();
    scene.daemon.kill();
    let answers = haproxy::info(&scene.daemon.socket()).await.expect("HAProxy continues without its daemon");
    assert_eq!(answers["Pid"], before.to_string());
    scene.files.hosts("web", &scene.backends[..2]);
    scene.daemon.start_again();
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[..2])).await;
    wait_for_state(&scene.daemon, "the old process has ended", "process_supervisor", |state| {
        state["current_pid"].as_i64().is_some_and(|pid| pid != i64::from(before.as_raw()))
            && state["draining"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    load.stop().await.assert_nothing_failed();
    // It was a child of the killed daemon, so the system reaps it.
    let stat = std::fs::read_to_string(format!("/proc/{before}/stat"));
    assert!(stat.as_ref().is_ok_and(|stat| stat.contains(" Z ")) || stat.is_err(), "it has ended: {stat:?}");
}

#[tokio::test]
async fn reloads_leak_no_descriptors_or_processes() {
    let scene = scene().await;
    let count = || std::fs::read_dir(format!("/proc/{}/fd", scene.daemon.pid())).expect("it runs").count();
    let reload = async |n: u32| {
        let before = stage::reloads(&scene.daemon).await;
        let options = json!({"listen_options": [format!("timeout client {n}s")]});
        scene.files.define("web", scene.front.port(), options);
        stage::wait_for_reload_after(&scene.daemon, before).await;
        wait_for_state(&scene.daemon, "old processes end", "process_supervisor", |state| {
            state["draining"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
    };
    for n in 1..4 {
        reload(n).await;
    }
    let settled = count();
    for n in 4..14 {
        reload(n).await;
    }
    // The count's own descriptor and a request account for the difference.
    assert!(count() <= settled + 3, "{settled} descriptors became {}", count());
    assert!(scene.dir.path().exists());
}
