//! Restarts in place: the process, its HAProxy and all requests survive.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::stage::{LIMIT, ServiceFiles, addresses, daemon, wait_for_ready, wait_for_state, web_in_files};
use crate::support::backend::Backend;
use crate::support::background;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy::{self, HaproxyVersion, installed, versions};
use crate::support::http;
use crate::support::load::Load;

struct Scene {
    _dir: TestDir,
    files: ServiceFiles,
    backends: Vec<Backend>,
    front: SocketAddr,
    daemon: Daemon,
}

async fn scene(version: &HaproxyVersion) -> Scene {
    let dir = TestDir::new();
    let front = SocketAddr::from(([127, 0, 0, 1], dir.port()));
    let (files, backends) = web_in_files(&dir, front.port(), 3, json!({"server_options": "check inter 300ms"}));
    let daemon = daemon(&dir).files(&files.services()).haproxy(version).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    wait_for_state(&daemon, "HAProxy runs", "haproxy_state", |state| state["phase"] == "running").await;
    Scene { _dir: dir, files, backends, front, daemon }
}

async fn haproxy_pid(scene: &Scene) -> String {
    haproxy::info(&scene.daemon.socket()).await.expect("HAProxy serves")["Pid"].clone()
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
