//! Restarts in place: the process, its HAProxy and all requests survive.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::stage::{LIMIT, ServiceFiles, addresses, wait_for_ready, wait_for_state, web_in_files};
use crate::support::backend::Backend;
use crate::support::background;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy::{self, HaproxyVersion, installed, versions};
use crate::support::http;
use crate::support::load::Load;

struct Scene {
    dir: TestDir,
    files: ServiceFiles,
    backends: Vec<Backend>,
    front: SocketAddr,
    daemon: Daemon,
}

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_proxymgr");

async fn scene(version: &HaproxyVersion) -> Scene {
    let dir = TestDir::new();
    let front = SocketAddr::from(([127, 0, 0, 1], dir.port()));
    let (files, backends) = web_in_files(&dir, front.port(), 3, json!({"server_options": "check inter 300ms"}));
    // A path of its own, at which another binary can be installed.
    let binary = dir.join("proxymgr");
    std::os::unix::fs::symlink(BINARY, &binary).expect("a new name");
    let daemon = Daemon::builder(&binary, &dir).files(&files.services()).haproxy(version).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    wait_for_state(&daemon, "HAProxy runs", "haproxy_state", |state| state["phase"] == "running").await;
    Scene { dir, files, backends, front, daemon }
}

async fn haproxy_pid(scene: &Scene) -> String {
    haproxy::info(&scene.daemon.socket()).await.expect("HAProxy serves")["Pid"].clone()
}

/// Replaces the binary by a shell script.
fn install(scene: &Scene, script: &str) {
    let new = scene.dir.write("proxymgr.new", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("our file");
    std::fs::rename(new, scene.dir.join("proxymgr")).expect("rename in one directory");
}

async fn wait_for_event(daemon: &Daemon, event: &str) -> Value {
    let path = format!("/api/v1/journal?event={event}");
    let newest = async || {
        let response = http::get(daemon.status_address(), &path).await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&response.body).map_err(|error| error.to_string())?;
        answer["entries"].as_array().and_then(|entries| entries.last().cloned()).ok_or("no such event yet".to_owned())
    };
    daemon.eventually(LIMIT, event, newest).await
}

