//! Hipache's lists in a real Redis.

use std::process::Command;

use redis::AsyncCommands;
use serde_json::json;

use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::process::Process;
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
async fn hipaches_lists_follow_services_and_those_of_others_are_left_alone() {
    let dir = TestDir::new();
    let port = dir.port();
    let mut redis_server = start_redis(&dir, port);
    let mut redis = connect(port).await;
    let _: () = redis.rpush("frontend:theirs.example", &["theirs", "http://10.0.0.1:1"]).await.expect("a list");
    let a = Backend::start(&dir, "a");
    let (web, api) = (dir.port(), dir.port());
    let outputs = json!([{"type": "hipache", "server": format!("127.0.0.1:{port}"), "password": PASSWORD}]);
    let builder = daemon(&dir, outputs);
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

    // Somebody changes one of our lists behind our back; a refresh brings it back.
    let _: () = redis.del("frontend:web.example").await.expect("deleted");
    daemon.signal(nix::sys::signal::Signal::SIGUSR1);
    wait_for_list(&daemon, &mut redis, "frontend:web.example", &list("web", &both)).await;

    define(&dir, "api", api, &["theirs.example"], &[&a]);
    let told = async || {
        let state = output_state(&daemon).await?;
        check(state["error"].as_str().is_some_and(|error| error.contains("frontend:theirs.example")), &state)
    };
    daemon.eventually(LIMIT, "the list of somebody else is told", told).await;
    wait_for_list(&daemon, &mut redis, "frontend:theirs.example", &["theirs".into(), "http://10.0.0.1:1".into()]).await;
    std::fs::remove_file(dir.join("services/api.json")).expect("it is defined");

    // Redis goes away; what changes meanwhile is there after it came back.
    redis_server.kill();
    define(&dir, "web", web, &["web.example"], &[&a]);
    let told = async || {
        let state = output_state(&daemon).await?;
        check(state["error"].as_str().is_some_and(|error| error.contains("Redis")), &state)
    };
    daemon.eventually(LIMIT, "Redis is told to be away", told).await;
    let _redis_server = start_redis(&dir, port);
    let mut redis = connect(port).await;
    wait_for_list(&daemon, &mut redis, "frontend:web.example", &list("web", &[&a])).await;

    // After a restart of the daemon, lists that were ours are still known to be.
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
