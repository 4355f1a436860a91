//! Services and hosts in files.

use std::fs;

use serde_json::{Value, json};

use crate::stage::{self, LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready, wait_for_state};
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::{haproxy, http};

#[tokio::test]
async fn file_services_and_hosts_are_watched() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 3);
    let port = dir.port();
    files.define("web", port, json!({}));
    files.hosts("web", &backends[..2]);
    let daemon = daemon(&dir).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends[..2])).await;
    let starts = stage::reloads(&daemon).await;
    for hosts in [&backends[1..2], &backends[..2], &backends[..], &backends[2..]] {
        files.hosts("web", hosts);
        wait_for_ready(&daemon, "web", &addresses(hosts)).await;
    }
    assert_eq!(stage::reloads(&daemon).await, starts);

    let yaml = format!("type: static\nport: {}\nbind: 127.0.0.1\nhosts:\n  - {}\n", dir.port(), backends[0].address());
    files.replace("services/api.yml", &yaml);
    wait_for_ready(&daemon, "api", &addresses(&backends[..1])).await;
    files.remove("web");
    daemon
        .eventually(LIMIT, "the removed service no longer listens", async || {
            let refused = http::get(([127, 0, 0, 1], port).into(), "/").await.is_err();
            check(refused, &"it answers")
        })
        .await;
}

#[tokio::test]
async fn service_without_hosts_is_a_problem_from_the_start() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 1);
    files.define("web", dir.port(), json!({}));
    files.define("idle", dir.port(), json!({"min_hosts": 0}));
    files.hosts("web", []);
    files.hosts("idle", []);
    let daemon = daemon(&dir).files(&files.services()).start();
    let without_hosts = async || {
        let answer = http::get(daemon.status_address(), "/api/v1/status").await.map_err(|error| error.to_string())?;
        let status: Value = serde_json::from_str(&answer.text()).map_err(|error| error.to_string())?;
        let concerns = status["concerns"].as_array().cloned().unwrap_or_default();
        let is_one = |concern: &Value| concern["kind"] == "no_hosts" && concern["since_unix_ms"].is_u64();
        let services = concerns.into_iter().filter(is_one).map(|concern| concern["service"].clone());
        Ok::<Vec<Value>, String>(services.collect())
    };
    let is_reported = async || check(without_hosts().await? == ["web"], &"it is not reported");
    daemon.eventually(LIMIT, "the problem is reported with its time", is_reported).await;
    let is_ready = async || {
        let answer = http::get(daemon.status_address(), "/readyz").await.map_err(|error| error.to_string())?;
        check(answer.status == 200 && answer.text().starts_with("ready\nweb: no hosts"), &answer.text())
    };
    daemon.eventually(LIMIT, "the daemon is ready and names the service", is_ready).await;
    files.hosts("web", &backends);
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    let is_over = async || check(without_hosts().await?.is_empty(), &"it is still reported");
    daemon.eventually(LIMIT, "the problem is over", is_over).await;
}

#[tokio::test]
async fn missing_or_empty_hosts_file_removes_no_host() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 2);
    files.define("web", dir.port(), json!({}));
    files.hosts("web", &backends);
    let daemon = daemon(&dir).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;

    files.hosts("web", []);
    wait_for_state(&daemon, "the empty list is blocked", "watcher", |state| !state["held"].is_null()).await;
    fs::remove_file(dir.join("discovery/web.hosts")).expect("the file is there");
    wait_for_state(&daemon, "the missing file is named", "watcher", |state| {
        state["source"]["error"].as_str().is_some_and(|error| error.contains("web.hosts"))
    })
    .await;
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    files.hosts("web", &backends[..1]);
    wait_for_ready(&daemon, "web", &addresses(&backends[..1])).await;
}