/// Waits for the end of a restart after the one at this time, and returns it.
async fn wait_for_restart_after(daemon: &Daemon, before: u64) -> Value {
    let ended = async || {
        let restart = daemon.status_json().await?["daemon"]["restart"].clone();
        let is_new = restart["at_unix_ms"].as_u64() > Some(before);
        check(is_new && restart["outcome"]["state"] != "under_way", &restart).map(|()| restart)
    };
    daemon.eventually(LIMIT, "the restart has ended", ended).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_in_place_fail_no_request() {
    for version in versions() {
        let mut scene = scene(&version).await;
        let (pid, served_by) = (scene.daemon.pid(), haproxy_pid(&scene).await);
        let loads: Vec<_> = [true, false]
            .map(|keep_alive| {
                let load = Load::new(scene.front).clients(3).keep_alive(keep_alive).pause(Duration::from_millis(1));
                load.start()
            })
            .into();
        let mut last = 0;
        for round in 0..8 {
            if round % 2 == 0 {
                scene.daemon.signal(Signal::SIGUSR2);
            } else {
                let ordered = scene.daemon.run_command(&["restart"]).await;
                let printed = String::from_utf8_lossy(&ordered.stdout).into_owned();
                assert!(ordered.status.success(), "{version}: {ordered:?}");
                assert!(printed.contains(&format!("pid {pid}")), "{version}: {printed}");
            }
            let restart = wait_for_restart_after(&scene.daemon, last).await;
            assert_eq!(restart["outcome"]["state"], "done", "{version}: {restart}");
            last = restart["at_unix_ms"].as_u64().expect("a time");
            assert_eq!(haproxy_pid(&scene).await, served_by, "{version}: no reload in round {round}");
        }
        assert_eq!(scene.daemon.exit_status(), None, "{version}: process {pid} is still there");
        for load in loads {
            let report = load.stop().await;
            report.assert_nothing_failed();
            println!("{version}: 8 restarts in place, {report}");
        }
        // HAProxy is still managed: at run time, and by a reload.
        scene.files.hosts("web", &scene.backends[1..]);
        wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..])).await;
        let state =
            wait_for_state(&scene.daemon, "it is in sync", "haproxy_state", |state| state["phase"] == "running");
        assert_eq!(state.await["counts"]["reload"], 0, "{version}");
        scene.files.define("web", scene.front.port(), json!({"listen_options": "timeout client 31s"}));
        wait_for_state(&scene.daemon, "a reload replaces it", "process_supervisor", |state| {
            state["current_pid"].as_u64().is_some_and(|pid| pid.to_string() != served_by)
                && state["draining"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
        assert!(std::fs::metadata(format!("/proc/{served_by}")).is_err(), "{version}: the previous one was reaped");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_request_survives_a_restart_in_place() {
    let mut scene = scene(&installed()).await;
    scene.backends.iter().for_each(|backend| backend.set_delay(Duration::from_secs(3)));
    let before: u64 = scene.backends.iter().map(Backend::connections).sum();
    let front = scene.front;
    let request = background::spawn(async move { http::get(front, "/").await });
    let reached = async || {
        let now: u64 = scene.backends.iter().map(Backend::connections).sum();
        check(now > before, &now)
    };
    scene.daemon.eventually(LIMIT, "the request reached its backend", reached).await;
    scene.daemon.signal(Signal::SIGUSR2);
    let restart = wait_for_restart_after(&scene.daemon, 0).await;
    assert_eq!(restart["outcome"]["state"], "done", "{restart}");
    let answer = request.await.expect("no panic").expect("the request was not interrupted");
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_that_fails_its_trial_is_refused() {
    let mut scene = scene(&installed()).await;
    let (pid, served_by) = (scene.daemon.pid(), haproxy_pid(&scene).await);
    let load = Load::new(scene.front).clients(2).pause(Duration::from_millis(1)).start();
    install(&scene, "echo 'libsomething.so is missing' >&2; exit 127");
    // Not through the daemon's own settings: the command, too, would be the broken binary.
    let config = scene.daemon.dir().join("proxymgr.yml");
    let command = std::process::Command::new(BINARY).arg("restart").arg("-c").arg(config).output().expect("it runs");
    let printed = String::from_utf8_lossy(&command.stderr).into_owned();
    assert_eq!(command.status.code(), Some(5), "{printed}");
    assert!(printed.contains("libsomething.so is missing"), "{printed}");
    let event = wait_for_event(&scene.daemon, "restart_failed").await;
    assert!(event["event"]["why"].as_str().is_some_and(|why| why.contains("libsomething.so")), "{event}");
    let status = scene.daemon.status_json().await.expect("it answers");
    assert!(status["concerns"].to_string().contains("restart_failed"), "{}", status["concerns"]);
    assert_eq!((scene.daemon.exit_status(), scene.daemon.pid()), (None, pid));
    assert_eq!(haproxy_pid(&scene).await, served_by);
    load.stop().await.assert_nothing_failed();
}

/// Returns the arguments with which the new binary never gets ready, with what is reported.
fn faults(scene: &Scene, version: &HaproxyVersion) -> [(String, &'static str); 2] {
    // This HAProxy has a version, and starts with no configuration.
    let script = format!("#!/bin/sh\n[ \"$1\" = -v ] && exec {} -v\n", version.path.display());
    let haproxy = scene.dir.write("haproxy", script);
    std::fs::set_permissions(&haproxy, std::fs::Permissions::from_mode(0o755)).expect("our file");
    let never_ready = format!("--set haproxy.path={} --set restart_timeout=2s", haproxy.display());
    [(never_ready, "not ready"), ("--set haproxy.reload_interval=x".to_owned(), "reload_interval")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_that_gets_never_ready_is_replaced_by_the_previous_one() {
    for version in [installed(), versions().pop().expect("there is a version")] {
        let mut scene = scene(&version).await;
        let pid = scene.daemon.pid();
        let load = Load::new(scene.front).clients(2).pause(Duration::from_millis(1)).start();
        let mut last = 0;
        for (arguments, reported) in faults(&scene, &version) {
            let script =
                format!("case \"$*\" in *--trial) exec {BINARY} \"$@\";; *) exec {BINARY} \"$@\" {arguments};; esac");
            install(&scene, &script);
            scene.daemon.signal(Signal::SIGUSR2);
            let restart = wait_for_restart_after(&scene.daemon, last).await;
            last = restart["at_unix_ms"].as_u64().expect("a time");
            assert_eq!(restart["outcome"]["state"], "failed", "{version}: {restart}");
            let why = restart["outcome"]["why"].as_str().expect("a reason");
            assert!(why.contains(reported), "{version}: {why}");
            wait_for_event(&scene.daemon, "restart_failed").await;
            assert!(scene.daemon.log().contains("the restart failed, this program goes on"), "{version}");
            assert_eq!((scene.daemon.exit_status(), scene.daemon.pid()), (None, pid), "{version}");
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs");
            assert_eq!(name.trim(), "proxymgr", "{version}");
        }
        // It manages HAProxy again.
        scene.files.hosts("web", &scene.backends[1..]);
        wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..])).await;
        load.stop().await.assert_nothing_failed();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_outlives_a_binary_that_crashes_and_is_adopted() {
    let mut scene = scene(&installed()).await;
    let load = Load::new(scene.front).clients(2).pause(Duration::from_millis(1)).start();
    install(&scene, &format!("case \"$*\" in *--trial) exec {BINARY} \"$@\";; *) exit 7;; esac"));
    scene.daemon.signal(Signal::SIGUSR2);
    assert_eq!(scene.daemon.wait_exit(LIMIT).await.code(), Some(7));
    install(&scene, &format!("exec {BINARY} \"$@\""));
    scene.daemon.start_again();
    scene.files.hosts("web", &scene.backends[1..]);
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..])).await;
    load.stop().await.assert_nothing_failed();
}

#[tokio::test]
async fn stop_during_a_restart_is_not_lost() {
    let mut scene = scene(&installed()).await;
    for delay_ms in [0, 20, 40, 60, 80, 100, 120] {
        scene.daemon.signal(Signal::SIGUSR2);
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        scene.daemon.signal(Signal::SIGTERM);
        let exit = scene.daemon.wait_exit(LIMIT).await;
        assert!(exit.success(), "after {delay_ms} ms: {exit}");
        assert!(haproxy::info(&scene.daemon.socket()).await.is_err(), "after {delay_ms} ms: HAProxy has stopped, too");
        scene.daemon.start_again();
        wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_and_a_pending_change_survive() {
    for version in [installed(), versions().pop().expect("there is a version")] {
        let mut scene = scene(&version).await;
        let drained = scene.backends[0].address().to_string();
        let ordered = scene.daemon.run_command(&["server", "drain", "web", &drained, "--for", "1h"]).await;
        assert!(ordered.status.success(), "{version}: {ordered:?}");
        wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..])).await;
        scene.files.hosts("web", []);
        let is_blocked = |state: &Value| !state["held"].is_null();
        wait_for_state(&scene.daemon, "the guard blocks the change", "watcher", is_blocked).await;
        let served_by = haproxy_pid(&scene).await;
        scene.daemon.signal(Signal::SIGUSR2);
        let restart = wait_for_restart_after(&scene.daemon, 0).await;
        assert_eq!(restart["outcome"]["state"], "done", "{version}: {restart}");
        wait_for_event(&scene.daemon, "restarted").await;
        wait_for_state(&scene.daemon, "the change is still pending", "watcher", is_blocked).await;
        wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..])).await;
        let states = haproxy::servers_state(&scene.daemon.socket()).await.expect("it answers");
        assert!(!states.iter().any(|server| server.is_in_maintenance()), "{version}: it is still in drain: {states:?}");
        assert_eq!(haproxy_pid(&scene).await, served_by, "{version}: there was no reload");
        let ordered = scene.daemon.run_command(&["accept", "web"]).await;
        assert!(ordered.status.success(), "{version}: {ordered:?}");
        wait_for_ready(&scene.daemon, "web", &[]).await;
    }
}

