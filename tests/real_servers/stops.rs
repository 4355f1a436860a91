//! SIGTERM, and the next start: what clients see, by `haproxy.on_stop`.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::json;

use crate::stage::{LIMIT, addresses, daemon, wait_for_ready, web_in_files};
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
    backends: Vec<Backend>,
    front: SocketAddr,
    daemon: Daemon,
}

async fn scene(version: &HaproxyVersion, on_stop: &str) -> Scene {
    let dir = TestDir::new();
    let front = SocketAddr::from(([127, 0, 0, 1], dir.port()));
    let (files, backends) = web_in_files(&dir, front.port(), 2, json!({}));
    let builder = daemon(&dir).files(&files.services()).haproxy(version).set("haproxy.stop_timeout", json!("30s"));
    let daemon = builder.set("haproxy.on_stop", json!(on_stop)).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    Scene { _dir: dir, backends, front, daemon }
}

/// Begins a request that takes seconds.
async fn long_request(scene: &Scene) -> tokio::task::JoinHandle<Result<http::Response, http::HttpError>> {
    let before: u64 = scene.backends.iter().map(Backend::connections).sum();
    scene.backends.iter().for_each(|backend| backend.set_delay(Duration::from_secs(3)));
    let front = scene.front;
    let request = background::spawn(async move { http::get(front, "/").await });
    scene
        .daemon
        .eventually(LIMIT, "the request reached its backend", async || {
            let now: u64 = scene.backends.iter().map(Backend::connections).sum();
            check(now > before, &now)
        })
        .await;
    request
}

async fn refuses_clients(scene: &Scene) {
    scene
        .daemon
        .eventually(LIMIT, "new clients are refused", async || match http::Connection::open(scene.front).await {
            Ok(_) => Err("a client was accepted".to_owned()),
            Err(_) => Ok(()),
        })
        .await;
}

/// Waits for the manager itself: an adopted HAProxy has its servers before that.
async fn manager_is_ready(scene: &Scene) {
    let ready = async || match http::get(scene.daemon.status_address(), "/readyz").await {
        Ok(answer) => check(answer.status == 200, &answer.text()),
        Err(error) => Err(error.to_string()),
    };
    scene.daemon.eventually(LIMIT, "the manager is ready", ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_refuses_clients_and_finishes_requests() {
    for version in versions() {
        let mut scene = scene(&version, "stop").await;
        let request = long_request(&scene).await;
        scene.daemon.signal(Signal::SIGTERM);
        refuses_clients(&scene).await;
        assert_eq!(scene.daemon.exit_status(), None, "{version}: it waits for the request");
        let answer = request.await.expect("no panic").unwrap_or_else(|error| panic!("{version}: {error}"));
        assert_eq!(answer.status, 200, "{version}");
        assert!(scene.daemon.wait_exit(LIMIT).await.success(), "{version}");
    }
}

#[tokio::test]
async fn stop_refuses_clients_of_a_frozen_haproxy() {
    for version in versions() {
        let mut scene = scene(&version, "stop").await;
        let pid = scene.daemon.wait_until_haproxy_answers().await;
        kill(pid, Signal::SIGSTOP).expect("it runs");
        scene.daemon.signal(Signal::SIGTERM);
        refuses_clients(&scene).await;
        kill(pid, Signal::SIGCONT).expect("it is there");
        assert!(scene.daemon.wait_exit(LIMIT).await.success(), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_with_leave_fail_no_request() {
    for version in versions() {
        let mut scene = scene(&version, "leave").await;
        let load = Load::new(scene.front).clients(4).pause(Duration::from_millis(1)).start();
        for _ in 0..8 {
            let served_by = haproxy::info(&scene.daemon.socket()).await.expect("HAProxy serves")["Pid"].clone();
            let exit = scene.daemon.terminate().await;
            assert!(exit.success(), "{version}: {exit}");
            let left = haproxy::info(&scene.daemon.socket()).await.expect("HAProxy serves without the manager");
            assert_eq!(left["Pid"], served_by, "{version}: it was left running");
            scene.daemon.start_again();
            manager_is_ready(&scene).await;
        }
        let report = load.stop().await;
        report.assert_nothing_failed();
        println!("{version}: 8 restarts, {report}");
    }
}

#[tokio::test]
async fn mistake_in_defaults_at_a_restart_is_no_outage() {
    for on_stop in ["stop", "leave"] {
        let mut scene = scene(&installed(), on_stop).await;
        scene.daemon.terminate().await;
        scene.daemon.rewrite("haproxy.defaults", json!(["mode http", "timout connect 5s"]));
        scene.daemon.start_again();
        let answers = async || match http::get(scene.front, "/").await {
            Ok(answer) => check(answer.status == 200, &answer.status),
            Err(error) => Err(error.to_string()),
        };
        scene.daemon.eventually(LIMIT, "HAProxy serves with its last good file", answers).await;
        let shown = async || {
            let status = scene.daemon.status_json().await?.to_string();
            check(status.contains("haproxy.defaults"), &status)
        };
        scene.daemon.eventually(LIMIT, "the mistake is reported", shown).await;
    }
}
