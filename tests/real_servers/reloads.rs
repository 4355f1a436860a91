//! Reloads: their reasons, and no lost connection.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::stage::{
    self, LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready, wait_for_reload_after, wait_for_state,
};
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::load::Load;
use crate::support::{haproxy, http};

#[tokio::test]
async fn reloads_under_load_lose_no_request() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 2);
        let port = dir.port();
        files.define("web", port, json!({"listen_options": ["mode http", "timeout client 30s"]}));
        files.hosts("web", &backends);
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let front = SocketAddr::from(([127, 0, 0, 1], port));
        let loads: Vec<_> = [true, false]
            .map(|keep_alive| {
                let load = Load::new(front).clients(5).keep_alive(keep_alive).pause(Duration::from_millis(1));
                load.start()
            })
            .into_iter()
            .collect();
        for n in 0..5 {
            let before = stage::reloads(&daemon).await;
            let options = json!({"listen_options": ["mode http", format!("timeout client {}s", 31 + n)]});
            files.define("web", port, options);
            wait_for_reload_after(&daemon, before).await;
        }
        for load in loads {
            load.stop().await.assert_nothing_failed();
        }
        let old = wait_for_state(&daemon, "old processes end", "process_supervisor", |state| {
            state["draining"].as_array().is_some_and(Vec::is_empty)
        });
        old.await;
    }
}

#[tokio::test]
async fn stick_tables_survive_reloads() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let (files, backends, port) = (ServiceFiles::new(&dir), backends(&dir, 1), dir.port());
        let define = |timeout: u8| {
            let lines = ["stick-table type ip size 1k expire 10m store http_req_cnt", "http-request track-sc0 src"];
            let lines = lines.map(str::to_owned).into_iter().chain([format!("timeout server {timeout}s")]);
            files.define("web", port, json!({"listen_options": lines.collect::<Vec<_>>()}));
        };
        define(30);
        files.hosts("web", &backends);
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        for _ in 0..3 {
            http::get(SocketAddr::from(([127, 0, 0, 1], port)), "/").await.expect("it serves");
        }
        for timeout in 31..33 {
            let before = stage::reloads(&daemon).await;
            define(timeout);
            wait_for_reload_after(&daemon, before).await;
            let kept = async || {
                let table = haproxy::runtime(&daemon.socket(), "show table web").await.map_err(|e| e.to_string())?;
                check(table.contains("http_req_cnt=3"), &table)
            };
            daemon.eventually(LIMIT, "the new process has the table", kept).await;
        }
    }
}

#[tokio::test]
async fn reload_has_reasons() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 1);
    let port = dir.port();
    files.define("web", port, json!({}));
    files.hosts("web", &backends);
    let daemon = daemon(&dir).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    let other_port = dir.port();
    for (port, more, words) in [
        (port, json!({"listen_options": ["balance leastconn"]}), "`balance leastconn` was added".to_owned()),
        (other_port, json!({"listen_options": ["balance leastconn"]}), format!("127.0.0.1:{other_port}")),
        (
            other_port,
            json!({"listen_options": ["balance leastconn"], "server_options": ["maxconn 9"]}),
            "options".into(),
        ),
    ] {
        let before = stage::reloads(&daemon).await;
        files.define("web", port, more);
        wait_for_reload_after(&daemon, before).await;
        let state = stage::actor_state(&daemon, "haproxy_state").await.expect("it answers");
        let reasons = state["last_reload"].to_string();
        assert!(reasons.contains(&words), "{reasons} should say {words}");
    }
    assert_eq!(http::get(([127, 0, 0, 1], other_port).into(), "/").await.expect("served").status, 200);
}

#[tokio::test]
async fn rejected_section_keeps_last_good_one() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 1);
        let ports = [dir.port(), dir.port()];
        for (name, port) in ["good", "bad"].iter().zip(ports) {
            files.define(name, port, json!({}));
            files.hosts(name, &backends);
        }
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "good", &addresses(&backends)).await;
        wait_for_ready(&daemon, "bad", &addresses(&backends)).await;

        files.define("bad", ports[1], json!({"listen_options": ["http-request track-sc9 src"]}));
        let state = wait_for_state(&daemon, "the refused service is named", "haproxy_state", |state| {
            state["services"]["bad"]["problem"].is_string()
        })
        .await;
        let problem = state["services"]["bad"]["problem"].as_str().expect("a text");
        assert!(problem.contains("track-sc9"), "{}: {problem}", version.label);
        files.define("good", ports[0], json!({"listen_options": ["balance leastconn"]}));
        daemon
            .eventually(LIMIT, "the other service changes nevertheless", async || {
                let config = daemon.haproxy_config();
                check(config.contains("balance leastconn") && !config.contains("track-sc9"), &config)
            })
            .await;
        for port in ports {
            assert_eq!(http::get(([127, 0, 0, 1], port).into(), "/").await.expect("served").status, 200);
        }
    }
}

#[tokio::test]
async fn used_port_is_reported_and_retried() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 1);
    let taken = dir.port();
    let holder = std::net::TcpListener::bind(("127.0.0.1", taken)).expect("a reserved port is free");
    for (name, port) in [("web", dir.port()), ("api", taken)] {
        files.define(name, port, json!({}));
        files.hosts(name, &backends);
    }
    let daemon = daemon(&dir).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    let state = wait_for_state(&daemon, "the taken port is named", "haproxy_state", |state| {
        state["services"]["api"]["problem"].is_string()
    })
    .await;
    let problem = state["services"]["api"]["problem"].as_str().expect("a text");
    assert!(problem.contains(&taken.to_string()) && problem.contains(&std::process::id().to_string()), "{problem}");
    drop(holder);
    wait_for_ready(&daemon, "api", &addresses(&backends)).await;
    assert_eq!(http::get(([127, 0, 0, 1], taken).into(), "/").await.expect("served").status, 200);
}