#[tokio::test]
async fn host_attributes_reach_haproxy() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 3);
    let definition = |weight: u16, state: &str| {
        let port = |n: usize| backends[n].port();
        json!({"type": "static", "port": 0, "hosts": [
            {"address": "127.0.0.1", "port": port(0), "name": "first", "weight": weight},
            {"address": "127.0.0.1", "port": port(1), "name": "second", "backup": true},
            {"address": "127.0.0.1", "port": port(2), "name": "third", "state": state},
        ]})
    };
    let port = dir.port();
    let define = |weight, state| {
        let mut definition = definition(weight, state);
        definition["port"] = json!(port);
        files.replace("services/web.json", &definition.to_string());
    };
    define(10, "ready");
    let daemon = daemon(&dir).files(&files.services()).start();
    let socket = daemon.socket();
    let server = async |name: &str| {
        let servers = haproxy::servers_state(&socket).await.map_err(|error| error.to_string())?;
        servers.into_iter().find(|server| server.name() == name).ok_or_else(|| format!("no server {name}"))
    };
    let weighs = async |weight: u32| {
        let server = server("first").await?;
        check(server.weight() == weight, &server)
    };
    daemon.eventually(LIMIT, "the weight is applied", async || weighs(10).await).await;
    let config = daemon.haproxy_config();
    assert!(config.lines().any(|line| line.contains("server second ") && line.contains(" backup")), "{config}");

    let starts = stage::reloads(&daemon).await;
    define(200, "drain");
    daemon.eventually(LIMIT, "the new weight is applied", async || weighs(200).await).await;
    let drains = async || {
        let third = server("third").await?;
        check(third.is_draining(), &third)
    };
    daemon.eventually(LIMIT, "the drained host drains", drains).await;
    assert_eq!(stage::reloads(&daemon).await, starts, "weight and state change at run time");
}

#[tokio::test]
async fn first_backup_of_the_list_gets_the_traffic() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 3);
    let port = dir.port();
    let define = |order: [usize; 3]| {
        let host = |n: usize| json!({"address": "127.0.0.1", "port": backends[n].port(), "backup": true});
        let definition = json!({
            "type": "static", "port": port, "bind": "127.0.0.1", "listen_options": ["mode http"],
            "hosts": order.map(host),
        });
        files.replace("services/web.json", &definition.to_string());
    };
    // An order that differs from that of names and ports.
    let mut by_port = [0, 1, 2];
    by_port.sort_by_key(|n| backends[*n].port());
    let [low, middle, high] = by_port;
    define([high, low, middle]);
    let daemon = daemon(&dir).files(&files.services()).start();
    let answers = async |n: usize| {
        let answer = http::get(([127, 0, 0, 1], port).into(), "/").await.map_err(|error| error.to_string())?;
        check(answer.header("x-backend") == Some(backends[n].name()), &answer.headers)
    };
    daemon.eventually(LIMIT, "the first of the list answers", async || answers(high).await).await;
    let starts = stage::reloads(&daemon).await;
    define([middle, high, low]);
    daemon.eventually(LIMIT, "the new first answers", async || answers(middle).await).await;
    // A new first backup needs a reload.
    stage::wait_for_reloads(&daemon, starts + 1).await;
}

#[tokio::test]
async fn ipv6_hosts_and_listeners_work() {
    let dir = TestDir::new();
    let backend = crate::support::backend::Backend::start_on(
        std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, dir.port())),
        "six",
    );
    let files = ServiceFiles::new(&dir);
    let port = dir.port();
    let definition = json!({"type": "static", "bind": "::1", "port": port, "hosts": [backend.address().to_string()]});
    files.replace("services/web.json", &definition.to_string());
    let daemon = daemon(&dir).files(&files.services()).start();
    let front = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
    daemon
        .eventually(LIMIT, "an IPv6 client reaches an IPv6 host", async || {
            let response = http::get(front, "/").await.map_err(|error| error.to_string())?;
            check(response.text().contains("six"), &response.text())
        })
        .await;
}