#[tokio::test]
async fn restarts_leak_no_descriptors_or_processes() {
    let mut scene = scene(&installed()).await;
    let pid = scene.daemon.pid();
    let mut last = 0;
    let mut counts = Vec::new();
    for _ in 0..6 {
        scene.daemon.signal(Signal::SIGUSR2);
        let restart = wait_for_restart_after(&scene.daemon, last).await;
        last = restart["at_unix_ms"].as_u64().expect("a time");
        counts.push(std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count());
    }
    // Requests of the test and of the daemon account for a difference.
    assert!(counts[5] <= counts[1] + 4, "{counts:?}");
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    assert_eq!(children.split_whitespace().collect::<Vec<_>>(), [haproxy_pid(&scene).await], "no zombie is left");
}

#[tokio::test]
async fn restart_in_place_keeps_a_background_haproxy() {
    let dir = TestDir::new();
    let front = SocketAddr::from(([127, 0, 0, 1], dir.port()));
    let (files, backends) = web_in_files(&dir, front.port(), 2, json!({}));
    let builder = Daemon::builder(BINARY, &dir).files(&files.services()).set("haproxy.run", json!("binary"));
    let mut daemon = builder.start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    wait_for_state(&daemon, "HAProxy runs", "haproxy_state", |state| state["phase"] == "running").await;
    let served_by = haproxy::info(&daemon.socket()).await.expect("it serves")["Pid"].clone();
    daemon.signal(Signal::SIGUSR2);
    let restart = wait_for_restart_after(&daemon, 0).await;
    assert_eq!(restart["outcome"]["state"], "done", "{restart}");
    assert_eq!(haproxy::info(&daemon.socket()).await.expect("it serves")["Pid"], served_by, "there was no reload");
    files.hosts("web", &backends[1..]);
    wait_for_ready(&daemon, "web", &addresses(&backends[1..])).await;
}

