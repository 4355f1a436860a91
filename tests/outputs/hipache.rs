//! Hipache's lists in a real Redis.

use std::process::Command;

use redis::AsyncCommands;
use serde_json::json;

use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::process::Process;
use crate::support::tls::TestCa;
use crate::{LIMIT, daemon, define, output_state};

const PASSWORD: &str = "a-word-that-no-log-may-have";

fn start_redis(dir: &TestDir, port: u16) -> Process {
    let mut command = Command::new("redis-server");
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--requirepass",
        PASSWORD,
        "--appendonly",
        "yes",
    ]);
    command.arg("--dir").arg(dir.path());
    Process::start(dir, "redis", command)
}

/// Starts a Redis that speaks only TLS and requires a client certificate.
fn start_tls_redis(dir: &TestDir, port: u16, tls: &TestCa) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--tls-port", &port.to_string(), "--bind", "127.0.0.1", "--requirepass", PASSWORD]);
    command.arg("--tls-cert-file").arg(&tls.server).arg("--tls-key-file").arg(&tls.server);
    command.arg("--tls-ca-cert-file").arg(&tls.ca).arg("--dir").arg(dir.path());
    Process::start(dir, "redis-tls", command)
}

async fn connect(port: u16) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(format!("redis://:{PASSWORD}@127.0.0.1:{port}/")).expect("a good address");
    let probe = async || client.get_multiplexed_async_connection().await;
    eventually(LIMIT, "Redis answers", probe).await
}

async fn wait_for_list(daemon: &Daemon, redis: &mut redis::aio::MultiplexedConnection, key: &str, wanted: &[String]) {
    let mut redis = redis.clone();
    let probe = async || {
        let list: Vec<String> = redis.lrange(key, 0, -1).await.map_err(|error| error.to_string())?;
        check(list == wanted, &list)
    };
    daemon.eventually(LIMIT, &format!("{key} is {wanted:?}"), probe).await;
}

fn list(service: &str, backends: &[&Backend]) -> Vec<String> {
    let urls = backends.iter().map(|backend| format!("http://{}", backend.address()));
    std::iter::once(service.to_owned()).chain(urls).collect()
}

#[tokio::test]
async fn hipache_lists_follow_services() {
    let dir = TestDir::new();
    let port = dir.port();
    let mut redis_server = start_redis(&dir, port);
    let mut redis = connect(port).await;
    let _: () = redis.rpush("frontend:theirs.example", &["theirs", "http://10.0.0.1:1"]).await.expect("a list");
    let a = Backend::start(&dir, "a");
    let (web, api) = (dir.port(), dir.port());
    let outputs = json!([{"type": "hipache", "server": format!("127.0.0.1:{port}"), "password": PASSWORD}]);
    // Both services are removed within the window of the guard.
    let builder = daemon(&dir, outputs).set("guards.max_services_removal", json!(1));
    define(&dir, "web", web, &["web.example", "*.web.example"], &[&a]);
    let mut daemon = builder.start();
    wait_for_list(&daemon, &mut redis, "frontend:web.example", &list("web", &[&a])).await;
    wait_for_list(&daemon, &mut redis, "frontend:*.web.example", &list("web", &[&a])).await;

    let b = Backend::start(&dir, "b");
    let mut both = [&a, &b];
    both.sort_by_key(|backend| backend.address().to_string());
    define(&dir, "web", web, &["web.example"], &both);
    wait_for_list(&daemon, &mut redis, "frontend:web.example", &list("web", &both)).await;
    wait_for_list(&daemon, &mut redis, "frontend:*.web.example", &[]).await;

    // Another program changes a list of proxymgr; a refresh restores it.
    let _: () = redis.del("frontend:web.example").await.expect("deleted");
    daemon.signal(nix::sys::signal::Signal::SIGUSR1);
    wait_for_list(&daemon, &mut redis, "frontend:web.example", &list("web", &both)).await;

    define(&dir, "api", api, &["theirs.example"], &[&a]);
    let reported = async || {
        let state = output_state(&daemon).await?;
        check(state["error"].as_str().is_some_and(|error| error.contains("frontend:theirs.example")), &state)
    };
    daemon.eventually(LIMIT, "the list of another owner is reported", reported).await;
    wait_for_list(&daemon, &mut redis, "frontend:theirs.example", &["theirs".into(), "http://10.0.0.1:1".into()]).await;
    std::fs::remove_file(dir.join("services/api.json")).expect("it is defined");

    // Redis stops; changes during that time are written after its return.
    redis_server.kill();
    define(&dir, "web", web, &["web.example"], &[&a]);
    let reported = async || {
        let state = output_state(&daemon).await?;
        check(state["error"].as_str().is_some_and(|error| error.contains("Redis")), &state)
    };
    daemon.eventually(LIMIT, "Redis is reported as unreachable", reported).await;
    let _redis_server = start_redis(&dir, port);
    let mut redis = connect(port).await;
    wait_for_list(&daemon, &mut redis, "frontend:web.example", &list("web", &[&a])).await;

    // After a restart of the daemon, its lists are still known as its own.
    daemon.terminate().await;
    std::fs::remove_file(dir.join("services/web.json")).expect("it is defined");
    define(&dir, "api", api, &["api.example"], &[&a]);
    define(&dir, "other", dir.port(), &["other.example"], &[&a]);
    daemon.start_again();
    wait_for_list(&daemon, &mut redis, "frontend:api.example", &list("api", &[&a])).await;
    wait_for_list(&daemon, &mut redis, "frontend:web.example", &[]).await;
    assert!(!daemon.log().contains(PASSWORD), "the password is in the log");
    let status = daemon.status_json().await.expect("a status").to_string();
    assert!(!status.contains(PASSWORD), "the password is in the status");
}

