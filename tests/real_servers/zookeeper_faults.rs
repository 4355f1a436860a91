//! ZooKeeper fails; the daemon keeps the known hosts, reconnects, and misses no change.

use serde_json::json;
use zookeeper::Client;

use crate::stage::{LIMIT, addresses, backends, daemon, host_json, wait_for_ready, wait_for_state};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::znodes;
use crate::support::zookeeper::{Ensemble, ServedSession};

async fn put_web(client: &Client, backends: &[Backend]) {
    for (n, backend) in backends.iter().enumerate() {
        znodes::put(client, &format!("/services/web/{n}"), &host_json(backend)).await;
    }
}

async fn serving(dir: &TestDir, ensemble: &Ensemble, backends: &[Backend]) -> Daemon {
    let client = ensemble.client().await;
    put_web(&client, backends).await;
    let definition = json!({"type": "zookeeper", "path": "/services/web", "port": dir.port(), "bind": "127.0.0.1"});
    znodes::put(&client, "/service_config/web", &definition).await;
    let daemon = daemon(dir)
        .zookeeper(&ensemble.connect_string(), "/service_config")
        .set("zookeeper.session_timeout", json!("4s"))
        .start();
    wait_for_ready(&daemon, "web", &addresses(backends)).await;
    daemon
}

async fn session(daemon: &Daemon, ensemble: &Ensemble) -> ServedSession {
    let find = async || ensemble.session_of(daemon.pid()).await.ok_or("no session of the daemon");
    daemon.eventually(LIMIT, "the daemon has a session", find).await
}

#[tokio::test]
async fn killed_zookeeper_member_loses_no_change() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 3).await;
    let backends = backends(&dir, 4);
    let daemon = serving(&dir, &ensemble, &backends).await;
    let member = session(&daemon, &ensemble).await.member;
    ensemble.stop(member);
    let client = ensemble.client().await;
    znodes::delete(&client, "/services/web/0").await;
    wait_for_ready(&daemon, "web", &addresses(&backends[1..])).await;
    znodes::put(&client, "/services/web/0", &host_json(&backends[0])).await;
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
}

#[tokio::test]
async fn frozen_zookeeper_member_is_left_in_time() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 3).await;
    let backends = backends(&dir, 3);
    let daemon = serving(&dir, &ensemble, &backends).await;
    let member = session(&daemon, &ensemble).await.member;
    ensemble.freeze(member);
    let client = ensemble.client().await;
    znodes::delete(&client, "/services/web/0").await;
    wait_for_ready(&daemon, "web", &addresses(&backends[1..])).await;
    ensemble.thaw(member);
    znodes::delete(&client, "/services/web/1").await;
    wait_for_ready(&daemon, "web", &addresses(&backends[2..])).await;
}

#[tokio::test]
async fn expired_session_is_replaced() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 3).await;
    let backends = backends(&dir, 3);
    let daemon = serving(&dir, &ensemble, &backends).await;
    let first = session(&daemon, &ensemble).await;
    ensemble.expire(first.id).await;
    let client = ensemble.client().await;
    znodes::delete(&client, "/services/web/2").await;
    wait_for_ready(&daemon, "web", &addresses(&backends[..2])).await;
    daemon
        .eventually(LIMIT, "the daemon has another session", async || {
            let now = ensemble.session_of(daemon.pid()).await.map(|session| session.id);
            check(now.is_some_and(|now| now != first.id), &now)
        })
        .await;
}

#[tokio::test]
async fn unreachable_ensemble_keeps_known_hosts() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 1).await;
    let backends = backends(&dir, 3);
    let mut daemon = serving(&dir, &ensemble, &backends).await;
    let state_saved = dir.path().to_owned();
    ensemble.stop_all();
    wait_for_state(&daemon, "the lost source is shown", "watcher", |state| !state["source"]["error"].is_null()).await;
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;

    assert!(daemon.terminate().await.success(), "state in {}", state_saved.display());
    daemon.start_again();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    let state =
        wait_for_state(&daemon, "the age of the list is shown", "watcher", |state| state["from_saved_state"] == true)
            .await;
    assert!(state["source"]["read_at_unix_ms"].is_number(), "{state}");

    ensemble.start_all().await;
    let client = ensemble.client().await;
    znodes::delete(&client, "/services/web/1").await;
    wait_for_ready(&daemon, "web", &addresses([&backends[0], &backends[2]])).await;
}

#[tokio::test]
async fn first_start_waits_for_ensemble() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 1).await;
    ensemble.stop_all();
    let daemon = daemon(&dir).zookeeper(&ensemble.connect_string(), "/service_config").start();
    wait_for_state(&daemon, "the absent source is shown", "service_config", |state| {
        !state["source"]["error"].is_null()
    })
    .await;
    ensemble.start_all().await;
    let backends = backends(&dir, 1);
    let client = ensemble.client().await;
    put_web(&client, &backends).await;
    let definition = json!({"type": "zookeeper", "path": "/services/web", "port": dir.port(), "bind": "127.0.0.1"});
    znodes::put(&client, "/service_config/web", &definition).await;
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
}

#[tokio::test]
async fn services_share_one_session() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let backends = backends(&dir, 1);
    for n in 0..20 {
        znodes::put(&client, &format!("/services/s{n}/one"), &host_json(&backends[0])).await;
        let definition = json!({"type": "zookeeper", "server": ensemble.connect_string(),
            "path": format!("/services/s{n}"), "port": dir.port(), "bind": "127.0.0.1"});
        znodes::put(&client, &format!("/service_config/s{n}"), &definition).await;
    }
    let before = ensemble.sessions().await.len();
    let daemon = daemon(&dir).zookeeper(&ensemble.connect_string(), "/service_config").start();
    for n in 0..20 {
        wait_for_ready(&daemon, &format!("s{n}"), &addresses(&backends)).await;
    }
    let sessions = ensemble.sessions().await.len();
    assert_eq!(sessions - before, 1);
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("the daemon runs").count();
    check(threads < 20, &threads).expect("no thread per service");
}