/// Returns the entries of the journal of the service.
async fn journal(daemon: &Daemon, event: &str) -> Result<Vec<Value>, String> {
    let path = format!("/api/v1/journal?service=web&event={event}");
    let response = http::get(daemon.status_address(), &path).await.map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_slice(&response.body).map_err(|error| error.to_string())?;
    Ok(answer["entries"].as_array().cloned().unwrap_or_default())
}

/// Returns since when the first backend is down.
async fn down_since(scene: &Scene) -> Option<u64> {
    let path = format!("/api/v1/servers/web/{}", scene.backends[0].address());
    let response = http::get(scene.daemon.status_address(), &path).await.expect("it answers");
    let answer: Value = serde_json::from_slice(&response.body).expect("JSON");
    answer["down_since_unix_ms"].as_u64()
}

#[tokio::test]
async fn journal_and_health_transitions_survive_restarts_of_every_kind() {
    let mut scene = scene(&installed()).await;
    scene.daemon.rewrite("haproxy.on_stop", json!("leave"));
    scene.backends[0].stop().await;
    let went_down = async || {
        let entries = journal(&scene.daemon, "health_changed").await?;
        check(entries.iter().any(|entry| entry["event"]["up"] == false), &entries.len()).map(|()| entries)
    };
    let before = scene.daemon.eventually(LIMIT, "the transition is in the journal", went_down).await;
    let is_observed = async || down_since(&scene).await.ok_or("it is not observed yet");
    let since = scene.daemon.eventually(LIMIT, "the server is down", is_observed).await;
    for kind in ["in place", "stop and start", "crash"] {
        match kind {
            "in place" => {
                scene.daemon.signal(Signal::SIGUSR2);
                wait_for_restart_after(&scene.daemon, 0).await;
            }
            "stop and start" => {
                scene.daemon.terminate().await;
                scene.daemon.start_again();
            }
            _ => {
                scene.daemon.kill();
                scene.daemon.start_again();
            }
        }
        wait_for_state(&scene.daemon, "HAProxy runs", "haproxy_state", |state| state["phase"] == "running").await;
        let after = journal(&scene.daemon, "health_changed").await.expect("it answers");
        assert_eq!(after[..before.len()], before, "after {kind}");
        assert_eq!(down_since(&scene).await, Some(since), "after {kind}");
        let sequences: Vec<_> = after.iter().map(|entry| entry["sequence"].as_u64()).collect();
        assert!(sequences.is_sorted_by(|one, next| one < next), "after {kind}: {sequences:?}");
    }
}