#[tokio::test]
async fn redis_tls_certificate_is_verified() {
    let dir = TestDir::new();
    let port = dir.port();
    let (tls, strangers) = (TestCa::new(&dir), TestCa::new(&dir.subdir("strangers")));
    let _redis_server = start_tls_redis(&dir, port, &tls);
    let a = Backend::start(&dir, "a");
    let output = |ca: &TestCa| {
        json!([{
            "type": "hipache", "server": format!("rediss://127.0.0.1:{port}"), "password": PASSWORD, "ca": ca.ca,
            "certificate": tls.client_cert, "key": tls.client_key,
        }])
    };
    let builder = daemon(&dir, output(&strangers));
    define(&dir, "web", dir.port(), &["web.example"], &[&a]);
    let mut daemon = builder.start();
    let refused = async || {
        let state = output_state(&daemon).await?;
        check(state["error"].as_str().is_some_and(|error| error.contains("invalid peer certificate")), &state)
    };
    daemon.eventually(LIMIT, "a certificate of another authority is not trusted", refused).await;
    daemon.terminate().await;
    daemon.rewrite("outputs", output(&tls));
    daemon.start_again();
    let written = async || {
        let state = output_state(&daemon).await?;
        check(state["error"].is_null() && state["changes"] == 1, &state)
    };
    daemon.eventually(LIMIT, "the list is written", written).await;
    let asked = Command::new("redis-cli")
        .args(["-p", &port.to_string(), "-a", PASSWORD, "--no-auth-warning", "--tls", "--cacert"])
        .arg(&tls.ca)
        .arg("--cert")
        .arg(&tls.client_cert)
        .arg("--key")
        .arg(&tls.client_key)
        .args(["lrange", "frontend:web.example", "0", "-1"])
        .output();
    let said = String::from_utf8(asked.expect("redis-cli runs").stdout).expect("text");
    assert_eq!(said.lines().collect::<Vec<_>>(), list("web", &[&a]));
}

#[tokio::test]
async fn override_applies_to_hipache() {
    let dir = TestDir::new();
    let port = dir.port();
    let _redis_server = start_redis(&dir, port);
    let mut redis = connect(port).await;
    let backends = [Backend::start(&dir, "a"), Backend::start(&dir, "b")];
    let mut both: Vec<&Backend> = backends.iter().collect();
    both.sort_by_key(|backend| backend.address().to_string());
    let outputs = json!([{"type": "hipache", "server": format!("127.0.0.1:{port}"), "password": PASSWORD}]);
    let builder = daemon(&dir, outputs).set("status.token", json!("0123456789abcdef0123"));
    define(&dir, "web", dir.port(), &["web.example"], &both);
    let mut daemon = builder.start();
    wait_for_list(&daemon, &mut redis, "frontend:web.example", &list("web", &both)).await;
    let server = both[0].address().to_string();
    let order = async |daemon: &Daemon, state: &str| {
        let done = daemon.run_command(&["server", state, "web", &server]).await;
        assert!(done.status.success(), "{done:?}");
    };
    order(&daemon, "maint").await;
    wait_for_list(&daemon, &mut redis, "frontend:web.example", &list("web", &both[1..])).await;
    // The override survives a restart of the daemon, and so does its effect on the list.
    daemon.terminate().await;
    daemon.start_again();
    let applied = async || {
        let state = output_state(&daemon).await?;
        check(state["applied_at_unix_ms"].is_u64(), &state)
    };
    daemon.eventually(LIMIT, "the output is updated", applied).await;
    wait_for_list(&daemon, &mut redis, "frontend:web.example", &list("web", &both[1..])).await;
    order(&daemon, "ready").await;
    wait_for_list(&daemon, &mut redis, "frontend:web.example", &list("web", &both)).await;
}
